//! From a document (a file with flags laid over it) to an [`InstanceSpec`]: runs every check and gathers every problem.

use super::choice;
use super::not_built;
use super::secrets::{self, Environment, SecretsProvider};
use super::shape;
use super::source_config::{ProcessingGuarantees, SourceConfig};
use super::spec::InstanceSpec;
use bytestring::ByteString;
use connector_pulsar::topic::TopicName;
use connector_pulsar::{ProducerConfig, SchemaConfig};
use connector_sdk::{Connector, ConnectorInfo, Guarantee, Problem, ReadySource};
use serde_json::{Map, Value};
use std::num::NonZeroU32;
use std::sync::Arc;

/// What a document is checked against.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The connectors it may name.
    pub connectors: &'a [Arc<dyn Connector>],
    /// How its secrets are found.
    pub secrets: SecretsProvider,
    /// The environment of the process.
    pub environment: Environment<'a>,
}

/// Checks a whole SourceConfig.
///
/// # Errors
/// Every problem at once, with paths from the root of the document.
pub fn resolve(mut document: Map<String, Value>, surroundings: Surroundings<'_>) -> Result<InstanceSpec, Vec<Problem>> {
    let mut notes = Vec::new();
    drop_blanks(&mut document);
    let configs_named_outside = misplaced(&document, surroundings.connectors);
    let mut problems = shape::check(schemars::schema_for!(SourceConfig).as_value(), &mut document);
    for problem in &mut problems {
        if configs_named_outside.contains(&problem.path) {
            problem.hint = Some(format!("it is a key of the connector: write it under `configs`, as `configs.{}`", problem.path));
        }
    }
    let config: SourceConfig = match serde_json::from_value(Value::Object(document)) {
        Ok(config) => config,
        Err(error) if problems.is_empty() => return Err(vec![Problem::new("", error.to_string())]),
        Err(_) => return Err(problems),
    };
    let misshapen = problems.len();
    problems.extend(not_built::check(&config, &mut notes));
    let guarantee = match config.processing_guarantees {
        Some(ProcessingGuarantees::AtMostOnce) => Guarantee::AtMostOnce,
        Some(ProcessingGuarantees::EffectivelyOnce) => Guarantee::EffectivelyOnce,
        Some(ProcessingGuarantees::AtLeastOnce | ProcessingGuarantees::Manual) | None => Guarantee::AtLeastOnce,
    };
    let mut producer = config.producer_config.clone().unwrap_or_default();
    problems.extend(producer.validate(guarantee).into_iter().map(|problem| problem.under("producerConfig")));
    notes.extend(producer.notes());
    if config.batch_builder.is_some() {
        let over = ProducerConfig { batch_builder: config.batch_builder.clone(), ..ProducerConfig::default() };
        problems.extend(over.validate(guarantee));
        producer.set_batch_builder(config.batch_builder.clone());
    }
    let schema = SchemaConfig { schema_type: config.schema_type.clone(), properties: config.schema_properties.clone().unwrap_or_default() };
    problems.extend(schema.validate());

    let mut taken = |result: Result<ByteString, Problem>| result.map_err(|problem| problems.push(problem)).ok();
    let tenant = taken(part("tenant", &config.tenant, Some("public")));
    let namespace = taken(part("namespace", &config.namespace, Some("default")));
    let name = taken(part("name", &config.name, None));
    let topic = topic(&config).map_err(|problem| problems.push(problem)).ok();
    let source = connector(&config, surroundings, &mut problems, &mut notes);
    let settings = source.as_ref().map(|(_, source)| source.settings());
    let dead_letter_topic = settings.as_ref().and_then(|settings| settings.dead_letter_topic.as_deref());
    let dead_letter_topic = dead_letter_topic.map(|text| dead_letter(text, topic.as_ref())).transpose();
    let dead_letter_topic = dead_letter_topic.map_err(|problem| problems.push(problem)).ok().flatten();
    if config.processing_guarantees == Some(ProcessingGuarantees::EffectivelyOnce)
        && let Some(topic) = topic.as_ref().filter(|topic| !topic.is_persistent())
    {
        problems.push(
            Problem::new(
                "processingGuarantees",
                format!("`EFFECTIVELY_ONCE` needs a broker that keeps what it stored, and `{topic}` keeps nothing"),
            )
            .hint("publish to a persistent topic, or write `ATMOST_ONCE`"),
        );
    }

    let (Some(tenant), Some(namespace), Some(name), Some(topic), Some((info, source)), Some(settings), true) =
        (tenant, namespace, name, topic, source, settings, problems.is_empty())
    else {
        return Err(without_follow_ons(problems, misshapen));
    };
    notes.extend(settings.notes.iter().cloned());
    Ok(InstanceSpec {
        tenant,
        namespace,
        name,
        parallelism: config.parallelism.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
        topic,
        guarantee,
        connector: info,
        source,
        settings,
        dead_letter_topic,
        producer,
        schema,
        notes,
    })
}

/// The connector's own configuration of a sound document, with references and secrets filled in: for what looks at a connector's
/// services without running it. Holds secrets; never print it.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_configs(document: Map<String, Value>, surroundings: Surroundings<'_>) -> Result<(ConnectorInfo, Value), Vec<Problem>> {
    let spec = resolve(document.clone(), surroundings)?;
    let map = |key: &str| document.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let (mut configs, secrets) = (map("configs"), map("secrets"));
    let connector = surroundings.connectors.iter().find(|connector| connector.info().name == spec.connector.name);
    let connector = connector.expect("a checked document names a connector of the list it was checked against");
    let mut said_before = Vec::new();
    secrets::fill(&mut configs, &secrets, connector.secrets(), surroundings.secrets, surroundings.environment, &mut said_before);
    let problems = shape::check(connector.schema().as_value(), &mut configs);
    debug_assert!(problems.is_empty(), "the document was sound a moment ago");
    Ok((spec.connector, Value::Object(configs)))
}

