//! The loop of one shard: fetch, decode, hand on, store; until the lease is lost, the shard ends, or somebody asks it to stop.
//!
//! One task a shard, none a record. Reading waits for room in the queue, never the other way round; storing runs beside reading.
//! In ATMOST_ONCE an answer is handed on only after a checkpoint through its last record is stored.

use super::board::Place as BoardPlace;
use super::decode::{Decoder, Item, Place};
use super::expiry::{ExpiryWatch, FirstAnswer, instant};
use super::progress::StoreSchedule;
use super::runner::ShardDeps;
use super::start::{Start, start};
use crate::coordinator::{ShardEnd, Stopped};
use crate::ids::{Checkpoint, Position};
use crate::lease::{HeldLease, Progress, StoreError};
use crate::metrics::ShardFacts;
use crate::port::{ChildShard, FetchError, Fetched, Retrieval};
use connector_sdk::{AckHandle, Acknowledgements, Batch, ByteString, Error, Fence, Guarantee, ParkedShard, Record};
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{error, info, warn};

/// How long a shard whose reading failed waits for what is on its way, before it is opened again.
const SEE_THROUGH: Duration = Duration::from_secs(10);
/// How long a subscription may stand unread because what was read before it waits for the publisher.
const UNREAD: Duration = Duration::from_secs(5);
/// The most records handed on at once: what one place in the queue holds.
const BATCH: usize = 1_000;

/// How the task ended.
pub(super) enum Ended {
    /// By itself.
    Itself(ShardEnd),
    /// Because it was asked to stop.
    Asked(Stopped),
}

/// Runs the shard of `lease` until it ends or `stop` says by when to stop.
pub(super) async fn run(lease: Arc<HeldLease>, deps: Arc<ShardDeps>, mut stop: watch::Receiver<Option<Instant>>) -> Ended {
    match Consumer::open(lease, deps) {
        Err(error) => Ended::Itself(ShardEnd::Failed(error)),
        Ok(mut consumer) => consumer.run(&mut stop).await,
    }
}

/// A write on its way, and what it covers.
struct Storing {
    write: BoxFuture<'static, Result<(), StoreError>>,
    covers: u64,
}

struct Consumer {
    lease: Arc<HeldLease>,
    deps: Arc<ShardDeps>,
    place: BoardPlace,
    /// Falls with the lease, and when the shard parks: nothing behind the record goes on a wire.
    fence: Fence,
    acks: Arc<Acknowledgements<Place>>,
    /// None while parked or at the end.
    retrieval: Option<Box<dyn Retrieval>>,
    decoder: Decoder,
    facts: ShardFacts,
    expiry: ExpiryWatch,
    /// Decoded and not yet in the queue.
    waiting: VecDeque<Batch>,
    /// In ATMOST_ONCE: whether `waiting` is covered by a stored checkpoint.
    released: bool,
    last_fetched: Option<Place>,
    children: Option<Vec<ChildShard>>,
    schedule: StoreSchedule,
    storing: Option<Storing>,
    /// Records the stored checkpoint covers, since this shard was opened.
    stored: u64,
    stored_through: Option<Position>,
    /// When the service last said that there is no more.
    tip_seen_at: Option<u64>,
    warned_of_lag: bool,
    /// Until when what waits for the publisher may leave the retrieval unread; none once it rests, and while nothing waits.
    unread_until: Option<Instant>,
    parked: Option<ParkedShard>,
}

