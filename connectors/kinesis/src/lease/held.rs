//! A lease that this process holds: its writes one at a time, its fence, and what is known of its row.
//!
//! Promised: the fence falls as soon as the loss is known, and by our own clock when the failover time passes without a renewal;
//! after that nothing is stored. A reply that was lost is settled by a consistent read and the id of the write, never by guessing.
//! Never: a checkpoint that goes backwards, two writes of one lease at the same time, or a row left clean by whoever did not say so.

use super::attribute::{NumberedPosition, Numbering, PulsarConnect, StartMoment};
use super::change::{Change, OwnerChange, Update};
use super::claim::{Claimant, Moment, Take};
use super::exact::Exact;
use super::row::Lease;
use super::table::Written;
use crate::ids::{Checkpoint, HashRange, ShardId};
use crate::metrics::ShardFacts;
use bytestring::ByteString;
use connector_sdk::{Error, ErrorKind, Fence, Guarantee, Mistake, planted};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How often a write is begun again because the row's counter was another than known while we are still its owner.
const ADOPTIONS: u32 = 3;

/// A lease held by this process.
pub struct HeldLease {
    pub(super) claimant: Arc<Claimant>,
    pub(super) facts: ShardFacts,
    shard: ShardId,
    fence: Fence,
    range: Option<HashRange>,
    doubt_from: Option<Instant>,
    /// Serialises the writes; the counter each begins from is the one the last left behind.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

struct State {
    /// As of the take or the last write.
    row: Lease,
    /// Whether nothing is sent beyond the checkpoint, by whoever held it before and by us.
    clean: bool,
    /// When others may take it, if it is not renewed before: counted from before the request that moved the counter.
    valid_until: Instant,
    /// When the counter was last moved.
    moved_at: Instant,
}

/// How far a shard came, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Everything through this is settled.
    pub checkpoint: Checkpoint,
    /// The number of the checkpointed record; none: as before, which fits only a checkpoint that has not moved.
    pub numbering: Option<Numbering>,
    /// What EFFECTIVELY_ONCE goes by; none: as before.
    pub exact: Option<Exact>,
    /// When the reader was last at the tip with everything settled, in milliseconds since the epoch; none: as before.
    pub caught_up_at: Option<u64>,
    /// What the sentinel stands for; none: as before.
    pub start: Option<StartMoment>,
}

/// Why something was not stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The lease is not ours any more; its fence is down.
    #[error("the lease is lost")]
    Lost,
    /// Not stored, and the lease is still ours: may be tried again.
    #[error(transparent)]
    Failed(Error),
}

impl HeldLease {
    pub(super) fn new(claimant: Arc<Claimant>, row: Lease, range: Option<HashRange>, take: Take) -> Self {
        let Take { began, found_clean, stolen } = take;
        let worker = claimant.worker();
        let fence = match worker.guarantee {
            Guarantee::EffectivelyOnce => Fence::expiring(worker.uptime.clone()),
            Guarantee::AtLeastOnce | Guarantee::AtMostOnce => Fence::new(),
        };
        let valid_until = began.at + worker.failover;
        let lease = Self {
            facts: claimant.facts().shard(&row.shard),
            shard: row.shard.clone(),
            fence,
            range: row.range.or(range),
            doubt_from: stolen.then_some(valid_until),
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::new(State { row, clean: found_clean, valid_until, moved_at: began.at }),
            claimant,
        };
        lease.set_expiry(began);
        lease
    }

    /// The shard.
    pub fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// How far it came, as of the take or the last store.
    pub fn checkpoint(&self) -> Checkpoint {
        self.state().row.checkpoint.clone()
    }

    /// Our attribute, as of the take or the last store.
    pub fn attribute(&self) -> PulsarConnect {
        let attribute = self.state().row.pulsar_connect.clone();
        attribute.unwrap_or_else(|| self.claimant.new_attribute(None))
    }

    /// Whether nothing was sent beyond the checkpoint, by any owner before. From now on it counts as if something was, until
    /// [`HeldLease::leave_clean`].
    pub fn begin_sending(&self) -> bool {
        std::mem::replace(&mut self.state().clean, false)
    }

    /// Nothing is sent beyond the stored checkpoint, and nothing more will be: the row says so once the lease is given away.
    pub fn leave_clean(&self) {
        self.state().clean = true;
    }

    /// Until then the owner it was stolen from may not know of it; none when there was nobody to steal it from.
    pub fn doubt_from(&self) -> Option<Instant> {
        self.doubt_from
    }

    /// What is promised about the records.
    pub fn guarantee(&self) -> Guarantee {
        self.claimant.worker().guarantee
    }

