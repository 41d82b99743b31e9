//! The flags that say what a SourceConfig says, as `pulsar-admin sources` has them. Flags win over the file.
//!
//! Each has its old camelCase name too, which upstream still takes and does not show.

use crate::config;
use clap::Args;
use connector_sdk::Problem;
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The file of a source that is to be looked at.
#[derive(Args)]
pub(super) struct SourceFile {
    /// A source's whole configuration, JSON or YAML
    #[arg(long, value_name = "FILE", aliases = ["sourceConfigFile", "source_config_file"])]
    source_config_file: PathBuf,
}

impl SourceFile {
    pub(super) fn path(&self) -> &Path {
        &self.source_config_file
    }

    pub(super) fn shown(&self) -> String {
        self.source_config_file.display().to_string()
    }
}

/// What a SourceConfig says, by flags.
#[derive(Args)]
#[command(next_help_heading = "What runs")]
pub(super) struct SourceFlags {
    /// A source's whole configuration, JSON or YAML
    #[arg(long, value_name = "FILE", aliases = ["sourceConfigFile", "source_config_file"])]
    source_config_file: Option<PathBuf>,
    /// Pulsar tenant [default: public]
    #[arg(long)]
    tenant: Option<String>,
    /// Pulsar namespace, without the tenant [default: default]
    #[arg(long)]
    namespace: Option<String>,
    /// The connector's name
    #[arg(long)]
    name: Option<String>,
    /// The connector's short name, such as `kinesis`
    #[arg(short = 't', long, value_name = "NAME", alias = "sourceType", conflicts_with = "archive")]
    source_type: Option<String>,
    /// Which connector, such as `builtin://kinesis`
    #[arg(short = 'a', long)]
    archive: Option<String>,
    /// The connector's class
    #[arg(long, value_name = "CLASS", aliases = ["className", "class-name"])]
    classname: Option<String>,
    /// The topic the records go to
    #[arg(short = 'o', long, value_name = "TOPIC", aliases = ["destinationTopicName", "destination-topic", "topicName", "topic-name"])]
    destination_topic_name: Option<String>,
    /// ATLEAST_ONCE (default) or ATMOST_ONCE
    #[arg(long, value_name = "GUARANTEE", alias = "processingGuarantees")]
    processing_guarantees: Option<String>,
    /// How many instances run
    #[arg(long, value_name = "COUNT")]
    parallelism: Option<u32>,
    /// The connector's own configuration, a JSON object
    #[arg(long, value_name = "JSON", alias = "sourceConfig")]
    source_config: Option<String>,
    /// How messages are produced, a JSON object
    #[arg(long, value_name = "JSON", alias = "producerConfig")]
    producer_config: Option<String>,
    /// Secrets by name, a JSON object
    #[arg(long, value_name = "JSON")]
    secrets: Option<String>,
    /// Only `DEFAULT` is offered
    #[arg(long, value_name = "BUILDER", alias = "batchBuilder")]
    batch_builder: Option<String>,
    /// Payloads are published as they are: only `bytes` is offered (also -st)
    #[arg(long, value_name = "TYPE", alias = "schemaType")]
    schema_type: Option<String>,
    /// Java classes cannot be loaded: refused with a sentence
    #[arg(long, value_name = "CLASS", aliases = ["deserializationClassName", "deserializationClassname"])]
    deserialization_classname: Option<String>,
    /// Batch sources are not offered: refused with a sentence
    #[arg(long, value_name = "JSON", alias = "batchSourceConfig")]
    batch_source_config: Option<String>,
    /// Log lines cannot go to a topic: refused with a sentence
    #[arg(long, value_name = "TOPIC", alias = "logTopic")]
    log_topic: Option<String>,
    /// Cores asked of a scheduler; means nothing here
    #[arg(long, value_name = "CORES")]
    cpu: Option<f64>,
    /// Bytes of memory asked of a scheduler; means nothing here
    #[arg(long, value_name = "BYTES")]
    ram: Option<u64>,
    /// Bytes of disk asked of a scheduler; means nothing here
    #[arg(long, value_name = "BYTES")]
    disk: Option<u64>,
    /// Flags of a Java machine; mean nothing here
    #[arg(long, value_name = "TEXT", alias = "runtimeFlags", allow_hyphen_values = true)]
    runtime_flags: Option<String>,
    /// Options of a scheduler; mean nothing here
    #[arg(long, value_name = "TEXT", alias = "customRuntimeOptions", allow_hyphen_values = true)]
    custom_runtime_options: Option<String>,
}

