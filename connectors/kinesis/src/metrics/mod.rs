//! What the source measures: one set of facts, from which CloudWatch gets the KCL's metrics and the runtime's Prometheus page its values.
//!
//! [`Facts`] is told what happened; a call costs an uncontended lock of a few words and happens once per answer or round, never
//! per record. Values are aggregated in place into a statistic set per metric and shard, so that what waits is bounded by the
//! number of metrics, not by time or traffic. The [`Flusher`] takes the statistic sets every `buffer_time`, and its [`MetricsSink`]
//! puts them. (The KCL queues single values and therefore also flushes at 200 of them; here nothing would be gained by it.)
//!
//! Never: a wait on the way of a record; an end or a slow start of the source because of CloudWatch. One that is away or forbidden
//! costs one warning, and one line when it is back; what cannot be put is counted and let go.
//!
//! Levels are the KCL's: SUMMARY has what an operator watches, which is a task's own `Success` and `Time`, the time in the record
//! processor, what was processed, `MillisBehindLatest`, `ExpiredIterator` and the outcome of the lease rounds; DETAILED adds the
//! single calls of Kinesis and of the lease table, and the arithmetic of lease taking (`TotalLeases`, `NeededLeases`,
//! `LeasesToTake`). [`Metric`] is the list.

mod cloudwatch;
mod datum;
mod facts;
mod flusher;
mod measurements;
mod names;
mod rounds;
mod statistic;

pub use cloudwatch::CloudWatchSink;
pub use datum::{Datum, Dimension};
pub use facts::{Facts, ShardFacts};
pub use flusher::{FlushSettings, Flusher, MetricsSink};
pub use names::{Metric, Operation, Unit};
pub use rounds::{LeaseCall, TakeRound};
pub use statistic::Statistic;
