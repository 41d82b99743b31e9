#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::{SecretsProvider, Surroundings, resolve};
use crate::registry::connectors;
use std::fs;
use std::path::Path;

fn committed(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config-schemas").join(name);
    fs::read_to_string(&file).unwrap_or_default()
}

#[test]
fn the_committed_schemas_and_samples_are_fresh() {
    for connector in connectors() {
        let name = connector.info().name;
        for (flag, kind, value) in [("", "schema", schema(connector.as_ref())), (" --sample", "sample", sample(connector.as_ref()))] {
            let file = format!("{name}-source.{kind}.json");
            assert!(
                committed(&file) == format!("{value:#}\n"),
                "config-schemas/{file} is stale: run `cargo run -p pulsar-connect -- schema {name}{flag} > config-schemas/{file}`"
            );
        }
    }
}

#[test]
fn every_sample_is_valid_and_fits_its_schema() {
    let connectors = connectors();
    for connector in &connectors {
        let sample = sample(connector.as_ref());
        let validator = jsonschema::validator_for(&schema(connector.as_ref())).unwrap();
        let misfits: Vec<String> = validator.iter_errors(&sample).map(|error| error.to_string()).collect();
        assert!(misfits.is_empty(), "{misfits:?}");
        let document = sample.as_object().unwrap().clone();
        let surroundings = Surroundings { connectors: &connectors, secrets: SecretsProvider::Unnamed, environment: &|_| None };
        let spec = resolve(document, surroundings).unwrap();
        assert_eq!(spec.connector.name, connector.info().name);
        assert!(spec.notes.is_empty(), "{:?}", spec.notes);
    }
}

#[test]
fn an_independent_validator_refuses_by_the_schema_what_this_program_refuses() {
    let connectors = connectors();
    let kinesis = connectors.iter().find(|connector| connector.info().name == "kinesis").unwrap();
    let validator = jsonschema::validator_for(&schema(kinesis.as_ref())).unwrap();
    for (key, value) in [
        ("awsRegoin", json!("eu-west-1")),
        ("maxRecords", json!(10_001)),
        ("maxRecords", json!(0)),
        ("messageKeyMode", json!("shard")),
        ("useEnhancedFanOut", json!("maybe")),
        ("awsCredentialPluginParam", json!({ "accessKey": "a" })),
    ] {
        let mut wrong = sample(kinesis.as_ref());
        wrong["configs"][key] = value.clone();
        assert!(!validator.is_valid(&wrong), "{key}: {value}");
        let surroundings = Surroundings { connectors: &connectors, secrets: SecretsProvider::Unnamed, environment: &|_| None };
        assert!(resolve(wrong.as_object().unwrap().clone(), surroundings).is_err(), "{key}: {value}");
    }
}

#[test]
fn no_definition_of_a_connector_hides_one_of_the_whole() {
    let outer = schemars::schema_for!(SourceConfig).to_value();
    for connector in connectors() {
        let inner = connector.schema().to_value();
        let (Some(outer), Some(inner)) = (outer["$defs"].as_object(), inner.get("$defs").and_then(Value::as_object)) else { continue };
        for (name, definition) in inner {
            assert!(outer.get(name).is_none_or(|other| other == definition), "two definitions are called `{name}`");
        }
    }
}

#[test]
fn every_key_has_a_description_and_nothing_a_default_that_is_a_secret() {
    for connector in connectors() {
        let schema = schema(connector.as_ref());
        for place in [&schema["properties"], &schema["properties"]["configs"]["properties"]] {
            for (key, property) in place.as_object().unwrap() {
                // `configs` itself is described by the connector's own text.
                assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{key} has no description");
            }
        }
    }
}
