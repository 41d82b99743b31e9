//! Starts shards for the coordinator, with what all shards of an instance share.

use super::board::Board;
use super::consumer::{Ended, run};
use super::decode::MessageForm;
use super::queue::ReceiveQueue;
use crate::config::{InitialPosition, Settings};
use crate::coordinator::{RunningShard, ShardEnd, ShardRunner, Stopped};
use crate::lease::HeldLease;
use crate::metrics::Facts;
use crate::port::{RetrievalMode, StreamDescription};
use connector_sdk::{ByteBudget, ByteString, Clock, Failures, Fence, Guarantee, Lineages, SourceContext, Task};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What all shards of an instance share.
pub(crate) struct ShardDeps {
    pub(super) retrieval: Arc<dyn RetrievalMode>,
    pub(super) queue: ReceiveQueue,
    pub(super) board: Arc<Board>,
    pub(super) facts: Facts,
    /// Who hears of failures that a shard deals with itself.
    pub(super) failures: Failures,
    /// Falls when the instance takes no more.
    pub(super) winding_down: Fence,
    pub(super) budget: ByteBudget,
    pub(super) clock: Clock,
    pub(super) guarantee: Guarantee,
    /// With EFFECTIVELY_ONCE: what is shared with the sink.
    pub(super) lineages: Lineages,
    pub(super) form: MessageForm,
    pub(super) initial_position: InitialPosition,
    pub(super) checkpoint_interval: Duration,
    pub(super) backoff_time: Duration,
    pub(super) num_retries: u32,
    pub(super) stream: ByteString,
    pub(super) retention_hours: u32,
}

/// Where shards of an instance put what they read and what they show, and how they learn that no more is taken.
pub(crate) struct Outlet {
    pub(crate) queue: ReceiveQueue,
    pub(crate) board: Arc<Board>,
    /// Falls when the instance takes no more.
    pub(crate) winding_down: Fence,
}

impl ShardDeps {
    /// From an instance's parts.
    pub(crate) fn new(
        settings: &Settings,
        context: &SourceContext,
        stream: &StreamDescription,
        retrieval: Arc<dyn RetrievalMode>,
        outlet: Outlet,
        facts: Facts,
    ) -> Self {
        let Outlet { queue, board, winding_down } = outlet;
        Self {
            retrieval,
            queue,
            board,
            facts,
            failures: context.failures.clone(),
            winding_down,
            budget: context.budget.clone(),
            clock: context.clock.clone(),
            guarantee: context.guarantee,
            lineages: context.lineages.clone(),
            form: MessageForm { properties: settings.properties.clone(), key_mode: settings.key_mode },
            initial_position: settings.initial_position,
            checkpoint_interval: settings.checkpoint_interval,
            backoff_time: settings.backoff_time,
            num_retries: settings.num_retries,
            stream: stream.name.clone(),
            retention_hours: stream.retention_hours,
        }
    }
}

/// Starts shards.
pub(crate) struct Runner(pub(crate) Arc<ShardDeps>);

impl ShardRunner for Runner {
    fn start(&self, lease: Arc<HeldLease>) -> Box<dyn RunningShard> {
        let (stop, asked) = watch::channel(None);
        let name = format!("shard {}", lease.shard());
        let task = Task::spawn(name, run(lease, Arc::clone(&self.0), asked));
        Box::new(Running { task, stop })
    }
}

struct Running {
    task: Task<Ended>,
    stop: watch::Sender<Option<Instant>>,
}

impl RunningShard for Running {
    fn ended(&mut self) -> BoxFuture<'_, ShardEnd> {
        Box::pin(async move {
            match self.task.join().await {
                Ok(Ended::Itself(end)) => end,
                // Asked to stop and then waited for as if it had not been: what it held comes again.
                Ok(Ended::Asked(_)) => ShardEnd::LeaseLost,
                Err(error) => ShardEnd::Failed(error),
            }
        })
    }

    fn stop(&mut self, deadline: Instant) -> BoxFuture<'_, Stopped> {
        Box::pin(async move {
            self.stop.send_replace(Some(deadline));
            match self.task.join().await {
                Ok(Ended::Asked(stopped)) => stopped,
                Ok(Ended::Itself(_)) | Err(_) => Stopped::default(),
            }
        })
    }
}
