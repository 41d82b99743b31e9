//! A shard's half of EFFECTIVELY_ONCE: its lineage, opened before anything is handed on, and what is stored of it.
//!
//! Promised: the epoch, the partition count and the first number are stored before the sink hears of the lineage; a new epoch begins
//! when nobody can send under the old names any more; the count changes only outside doubt, with nothing on its way. Never: a row
//! called clean by an owner that cannot know.

use super::opening::{Former, Found, Opening, Wanted, decide, is_made_anew, lineage_name};
use super::runner::ShardDeps;
use crate::ids::SequenceNumber;
use crate::lease::{Exact, HeldLease, Progress, StoreError, parts_of_number};
use connector_sdk::{ByteString, Error, Fence, Lineage, LineageSpec, Mistake, TopicShape, late_name, planted};
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tracing::{info, warn};

/// The first and the longest pause before former producers are tried to be ended again.
const SEAL_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Hand-overs within this many milliseconds are remembered as one, as of the oldest.
const SAME_TIME: u64 = 1_000;

/// How far a shard's lineage is.
pub(super) enum ExactlyOnce {
    /// Nothing was read yet.
    Unopened {
        /// Whether nothing was sent beyond the checkpoint by any owner before.
        found_clean: bool,
    },
    /// Something was read and waits for its numbers.
    Opening { found_clean: bool, opening: BoxFuture<'static, Result<Box<Sending>, StoreError>> },
    /// Records are handed on.
    Open(Box<Sending>),
}

/// What happens to a lineage beside its records.
pub(super) enum Event {
    /// Records may be handed on.
    Opened(Box<Sending>),
    /// The lease is lost.
    Lost,
    /// The sink waits for something to be stored.
    HasToStore,
    /// What owners before may have sent is covered by the stored checkpoint.
    DoubtIsOver,
    /// The topic is cut in another way.
    Reshaped,
}

/// What is on its way into the row.
pub(super) struct Unconfirmed {
    pub(super) number: u64,
    pub(super) exact: Exact,
    version: u64,
}

impl ExactlyOnce {
    /// Begins to open the lineage; `first` is the first record that was read.
    pub(super) fn begin(&mut self, lease: &Arc<HeldLease>, deps: &Arc<ShardDeps>, fence: &Fence, first: SequenceNumber) {
        if let Self::Unopened { found_clean } = *self {
            let opening = Box::pin(open(Arc::clone(lease), Arc::clone(deps), fence.clone(), first, found_clean));
            *self = Self::Opening { found_clean, opening };
        }
    }

    /// What was read is let go of: nothing waits for its numbers any more.
    pub(super) fn let_go(&mut self) {
        if let Self::Opening { found_clean, .. } = *self {
            *self = Self::Unopened { found_clean };
        }
    }

    /// Once open.
    pub(super) fn sending(&mut self) -> Option<&mut Sending> {
        match self {
            Self::Open(sending) => Some(sending),
            Self::Unopened { .. } | Self::Opening { .. } => None,
        }
    }

    /// Whether it is being opened, which no other write of the row may cross.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self, Self::Opening { .. })
    }

    /// Whether records may get their numbers now.
    pub(super) fn may_decode(&self) -> bool {
        matches!(self, Self::Open(sending) if sending.growing.is_none())
    }

    /// Whether the stored checkpoint covers everything that was ever sent, once nothing is on its way.
    pub(super) fn is_clean(&self) -> bool {
        match self {
            Self::Unopened { found_clean } | Self::Opening { found_clean, .. } => *found_clean,
            Self::Open(sending) => {
                sending.is_outside_doubt() && sending.lineage.highest_written().is_none_or(|highest| highest <= sending.stored)
            }
        }
    }

    /// What happens next; what the sink wants stored only where it may be now. Cancel-safe.
    pub(super) async fn event(&mut self, may_store: bool) -> Event {
        match self {
            Self::Unopened { .. } => std::future::pending().await,
            Self::Opening { opening, .. } => match opening.await {
                Ok(sending) => Event::Opened(sending),
                Err(_) => Event::Lost,
            },
            Self::Open(sending) => sending.event(may_store).await,
        }
    }
}

/// A lineage under which records are handed on.
pub(super) struct Sending {
    pub(super) lineage: Arc<Lineage>,
    pub(super) epoch: u64,
    /// The ordinal of the record before the first one.
    pub(super) before: u64,
    /// As stored.
    exact: Exact,
    /// The highest number that the stored checkpoint covers.
    stored: u64,
    /// The oldest send of an owner before that the checkpoint did not cover, by the row.
    inherited: u64,
    /// The last number of what was handed on at a time, oldest first, in milliseconds since the epoch.
    handed_on: VecDeque<(u64, u64)>,
    shape: watch::Receiver<Option<TopicShape>>,
    /// The count that waits until nothing is on its way.
    growing: Option<u32>,
}

