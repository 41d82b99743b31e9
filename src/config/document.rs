//! A configuration file as one JSON object, whether it was written as JSON or as YAML. Says line and column of what cannot be read.
//!
//! A key that stands twice is refused: one of the two would be taken and ignored. The text itself is never repeated, it may hold
//! secrets.

use connector_sdk::Problem;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};
use std::fmt;
use std::path::Path;

/// Reads a file that holds one object.
///
/// # Errors
/// A problem without path, whose cause names the file: it cannot be opened, or is neither JSON nor YAML.
pub fn read(path: &Path) -> Result<Map<String, Value>, Problem> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        Problem::new("", format!("`{shown}` cannot be read: {}", plain(&error))).hint("check the path and its permissions")
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|byte| **byte == b'\n').count();
        Problem::new("", format!("`{shown}` is not text: line {line} is not UTF-8")).hint("write JSON or YAML")
    })?;
    let is_json = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => true,
        Some("yaml" | "yml") => false,
        _ => text.trim_start().starts_with('{'),
    };
    let value = if is_json { parse_json(&text) } else { parse_yaml(&text) };
    object(value.map_err(|wrong| wrong.problem(&shown.to_string()))?, &shown.to_string())
}

/// Reads one JSON object given on the command line by `flag`.
///
/// # Errors
/// A problem at `flag`.
pub fn read_flag(flag: &str, text: &str) -> Result<Map<String, Value>, Problem> {
    let value = parse_json(text).map_err(|wrong| Problem { path: flag.to_owned(), ..wrong.problem("the value") })?;
    object(value, "the value").map_err(|problem| Problem { path: flag.to_owned(), ..problem })
}

/// How the complaint about a repeated key begins.
const TWICE: &str = "two values are given for the key";

/// Why a text could not be read, and where.
struct Unreadable {
    language: &'static str,
    cause: String,
    at: Option<(usize, usize)>,
}

impl Unreadable {
    fn problem(self, what: &str) -> Problem {
        let Self { language, cause, at } = self;
        let place = at.map(|(line, column)| format!(" at line {line}, column {column}")).unwrap_or_default();
        if cause.starts_with(TWICE) {
            return Problem::new("", format!("{what} cannot be taken{place}: {cause}")).hint("keep the one that is meant");
        }
        let hint = match language {
            "JSON" => "look for a missing or superfluous comma, quote or bracket just before that place",
            _ => "look at the indentation and for an unquoted `:`, `{` or `*` at that place",
        };
        Problem::new("", format!("{what} is not {language}{place}: {cause}")).hint(hint)
    }
}

fn parse_json(text: &str) -> Result<Value, Unreadable> {
    serde_json::from_str::<Strict>(text).map(|strict| strict.0).map_err(|error| {
        let full = error.to_string();
        let cause = full.split(" at line ").next().unwrap_or_default().to_owned();
        Unreadable { language: "JSON", cause, at: Some((error.line(), error.column())) }
    })
}

fn parse_yaml(text: &str) -> Result<Value, Unreadable> {
    serde_yaml_ng::from_str::<Strict>(text).map(|strict| strict.0).map_err(|error| {
        let at = error.location().map(|place| (place.line(), place.column()));
        let full = error.to_string();
        let cause = full.split(" at line ").next().unwrap_or_default().to_owned();
        Unreadable { language: "YAML", cause, at }
    })
}

fn object(value: Value, what: &str) -> Result<Map<String, Value>, Problem> {
    let found = match value {
        Value::Object(object) => return Ok(object),
        Value::Null => "is empty",
        Value::Array(_) => "holds a list",
        Value::String(_) => "holds a text",
        Value::Number(_) | Value::Bool(_) => "holds a single value",
    };
    Err(Problem::new("", format!("{what} {found} where an object of keys and values belongs")))
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}

/// A value in which no object has a key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let Strict(value) = entries.next_value()?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("{TWICE} `{key}`")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
