//! From what a user wrote (a file, flags, secrets) to one checked [`InstanceSpec`].
//!
//! Promises: every problem is found at once, without network, each with its path, its cause and a hint; nothing is taken and
//! ignored. It never prints a secret and never opens a connection.

mod choice;
mod document;
mod nearest;
mod not_built;
mod promise;
mod published;
mod report;
mod resolve;
mod secrets;
mod shape;
mod source_config;
mod spec;

pub use document::{read, read_flag};
pub use published::{sample, schema};
pub use report::report;
pub use resolve::{Surroundings, resolve, resolve_configs};
pub use secrets::{Environment, SecretsProvider};
pub use source_config::{ProcessingGuarantees, Resources, SourceConfig};
pub use spec::{InstanceSpec, LocalRunOptions};
