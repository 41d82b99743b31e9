//! Whether a payload is of a schema.

use super::avro::Avro;
use crate::wire::schema::schema_type;

/// What payloads are held against.
#[derive(Debug)]
pub(crate) enum Check {
    /// UTF-8.
    Text,
    /// One JSON value. Its fields are not compared with the definition: JSON's readers take missing and further ones.
    Json,
    /// One datum in Avro's binary form, of exactly this schema.
    Avro(Avro),
}

impl Check {
    /// The check for a schema of this type; nothing for a type that payloads are not held against.
    ///
    /// # Errors
    /// When the definition does not parse.
    pub(super) fn new(kind: i32, definition: &[u8]) -> Result<Option<Self>, String> {
        match kind {
            schema_type::STRING => Ok(Some(Self::Text)),
            // Its definition is Avro's as well, and the broker refuses one that is not.
            schema_type::JSON => Avro::parse(definition).map(|_| Some(Self::Json)),
            schema_type::AVRO => Avro::parse(definition).map(|avro| Some(Self::Avro(avro))),
            _ => Ok(None),
        }
    }

    /// Why the payload is not of the schema.
    ///
    /// # Errors
    /// In words for people.
    pub(crate) fn payload(&self, payload: &[u8]) -> Result<(), String> {
        match self {
            Self::Text => std::str::from_utf8(payload).map(drop).map_err(|_| "it is not UTF-8 text".to_owned()),
            Self::Json => {
                let value: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(payload);
                value.map(drop).map_err(|error| format!("it is not JSON: {error}"))
            }
            Self::Avro(avro) => avro.payload(payload),
        }
    }
}
