//! The schema and the sample of a whole source configuration, as `config-schemas/` holds them: made from the structs that parse it.

use super::source_config::SourceConfig;
use connector_sdk::Connector;
use serde_json::{Value, json};

/// The JSON Schema of a file that configures this connector: the SourceConfig, with the connector's own schema under `configs`.
pub fn schema(connector: &dyn Connector) -> Value {
    let info = connector.info();
    let mut whole = schemars::schema_for!(SourceConfig).to_value();
    let mut inner = connector.schema().to_value();
    whole["title"] = json!(format!("{} source", info.name));
    if let Some(inner) = inner.as_object_mut() {
        inner.remove("$schema");
        let inner_definitions = inner.remove("$defs");
        if let (Some(Value::Object(more)), Some(definitions)) = (inner_definitions, whole["$defs"].as_object_mut()) {
            definitions.extend(more);
        }
    }
    whole["properties"]["configs"] = inner;
    whole["properties"]["sourceType"]["examples"] = json!([info.name]);
    whole["properties"]["archive"]["examples"] = json!([format!("builtin://{}", info.name)]);
    whole["properties"]["className"]["examples"] = json!(info.class_names);
    whole
}

/// A whole source configuration, complete enough to run.
pub fn sample(connector: &dyn Connector) -> Value {
    let name = connector.info().name;
    json!({
        "tenant": "public",
        "namespace": "default",
        "name": format!("{name}-orders"),
        "archive": format!("builtin://{name}"),
        "topicName": "persistent://public/default/orders",
        "processingGuarantees": "ATLEAST_ONCE",
        "parallelism": 1,
        "configs": connector.sample()
    })
}

#[cfg(test)]
#[path = "published_tests.rs"]
mod tests;
