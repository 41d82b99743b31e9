//! What Pulsar IO's form can say and this runtime does not do. What would change what is written is refused with a sentence; what
//! means nothing here is named once, in the log. Nothing is taken and ignored.

use super::source_config::{ProcessingGuarantees, SourceConfig};
use connector_sdk::Problem;

/// Problems with what is not built; sentences on what means nothing go to `notes`.
pub(super) fn check(config: &SourceConfig, notes: &mut Vec<String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.processing_guarantees == Some(ProcessingGuarantees::Manual) {
        problems.push(
            Problem::new(
                "processingGuarantees",
                "`MANUAL` leaves acknowledgement to the user's code, and a source has none: it would never progress",
            )
            .hint("write `ATLEAST_ONCE`"),
        );
    }
    let schema_type = given(&config.schema_type);
    if let Some(class) = given(&config.serde_class_name) {
        let cause = match schema_type {
            Some(_) => "only one of `serdeClassName` and `schemaType` can be set".to_owned(),
            None => format!("the Java class `{class}` cannot be loaded: payloads are published as the bytes that came"),
        };
        problems.push(Problem::new("serdeClassName", cause).hint("remove `serdeClassName`"));
    }
    if config.batch_source_config.as_ref().is_some_and(|batch| !batch.is_empty()) {
        problems.push(
            Problem::new("batchSourceConfig", "batch sources (a discovery, then tasks) are not offered").hint("remove `batchSourceConfig`"),
        );
    }
    if let Some(topic) = given(&config.log_topic) {
        problems.push(
            Problem::new("logTopic", format!("log lines cannot be published to a topic, and nobody would find them at `{topic}`"))
                .hint("remove `logTopic`; log lines go to the standard error, with `--log-format json` as JSON"),
        );
    }
    for (given, key, why) in [
        (config.resources.is_some(), "resources", "this process takes what it needs; bound it where it is started"),
        (given(&config.runtime_flags).is_some(), "runtimeFlags", "they are for a Java machine, and there is none"),
        (given(&config.custom_runtime_options).is_some(), "customRuntimeOptions", "they are for a scheduler, and there is none"),
    ] {
        if given {
            notes.push(format!("`{key}` means nothing here: {why}"));
        }
    }
    problems
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}
