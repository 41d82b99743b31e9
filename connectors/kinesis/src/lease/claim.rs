//! Who takes leases, and the taking itself: one compare-and-set, after which the row that answers is the truth.
//!
//! A take changes the owner, removes `checkpointOwner`, leaves the checkpoint as it is, and writes `pulsarConnect` anew, so that a
//! lost reply can be settled and every LATEST row carries its moment from then on.

use super::attribute::{PulsarConnect, StartMoment, StreamMark};
use super::change::{Change, OwnerChange, Update};
use super::held::HeldLease;
use super::row::Lease;
use super::table::{LeaseTable, Written};
use crate::config::{InitialPosition, MetricsLevel};
use crate::ids::{Checkpoint, HashRange, ShardId};
use crate::metrics::Facts;
use bytestring::ByteString;
use connector_sdk::{Clock, Error, Guarantee, Mistake, planted};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// Who this worker is, as its writes on lease rows say.
#[derive(Debug, Clone)]
pub struct Worker {
    /// The worker identifier: unique among the workers of the table.
    pub id: ByteString,
    /// tenant/namespace/name, the same for all instances.
    pub writer: ByteString,
    /// The stream that is read.
    pub stream: StreamMark,
    /// The topic its records go to.
    pub topic: ByteString,
    /// A lease not renewed for this long is free for others.
    pub failover: Duration,
    /// Where a shard that nobody has read begins.
    pub initial_position: InitialPosition,
    /// Makes the ids of this process's writes unlike any other's.
    pub write_prefix: String,
    /// What is promised about its records.
    pub guarantee: Guarantee,
    /// A clock that counts suspended time: in EFFECTIVELY_ONCE a lease is over by it.
    pub uptime: Clock,
}

/// A worker at its table: takes leases.
pub struct Claimant {
    table: Arc<dyn LeaseTable>,
    worker: Worker,
    facts: Facts,
    clock: Clock,
    writes: AtomicU64,
    /// Shards of the newest listing: tells a parent without a lease that is gone from one whose lease is missing.
    listed: Mutex<Arc<HashSet<ShardId>>>,
    said_java_latest: AtomicBool,
}

/// How a take ended.
#[derive(Debug)]
pub enum Taken {
    /// The lease is held.
    Held(Arc<HeldLease>),
    /// Somebody else was quicker, or the row is gone.
    Refused,
    /// The shard turned out to be finished: there is nothing to hold.
    Finished,
}

/// When something began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Instant,
    /// By the clock that counts suspended time, in milliseconds.
    pub(super) uptime: u64,
}

/// How a lease came to be held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Take {
    /// When it was asked for.
    pub(super) began: Moment,
    /// Whether nothing had been sent beyond the checkpoint, as the row said.
    pub(super) found_clean: bool,
    /// Whether its owner was alive.
    pub(super) stolen: bool,
}

impl Claimant {
    /// A worker at its table that measures nothing.
    pub fn new(table: Arc<dyn LeaseTable>, worker: Worker) -> Arc<Self> {
        let facts = Facts::new(MetricsLevel::None, worker.id.clone());
        Self::measured(table, worker, facts, Clock::system())
    }