impl Consumer {
    fn open(lease: Arc<HeldLease>, deps: Arc<ShardDeps>) -> Result<Self, Error> {
        let attribute = lease.attribute();
        let checkpoint = lease.checkpoint();
        let shard = lease.shard().clone();
        let Start { at, covered, caught_up_at, ordinal } =
            start(&checkpoint, &attribute, deps.initial_position).map_err(|error| error.context(format_args!("shard `{shard}`")))?;
        info!(shard = %shard, checkpoint = %checkpoint, "shard opened");
        let share = deps.budget.share();
        let fence = lease.fence().within();
        let expected = covered.as_ref().map(|position| position.sequence.clone());
        Ok(Self {
            place: deps.board.place(&shard),
            facts: deps.facts.shard(&shard),
            acks: Acknowledgements::new(share.clone(), fence.clone()),
            retrieval: Some(deps.retrieval.open(&shard, at, share)),
            decoder: Decoder::new(shard, lease.range(), deps.form.clone(), covered, ordinal),
            expiry: ExpiryWatch::new(expected, caught_up_at, deps.retention_hours),
            fence,
            waiting: VecDeque::new(),
            released: true,
            last_fetched: None,
            children: None,
            schedule: StoreSchedule::new(deps.checkpoint_interval, deps.backoff_time, deps.num_retries, deps.retention_hours),
            storing: None,
            stored: 0,
            stored_through: None,
            tip_seen_at: None,
            warned_of_lag: false,
            unread_until: None,
            parked: None,
            lease,
            deps,
        })
    }

    async fn run(&mut self, stop: &mut watch::Receiver<Option<Instant>>) -> Ended {
        let lost = self.lease.fence().clone();
        loop {
            let at_end = self.children.is_some() && self.waiting.is_empty() && self.parked.is_none();
            let may_fetch = self.waiting.is_empty() && self.children.is_none();
            let next = self.waiting.front().filter(|_| self.released).map(|batch| batch.records.len());
            tokio::select! {
                biased;
                deadline = asked(stop) => return Ended::Asked(self.stop(deadline).await),
                () = lost.fallen() => return Ended::Itself(self.lose()),
                (place, cause) = self.acks.failed(), if self.parked.is_none() => self.park(&place, &cause),
                result = written(&mut self.storing), if self.storing.is_some() => {
                    if let Some(end) = self.stored(result) {
                        return Ended::Itself(end);
                    }
                }
                () = sleep_until(self.schedule.next()), if self.storing.is_none() => self.store_if_due(),
                () = self.acks.settled(), if at_end && self.storing.is_none() => {
                    match self.finish().await {
                        Ok(end) => return Ended::Itself(end),
                        Err(pause) => {
                            // The children are created again by the next attempt; what exists is left as it is.
                            tokio::select! {
                                () = tokio::time::sleep(pause) => {}
                                deadline = asked(stop) => return Ended::Asked(self.stop(deadline).await),
                            }
                        }
                    }
                }
                room = self.deps.queue.room(next.unwrap_or(1)), if next.is_some() => match room {
                    Some(room) => {
                        let batch = self.waiting.pop_front().expect("its size was just read");
                        self.deps.queue.put(room, batch);
                    }
                    // The instance is closing: nothing more is handed on, the stop is about to come.
                    None => { self.waiting.clear(); self.retrieval = None; }
                },
                () = sleep_until(self.unread_until.unwrap_or_else(Instant::now)), if self.unread_until.is_some() && !may_fetch => self.rest(),
                fetched = fetch(&mut self.retrieval), if may_fetch => match fetched {
                    Ok(fetched) => self.take(fetched),
                    // The retrieval leaves it alone for a moment; it is never answered with LATEST.
                    Err(FetchError::FutureTimestamp) => {}
                    Err(FetchError::Failed(error)) => return Ended::Itself(self.give_up(error).await),
                },
            }
            self.show();
        }
    }

    /// The publisher is blocked: what the service has pushed meanwhile is not kept on the connection.
    fn rest(&mut self) {
        self.unread_until = None;
        if let Some(retrieval) = &mut self.retrieval {
            retrieval.rest();
        }
    }