    /// The lease table's name.
    pub fn table(&self) -> &str {
        self.claimant.table().name()
    }

    /// The hash keys the shard covers, from the row or from the service's listing.
    pub fn range(&self) -> Option<HashRange> {
        self.range
    }

    /// The shard's parents.
    pub fn parents(&self) -> Vec<ShardId> {
        self.state().row.parents.clone()
    }

    /// The fence around the shard's records. Once it is down, the lease is not ours.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The row as of the take or the last write.
    pub fn row(&self) -> Lease {
        self.state().row.clone()
    }

    /// When the fence falls, if the lease is not renewed before.
    pub fn valid_until(&self) -> Instant {
        self.state().valid_until
    }

    /// When the counter was last moved: a store is a renewal too.
    pub fn moved_at(&self) -> Instant {
        self.state().moved_at
    }

    /// Stores progress. One attempt; a lost reply is settled.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when the lease is not ours; else [`StoreError::Failed`] with the table's error, and it may be tried again.
    pub async fn store(&self, progress: Progress) -> Result<(), StoreError> {
        let stored = self.checkpoint();
        if progress.checkpoint < stored {
            return Err(StoreError::Failed(self.backwards(&progress.checkpoint, &stored)));
        }
        self.write_attribute(|attribute| {
            if let Some(Numbering { epoch, ordinal }) = progress.numbering {
                attribute.epoch = epoch;
                attribute.position = match &progress.checkpoint {
                    Checkpoint::At(position) if ordinal > 0 => {
                        Some(NumberedPosition { sequence: position.sequence.text().clone(), sub: position.sub, ordinal })
                    }
                    _ => None,
                };
            }
            if progress.exact.is_some() {
                attribute.exact.clone_from(&progress.exact);
            }
            attribute.caught_up_at = progress.caught_up_at.or(attribute.caught_up_at);
            attribute.start = progress.start.or(attribute.start);
            Some(progress.checkpoint.clone())
        })
        .await
    }

    /// Stores that everything in the shard is settled. Its children's rows must be there already.
    pub(super) async fn store_end(&self) -> Result<(), StoreError> {
        self.write_attribute(|_| Some(Checkpoint::ShardEnd)).await
    }

    /// One write that carries the attribute, hence an id by which a lost reply is settled.
    async fn write_attribute(&self, edit: impl Fn(&mut PulsarConnect) -> Option<Checkpoint>) -> Result<(), StoreError> {
        let mut attribute = self.claimant.rewritten(&self.attribute());
        let checkpoint = edit(&mut attribute);
        let write = attribute.write.clone();
        let change = Change { checkpoint, attribute: Some(attribute), ..Change::default() };
        let began = Instant::now();
        let result = self.within_fence(self.write(&change, Some(&write))).await;
        self.facts.checkpointed(began.elapsed(), result.is_ok());
        result
    }

    /// Moves the counter: the sign of life that others wait for.
    ///
    /// # Errors
    /// As [`HeldLease::store`].
    pub async fn renew(&self) -> Result<(), StoreError> {
        self.within_fence(self.write(&Change::default(), None)).await
    }

