//! For simulations: the shards of one instance as they ship, without the coordinator that decides which of them run.
//!
//! The owner takes leases, starts their shards here, and takes the batches out, as the source does.

use crate::config::{MetricsLevel, Settings};
use crate::coordinator::{RunningShard, ShardRunner};
use crate::lease::HeldLease;
use crate::metrics::Facts;
use crate::port::{RetrievalMode, StreamDescription};
use crate::shard::{Board, Outlet, QueueEnd, ReceiveQueue, Runner, ShardDeps, receive_queue};
use connector_sdk::{Batch, Fence, ParkedShard, SourceContext};
use std::sync::Arc;

/// The shards of one instance.
pub struct Shards {
    runner: Runner,
    queue: ReceiveQueue,
    board: Arc<Board>,
    winding_down: Fence,
}

/// What the shards hand on.
pub struct Batches(QueueEnd);

impl Shards {
    /// None runs yet.
    pub fn new(
        settings: &Settings,
        context: &SourceContext,
        stream: &StreamDescription,
        retrieval: Arc<dyn RetrievalMode>,
    ) -> (Self, Batches) {
        let (queue, end) = receive_queue(settings.receive_queue_size);
        let board = Arc::new(Board::default());
        let winding_down = Fence::new();
        let outlet = Outlet { queue: queue.clone(), board: Arc::clone(&board), winding_down: winding_down.clone() };
        let facts = Facts::new(MetricsLevel::None, "simulated");
        let deps = ShardDeps::new(settings, context, stream, retrieval, outlet, facts);
        (Self { runner: Runner(Arc::new(deps)), queue, board, winding_down }, Batches(end))
    }

    /// Runs the shard of a lease.
    pub fn start(&self, lease: Arc<HeldLease>) -> Box<dyn RunningShard> {
        self.runner.start(lease)
    }

    /// Nothing more is handed on.
    pub fn wind_down(&self) {
        self.winding_down.fall();
        self.queue.close();
    }

    /// The shards that stand at a record which cannot be stored.
    pub fn parked(&self) -> Vec<ParkedShard> {
        self.board.views().into_iter().filter_map(|(_, view)| view.parked).collect()
    }
}

impl Batches {
    /// The next batch. Cancel-safe.
    pub async fn next(&mut self) -> Option<Batch> {
        self.0.take().await
    }

    /// Drops what waits: the records are given back.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