    /// Decodes an answer, tracks its records and lines them up for the queue.
    fn take(&mut self, fetched: Fetched) {
        let Fetched { records, millis_behind, children, end, reservation } = fetched;
        let now = self.deps.clock.millis();
        self.look_for_losses(&records, millis_behind == 0 || end, now);
        self.tip_seen_at = (millis_behind == 0).then_some(now);
        self.watch_lag(millis_behind);
        let bytes: u64 = records.iter().map(|record| record.data.len() as u64).sum();
        self.facts.processed(records.len() as u64, bytes, millis_behind);
        self.place.show(|view| view.millis_behind = Some(millis_behind));
        let mut items = Vec::with_capacity(records.len());
        for raw in records {
            self.decoder.decode(raw, millis_behind, &mut items);
        }
        let cost: u64 = items.iter().map(cost).sum();
        // The bytes pass from the answer to its records, each freed when it resolves.
        reservation.settle(cost);
        self.line_up(items);
        self.unread_until = (!self.waiting.is_empty()).then(|| Instant::now() + UNREAD);
        if end {
            self.retrieval = None;
            self.children = Some(children);
        }
        if self.deps.guarantee == Guarantee::AtMostOnce && !self.waiting.is_empty() {
            self.released = false;
            self.store_ahead();
        }
    }

    fn line_up(&mut self, items: Vec<Item>) {
        let mut all = self.acks.track(items.iter().map(|item| (place_of(item).clone(), cost(item))));
        if let Some(last) = items.last() {
            self.last_fetched = Some(place_of(last).clone());
        }
        let mut records: Vec<Record> = Vec::with_capacity(items.len().min(BATCH));
        for item in items {
            match item {
                Item::Message(record, _) => {
                    records.push(record);
                    if records.len() == BATCH {
                        let full = std::mem::replace(&mut records, Vec::with_capacity(BATCH));
                        self.add(full, &mut all);
                    }
                }
                Item::Nothing(_) => {
                    self.add(std::mem::take(&mut records), &mut all);
                    all.split_to(1).ack();
                }
            }
        }
        self.add(records, &mut all);
    }

    fn add(&mut self, records: Vec<Record>, all: &mut AckHandle) {
        if !records.is_empty() {
            let handle = all.split_to(records.len() as u64);
            self.waiting.push_back(Batch::new(self.lease.shard().text().clone(), records, handle));
        }
    }

    fn look_for_losses(&mut self, records: &[crate::port::RawRecord], at_tip_or_end: bool, now: u64) {
        match self.expiry.look(Decoder::first(records), at_tip_or_end, now) {
            FirstAnswer::Undecided | FirstAnswer::Whole => {}
            FirstAnswer::Moved => self.begin_epoch(),
            FirstAnswer::Expired { from, to } => {
                self.begin_epoch();
                let sentence = format!(
                    "records of shard `{}` that arrived between {} and {} may have expired before they were read",
                    self.lease.shard(),
                    instant(from),
                    instant(to)
                );
                error!(shard = %self.lease.shard(), from = %instant(from), to = %instant(to), "records may have expired before they were read; reading goes on with what is there");
                self.place.lost(sentence);
            }
        }
    }

    /// The record that the stored ordinal belonged to is gone: numbers begin again under the next epoch.
    fn begin_epoch(&mut self) {
        self.decoder.restart_ordinals();
        self.lease.begin_epoch();
    }

    fn watch_lag(&mut self, millis_behind: u64) {
        let half = u64::from(self.deps.retention_hours) * 1_800_000;
        if millis_behind > half && !self.warned_of_lag {
            self.warned_of_lag = true;
            warn!(shard = %self.lease.shard(), millis_behind, retention_hours = self.deps.retention_hours, "the shard is behind by more than half of the stream's retention; what is older expires unread");
        } else if millis_behind < half / 2 {
            self.warned_of_lag = false;
        }
    }

    /// Stops at a record that cannot be stored: fetches nothing, holds no bytes, keeps the lease.
    fn park(&mut self, place: &Place, cause: &Error) {
        self.fence.fall();
        self.retrieval = None;
        self.waiting.clear();
        let retention = u64::from(self.deps.retention_hours) * 3_600_000;
        let parked = ParkedShard {
            partition: self.lease.shard().text().clone(),
            record: place.position.to_string(),
            reason: cause.to_string(),
            expires_at: Some(self.deps.clock.millis() + retention),
            waiting_children: self.children.iter().flatten().map(|child| child.id.text().clone()).collect::<Vec<ByteString>>(),
        };
        error!(shard = %self.lease.shard(), stream = %self.deps.stream, record = %place.position, reason = %cause,
            "the shard stands still at a record that cannot be stored; `onRecordError` decides, a restart tries again");
        self.place.show(|view| view.parked = Some(parked.clone()));
        self.parked = Some(parked);
    }

