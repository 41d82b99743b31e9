//! The loop of one shard: fetch, decode, hand on, store; until the lease is lost, the shard ends, or somebody asks it to stop.
//!
//! One task a shard, none a record. Reading waits for room in the queue, never the other way round; storing runs beside reading.
//! In ATMOST_ONCE an answer is handed on only after a checkpoint through its last record is stored, in EFFECTIVELY_ONCE only after what
//! its records are sent under is. What is stored when is in `storing`, the end in `stop`.

use super::board::Place as BoardPlace;
use super::decode::{Decoded, Decoder, Place};
use super::exactly_once::{Event, ExactlyOnce};
use super::expiry::{ExpiryWatch, FirstAnswer, instant};
use super::progress::StoreSchedule;
use super::queue::Room;
use super::runner::ShardDeps;
use super::start::{Start, start};
use super::storing::{Storing, written};
use crate::coordinator::{ShardEnd, Stopped};
use crate::ids::Position;
use crate::lease::HeldLease;
use crate::metrics::ShardFacts;
use crate::port::{ChildShard, FetchError, Fetched, RawRecord, Retrieval, StartAt};
use connector_sdk::{
    AckHandle, Acknowledgements, Batch, ByteString, Error, ErrorKind, Fence, Guarantee, ParkedShard, Record, Reservation, Share,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

/// The first and the longest pause before reading that failed is tried again.
const REOPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How long a subscription may stand unread because what was read before it waits for the publisher.
const UNREAD: Duration = Duration::from_secs(5);
/// The most records decoded and handed on at once: what one place in the queue holds. What one answer of aggregates comes to is not
/// held at once.
const BATCH: usize = 1_000;
/// In ATMOST_ONCE, the most records that one checkpoint is stored for in advance.
const AHEAD: usize = 10_000;

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

/// An answer, or what is left of it.
pub(super) struct Undecoded {
    raws: VecDeque<RawRecord>,
    millis_behind: u64,
    reservation: Reservation,
}

pub(super) struct Consumer {
    pub(super) lease: Arc<HeldLease>,
    pub(super) deps: Arc<ShardDeps>,
    pub(super) place: BoardPlace,
    /// Falls with the lease, and when the shard parks: nothing behind the record goes on a wire.
    pub(super) fence: Fence,
    pub(super) acks: Arc<Acknowledgements<Place>>,
    /// None while parked, winding down or at the end, and until it is opened again after a failure.
    pub(super) retrieval: Option<Box<dyn Retrieval>>,
    pub(super) share: Share,
    /// Where reading goes on when it is opened again.
    pub(super) resume: StartAt,
    pub(super) reopen: Option<Instant>,
    pub(super) reopen_pause: Duration,
    /// The counting that records are numbered by.
    pub(super) epoch: u64,
    /// Whether nothing was sent beyond the checkpoint by any owner before.
    pub(super) found_clean: bool,
    /// In EFFECTIVELY_ONCE alone.
    pub(super) exactly: Option<ExactlyOnce>,
    /// Fetched and not yet decoded.
    pub(super) answer: Option<Undecoded>,
    pub(super) decoder: Decoder,
    pub(super) facts: ShardFacts,
    pub(super) expiry: ExpiryWatch,
    /// Decoded and not yet in the queue.
    pub(super) waiting: VecDeque<Batch>,
    /// In ATMOST_ONCE: whether `waiting` is covered by a stored checkpoint.
    pub(super) released: bool,
    pub(super) last_fetched: Option<Place>,
    pub(super) children: Option<Vec<ChildShard>>,
    pub(super) schedule: StoreSchedule,
    pub(super) storing: Option<Storing>,
    /// Records the stored checkpoint covers, since this shard was opened.
    pub(super) stored: u64,
    pub(super) stored_through: Option<Position>,
    /// When the service last said that there is no more.
    pub(super) tip_seen_at: Option<u64>,
    pub(super) warned_of_lag: bool,
    /// Until when what waits for the publisher may leave the retrieval unread; none once it rests, and while nothing waits.
    pub(super) unread_until: Option<Instant>,
    pub(super) parked: Option<ParkedShard>,
    pub(super) winding_down: bool,
    /// Whether something that was read was let go of: the shard cannot come to its end any more, nor be caught up, in this attempt.
    pub(super) cut: bool,
    pub(super) opened_at: Instant,
    /// Since when what was decoded last waits for the queue.
    pub(super) waiting_since: Instant,
}

impl Consumer {
    fn open(lease: Arc<HeldLease>, deps: Arc<ShardDeps>) -> Result<Self, Error> {
        let attribute = lease.attribute();
        let checkpoint = lease.checkpoint();
        let shard = lease.shard().clone();
        let Start { at, covered, caught_up_at, ordinal } =
            start(&checkpoint, &attribute, deps.initial_position).map_err(|error| error.context(format_args!("shard `{shard}`")))?;
        info!(shard = %shard, checkpoint = %checkpoint, "shard opened");
        let found_clean = lease.begin_sending();
        let exactly = (deps.guarantee == Guarantee::EffectivelyOnce).then_some(ExactlyOnce::Unopened { found_clean });
        let share = deps.budget.share();
        let fence = lease.fence().within();
        let expected = covered.as_ref().map(|position| position.sequence.clone());
        Ok(Self {
            place: deps.board.place(&shard),
            facts: deps.facts.shard(&shard),
            acks: Acknowledgements::new(share.clone(), fence.clone()),
            retrieval: Some(deps.retrieval.open(&shard, at.clone(), share.clone())),
            share,
            resume: at,
            reopen: None,
            reopen_pause: REOPEN.0,
            answer: None,
            decoder: Decoder::new(shard, lease.range(), deps.form.clone(), covered, ordinal),
            expiry: ExpiryWatch::new(expected, caught_up_at, deps.retention_hours),
            fence,
            epoch: attribute.numbering(&checkpoint).epoch,
            found_clean,
            exactly,
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
            winding_down: false,
            cut: false,
            opened_at: Instant::now(),
            waiting_since: Instant::now(),
            lease,
            deps,
        })
    }

    async fn run(&mut self, stop: &mut watch::Receiver<Option<Instant>>) -> Ended {
        let lost = self.lease.fence().clone();
        let winding_down = self.deps.winding_down.clone();
        self.facts.initialized(self.opened_at.elapsed(), true);
        loop {
            if self.waiting.is_empty() && self.answer.is_some() && self.exactly.as_ref().is_none_or(ExactlyOnce::may_decode) {
                self.decode();
            }
            let read_up = self.waiting.is_empty() && self.answer.is_none();
            let at_end = self.children.is_some() && read_up && !self.cut;
            let (may_store, opening) = (self.may_store_now(), self.exactly.as_ref().is_some_and(ExactlyOnce::is_opening));
            let growing = self.waits_to_grow();
            let next = self.waiting.front().filter(|_| self.released).map(|batch| batch.records.len());
            tokio::select! {
                biased;
                deadline = asked(stop) => return Ended::Asked(self.stop(deadline).await),
                () = lost.fallen() => return Ended::Itself(self.lose()),
                () = winding_down.fallen(), if !self.winding_down => self.wind_down(),
                (place, cause) = self.acks.failed(), if self.parked.is_none() => self.park(&place, &cause),
                result = written(&mut self.storing), if self.storing.is_some() => {
                    if let Some(end) = self.stored(result) {
                        return Ended::Itself(end);
                    }
                }
                () = sleep_until(self.schedule.next()), if self.storing.is_none() && !opening => self.store_if_due(),
                event = happens(&mut self.exactly, may_store) => match event {
                    Event::Opened(sending) => {
                        self.decoder.count_from(sending.before);
                        self.epoch = sending.epoch;
                        self.exactly = Some(ExactlyOnce::Open(sending));
                        self.look_at_topic();
                    }
                    Event::Lost => return Ended::Itself(self.lose()),
                    Event::HasToStore => self.store_exactly(),
                    Event::DoubtIsOver => self.end_doubt(),
                    Event::Reshaped => self.look_at_topic(),
                },
                () = self.acks.settled(), if growing => self.store_exactly(),
                () = self.acks.settled(), if at_end && self.storing.is_none() => {
                    match self.finish().await {
                        Ok(end) => return Ended::Itself(end),
                        Err(pause) => {
                            // The children are created again by the next attempt; what exists is left as it is.
                            tokio::select! {
                                biased;
                                () = tokio::time::sleep(pause) => {}
                                deadline = asked(stop) => return Ended::Asked(self.stop(deadline).await),
                            }
                        }
                    }
                }
                room = self.deps.queue.room(next.unwrap_or(1)), if next.is_some() => match room {
                    Some(room) => self.hand_on(room),
                    // The instance is closing: nothing more is handed on, the stop is about to come.
                    None => self.drop_unread(),
                },
                () = at(self.unread_until), if !read_up => self.rest(),
                () = at(self.reopen) => self.open_again(),
                fetched = fetch(&mut self.retrieval), if read_up => match fetched {
                    Ok(fetched) => self.take(fetched),
                    // The retrieval leaves it alone for a moment; it is never answered with LATEST.
                    Err(FetchError::FutureTimestamp) => {}
                    Err(FetchError::Failed(error)) => self.reading_failed(&error),
                },
            }
            self.show();
        }
    }

    fn hand_on(&mut self, room: Room) {
        if let Some(batch) = self.waiting.pop_front() {
            if let Some(sending) = self.exactly.as_mut().and_then(ExactlyOnce::sending)
                && let Some(number) = batch.records.last().and_then(|record| record.sequence)
            {
                sending.handing_on(number, self.deps.clock.millis());
            }
            self.deps.queue.put(room, batch);
        }
        if self.waiting.is_empty() {
            self.facts.handed_on(self.waiting_since.elapsed(), true);
        }
    }

    /// What was read and not handed on is let go of: the next owner, or the next run, reads it again.
    pub(super) fn drop_unread(&mut self) {
        self.cut = true;
        if let Some(exactly) = &mut self.exactly {
            exactly.let_go();
        }
        (self.retrieval, self.answer, self.reopen, self.unread_until) = (None, None, None, None);
        self.waiting.clear();
    }

    /// The instance takes no more: only what a stored checkpoint covers, or is about to, is still handed on.
    fn wind_down(&mut self) {
        self.winding_down = true;
        let ahead = self.deps.guarantee == Guarantee::AtMostOnce && (self.released || self.storing.is_some());
        let covered = if ahead { std::mem::take(&mut self.waiting) } else { VecDeque::new() };
        self.drop_unread();
        self.waiting = covered;
    }

    /// Reading failed beyond the retrieval's own patience: it is opened again behind the last record, after a growing pause.
    fn reading_failed(&mut self, error: &Error) {
        let pause = self.reopen_pause;
        self.reopen_pause = (pause * 2).min(REOPEN.1);
        self.retrieval = None;
        self.reopen = Some(Instant::now() + pause);
        let error = error.clone().context(format_args!("reading shard `{}`", self.lease.shard()));
        warn!(%error, retry_in_ms = pause.as_millis() as u64, "a shard cannot be read");
        self.deps.failures.tell(&error);
    }

    fn open_again(&mut self) {
        self.reopen = None;
        self.retrieval = Some(self.deps.retrieval.open(self.lease.shard(), self.resume.clone(), self.share.clone()));
    }

    /// The publisher is blocked: what the service has pushed meanwhile is not kept on the connection.
    fn rest(&mut self) {
        self.unread_until = None;
        if let Some(retrieval) = &mut self.retrieval {
            retrieval.rest();
        }
    }

    /// Takes an answer over; it is decoded bite by bite as it is handed on.
    fn take(&mut self, fetched: Fetched) {
        let Fetched { records, millis_behind, children, end, reservation } = fetched;
        let now = self.deps.clock.millis();
        self.reopen_pause = REOPEN.0;
        self.look_for_losses(&records, millis_behind == 0 || end, now);
        self.tip_seen_at = (millis_behind == 0).then_some(now);
        self.watch_lag(millis_behind);
        self.place.show(|view| view.millis_behind = Some(millis_behind));
        if let Some(last) = records.last() {
            self.resume = StartAt::After(last.sequence.clone());
        }
        if let (Some(exactly), Some(first)) = (&mut self.exactly, records.first()) {
            exactly.begin(&self.lease, &self.deps, &self.fence, first.sequence.clone());
        }
        let empty = records.is_empty();
        if empty {
            self.facts.processed(0, 0, millis_behind);
        } else {
            self.answer = Some(Undecoded { raws: records.into(), millis_behind, reservation });
            self.unread_until = Some(Instant::now() + UNREAD);
        }
        if end {
            self.retrieval = None;
            self.children = Some(children);
        }
    }

    /// Decodes the next bite of the answer, tracks its records and lines them up for the queue.
    fn decode(&mut self) {
        let Some(mut answer) = self.answer.take() else { return };
        let ahead = self.deps.guarantee == Guarantee::AtMostOnce;
        let limit = if ahead { AHEAD } else { BATCH };
        let mut decoded = Decoded::with_capacity(limit.min(answer.raws.len().max(16)));
        self.decoder.decode(&mut answer.raws, answer.millis_behind, limit, &mut decoded);
        let bytes: u64 = decoded.messages.iter().flatten().map(|record| record.value.len() as u64).sum();
        self.facts.processed(decoded.messages.len() as u64, bytes, answer.millis_behind);
        // The bytes pass from the answer to its records, each freed when it resolves; what is left of the answer stays held.
        self.share.charge(decoded.messages.iter().map(cost).sum());
        answer.reservation.shrink_to(answer.raws.iter().map(RawRecord::cost).sum());
        if !answer.raws.is_empty() || self.decoder.is_in_the_middle() {
            self.answer = Some(answer);
        }
        self.waiting_since = Instant::now();
        self.line_up(decoded);
        if ahead && !self.waiting.is_empty() {
            self.released = false;
            self.store_ahead();
        }
    }

    fn line_up(&mut self, decoded: Decoded) {
        let Decoded { places, messages } = decoded;
        if let Some(last) = places.last() {
            self.last_fetched = Some(last.clone());
        }
        let mut all = self.acks.track(places.into_iter().zip(messages.iter().map(cost)));
        let mut records: Vec<Record> = Vec::with_capacity(messages.len().min(BATCH));
        for message in messages {
            match message {
                // Its number would be another record's.
                Some(record) if record.sequence.is_none() => {
                    self.add(std::mem::take(&mut records), &mut all);
                    all.split_to(1).fail(no_number(&record));
                }
                Some(record) => {
                    records.push(record);
                    if records.len() == BATCH {
                        self.add(std::mem::take(&mut records), &mut all);
                    }
                }
                None => {
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
            let lineage = self.exactly.as_mut().and_then(ExactlyOnce::sending).map(|sending| Arc::clone(&sending.lineage));
            self.waiting.push_back(Batch { lineage, ..Batch::new(self.lease.shard().text().clone(), records, handle) });
        }
    }

    fn look_for_losses(&mut self, records: &[crate::port::RawRecord], at_tip_or_end: bool, now: u64) {
        match self.expiry.look(Decoder::first(records), at_tip_or_end, now) {
            FirstAnswer::Undecided | FirstAnswer::Whole => {}
            FirstAnswer::Moved => self.begin_epoch(),
            FirstAnswer::Expired { from, to } => {
                self.begin_epoch();
                let since = from.map_or_else(|| "the stored checkpoint".to_owned(), instant);
                let sentence = format!(
                    "records of shard `{}` that arrived between {since} and {} may have expired before they were read",
                    self.lease.shard(),
                    instant(to)
                );
                error!(shard = %self.lease.shard(), from = %since, to = %instant(to), "records may have expired before they were read; reading goes on with what is there");
                self.place.lost(sentence);
            }
        }
    }

    /// The record that the stored ordinal belonged to is gone: numbers begin again under the next epoch. In EFFECTIVELY_ONCE that is
    /// decided when the lineage is opened.
    fn begin_epoch(&mut self) {
        if self.exactly.is_none() {
            self.decoder.count_from(0);
            self.epoch += 1;
        }
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
        // What was handed on behind the record is fenced off by its failure; what was not is dropped here.
        let retention = u64::from(self.deps.retention_hours) * 3_600_000;
        self.stand_still(place.position.to_string(), place.arrived_at.map(|arrived| arrived + retention), cause);
    }

    fn stand_still(&mut self, record: String, expires_at: Option<u64>, cause: &Error) {
        self.drop_unread();
        let parked = ParkedShard {
            partition: self.lease.shard().text().clone(),
            record: record.clone(),
            reason: cause.to_string(),
            expires_at,
            waiting_children: self.children.iter().flatten().map(|child| child.id.text().clone()).collect::<Vec<ByteString>>(),
        };
        let expires = expires_at.map(instant);
        error!(shard = %self.lease.shard(), stream = %self.deps.stream, %record, reason = %cause, expires,
            "the shard stands still at this record; a restart tries again");
        self.place.show(|view| view.parked = Some(parked.clone()));
        self.parked = Some(parked);
        let told = format!("shard `{}` of stream `{}` stands still at record `{record}`", self.lease.shard(), self.deps.stream);
        self.deps.failures.tell(&cause.clone().context(told));
    }

    /// The topic may have grown, or be another one.
    pub(super) fn look_at_topic(&mut self) {
        let Some(sending) = self.exactly.as_mut().and_then(ExactlyOnce::sending).filter(|_| self.parked.is_none()) else { return };
        if let Err(cause) = sending.look_at_topic() {
            // What is on its way was numbered for the topic that is gone.
            self.fence.fall();
            self.stand_still(self.lease.checkpoint().to_string(), None, &cause);
        }
    }

    /// The lease is somebody else's: nothing more goes on a wire. What is not known to be published comes again from the new owner,
    /// or in ATMOST_ONCE never.
    pub(super) fn lose(&mut self) -> ShardEnd {
        self.fence.fall();
        self.drop_unread();
        let beyond = self.beyond_checkpoint();
        if self.deps.guarantee == Guarantee::AtMostOnce && beyond > 0 {
            warn!(shard = %self.lease.shard(), records = beyond, "the lease was lost with records checkpointed that may not have been published");
            self.place.lost_records(beyond);
        }
        self.place.show(|view| view.beyond_checkpoint = 0);
        ShardEnd::LeaseLost
    }

    /// ATLEAST_ONCE: records settled or on their way beyond the stored checkpoint. ATMOST_ONCE: records the stored checkpoint
    /// covers that are not known to be settled.
    pub(super) fn beyond_checkpoint(&self) -> u64 {
        self.acks.read(|tracker| match self.deps.guarantee {
            Guarantee::AtLeastOnce | Guarantee::EffectivelyOnce => {
                tracker.settled().saturating_sub(self.stored) + tracker.settled_ahead() + tracker.pending()
            }
            Guarantee::AtMostOnce => self.stored.saturating_sub(tracker.settled() + tracker.settled_ahead()),
        })
    }

    pub(super) fn show(&mut self) {
        let beyond = self.beyond_checkpoint();
        let drained = self.winding_down && self.waiting.is_empty();
        self.place.show(|view| (view.beyond_checkpoint, view.drained) = (beyond, drained));
    }
}

/// Why a record without a number of its own cannot be sent.
fn no_number(record: &Record) -> Error {
    let message =
        format!("record `{}` has no number of its own: 2^39 records of a shard have one, and 2^24 messages of a record", record.label);
    Error::new(ErrorKind::Data, message)
}

/// What a message costs; nothing where there is none.
fn cost(message: &Option<Record>) -> u64 {
    message.as_ref().map_or(0, |record| record.cost() as u64)
}

/// Waits until the moment, or for ever without one.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
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

/// Waits for what happens to the lineage, or for ever without one.
pub(super) async fn happens(exactly: &mut Option<ExactlyOnce>, may_store: bool) -> Event {
    match exactly {
        Some(exactly) => exactly.event(may_store).await,
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
        let lost = self.lease.fence().has_fallen();
        if let Some(sending) = self.exactly.as_mut().and_then(ExactlyOnce::sending) {
            sending.lineage.close();
        }
        if lost && self.deps.guarantee != Guarantee::AtMostOnce {
            // Dropped before it noticed the loss itself: what comes again is the new owner's affair then, too.
            self.place.show(|view| view.beyond_checkpoint = 0);
        }
        self.facts.shut_down(Duration::ZERO, !lost);
        self.deps.facts.release(self.lease.shard());
    }
}
