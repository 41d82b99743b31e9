//! Between the coordinator, which owns leases, and the shards that run under them.

use crate::lease::HeldLease;
use connector_sdk::Error;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::time::Instant;

/// Starts the reading of a shard whose lease is held. Implemented by the source; by a script in the coordinator's tests.
pub trait ShardRunner: Send + Sync {
    /// Begins to run the shard. Its parents' leases are finished or absent; the coordinator has made sure of it.
    fn start(&self, lease: Arc<HeldLease>) -> Box<dyn RunningShard>;
}

/// A shard that runs. Dropped, it ends at once and stores nothing more.
pub trait RunningShard: Send {
    /// Waits for the shard's own end. Cancel-safe.
    fn ended(&mut self) -> BoxFuture<'_, ShardEnd>;

    /// Stops reading, waits until what was handed out is resolved, stores how far it came; all within the deadline. The lease is
    /// still held afterwards: giving it away is the coordinator's.
    fn stop(&mut self, deadline: Instant) -> BoxFuture<'_, Stopped>;
}

/// How a shard came to its end by itself.
#[derive(Debug, Clone)]
pub enum ShardEnd {
    /// Everything in it is settled, its children's leases exist and `SHARD_END` is stored.
    Finished,
    /// The lease is lost; nothing more of it goes on a wire.
    LeaseLost,
    /// It cannot go on; the coordinator keeps the lease and starts the shard again with back-off.
    Failed(Error),
}

/// How a shard that was asked to stop came to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Records handed out beyond the stored checkpoint: they will come again (ATMOST_ONCE: may be lost).
    pub beyond_checkpoint: u64,
}
