//! From what a user wrote (a file, flags, secrets) to one checked [`InstanceSpec`].
//!
//! Promises: every problem is found at once, without network, each with its path, its cause and a hint; nothing is taken and
//! ignored. It never prints a secret and never opens a connection.

mod spec;

pub use spec::{InstanceSpec, LocalRunOptions};
