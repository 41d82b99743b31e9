//! A Kinesis source like Amazon's KCL: many workers share a stream by the lease table the Java KCL keeps in DynamoDB.
//!
//! Promises: the checkpoint never passes a record that is not settled; children of a shard start only when the parent's last
//! record is settled and its `SHARD_END` is stored; what belongs to a lost lease is fenced off the wire; payloads arrive bit for
//! bit. It never writes a row over a lease, never guesses a position, and never skips in silence.

pub mod aggregation;
pub mod aws_api;
pub mod config;
pub mod coordinator;
pub mod ids;
pub mod lease;
pub mod metrics;
pub mod port;
pub mod retrieval;
#[cfg(feature = "simulation")]
pub mod simulation;

mod plan;
mod shard;
mod source;

pub use source::{KinesisSource, KinesisSourceFactory, leases};