    fn progress(&self, place: &Place) -> Progress {
        let settled = self.acks.read(connector_sdk::AckTracker::is_settled) && self.waiting.is_empty();
        Progress {
            checkpoint: Checkpoint::At(place.position.clone()),
            ordinal: place.ordinal,
            caught_up_at: self.tip_seen_at.filter(|_| settled),
            start: None,
        }
    }

    /// Begins to store how far it is, when that moved or an idle shard's time is due.
    fn store_if_due(&mut self) {
        if self.deps.guarantee == Guarantee::AtMostOnce && !self.released {
            self.store_ahead();
            return;
        }
        let (watermark, settled) = self.acks.read(|tracker| (tracker.watermark().cloned(), tracker.settled()));
        let moved = watermark.as_ref().is_some_and(|place| self.stored_through.as_ref() != Some(&place.position));
        let progress = match watermark {
            Some(place) if moved && self.deps.guarantee == Guarantee::AtLeastOnce => self.progress(&place),
            _ if self.schedule.idle_is_due() && self.tip_seen_at.is_some() && self.acks.read(connector_sdk::AckTracker::is_settled) => {
                // Nothing moved: the row's own checkpoint, with a younger time.
                let ordinal = self.lease.attribute().position.map_or(0, |position| position.ordinal);
                Progress { checkpoint: self.lease.checkpoint(), ordinal, caught_up_at: self.tip_seen_at, start: None }
            }
            _ => return self.schedule.skipped(),
        };
        self.begin_to_store(progress, settled);
    }

    /// ATMOST_ONCE: stores the end of what was fetched before any of it is handed on.
    fn store_ahead(&mut self) {
        let Some(last) = self.last_fetched.clone() else { return };
        let tracked = self.acks.read(connector_sdk::AckTracker::next_number);
        let progress = Progress { caught_up_at: None, ..self.progress(&last) };
        self.begin_to_store(progress, tracked);
    }

    fn begin_to_store(&mut self, progress: Progress, covers: u64) {
        if self.storing.is_some() {
            return;
        }
        if let Checkpoint::At(position) = &progress.checkpoint {
            self.stored_through = Some(position.clone());
        }
        let lease = Arc::clone(&self.lease);
        self.storing = Some(Storing { write: Box::pin(async move { lease.store(progress).await }), covers });
    }

    fn stored(&mut self, result: Result<(), StoreError>) -> Option<ShardEnd> {
        let covers = self.storing.take().map_or(0, |storing| storing.covers);
        match result {
            Ok(()) => {
                self.stored = self.stored.max(covers);
                self.schedule.stored();
                let ahead = self.deps.guarantee == Guarantee::AtMostOnce;
                self.released = !ahead || covers >= self.acks.read(connector_sdk::AckTracker::next_number);
                if !self.released {
                    // What was written was an idle shard's time, or an older answer: these records are not covered yet.
                    self.store_ahead();
                }
            }
            Err(StoreError::Lost) => return Some(self.lose()),
            Err(StoreError::Failed(error)) => {
                self.stored_through = None;
                let given_up = self.schedule.failed();
                warn!(shard = %self.lease.shard(), %error, left_to_next_interval = given_up, "progress could not be stored");
            }
        }
        None
    }

    fn lose(&mut self) -> ShardEnd {
        self.fence.fall();
        self.waiting.clear();
        ShardEnd::LeaseLost
    }

    /// Reading cannot go on: what was handed out is seen through first, so that the next attempt begins behind it.
    async fn give_up(&mut self, error: Error) -> ShardEnd {
        self.stop(Instant::now() + SEE_THROUGH).await;
        // What is on its way still belongs to this attempt; the next one reads it again.
        self.fence.fall();
        ShardEnd::Failed(error)
    }