    /// A worker at its table whose leases tell `facts` of their writes.
    pub fn measured(table: Arc<dyn LeaseTable>, worker: Worker, facts: Facts, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            table,
            worker,
            facts,
            clock,
            writes: AtomicU64::new(0),
            listed: Mutex::default(),
            said_java_latest: AtomicBool::new(false),
        })
    }

    /// Who it is.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Its table.
    pub fn table(&self) -> &Arc<dyn LeaseTable> {
        &self.table
    }

    /// Where its leases measure.
    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Remembers which shards the service listed last.
    pub fn set_listed(&self, shards: HashSet<ShardId>) {
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(shards);
    }

    /// Shards of the newest listing.
    pub(super) fn listed(&self) -> Arc<HashSet<ShardId>> {
        Arc::clone(&self.listed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The attribute of a row that is created now: nothing was ever sent.
    pub fn new_attribute(&self, start: Option<StartMoment>) -> PulsarConnect {
        PulsarConnect {
            write: self.next_write(),
            written_at: Some(self.clock.millis()),
            writer: self.worker.writer.clone(),
            worker: self.worker.id.clone(),
            stream: self.worker.stream.clone(),
            topic: self.worker.topic.clone(),
            start,
            caught_up_at: None,
            epoch: 0,
            position: None,
            clean: true,
            exact: None,
        }
    }

    /// `attribute` as it is put into the next write of this worker, who may send from now on: only its last write can say otherwise.
    pub(super) fn rewritten(&self, attribute: &PulsarConnect) -> PulsarConnect {
        PulsarConnect {
            write: self.next_write(),
            written_at: Some(self.clock.millis()),
            writer: self.worker.writer.clone(),
            worker: self.worker.id.clone(),
            topic: self.worker.topic.clone(),
            clean: attribute.clean && planted(Mistake::TakeKeepsClean),
            ..attribute.clone()
        }
    }

    /// Whether the row is this process's own: it bears the worker's name, and the last write that took, stored or ended it was one of
    /// this process. Another process of the same name may live.
    pub(crate) fn owns(&self, row: &Lease) -> bool {
        let is_ours = |attribute: &PulsarConnect| {
            attribute.write.strip_prefix(self.worker.write_prefix.as_str()).is_some_and(|rest| rest.starts_with('-'))
        };
        row.owner.as_ref() == Some(&self.worker.id) && row.pulsar_connect.as_ref().is_some_and(is_ours)
    }

    fn next_write(&self) -> ByteString {
        format!("{}-{}", self.worker.write_prefix, self.writes.fetch_add(1, Ordering::Relaxed)).into()
    }

    /// Takes a lease as it was seen: nobody's, or one that stood still for the failover time. `range` is for a row that does not say
    /// it, `moment` is the oldest in any row, for a LATEST row.
    ///
    /// # Errors
    /// Nothing is held. Configuration when the row is AT_TIMESTAMP and nobody knows the instant; else those of the table.
    pub async fn take(self: &Arc<Self>, seen: &Lease, range: Option<HashRange>, moment: Option<u64>) -> Result<Taken, Error> {
        self.make_ours(seen, range, moment, false).await
    }

    /// Takes a lease from an owner that lives, and that learns of it only at its next renewal.
    ///
    /// # Errors
    /// As [`Claimant::take`].
    pub async fn steal(self: &Arc<Self>, seen: &Lease, range: Option<HashRange>, moment: Option<u64>) -> Result<Taken, Error> {
        self.make_ours(seen, range, moment, true).await
    }

    async fn make_ours(
        self: &Arc<Self>,
        seen: &Lease,
        range: Option<HashRange>,
        moment: Option<u64>,
        stolen: bool,
    ) -> Result<Taken, Error> {
        let start = self.start_of(seen, moment)?;
        let kept = seen.pulsar_connect.clone().unwrap_or_else(|| self.new_attribute(None));
        // Under another guarantee nothing of it is kept true.
        let exact = kept.exact.clone().filter(|_| self.worker.guarantee == Guarantee::EffectivelyOnce);
        let attribute = PulsarConnect { start, exact, ..self.rewritten(&kept) };
        let write = attribute.write.clone();
        let from_another = seen.owner.as_ref().is_some_and(|owner| *owner != self.worker.id);
        let change = Change {
            owner: OwnerChange::Take { worker: self.worker.id.clone(), from_another },
            attribute: Some(attribute),
            ..Change::default()
        };
        let update = Update { shard: seen.shard.clone(), counter: seen.counter, owner: None, change };
        let began = self.now();
        let row = match self.table.update(&update).await? {
            Written::Applied(row) => *row,
            Written::Refused(_) => return Ok(Taken::Refused),
            Written::Unknown(error) => match self.table.get(&seen.shard).await? {
                Some(row) if row.pulsar_connect.as_ref().is_some_and(|attribute| attribute.write == write) => row,
                // Not written, or not yet: should it land later, the row bears our name, is not held by us, and expires like
                // that of a stranger.
                _ => return Err(error),
            },
        };
        if row.is_finished() {
            return Ok(Taken::Finished);
        }
        self.say_what_changed(seen);
        // The counter was still the one seen: so was the rest.
        let found_clean = seen.pulsar_connect.as_ref().is_some_and(|attribute| attribute.clean);
        Ok(Taken::Held(Arc::new(HeldLease::new(Arc::clone(self), row, range, Take { began, found_clean, stolen }))))
    }

    /// Now, by both clocks.
    pub(super) fn now(&self) -> Moment {
        Moment { at: Instant::now(), uptime: self.worker.uptime.millis() }
    }

    /// What the row's sentinel stands for from now on.
    fn start_of(&self, seen: &Lease, moment: Option<u64>) -> Result<Option<StartMoment>, Error> {
        let kept = seen.pulsar_connect.as_ref().and_then(|attribute| attribute.start);
        match seen.checkpoint {
            Checkpoint::Latest => match (kept, moment) {
                // Of several workers that began together each had its own first listing: the oldest counts.
                (Some(StartMoment::Latest(kept)), Some(moment)) => Ok(Some(StartMoment::Latest(kept.min(moment)))),
                (_, None) => Ok(kept),
                (_, Some(moment)) => {
                    if !self.said_java_latest.swap(true, Ordering::Relaxed) {
                        warn!(shard = %seen.shard, moment, "leases at LATEST without a moment begin at this one; records put before it cannot be known of");
                    }
                    Ok(Some(StartMoment::Latest(moment)))
                }
            },
            Checkpoint::AtTimestamp => match (kept, self.worker.initial_position) {
                (Some(StartMoment::Timestamp(instant)), InitialPosition::AtTimestamp(configured)) if instant != configured => {
                    info!(shard = %seen.shard, instant, configured, "the instant on the lease row wins over the configured one");
                    Ok(kept)
                }
                (Some(StartMoment::Timestamp(_)), _) => Ok(kept),
                (_, InitialPosition::AtTimestamp(configured)) => Ok(Some(StartMoment::Timestamp(configured))),
                _ => Err(no_instant(&seen.shard, self.table.name())),
            },
            _ => Ok(kept),
        }
    }

    fn say_what_changed(&self, seen: &Lease) {
        if let Some(attribute) = &seen.pulsar_connect
            && attribute.topic != self.worker.topic
        {
            info!(shard = %seen.shard, from = %attribute.topic, to = %self.worker.topic, "the shard's records go to another topic from now on");
        }
    }
}

/// The error for a row at AT_TIMESTAMP of which nobody knows the instant.
pub(crate) fn no_instant(shard: &ShardId, table: &str) -> Error {
    Error::configuration(format!(
        "the lease of `{shard}` in table `{table}` begins at AT_TIMESTAMP, and neither the row nor the configuration has the instant"
    ))
    .with_hint("set `initialPositionInStream` to `AT_TIMESTAMP` and `startAtTime` to the instant the application was started with")
}
