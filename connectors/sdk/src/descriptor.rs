//! What a connector says of itself, and how it is made: configuration, then validated, then running. The types make it impossible
//! to connect what was not validated, and to validate with a network.

use crate::{DynSource, Error, Problem, Source, SourceContext};
use futures_util::future::BoxFuture;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// What is done with a record that cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnRecordError {
    /// Its partition stands still at the record until a person acts; the others go on.
    #[default]
    Fail,
    /// It is counted, logged with its identity and skipped.
    Drop,
    /// It goes to the dead letter topic.
    DeadLetter,
}

/// A connector's names and text.
#[derive(Debug, Clone, Copy)]
pub struct ConnectorInfo {
    /// Its short name, as in `builtin://kinesis` and `sourceType`.
    pub name: &'static str,
    /// One line for a list.
    pub description: &'static str,
    /// Class names it answers to; the first is the one it gives.
    pub class_names: &'static [&'static str],
}

/// What the engine has to know of a source's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// What is done with a record that cannot be stored.
    pub on_record_error: OnRecordError,
    /// Where [`OnRecordError::DeadLetter`] puts it.
    pub dead_letter_topic: Option<String>,
    /// With EFFECTIVELY_ONCE: whether to go on, perhaps doubling, where nobody can know what is stored.
    pub accept_duplicates: bool,
    /// The byte budget of the process, from the socket to the receipt.
    pub receive_queue_bytes: u64,
    /// Sentences a person should read once at the start.
    pub notes: Vec<String>,
}

/// Makes one kind of source. Implemented once by each connector; the runtime sees it as a [`Connector`].
pub trait SourceFactory: Send + Sync + 'static {
    /// The connector's `configs`, as they are parsed.
    type Config: DeserializeOwned + JsonSchema;
    /// A configuration that was checked.
    type Validated: Send + Sync + 'static;
    /// The running source.
    type Source: Source;

    /// Names and text.
    fn info(&self) -> ConnectorInfo;

    /// A sample of `configs`, complete enough to run.
    fn sample(&self) -> Value;

    /// Names of `configs` whose value is a secret; they may come from the `secrets` map and are never printed.
    fn secrets(&self) -> &'static [&'static str];

    /// Checks everything that needs no network.
    ///
    /// # Errors
    /// Every problem at once, with paths relative to `configs`.
    fn validate(&self, config: Self::Config) -> Result<Self::Validated, Vec<Problem>>;

    /// What the engine has to know of it.
    fn settings(&self, validated: &Self::Validated) -> SourceSettings;

    /// Opens the source: reaches the services, checks what only they know.
    ///
    /// # Errors
    /// Configuration and authentication errors end a start; others are retried by the caller.
    fn connect(&self, validated: Arc<Self::Validated>, context: SourceContext) -> impl Future<Output = Result<Self::Source, Error>> + Send;
}

/// A source whose configuration was checked, ready to be opened, again and again.
pub trait ReadySource: Send + Sync {
    /// What the engine has to know of its configuration.
    fn settings(&self) -> SourceSettings;

    /// See [`SourceFactory::connect`].
    fn connect(&self, context: SourceContext) -> BoxFuture<'_, Result<Box<dyn DynSource>, Error>>;
}

/// A [`SourceFactory`] whose types are forgotten: what the registry lists.
pub trait Connector: Send + Sync {
    /// Names and text.
    fn info(&self) -> ConnectorInfo;

    /// The JSON Schema of `configs`.
    fn schema(&self) -> Schema;

    /// See [`SourceFactory::sample`].
    fn sample(&self) -> Value;

    /// See [`SourceFactory::secrets`].
    fn secrets(&self) -> &'static [&'static str];

    /// Parses and checks `configs`.
    ///
    /// # Errors
    /// Every problem at once, with paths relative to `configs`.
    fn validate(self: Arc<Self>, configs: Value) -> Result<Box<dyn ReadySource>, Vec<Problem>>;
}

struct Ready<F: SourceFactory> {
    factory: Arc<F>,
    validated: Arc<F::Validated>,
}

impl<F: SourceFactory> ReadySource for Ready<F> {
    fn settings(&self) -> SourceSettings {
        self.factory.settings(&self.validated)
    }

    fn connect(&self, context: SourceContext) -> BoxFuture<'_, Result<Box<dyn DynSource>, Error>> {
        Box::pin(async move {
            let source = self.factory.connect(Arc::clone(&self.validated), context).await?;
            Ok(Box::new(source) as Box<dyn DynSource>)
        })
    }
}

impl<F: SourceFactory> Connector for F {
    fn info(&self) -> ConnectorInfo {
        SourceFactory::info(self)
    }

    fn schema(&self) -> Schema {
        schemars::schema_for!(F::Config)
    }

    fn sample(&self) -> Value {
        SourceFactory::sample(self)
    }

    fn secrets(&self) -> &'static [&'static str] {
        SourceFactory::secrets(self)
    }

    fn validate(self: Arc<Self>, configs: Value) -> Result<Box<dyn ReadySource>, Vec<Problem>> {
        let config: F::Config = serde_json::from_value(configs).map_err(|error| vec![Problem::new("", error.to_string())])?;
        let validated = Arc::new(SourceFactory::validate(&*self, config)?);
        Ok(Box::new(Ready { factory: self, validated }))
    }
}