impl Sending {
    async fn event(&mut self, may_store: bool) -> Event {
        let stored = self.stored;
        let news = self.lineage.until(|lineage| {
            if may_store && lineage.has_to_store() {
                return Some(Event::HasToStore);
            }
            let is_over = lineage.is_in_doubt() && lineage.doubt_end().is_some_and(|end| stored >= end);
            is_over.then_some(Event::DoubtIsOver)
        });
        tokio::select! {
            biased;
            event = news => event,
            Ok(()) = self.shape.changed() => Event::Reshaped,
        }
    }

    /// Records through this number are handed on now, in milliseconds since the epoch.
    pub(super) fn handing_on(&mut self, number: u64, now: u64) {
        match self.handed_on.back_mut() {
            Some((last, since)) if now.saturating_sub(*since) < SAME_TIME => *last = number,
            _ => self.handed_on.push_back((number, now)),
        }
    }

    /// Whether no owner before can have sent what the stored checkpoint does not cover.
    fn is_outside_doubt(&self) -> bool {
        self.is_outside_doubt_at(self.stored)
    }

    fn is_outside_doubt_at(&self, number: u64) -> bool {
        !self.lineage.is_in_doubt() || self.lineage.doubt_end().is_some_and(|end| number >= end)
    }

    /// Whether it waits until nothing is on its way, to send over more partitions.
    pub(super) fn is_growing(&self) -> bool {
        self.growing.is_some()
    }

    /// Whether the sink waits for what it declared to be stored.
    pub(super) fn has_to_store(&self) -> bool {
        self.lineage.has_to_store()
    }

    /// What is stored with a checkpoint through `number`, or with the one that is stored already. `drained` is whether everything that
    /// was handed on is settled.
    pub(super) fn unconfirmed(&mut self, number: Option<u64>, drained: bool, now: u64) -> Unconfirmed {
        let covered_now = number.unwrap_or(self.stored);
        while self.handed_on.front().is_some_and(|(last, _)| *last <= covered_now) {
            self.handed_on.pop_front();
        }
        let own = self.handed_on.front().map_or(now, |(_, since)| *since);
        let uncovered_since = if planted(Mistake::ReadBackFromCheckpoint) {
            now
        } else if self.is_outside_doubt_at(covered_now) {
            own
        } else {
            own.min(self.inherited)
        };
        let (spent, version) = self.lineage.spent_beyond(covered_now);
        let exact = Exact {
            partitions: self.growing.filter(|_| drained).unwrap_or(self.exact.partitions),
            covered: self.lineage.coverage(covered_now),
            spent,
            uncovered_since,
            next: if number.is_some() { None } else { self.exact.next.clone() },
            ..self.exact.clone()
        };
        Unconfirmed { number: covered_now, exact, version }
    }

    /// It is stored.
    pub(super) fn confirmed(&mut self, stored: Unconfirmed) {
        let Unconfirmed { number, exact, version } = stored;
        if exact.partitions != self.exact.partitions {
            info!(lineage = %self.lineage.name(), partitions = exact.partitions, "records go over the partitions that the topic has now");
            self.lineage.set_partitions(exact.partitions);
            self.growing = None;
        }
        self.lineage.stored(number, exact.covered.clone(), version);
        (self.stored, self.exact) = (number, exact);
    }

    /// The stored checkpoint has passed what owners before may have sent.
    pub(super) fn end_doubt(&self) {
        self.lineage.stored(self.stored, self.exact.covered.clone(), 0);
    }

    /// Looks whether the topic has grown, and may be sent to by its new count.
    ///
    /// # Errors
    /// The topic is not the one it was: nothing of this lineage may go to it.
    pub(super) fn look_at_topic(&mut self) -> Result<(), Error> {
        let Some(now) = self.shape.borrow_and_update().as_ref().map(|shape| shape.partitions) else { return Ok(()) };
        let before = self.exact.partitions;
        if is_made_anew(before, now) {
            return Err(Error::configuration(format!(
                "topic `{}` had {before} partitions and has {now}: it was deleted and made again while records went to it",
                self.exact.topic
            ))
            .with_hint("start again: what may be stored twice or lost with the old topic is said then"));
        }
        self.growing = (now > before && (self.is_outside_doubt() || planted(Mistake::GrowthInsideDoubt))).then_some(now);
        Ok(())
    }
}