impl SourceFlags {
    /// What the problems are found in: the file, or the flags.
    pub(super) fn origin(&self) -> String {
        self.source_config_file.as_ref().map_or_else(|| "the command line".to_owned(), |file| file.display().to_string())
    }

    /// The file with the flags laid over it.
    ///
    /// # Errors
    /// The file, or JSON given by flags, cannot be read.
    pub(super) fn document(&self) -> Result<Map<String, Value>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut document = match &self.source_config_file {
            Some(file) => config::read(file).map_err(|problem| problems.push(problem)).unwrap_or_default(),
            None => Map::new(),
        };
        self.lay_over(&mut document, &mut problems);
        if problems.is_empty() { Ok(document) } else { Err(problems) }
    }

    fn lay_over(&self, document: &mut Map<String, Value>, problems: &mut Vec<Problem>) {
        // A connector named by flag replaces the one the file names, by whichever key it does.
        if self.archive.is_some() || self.source_type.is_some() {
            document.remove("archive");
            document.remove("sourceType");
            if self.classname.is_none() {
                document.remove("className");
            }
        }
        for (key, text) in [
            ("tenant", &self.tenant),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("sourceType", &self.source_type),
            ("archive", &self.archive),
            ("className", &self.classname),
            ("topicName", &self.destination_topic_name),
            ("processingGuarantees", &self.processing_guarantees),
            ("batchBuilder", &self.batch_builder),
            ("schemaType", &self.schema_type),
            ("serdeClassName", &self.deserialization_classname),
            ("logTopic", &self.log_topic),
            ("runtimeFlags", &self.runtime_flags),
            ("customRuntimeOptions", &self.custom_runtime_options),
        ] {
            if let Some(text) = text {
                document.insert(key.to_owned(), json!(text));
            }
        }
        for (key, flag, text) in [
            ("configs", "--source-config", &self.source_config),
            ("producerConfig", "--producer-config", &self.producer_config),
            ("secrets", "--secrets", &self.secrets),
            ("batchSourceConfig", "--batch-source-config", &self.batch_source_config),
        ] {
            match text.as_deref().map(|text| config::read_flag(flag, text)) {
                None => {}
                Some(Ok(object)) => drop(document.insert(key.to_owned(), Value::Object(object))),
                Some(Err(problem)) => problems.push(problem),
            }
        }
        if let Some(parallelism) = self.parallelism {
            document.insert("parallelism".to_owned(), json!(parallelism));
        }
        self.lay_resources(document);
    }

    fn lay_resources(&self, document: &mut Map<String, Value>) {
        let given =
            [("cpu", self.cpu.map(|cpu| json!(cpu))), ("ram", self.ram.map(|ram| json!(ram))), ("disk", self.disk.map(|disk| json!(disk)))];
        for (key, value) in given {
            let Some(value) = value else { continue };
            let resources = document.entry("resources").or_insert_with(|| json!({}));
            if let Some(resources) = resources.as_object_mut() {
                resources.insert(key.to_owned(), value);
            }
        }
    }
}

/// Upstream's `-st` is two letters behind one dash, which reads as two flags elsewhere; its long name stands in for it.
pub(super) fn with_long_names(arguments: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments.into_iter().map(|argument| if argument == "-st" { OsString::from("--schema-type") } else { argument })
}
