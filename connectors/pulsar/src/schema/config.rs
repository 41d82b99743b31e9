//! `schemaType` and `schemaProperties` of a source: checked without the network, into what a producer declares.

use super::{Declared, Definition};
use crate::wire::messages::KeyValue;
use crate::wire::schema::schema_type;
use bytes::Bytes;
use connector_sdk::Problem;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The definition itself.
const SCHEMA: &str = "schema";
/// A file with the definition.
const SCHEMA_FILE: &str = "schemaFile";
/// Whether payloads are held against it.
const VALIDATE: &str = "validate";

/// What a source says about its schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaConfig {
    /// `schemaType`: `bytes`, `string`, `json`, `avro` or `auto_produce`, in any case; absent means bytes.
    pub schema_type: Option<String>,
    /// `schemaProperties`: `schema` or `schemaFile`, `validate`; the others are declared with the schema.
    pub properties: BTreeMap<String, String>,
}

impl SchemaConfig {
    /// Every problem, with paths from the top of the source's configuration.
    pub fn validate(&self) -> Vec<Problem> {
        self.declared().err().into_iter().collect()
    }

    /// What a producer declares.
    pub(crate) fn declared(&self) -> Result<Declared, Problem> {
        let validate = self.validates()?;
        let kind = self.schema_type.as_deref().map(|kind| kind.trim().to_ascii_lowercase()).unwrap_or_default();
        match kind.as_str() {
            "" | "bytes" | "none" => match self.properties.keys().next() {
                None => Ok(Declared::Nothing),
                Some(property) => Err(Problem::new(format!("schemaProperties.{property}"), "bytes have no schema that it could belong to")
                    .hint("set `schemaType`, or remove `schemaProperties`")),
            },
            "string" => self.define(schema_type::STRING, "String", Bytes::new(), validate),
            "json" => self.define(schema_type::JSON, "", self.definition(&kind)?, validate),
            "avro" => self.define(schema_type::AVRO, "", self.definition(&kind)?, validate),
            "auto_produce" | "auto_produce_bytes" | "auto" => Ok(Declared::OfTopic { validate }),
            _ => Err(Problem::new(
                "schemaType",
                format!("the schema `{kind}` is not offered: payloads are published as the bytes that came"),
            )
            .hint("write `bytes`, `string`, `json`, `avro` or `auto_produce`")),
        }
    }

    fn given(&self, property: &str) -> Option<&str> {
        self.properties.get(property).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    fn validates(&self) -> Result<bool, Problem> {
        match self.given(VALIDATE).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Problem::new("schemaProperties.validate", format!("`{other}` is neither `true` nor `false`"))),
        }
    }

    /// The text of the definition.
    fn definition(&self, kind: &str) -> Result<Bytes, Problem> {
        match (self.given(SCHEMA), self.given(SCHEMA_FILE)) {
            (Some(text), None) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            (None, Some(path)) => std::fs::read(path)
                .map(Bytes::from)
                .map_err(|error| Problem::new("schemaProperties.schemaFile", format!("the file `{path}` cannot be read: {error}"))),
            (None, None) => {
                Err(Problem::new("schemaProperties.schema", format!("the schema `{kind}` needs its definition, in Avro's JSON"))
                    .hint("give it as `schema`, or its file as `schemaFile`"))
            }
            (Some(_), Some(_)) => Err(Problem::new("schemaProperties.schemaFile", "only one of `schema` and `schemaFile` can be set")),
        }
    }

    fn define(&self, kind: i32, name: &str, data: Bytes, validate: bool) -> Result<Declared, Problem> {
        let others = self.properties.iter().filter(|(key, _)| ![SCHEMA, SCHEMA_FILE, VALIDATE].contains(&key.as_str()));
        let properties = others.map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect();
        let path = if self.given(SCHEMA_FILE).is_some() { "schemaProperties.schemaFile" } else { "schemaProperties.schema" };
        match Definition::new(kind, name, data, properties, validate) {
            Ok(definition) => Ok(Declared::Schema(Arc::new(definition))),
            Err(why) => Err(Problem::new(path, format!("it is not a definition in Avro's JSON: {why}"))),
        }
    }
}
