//! A native Pulsar client: the publisher that ends every source, and the consumer that a sink reads with.
//!
//! The way down: [`Publisher`] (what the engine holds) submits to an actor, the actor drives the state machine in [`machine`],
//! the machine makes frames by [`wire`]. What it promises: a record's handle is acknowledged only for what the broker stored (or
//! the dead letter topic, or what the policy dropped); order is kept per partition; a broker that is killed, paused or moved costs
//! time and nothing else. What it never does: decide when a checkpoint is written.
//!
//! A [`Consumer`] drives the same machine the other way: what it delivers comes again until it is acknowledged, and its memory is
//! bounded by a byte budget.

pub mod auth;
mod config;
mod consumer;
pub mod crypto;
mod driver;
mod error;
mod exact;
mod facts;
pub mod machine;
mod message;
mod policy;
mod publisher;
mod ready;
pub mod routing;
mod schema;
#[cfg(feature = "simulation")]
pub mod simulation;
mod tls;
pub mod topic;
pub mod url;
pub mod wire;

pub use config::{BatchingConfig, ClientConfig, ProducerConfig};
pub use connector_sdk::MessageId;
pub use consumer::{Consumer, ConsumerSettings, DeadLetterPolicy, LastMessage};
pub use facts::{Facts, Number};
pub use machine::{Start, Subscription, SubscriptionType};
pub use message::{BatchIndex, ConsumerId, DeliveredId, Message};
pub use publisher::{ExactlyOnce, Permit, Publisher, PublisherSettings};
pub use ready::PublisherFactory;
pub use schema::SchemaConfig;
pub use wire::compression::Compression;
