//! The JSON text of `awsCredentialPluginParam`, read key by key.
//!
//! Never repeats a value, nor a key that is not close to a known one: a misplaced secret may stand anywhere in it.

use connector_sdk::Problem;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::config::PLUGIN_PARAM;

/// The keys of one parameter while it is being checked; collects every problem.
pub(crate) struct Param {
    keys: Map<String, Value>,
    problems: Vec<Problem>,
}

impl Param {
    /// Reads the text as a JSON object that may hold `known` keys only. `example` is the hint for a text that is none.
    pub(crate) fn read(param: Option<&SecretString>, known: &[&str], example: &str) -> Result<Self, Vec<Problem>> {
        let text = param.map(|param| param.expose_secret().trim()).unwrap_or_default();
        if text.is_empty() {
            return Err(vec![Problem::new(PLUGIN_PARAM, "is missing").hint(example)]);
        }
        // The parser's own message may quote the text, so only the place is taken from it.
        let keys: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            let place = format!("is not a JSON object (line {}, column {})", error.line(), error.column());
            vec![Problem::new(PLUGIN_PARAM, place).hint(example)]
        })?;
        let mut param = Self { keys, problems: Vec::new() };
        for key in param.keys.keys().filter(|key| !known.contains(&key.as_str())) {
            let near = known.iter().copied().find(|known| strsim::jaro_winkler(&key.to_lowercase(), &known.to_lowercase()) > 0.85);
            param.problems.push(match near {
                Some(near) => Problem::new(PLUGIN_PARAM, format!("the key `{key}` is not known")).hint(format!("did you mean `{near}`?")),
                None => Problem::new(PLUGIN_PARAM, "holds a key that is not known").hint(format!("the keys are {}", quoted(known))),
            });
        }
        Ok(param)
    }

    /// Adds a problem of the parameter as a whole.
    pub(crate) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// A text that must be there and not be blank.
    pub(crate) fn required(&mut self, key: &str) -> Option<String> {
        let value = self.optional(key);
        let present = self.keys.get(key).is_some_and(|value| !is_blank(value));
        if value.is_none() && !present {
            self.problems.push(Problem::new(format!("{PLUGIN_PARAM}.{key}"), "is missing").hint("this plugin cannot do without it"));
        }
        value
    }

    /// A text that may be absent; null and blank count as absent.
    pub(crate) fn optional(&mut self, key: &str) -> Option<String> {
        match self.keys.get(key) {
            None => None,
            Some(value) if is_blank(value) => None,
            Some(Value::String(text)) => Some(text.trim().to_owned()),
            Some(_) => {
                self.problems.push(Problem::new(format!("{PLUGIN_PARAM}.{key}"), "must be a text").hint("put it in quotes"));
                None
            }
        }
    }

    /// Like [`Param::required`], for what must never be shown.
    pub(crate) fn required_secret(&mut self, key: &str) -> Option<SecretString> {
        self.required(key).map(SecretString::from)
    }

    /// Like [`Param::optional`], for what must never be shown.
    pub(crate) fn optional_secret(&mut self, key: &str) -> Option<SecretString> {
        self.optional(key).map(SecretString::from)
    }

    /// A whole number, written as one or as a text.
    pub(crate) fn number(&mut self, key: &str) -> Option<u32> {
        let number = match self.keys.get(key)? {
            value if is_blank(value) => return None,
            Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.problems.push(Problem::new(format!("{PLUGIN_PARAM}.{key}"), "must be a whole number"));
        }
        number
    }

    /// Whether the key has a value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.get(key).is_some_and(|value| !is_blank(value))
    }

    /// The value, if no problem was found on the way; every problem otherwise.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<Problem>> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(self.problems),
        }
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    }
}

fn quoted(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}
