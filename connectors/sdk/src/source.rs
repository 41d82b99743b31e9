//! The source: pulled by the engine, so that the engine owns the bound. Acknowledgements flow back through the handles.

use crate::{Batch, Error};
use bytestring::ByteString;
use futures_util::future::BoxFuture;
use serde::Serialize;
use std::sync::Arc;
use tokio::time::Instant;

/// Brings outside data in.
pub trait Source: Send + 'static {
    /// The next batch of some partition; none when the source has ended for good. Cancel-safe: a batch is never lost in a dropped
    /// wait. In ATMOST_ONCE a batch comes out only after a checkpoint that covers it is stored.
    ///
    /// # Errors
    /// What ended the source as a whole; the engine closes it and opens it again with back-off.
    fn next(&mut self) -> impl Future<Output = Result<Option<Batch>, Error>> + Send;

    /// Reads no more. What may be read again by the next run is dropped; what a stored checkpoint covers already (ATMOST_ONCE) still
    /// comes out of [`Source::next`], and then none.
    fn wind_down(&mut self);

    /// Stops reading, waits until what it handed out is resolved, stores how far it came and gives its partitions away, all within
    /// the deadline. Batches not yet handed out are dropped and read again by the next run.
    fn stop(&mut self, deadline: Instant) -> impl Future<Output = StopReport> + Send;

    /// What can be seen of it while it runs.
    fn watch(&self) -> Arc<dyn SourceWatch>;
}

/// How a source came to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StopReport {
    /// Records that were published, or may have been, beyond a stored checkpoint: the next run publishes them again.
    pub replayed: u64,
    /// In ATMOST_ONCE: records whose checkpoint is stored and that may not have been published.
    pub lost: u64,
    /// What went wrong on the way, in sentences.
    pub troubles: Vec<String>,
}

/// A view of a running source that can be asked at any time, from anywhere.
pub trait SourceWatch: Send + Sync {
    /// How it stands.
    fn status(&self) -> SourceStatus;

    /// Its own measurements, for the metrics page.
    fn facts(&self) -> Facts;
}

/// How a source stands.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Partitions it reads.
    pub partitions_held: u64,
    /// Milliseconds behind the tip, of the partition that is farthest behind; none before the first answer.
    pub millis_behind: Option<u64>,
    /// Records handed out beyond the stored checkpoints: a crash now would bring them again (ATMOST_ONCE: might lose them).
    pub beyond_checkpoint: u64,
    /// Partitions that stand at a record that cannot be stored.
    pub parked: Vec<ParkedShard>,
    /// What it is waiting for, when it is not running fully.
    pub waiting_for: Option<String>,
    /// Records found expired before they were read, in sentences with the span.
    pub losses: Vec<String>,
    /// With EFFECTIVELY_ONCE: what may be stored twice all the same, in sentences with the range.
    pub doubles: Vec<String>,
}

/// A partition that stands still at one record.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParkedShard {
    /// The partition.
    pub partition: ByteString,
    /// The record, as the source names it.
    pub record: String,
    /// Why it cannot be stored.
    pub reason: String,
    /// When its data expires, in milliseconds since the epoch, when that is known.
    pub expires_at: Option<u64>,
    /// Partitions that wait for this one.
    pub waiting_children: Vec<ByteString>,
}

/// Measurements: name without prefix, optional partition, value. Names end as Prometheus wants them (`_total` for counters).
#[derive(Debug, Clone, Default)]
pub struct Facts(pub Vec<(&'static str, Option<ByteString>, f64)>);

/// A [`Source`] whose type is forgotten.
pub trait DynSource: Send {
    /// See [`Source::next`].
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Batch>, Error>>;
    /// See [`Source::wind_down`].
    fn wind_down(&mut self);
    /// See [`Source::stop`].
    fn stop(&mut self, deadline: Instant) -> BoxFuture<'_, StopReport>;
    /// See [`Source::watch`].
    fn watch(&self) -> Arc<dyn SourceWatch>;
}

impl<S: Source> DynSource for S {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Batch>, Error>> {
        Box::pin(Source::next(self))
    }

    fn wind_down(&mut self) {
        Source::wind_down(self);
    }

    fn stop(&mut self, deadline: Instant) -> BoxFuture<'_, StopReport> {
        Box::pin(Source::stop(self, deadline))
    }

    fn watch(&self) -> Arc<dyn SourceWatch> {
        Source::watch(self)
    }
}