/// Opens a shard's lineage: decides what its records are sent under, ends an epoch that is over, stores, and tells the sink.
///
/// # Errors
/// [`StoreError::Lost`] alone: everything else is tried again as long as the lease stands.
async fn open(
    lease: Arc<HeldLease>,
    deps: Arc<ShardDeps>,
    fence: Fence,
    first: SequenceNumber,
    found_clean: bool,
) -> Result<Box<Sending>, StoreError> {
    let mut shape = deps.lineages.shape().await;
    let (attribute, checkpoint) = (lease.attribute(), lease.checkpoint());
    if attribute.exact.as_ref().is_some_and(|exact| exact.topic == shape.topic && is_made_anew(exact.partitions, shape.partitions)) {
        // Another owner may have seen the topic grow before this one did.
        shape = deps.lineages.shape_now().await;
    }
    let found = Found { attribute: &attribute, checkpoint: &checkpoint, clean: found_clean };
    let wanted = Wanted { shape: &shape, key_mode: deps.form.key_mode };
    let opening = decide(&found, &wanted, &first, deps.clock.millis());
    if let Some(former) = &opening.former {
        end_former(&lease, &deps, former).await;
    }
    if !planted(Mistake::StoredAfterFirstSend) {
        store_opening(&lease, &deps, &opening).await?;
    }
    let Opening { numbering, before, covered, exact, in_doubt, .. } = opening;
    let shard = lease.shard();
    let lineage = deps.lineages.open(LineageSpec {
        partition: shard.text().clone(),
        name: producer_name(&lease, &deps, numbering.epoch),
        partitions: exact.partitions,
        in_doubt,
        doubt_from: lease.doubt_from().filter(|_| in_doubt),
        covered: exact.covered.clone(),
        spent: exact.spent.clone(),
        uncovered_since: exact.uncovered_since,
        fence,
    });
    info!(%shard, epoch = numbering.epoch, in_doubt, partitions = exact.partitions, "lineage opened");
    Ok(Box::new(Sending {
        lineage,
        epoch: numbering.epoch,
        before,
        stored: covered,
        inherited: exact.uncovered_since,
        exact,
        handed_on: VecDeque::new(),
        shape: deps.lineages.watch_shape(),
        growing: None,
    }))
}

/// Makes sure that nobody sends under the names of an epoch that is over, and says what may come twice.
async fn end_former(lease: &HeldLease, deps: &ShardDeps, former: &Former) {
    if let Some(moment) = lease.doubt_from() {
        // The owner it was stolen from opens no producer any more after this.
        sleep_until(moment).await;
    }
    let shard = lease.shard();
    let name = lineage_name(lease.table(), &deps.stream, shard, former.epoch);
    let mut names = vec![name.clone()];
    names.extend(former.late.then(|| late_name(&name)));
    let mut pause = SEAL_AGAIN.0;
    let highest = loop {
        match deps.lineages.seal(names.clone(), former.topic.clone(), former.partitions).await {
            Ok(highest) => break highest,
            Err(error) => {
                let error = error.context(format_args!("ending the producers `{name}` of an earlier epoch of shard `{shard}`"));
                warn!(%error, retry_in_ms = pause.as_millis() as u64, "a shard waits for its earlier producers to be ended");
                deps.failures.tell(&error);
                deps.board.show(shard, |view| view.waiting_for = Some(format!("the end of the earlier producers of shard `{shard}`")));
                sleep(pause).await;
                pause = (pause * 2).min(SEAL_AGAIN.1);
            }
        }
    };
    deps.board.show(shard, |view| view.waiting_for = None);
    let Some(highest) = highest.filter(|highest| *highest > former.covered) else { return };
    let (from, to) = (shown(former.covered + 1), shown(highest));
    warn!(%shard, stream = %deps.stream, producer = %name, %from, %to,
        "records of these numbers may be stored twice: the shard's numbers could not be continued");
    deps.board.doubled(format!(
        "records of shard `{shard}` that were sent under numbers {from} to {to} of epoch {} may be stored twice",
        former.epoch
    ));
}

/// The name of the lineage's producers: a function of what owns the checkpoint, never of who holds the lease.
fn producer_name(lease: &HeldLease, deps: &ShardDeps, epoch: u64) -> ByteString {
    let name = lineage_name(lease.table(), &deps.stream, lease.shard(), epoch);
    match lease.row().owner {
        Some(owner) if planted(Mistake::NameByInstance) => format!("{name}/{owner}").into(),
        _ => name,
    }
}

/// A number as people may compare it: ordinal and index.
fn shown(number: u64) -> String {
    let (ordinal, index) = parts_of_number(number);
    format!("{ordinal}/{index}")
}

async fn store_opening(lease: &HeldLease, deps: &ShardDeps, opening: &Opening) -> Result<(), StoreError> {
    let (shard, epoch) = (lease.shard(), opening.numbering.epoch);
    let mut pause = deps.backoff_time.max(SEAL_AGAIN.0 / 10);
    loop {
        let progress = Progress {
            checkpoint: lease.checkpoint(),
            numbering: Some(opening.numbering),
            exact: Some(opening.exact.clone()),
            caught_up_at: None,
            start: None,
        };
        match lease.store(progress).await {
            Err(StoreError::Failed(error)) => {
                let error = error.context(format_args!("storing what records of shard `{shard}` are sent under"));
                warn!(%error, epoch, retry_in_ms = pause.as_millis() as u64, "nothing of a shard is sent before it is stored");
                deps.failures.tell(&error);
                deps.board.show(shard, |view| view.waiting_for = Some(format!("the lease row of shard `{shard}` to be written")));
                sleep(pause).await;
                pause = (pause * 2).min(SEAL_AGAIN.1);
            }
            outcome => {
                deps.board.show(shard, |view| view.waiting_for = None);
                return outcome;
            }
        }
    }
}
