//! A native Pulsar producer, and the publisher that ends every source.

pub mod config;
pub mod routing;
pub mod topic;
pub mod url;
pub mod wire;