    /// Everything is settled: children first, then the shard's end. The error is the pause before the next attempt.
    async fn finish(&mut self) -> Result<ShardEnd, Duration> {
        let children = self.children.as_deref().unwrap_or_default();
        match self.lease.finish(children).await {
            Ok(()) => {
                info!(shard = %self.lease.shard(), children = children.len(), "shard finished");
                Ok(ShardEnd::Finished)
            }
            Err(StoreError::Lost) => Ok(self.lose()),
            Err(StoreError::Failed(error)) => {
                warn!(shard = %self.lease.shard(), %error, "the shard's end could not be stored");
                Err(self.deps.backoff_time)
            }
        }
    }

    /// Reads no more, waits for what is on its way, stores how far it came.
    async fn stop(&mut self, deadline: Instant) -> Stopped {
        self.retrieval = None;
        self.waiting.clear();
        let in_time = timeout_at(deadline, self.acks.quiet()).await.is_ok();
        if let Some(mut storing) = self.storing.take()
            && let Ok(Ok(())) = timeout_at(deadline, &mut storing.write).await
        {
            self.stored = self.stored.max(storing.covers);
        }
        if self.deps.guarantee == Guarantee::AtLeastOnce && !self.lease.fence().has_fallen() {
            self.store_at_stop(deadline).await;
        }
        if !in_time {
            self.fence.fall();
        }
        Stopped { beyond_checkpoint: self.beyond_checkpoint() }
    }

    async fn store_at_stop(&mut self, deadline: Instant) {
        loop {
            let (watermark, settled) = self.acks.read(|tracker| (tracker.watermark().cloned(), tracker.settled()));
            let Some(place) = watermark.filter(|_| settled > self.stored) else { return };
            match timeout_at(deadline, self.lease.store(self.progress(&place))).await {
                Ok(Ok(())) => self.stored = settled,
                Ok(Err(StoreError::Lost)) | Err(_) => return,
                Ok(Err(StoreError::Failed(error))) => {
                    warn!(shard = %self.lease.shard(), %error, "progress could not be stored while stopping");
                    let pause = self.deps.backoff_time.min(Duration::from_millis(500));
                    if timeout_at(deadline, tokio::time::sleep(pause)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// ATLEAST_ONCE: records settled or on their way beyond the stored checkpoint. ATMOST_ONCE: records the stored checkpoint
    /// covers that are not known to be settled.
    fn beyond_checkpoint(&self) -> u64 {
        self.acks.read(|tracker| match self.deps.guarantee {
            Guarantee::AtLeastOnce => tracker.settled().saturating_sub(self.stored) + tracker.settled_ahead() + tracker.pending(),
            Guarantee::AtMostOnce => self.stored.saturating_sub(tracker.settled() + tracker.settled_ahead()),
        })
    }

    fn show(&mut self) {
        let beyond = self.beyond_checkpoint();
        self.place.show(|view| view.beyond_checkpoint = beyond);
    }
}

fn place_of(item: &Item) -> &Place {
    match item {
        Item::Message(_, place) | Item::Nothing(place) => place,
    }
}

fn cost(item: &Item) -> u64 {
    match item {
        Item::Message(record, _) => record.cost() as u64,
        Item::Nothing(_) => 0,
    }
}

/// Waits until a stop is asked for and says by when.
async fn asked(stop: &mut watch::Receiver<Option<Instant>>) -> Instant {
    match stop.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        // The owner is gone: there is nobody to stop for.
        Err(_) => Instant::now(),
    }
}

async fn written(storing: &mut Option<Storing>) -> Result<(), StoreError> {
    match storing {
        Some(storing) => (&mut storing.write).await,
        None => std::future::pending().await,
    }
}

async fn fetch(retrieval: &mut Option<Box<dyn Retrieval>>) -> Result<Fetched, FetchError> {
    match retrieval {
        Some(retrieval) => retrieval.fetch().await,
        None => std::future::pending().await,
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.deps.facts.release(self.lease.shard());
    }
}
