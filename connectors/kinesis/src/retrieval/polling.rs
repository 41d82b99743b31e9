//! Polling: GetRecords again and again, as fast as the service allows while behind, at ease at the tip.
//!
//! Bytes are held before each call. A fetch that is dropped half way wastes nothing: its call is waited for by the next. After a
//! lost iterator the next one begins after the last record handed on, or where the reader asked to begin when there was none.

use super::calls::{Answer, ReadError, ShardReads};
use super::cursor::Cursor;
use super::demand::Demand;
use super::trouble::Troubles;
use crate::ids::ShardId;
use crate::metrics::{Facts, ShardFacts};
use crate::port::{FetchError, Fetched, RawRecord, Retrieval, RetrievalMode, StartAt};
use connector_sdk::{Error, Random, Reservation, Share};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Between two calls of one shard: the service allows five a second, counted by its clock; a little is left for the network's jitter.
const SPACING: Duration = Duration::from_millis(205);
/// How long a time in the service's future is left alone before it is asked for again.
const FUTURE_PAUSE: Duration = Duration::from_secs(1);
/// Refused iterators in a row, each made a moment before, after which the reader is told.
const REFUSALS: u32 = 3;

/// How shards are polled.
#[derive(Debug, Clone, Copy)]
pub struct PollingSettings {
    /// Records asked for in one call at most.
    pub max_records: u32,
    /// From one call to the next at the tip.
    pub idle_time_between_reads: Duration,
}

/// Opens shards for polling.
pub struct Polling {
    reads: Arc<dyn ShardReads>,
    settings: PollingSettings,
    facts: Facts,
    random: Random,
}

impl Polling {
    /// Polls through `reads`.
    pub fn new(reads: Arc<dyn ShardReads>, settings: PollingSettings, facts: Facts, random: Random) -> Self {
        Self { reads, settings, facts, random }
    }
}

impl RetrievalMode for Polling {
    fn open(&self, shard: &ShardId, start: StartAt, share: Share) -> Box<dyn Retrieval> {
        Box::new(PolledShard {
            reads: Arc::clone(&self.reads),
            idle: self.settings.idle_time_between_reads.max(SPACING),
            facts: self.facts.shard(shard),
            shard: shard.clone(),
            share,
            cursor: Cursor::new(start),
            iterator: None,
            fresh_refusals: 0,
            demand: Demand::new(self.settings.max_records),
            troubles: Troubles::new(&self.random),
            not_before: None,
            call: None,
            ended: false,
        })
    }
}

struct PolledShard {
    reads: Arc<dyn ShardReads>,
    idle: Duration,
    facts: ShardFacts,
    shard: ShardId,
    share: Share,
    cursor: Cursor,
    iterator: Option<String>,
    fresh_refusals: u32,
    demand: Demand,
    troubles: Troubles,
    not_before: Option<Instant>,
    /// The call that is under way, also when nobody waits for it just now.
    call: Option<Call>,
    ended: bool,
}

/// A GetRecords call that is under way.
struct Call {
    begun: Instant,
    limit: u32,
    answer: BoxFuture<'static, Result<Answer, ReadError>>,
}

impl Retrieval for PolledShard {
    fn fetch(&mut self) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(self.next())
    }
}

impl PolledShard {
    async fn next(&mut self) -> Result<Fetched, FetchError> {
        loop {
            if self.call.is_none() {
                if let Some(moment) = self.not_before {
                    sleep_until(moment).await;
                    self.not_before = None;
                }
                let iterator = match self.iterator.clone() {
                    _ if self.ended => None,
                    None => self.new_iterator().await?,
                    known => known,
                };
                if self.ended {
                    return Ok(self.end(self.share.reserve(0).await));
                }
                let Some(iterator) = iterator else { continue };
                let ask = self.demand.ask(&self.share);
                let reservation = self.share.reserve(ask.bytes).await;
                self.call = Some(self.begin(iterator, ask.limit, reservation));
            }
            let call = self.call.as_mut().expect("one was begun above, or before");
            let answer = call.answer.as_mut().await;
            let (called, limit) = (call.begun, call.limit);
            self.call = None;
            self.facts.get_records(called.elapsed(), answer.is_ok());
            match answer {
                Ok(answer) => {
                    if let Some(fetched) = self.answered(answer, called)? {
                        return Ok(fetched);
                    }
                }
                Err(ReadError::ShardGone) => self.ended = true,
                Err(error) => self.no_answer(error, limit, called)?,
            }
        }
    }

    fn begin(&self, iterator: String, limit: u32, reservation: Reservation) -> Call {
        let (reads, shard) = (Arc::clone(&self.reads), self.shard.clone());
        let answer = async move { reads.records(&shard, &iterator, limit, reservation).await };
        Call { begun: Instant::now(), limit, answer: Box::pin(answer) }
    }

