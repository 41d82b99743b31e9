//! One tree for answers, written as JSON 1.1 or as CBOR; and requests read from either.
//!
//! The tree is CBOR's own: timestamps are tag 1 over milliseconds, payloads are byte strings. JSON shows them as seconds and as base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ciborium::Value;
use serde::de::DeserializeOwned;

use crate::clock::Millis;

/// CBOR's tag of an instant.
const TAG_TIMESTAMP: u64 = 1;

/// How a request was written, and so how its answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/x-amz-json-1.1`.
    Json,
    /// `application/x-amz-cbor-1.1`, the first choice of Java's SDK.
    Cbor,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/x-amz-cbor-1.1",
        }
    }

    /// Writes an answer.
    pub(crate) fn write(self, value: &Value) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(&to_json(value)).expect("a JSON tree with text keys can be written"),
            Self::Cbor => {
                let mut bytes = Vec::new();
                ciborium::into_writer(value, &mut bytes).expect("writing to memory does not fail");
                bytes
            }
        }
    }

    /// Reads a request; an empty body is an empty map.
    pub(crate) fn read<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, String> {
        match self {
            Self::Json if body.is_empty() => serde_json::from_slice(b"{}").map_err(|error| error.to_string()),
            Self::Json => serde_json::from_slice(body).map_err(|error| error.to_string()),
            Self::Cbor if body.is_empty() => Value::Map(Vec::new()).deserialized().map_err(|error| error.to_string()),
            Self::Cbor => read_cbor(body, 1000.0)?.deserialized().map_err(|error| error.to_string()),
        }
    }
}

/// Reads CBOR and turns instants into seconds; `ticks` says how many of the sender's units make one.
pub(crate) fn read_cbor(body: &[u8], ticks: f64) -> Result<Value, String> {
    let value: Value = ciborium::from_reader(body).map_err(|error| error.to_string())?;
    Ok(untag(value, ticks))
}

fn untag(value: Value, ticks: f64) -> Value {
    match value {
        Value::Tag(_, inner) => match *inner {
            Value::Integer(units) => Value::Float(i128::from(units) as f64 / ticks),
            Value::Float(units) => Value::Float(units / ticks),
            other => untag(other, ticks),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(|item| untag(item, ticks)).collect()),
        Value::Map(entries) => Value::Map(entries.into_iter().map(|(key, item)| (key, untag(item, ticks))).collect()),
        other => other,
    }
}

/// The tree as JSON shows it.
pub(crate) fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Integer(number) => i64::try_from(*number).map_or(serde_json::Value::Null, Into::into),
        Value::Float(number) => (*number).into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::Array(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => {
            let entry = |(key, item): &(Value, Value)| (key.as_text().unwrap_or_default().to_owned(), to_json(item));
            serde_json::Value::Object(entries.iter().map(entry).collect())
        }
        Value::Tag(TAG_TIMESTAMP, inner) => {
            let millis = inner.as_integer().map_or(0, i128::from);
            (millis as f64 / 1000.0).into()
        }
        _ => serde_json::Value::Null,
    }
}

/// A map with text keys; entries that are null are left out, as the service does.
pub(crate) fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().filter(|(_, item)| !item.is_null()).map(|(key, item)| (key.into(), item)).collect())
}

/// An instant.
pub(crate) fn timestamp(at: Millis) -> Value {
    Value::Tag(TAG_TIMESTAMP, Box::new(at.into()))
}

/// A number of things.
pub(crate) fn count(number: usize) -> Value {
    Value::Integer((number as u64).into())
}

/// A list.
pub(crate) fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(items.into_iter().collect())
}

/// A text, or null.
pub(crate) fn optional(text: Option<impl Into<String>>) -> Value {
    text.map_or(Value::Null, |text| Value::Text(text.into()))
}
