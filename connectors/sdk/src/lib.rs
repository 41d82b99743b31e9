//! The contract between the runtime and its connectors.
//!
//! What passes through everything lives here: the [`Record`], the [`Batch`] of one partition's records, the [`AckHandle`] that
//! decides each record's fate exactly once, the [`AckTracker`] that is the only place to decide "how far", the [`ByteBudget`]
//! that bounds memory, and the [`Source`] and [`Sink`] traits. A connector knows this crate and its own system; it never knows
//! the engine, another connector or how it was configured from outside.

mod ack;
mod budget;
mod context;
mod descriptor;
mod error;
mod fence;
mod lineage;
mod mistake;
mod problem;
mod record;
mod sink;
mod source;
mod task;
mod tracker;

pub use ack::{AckHandle, AckSink, Acknowledgements, Outcome};
pub use budget::{ByteBudget, Reservation, Share};
pub use bytes::Bytes;
pub use bytestring::ByteString;
pub use context::{Clock, Failures, Guarantee, Identity, Random, SourceContext};
pub use descriptor::{Connector, ConnectorInfo, OnRecordError, ReadySource, SourceFactory, SourceSettings};
pub use error::{Error, ErrorKind};
pub use fence::Fence;
pub use lineage::{Covered, Lineage, LineageRequest, LineageSpec, Lineages, MessageId, Seal, ShapeQuestion, TopicShape, late_name};
#[cfg(feature = "mistakes")]
pub use mistake::plant;
pub use mistake::{Mistake, planted};
pub use problem::Problem;
pub use record::{Batch, Label, PartitionId, Properties, Record};
pub use sink::{DynSink, ReadySink, Sink, SinkContext, SinkWatch, WriteRoom};
pub use source::{DynSource, Facts, ParkedShard, Source, SourceStatus, SourceWatch, StopReport};
pub use task::Task;
pub use tracker::AckTracker;
