//! Secrets by Pulsar IO's two providers, and references to the environment (`${NAME}`) in the connector's configuration.
//!
//! A secret named in the `secrets` map wins over the same key in `configs`. Values are put where they belong and printed nowhere.

use super::nearest::nearest;
use connector_sdk::Problem;
use serde_json::{Map, Value};

const PACKAGE: &str = "org.apache.pulsar.functions.secretsprovider.";
const CLEAR_TEXT: &str = "ClearTextSecretsProvider";
const ENVIRONMENT: &str = "EnvironmentBasedSecretsProvider";

/// How the values of `secrets` and of `${NAME}` are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecretsProvider {
    /// None was named: values are in the clear, and `${NAME}` is the environment of whoever starts the process.
    #[default]
    Unnamed,
    /// Values are in the clear; `${NAME}` stays as it is, as in Pulsar IO.
    ClearText,
    /// Values are in environment variables called like the secrets; `${NAME}` is the environment.
    Environment,
}

impl SecretsProvider {
    /// The provider of a Java class name, with or without its package; `path` is where the name stands.
    ///
    /// # Errors
    /// A class that is not one of the two.
    pub fn named(path: &str, name: &str) -> Result<Self, Problem> {
        let class = name.trim();
        match class.strip_prefix(PACKAGE).unwrap_or(class) {
            "" => Ok(Self::Unnamed),
            CLEAR_TEXT => Ok(Self::ClearText),
            ENVIRONMENT => Ok(Self::Environment),
            other => {
                let meant = nearest(other.rsplit('.').next().unwrap_or(other), [CLEAR_TEXT, ENVIRONMENT]);
                let known = format!("`{PACKAGE}{CLEAR_TEXT}` and `{PACKAGE}{ENVIRONMENT}` are offered");
                let hint = meant.map_or_else(|| known.clone(), |meant| format!("did you mean `{PACKAGE}{meant}`? {known}"));
                Err(Problem::new(path, format!("the secrets provider `{class}` is not offered")).hint(hint))
            }
        }
    }

    fn reads_references(self) -> bool {
        self != Self::ClearText
    }
}

/// Where environment variables are looked up; tests give their own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Puts references and secrets into `configs`. `wanted` are the keys of `configs` that are secrets of the connector. Paths are those
/// of the whole document.
pub(super) fn fill(
    configs: &mut Map<String, Value>,
    secrets: &Map<String, Value>,
    wanted: &[&str],
    provider: SecretsProvider,
    environment: Environment<'_>,
    notes: &mut Vec<String>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if provider.reads_references() {
        for (key, value) in configs.iter_mut() {
            interpolate(value, &format!("configs.{key}"), environment, &mut problems);
        }
    }
    for (name, value) in secrets {
        let path = format!("secrets.{name}");
        if !wanted.contains(&name.as_str()) {
            if provider != SecretsProvider::Environment {
                notes.push(format!("`{path}` means nothing here: the connector has no secret of this name"));
            }
            continue;
        }
        let found = match provider {
            SecretsProvider::Environment => environment(name).ok_or_else(|| {
                Problem::new(&path, format!("the environment variable `{name}` is not set")).hint("set it where this process is started")
            }),
            SecretsProvider::Unnamed | SecretsProvider::ClearText => clear_text(&path, value),
        };
        match found {
            Ok(secret) => {
                configs.insert(name.clone(), Value::String(secret));
            }
            Err(problem) => problems.push(problem),
        }
    }
    problems
}

fn clear_text(path: &str, value: &Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(Problem::new(path, "the clear-text secrets provider takes a text here, not an object or a list")
            .hint(format!("write the value as a text, or name `{PACKAGE}{ENVIRONMENT}` by `--secrets-provider-classname`"))),
    }
}

/// Replaces texts that are exactly `${NAME}`, wherever they stand.
fn interpolate(value: &mut Value, path: &str, environment: Environment<'_>, problems: &mut Vec<Problem>) {
    match value {
        Value::String(text) => {
            let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else { return };
            match environment(name) {
                Some(found) => *text = found,
                None => problems.push(
                    Problem::new(path, format!("the environment variable `{name}` is not set"))
                        .hint("set it where this process is started, or write the value itself"),
                ),
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                interpolate(item, &format!("{path}[{at}]"), environment, problems);
            }
        }
        Value::Object(object) => {
            for (key, item) in object.iter_mut() {
                interpolate(item, &format!("{path}.{key}"), environment, problems);
            }
        }
        _ => {}
    }
}