    /// A new iterator; none when it is to be tried again, or the shard is gone.
    async fn new_iterator(&mut self) -> Result<Option<String>, FetchError> {
        let called = Instant::now();
        let given = self.reads.iterator(&self.shard, self.cursor.start()).await;
        self.facts.get_shard_iterator(called.elapsed(), given.is_ok());
        match given {
            Ok(iterator) => {
                self.iterator = Some(iterator.clone());
                return Ok(Some(iterator));
            }
            Err(ReadError::ShardGone) => self.ended = true,
            Err(ReadError::FutureTimestamp) => {
                self.not_before = Some(Instant::now() + FUTURE_PAUSE);
                return Err(FetchError::FutureTimestamp);
            }
            Err(error) => self.no_answer(error, 1, called)?,
        }
        Ok(None)
    }

    /// What becomes of an answer; none when it contradicts itself and is asked for again.
    fn answered(&mut self, answer: Answer, called: Instant) -> Result<Option<Fetched>, FetchError> {
        let Answer { records, next_iterator, millis_behind, children, decoding_cost, mut reservation } = answer;
        let end = next_iterator.is_none();
        if end == children.is_empty() {
            let said = if end { "no next iterator and no child shards" } else { "a next iterator and child shards" };
            let error = Error::transient(format!("`kinesis:GetRecords` on shard `{}` answered with {said} at once", self.shard))
                .with_hint("check that the endpoint is that of the service, or of a stand-in that knows resharding");
            self.fail(error, called)?;
            return Ok(None);
        }
        self.demand.answered(&records, decoding_cost, millis_behind);
        self.troubles.over();
        self.fresh_refusals = 0;
        self.cursor.pass(&records);
        self.iterator = next_iterator;
        self.ended = end;
        self.not_before = (!end).then(|| called + if millis_behind > 0 { SPACING } else { self.idle });
        hold_for(&mut reservation, &records);
        Ok(Some(Fetched { records, millis_behind, children, end, reservation }))
    }

    fn no_answer(&mut self, error: ReadError, limit: u32, called: Instant) -> Result<(), FetchError> {
        match error {
            ReadError::Throttled(asked) => {
                self.facts.throttled();
                let wait = self.troubles.throttled(self.shard.as_str(), asked);
                self.wait(called, wait);
                Ok(())
            }
            ReadError::TooLarge(bytes) => {
                self.demand.too_large(limit, bytes);
                self.wait(called, Duration::ZERO);
                Ok(())
            }
            ReadError::IteratorGone => {
                self.facts.expired_iterator();
                self.iterator = None;
                self.fresh_refusals += 1;
                if self.fresh_refusals > REFUSALS {
                    let error = format!("`kinesis:GetRecords` on shard `{}` refuses each iterator that it has just given", self.shard);
                    return self.fail(Error::transient(error), called);
                }
                // The old iterator may have been used a moment ago: the pace is kept.
                self.wait(called, Duration::ZERO);
                Ok(())
            }
            ReadError::Failed(error) => self.fail(error, called),
            // Neither belongs to polling; a port that says so has failed.
            ReadError::Busy | ReadError::FutureTimestamp | ReadError::ShardGone => {
                self.fail(Error::transient(format!("shard `{}` cannot be read just now", self.shard)), called)
            }
        }
    }

    /// Waits, or tells the reader when patience is at its end; the next fetch then waits a little too.
    fn fail(&mut self, error: Error, called: Instant) -> Result<(), FetchError> {
        match self.troubles.failed(error) {
            Ok(wait) => {
                tracing::debug!(shard = self.shard.as_str(), ?wait, "reading is tried again");
                self.wait(called, wait);
                Ok(())
            }
            Err(error) => {
                self.fresh_refusals = 0;
                self.wait(called, Duration::ZERO);
                Err(FetchError::Failed(error))
            }
        }
    }

    /// Nothing is called before the pace allows it and `wait` from now is over.
    fn wait(&mut self, called: Instant, wait: Duration) {
        self.not_before = Some((called + SPACING).max(Instant::now() + wait));
    }

    /// The shard is gone, or its end is asked for again.
    fn end(&mut self, reservation: Reservation) -> Fetched {
        self.ended = true;
        Fetched { records: Vec::new(), millis_behind: 0, children: Vec::new(), end: true, reservation }
    }
}

/// From what decoding may cost to what the records cost while they are held.
pub(super) fn hold_for(reservation: &mut Reservation, records: &[RawRecord]) {
    let held: u64 = records.iter().map(RawRecord::cost).sum();
    match held.checked_sub(reservation.bytes()) {
        Some(more) => reservation.grow_by(more),
        None => reservation.shrink_to(held),
    }
}

#[cfg(test)]
#[path = "polling_tests.rs"]
mod tests;