type Chosen = (ConnectorInfo, Arc<dyn ReadySource>);

/// The connector with its own configuration checked.
fn connector(
    config: &SourceConfig,
    surroundings: Surroundings<'_>,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<String>,
) -> Option<Chosen> {
    let connector = choice::choose(config, surroundings.connectors, notes).map_err(|found| problems.extend(found)).ok()?;
    let mut configs = config.configs.clone().unwrap_or_default();
    let none = Map::new();
    let secrets = config.secrets.as_ref().unwrap_or(&none);
    let unfilled = secrets::fill(&mut configs, secrets, connector.secrets(), surroundings.secrets, surroundings.environment, notes);
    let mut found: Vec<Problem> = shape::check(connector.schema().as_value(), &mut configs);
    for problem in &mut found {
        if is_outer_key(&problem.path) {
            problem.hint = Some(format!("it is a key of the whole: write it beside `configs`, as `{}`", problem.path));
        }
    }
    let (info, misshapen) = (connector.info(), found.len());
    let ready = connector.validate(Value::Object(configs));
    let source = match ready {
        Ok(source) => Some(Arc::from(source)),
        Err(more) => {
            found.extend(more);
            None
        }
    };
    let sound = found.is_empty() && unfilled.is_empty();
    // What could not be filled in has its own problem; what follows from it at the same place would only repeat it.
    let unfilled_keys: Vec<&str> = unfilled.iter().filter_map(|problem| problem.path.split('.').nth(1)).collect();
    let mut found = without_follow_ons(found, misshapen);
    found.retain(|problem| !unfilled_keys.iter().any(|key| problem.path.split(['.', '[']).next() == Some(*key)));
    problems.extend(unfilled);
    problems.extend(found.into_iter().map(|problem| problem.under("configs")));
    source.filter(|_| sound).map(|source| (info, source))
}

/// Keys with nothing in them count as absent, as tools that write every key send them. `configs` and `secrets` are left as they are:
/// there a blank may have a meaning.
fn drop_blanks(document: &mut Map<String, Value>) {
    let blank = |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
    document.retain(|_, value| !blank(value));
    if let Some(producer) = document.get_mut("producerConfig").and_then(Value::as_object_mut) {
        producer.retain(|_, value| !blank(value));
        for inner in ["batchingConfig", "cryptoConfig"] {
            if let Some(inner) = producer.get_mut(inner).and_then(Value::as_object_mut) {
                inner.retain(|_, value| !blank(value));
            }
        }
    }
}

/// Keys of the document's root that belong to some connector's `configs`.
fn misplaced(document: &Map<String, Value>, connectors: &[Arc<dyn Connector>]) -> Vec<String> {
    let schemas: Vec<_> = connectors.iter().map(|connector| connector.schema()).collect();
    let belongs_inside = |key: &str| schemas.iter().any(|schema| has_property(schema.as_value(), key)) && !is_outer_key(key);
    document.keys().filter(|key| belongs_inside(key)).cloned().collect()
}

fn is_outer_key(key: &str) -> bool {
    has_property(schemars::schema_for!(SourceConfig).as_value(), key)
}

fn has_property(schema: &Value, key: &str) -> bool {
    schema.get("properties").and_then(Value::as_object).is_some_and(|properties| properties.contains_key(key))
}

fn part(path: &str, text: &Option<String>, default: Option<&str>) -> Result<ByteString, Problem> {
    let Some(text) = text.as_deref().map(str::trim).filter(|text| !text.is_empty()).or(default) else {
        return Err(Problem::new(path, format!("the connector's {path} is missing")).hint("name it, such as `orders-source`"));
    };
    // Names are parts of paths, labels and worker identifiers, where a slash or a control character would split or hide them.
    if text.contains('/') || text.chars().any(char::is_control) {
        return Err(
            Problem::new(path, format!("`{}` cannot be a {path}", text.escape_debug())).hint("leave out slashes and control characters")
        );
    }
    Ok(ByteString::from(text))
}

fn topic(config: &SourceConfig) -> Result<TopicName, Problem> {
    match config.topic_name.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        None => Err(Problem::new("topicName", "no topic is named: every record would be read and thrown away")
            .hint("set `topicName`, such as `persistent://public/default/orders`")),
        Some(text) => text.parse().map_err(|error: connector_pulsar::topic::TopicNameError| Problem::new("topicName", error.to_string())),
    }
}

fn dead_letter(text: &str, topic: Option<&TopicName>) -> Result<TopicName, Problem> {
    const PATH: &str = "configs.deadLetterTopic";
    let parsed: TopicName = text.parse().map_err(|error: connector_pulsar::topic::TopicNameError| Problem::new(PATH, error.to_string()))?;
    if Some(&parsed) == topic {
        return Err(
            Problem::new(PATH, "is the topic that refused the record in the first place").hint("name another topic than `topicName`")
        );
    }
    Ok(parsed)
}

/// What had the wrong shape (the first `misshapen` problems) was taken out before the later checks; what they then say of the same
/// place only follows from that.
fn without_follow_ons(mut problems: Vec<Problem>, misshapen: usize) -> Vec<Problem> {
    let later = problems.split_off(misshapen.min(problems.len()));
    let follows = |problem: &Problem| problems.iter().any(|earlier| earlier.path == problem.path);
    let independent: Vec<Problem> = later.into_iter().filter(|problem| !follows(problem)).collect();
    problems.extend(independent);
    problems
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
