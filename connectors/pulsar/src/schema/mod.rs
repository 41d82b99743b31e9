//! The schema a producer declares: from a source's `schemaType` and `schemaProperties`, or the topic's own.
//!
//! Payloads are published as the bytes that came; a schema says what they are. What it promises: the broker is told the schema when
//! the producer opens, and where validation is asked for a payload that is not of the schema never reaches the topic. What it never
//! does: convert a payload.

mod avro;
mod check;
mod config;

pub(crate) use check::Check;
pub use config::SchemaConfig;

use crate::wire::messages::KeyValue;
use crate::wire::schema::{self as wire, schema_type};
use bytes::Bytes;
use std::sync::Arc;

/// What a producer declares when it opens.
#[derive(Debug, Clone, Default)]
pub(crate) enum Declared {
    /// Nothing: bytes.
    #[default]
    Nothing,
    /// This schema.
    Schema(Arc<Definition>),
    /// Whatever the topic's schema is when the producer opens (`AUTO_PRODUCE`).
    OfTopic {
        /// Whether payloads are held against it.
        validate: bool,
    },
}

/// A schema, ready to be declared.
#[derive(Debug)]
pub(crate) struct Definition {
    /// As it is declared.
    pub(crate) schema: wire::Schema,
    /// Where payloads are to be held against it.
    pub(crate) check: Option<Check>,
}

impl Definition {
    /// A topic's own schema.
    pub(crate) fn of_topic(schema: wire::Schema, validate: bool) -> Self {
        // A definition that this client cannot read is the topic's business: then payloads are not held against it.
        let check = if validate { Check::new(schema.kind, &schema.schema_data).ok().flatten() } else { None };
        Self { schema, check }
    }

    fn new(kind: i32, name: &str, data: Bytes, properties: Vec<KeyValue>, validate: bool) -> Result<Self, String> {
        let check = Check::new(kind, &data)?;
        let schema = wire::Schema { name: name.to_owned(), schema_data: data, kind, properties };
        Ok(Self { schema, check: check.filter(|_| validate) })
    }
}

/// What people call a type of schema.
pub(crate) fn name(kind: i32) -> &'static str {
    match kind {
        schema_type::STRING => "string",
        schema_type::JSON => "json",
        schema_type::AVRO => "avro",
        _ => "another type",
    }
}

#[cfg(test)]
mod schema_tests;