    /// Gives the lease back to nobody, so that any worker may take it at once. The fence falls first; so a row that is left clean has
    /// nobody who still sends.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the row still bears our name: others have to wait for the failover time.
    pub async fn give_away(&self) -> Result<(), StoreError> {
        self.fence.fall();
        let is_clean = self.state().clean;
        let attribute = is_clean.then(|| PulsarConnect { clean: true, ..self.claimant.rewritten(&self.attribute()) });
        let change = Change { owner: OwnerChange::Clear, attribute, ..Change::default() };
        match self.write(&change, None).await {
            // Whoever has it now, it is not ours.
            Ok(()) | Err(StoreError::Lost) => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    /// Brings the fence down if the time is over. True if it is down.
    pub fn check_expiry(&self, now: Instant) -> bool {
        if now >= self.valid_until() {
            self.fence.fall();
        }
        self.fence.has_fallen()
    }

    /// Does `work` as long as the fence stands. What was written by a write that the fence outran does not count.
    pub(super) async fn within_fence(&self, work: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
        if self.check_expiry(Instant::now()) {
            return Err(StoreError::Lost);
        }
        let result = tokio::select! {
            biased;
            () = self.fence.fallen() => Err(StoreError::Lost),
            () = self.expired() => Err(StoreError::Lost),
            result = work => result,
        };
        if matches!(result, Err(StoreError::Lost)) {
            self.fence.fall();
        }
        result
    }

    /// Waits until the lease is over by our own clock.
    async fn expired(&self) {
        loop {
            let valid_until = self.valid_until();
            tokio::time::sleep_until(valid_until).await;
            if Instant::now() >= self.valid_until() {
                return;
            }
        }
    }

    /// A compare-and-set on the row as it is known. `write` is its id, if it carries one.
    async fn write(&self, change: &Change, write: Option<&ByteString>) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let mut failure = None;
        for _ in 0..=ADOPTIONS {
            let began = self.claimant.now();
            let update = Update {
                shard: self.shard.clone(),
                counter: self.state().row.counter,
                owner: Some(self.claimant.worker().id.clone()),
                change: change.clone(),
            };
            let (row, unknown) = match self.ask(&update).await.map_err(StoreError::Failed)? {
                Written::Applied(row) => {
                    self.moved(*row, began);
                    return Ok(());
                }
                Written::Refused(Some(row)) => (Some(*row), None),
                Written::Refused(None) => (self.read().await?, None),
                Written::Unknown(error) => (self.read().await.map_err(|_| StoreError::Failed(error.clone()))?, Some(error)),
            };
            // The row is gone, or somebody else's: another process may have been given our name.
            let Some(row) = row.filter(|row| self.claimant.owns(row)) else {
                return Err(StoreError::Lost);
            };
            let has_our_id = |id: &ByteString| row.pulsar_connect.as_ref().is_some_and(|attribute| attribute.write == *id);
            let looks_ours = planted(Mistake::LateRenewalIsMyWrite) && row.counter == update.next_counter();
            let is_ours = write.is_some_and(|id| has_our_id(id) || looks_ours);
            if is_ours {
                self.moved(row, began);
                return Ok(());
            }
            // Still ours, and not this write: an earlier one of ours landed late, or nothing has. That proves no renewal; its
            // counter is adopted and the write begun again. A write with an id is left to its caller after a lost reply.
            let stored = row.checkpoint.clone();
            self.state().row = row;
            if let Some(checkpoint) = change.checkpoint.as_ref().filter(|checkpoint| **checkpoint < stored) {
                return Err(StoreError::Failed(self.backwards(checkpoint, &stored)));
            }
            match unknown {
                Some(error) if write.is_some() => return Err(StoreError::Failed(error)),
                unknown => failure = unknown.or(failure),
            }
        }
        Err(StoreError::Failed(failure.unwrap_or_else(|| {
            Error::transient(format!(
                "the counter of the lease of `{}` in table `{}` moves by itself",
                self.shard,
                self.claimant.table().name()
            ))
            .with_hint("check that no other worker has the same `workerIdentifier`")
        })))
    }

    /// One request, given up in time for another before the lease is over. Whether it lands later is not known then.
    async fn ask(&self, update: &Update) -> Result<Written, Error> {
        match timeout(self.patience(), self.claimant.table().update(update)).await {
            Ok(answer) => answer,
            Err(_) => Ok(Written::Unknown(self.unanswered())),
        }
    }

    async fn read(&self) -> Result<Option<Lease>, StoreError> {
        match timeout(self.patience(), self.claimant.table().get(&self.shard)).await {
            Ok(answer) => answer.map_err(StoreError::Failed),
            Err(_) => Err(StoreError::Failed(self.unanswered())),
        }
    }

    fn patience(&self) -> Duration {
        self.claimant.worker().failover / 4
    }

    fn backwards(&self, checkpoint: &Checkpoint, stored: &Checkpoint) -> Error {
        Error::new(ErrorKind::Data, format!("checkpoint `{checkpoint}` of `{}` lies before the stored `{stored}`", self.shard))
    }

    fn unanswered(&self) -> Error {
        let (table, patience) = (self.claimant.table().name(), self.patience().as_millis());
        Error::transient(format!("table `{table}` did not answer within {patience} ms about the lease of `{}`", self.shard))
    }

    /// The counter moved by a request begun at `began`: others count from then on.
    fn moved(&self, row: Lease, began: Moment) {
        let failover = self.claimant.worker().failover;
        let mut state = self.state();
        state.row = row;
        state.valid_until = began.at + failover;
        state.moved_at = began.at;
        drop(state);
        self.set_expiry(began);
    }

    fn set_expiry(&self, began: Moment) {
        let failover = u64::try_from(self.claimant.worker().failover.as_millis()).unwrap_or(u64::MAX);
        self.fence.expires_at(began.uptime.saturating_add(failover));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        // Nobody renews it any more.
        self.fence.fall();
    }
}

impl fmt::Debug for HeldLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldLease({})", self.shard)
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
