//! A shard in memory that misbehaves on request: what the tests of polling and fan-out read from.
#![allow(clippy::unwrap_used)]

use super::calls::{Answer, Event, ReadError, ShardReads, Subscription, Subscriptions};
use crate::ids::{HashRange, SequenceNumber, ShardId};
use crate::metrics::Facts;
use crate::port::{ChildShard, Encryption, FetchError, Fetched, RawRecord, Retrieval, RetrievalMode, StartAt};
use bytes::Bytes;
use connector_sdk::{Error, Reservation, Share};
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// What goes wrong with one call, or on one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Nothing,
    Throttle,
    LoseIterator,
    /// The connection breaks: before the answer, or after `0` events.
    Break(usize),
    /// No answer and no end.
    Hang,
    /// The service ends the subscription after so many events.
    End(usize),
    /// Nothing more comes after so many events.
    Silence(usize),
    /// An exception arrives after so many events.
    Evicted(usize),
    /// End of the shard said and denied at once.
    Contradict,
    Busy,
    Gone,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) records: Vec<RawRecord>,
    pub(super) closed: bool,
    /// Records in an event, or in an answer, at most.
    pub(super) chunk: usize,
    pub(super) troubles: VecDeque<Trouble>,
    /// When records were asked for, and how many at most.
    pub(super) calls: Vec<(Instant, u32)>,
    /// When subscriptions were asked for, and from where.
    pub(super) subscriptions: Vec<(Instant, StartAt)>,
    pub(super) iterators: u32,
    /// Events that were read.
    pub(super) events: u32,
    /// The service's clock, for times in its future.
    pub(super) now: u64,
}

/// Clones are the same shard.
#[derive(Clone)]
pub(super) struct ScriptedShard(Arc<Mutex<State>>);

impl ScriptedShard {
    /// `sizes.len()` records, with sequence numbers from 1.
    pub(super) fn new(sizes: &[usize], closed: bool) -> Self {
        let records = sizes.iter().enumerate().map(|(index, size)| record(index + 1, *size)).collect();
        Self(Arc::new(Mutex::new(State { records, closed, chunk: 10_000, ..State::default() })))
    }

    pub(super) fn with_troubles(self, troubles: impl IntoIterator<Item = Trouble>) -> Self {
        self.state().troubles.extend(troubles);
        self
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn draw(&self) -> Trouble {
        self.state().troubles.pop_front().unwrap_or(Trouble::Nothing)
    }

    fn index_of(&self, start: &StartAt) -> Result<usize, ReadError> {
        let state = self.state();
        match start {
            StartAt::TrimHorizon => Ok(0),
            StartAt::Timestamp(moment) if *moment > state.now => Err(ReadError::FutureTimestamp),
            StartAt::Timestamp(_) => Ok(0),
            StartAt::Sequence(number) => Ok(number_of(number) - 1),
            StartAt::After(number) => Ok(number_of(number)),
        }
    }

    /// Records from `index`, what is left behind them in milliseconds, and the children if that is the end.
    fn slice(&self, index: usize, limit: usize) -> (Vec<RawRecord>, u64, Vec<ChildShard>) {
        let state = self.state();
        let end = state.records.len().min(index + limit.min(state.chunk));
        let children = if end == state.records.len() && state.closed { children() } else { Vec::new() };
        (state.records[index..end].to_vec(), (state.records.len() - end) as u64, children)
    }
}

pub(super) fn record(number: usize, size: usize) -> RawRecord {
    RawRecord {
        sequence: sequence(number),
        partition_key: Some("key".into()),
        data: Bytes::from(vec![number as u8; size]),
        arrived_at: Some(number as u64),
        encryption: Encryption::None,
    }
}

pub(super) fn sequence(number: usize) -> SequenceNumber {
    SequenceNumber::parse(number.to_string()).unwrap()
}

pub(super) fn number_of(sequence: &SequenceNumber) -> usize {
    sequence.as_str().parse().unwrap()
}

pub(super) fn children() -> Vec<ChildShard> {
    vec![ChildShard { id: "shardId-000000000001".into(), parents: vec![shard_id()], range: HashRange { start: 0, end: u128::MAX } }]
}

pub(super) fn shard_id() -> ShardId {
    "shardId-000000000000".into()
}

pub(super) fn no_facts() -> Facts {
    Facts::new(crate::config::MetricsLevel::None, "worker")
}

fn broken() -> ReadError {
    ReadError::Failed(Error::transient("the connection broke"))
}

fn cost(records: &[RawRecord]) -> u64 {
    records.iter().map(|record| 2 * (200 + record.data.len() as u64 * 4 / 3)).sum::<u64>() + 100
}

impl ShardReads for ScriptedShard {
    fn iterator<'a>(&'a self, _shard: &'a ShardId, start: &'a StartAt) -> BoxFuture<'a, Result<String, ReadError>> {
        Box::pin(async move {
            self.state().iterators += 1;
            match self.draw() {
                Trouble::Throttle => return Err(ReadError::Throttled(None)),
                Trouble::Break(_) => return Err(broken()),
                Trouble::Gone => return Err(ReadError::ShardGone),
                _ => {}
            }
            Ok(self.index_of(start)?.to_string())
        })
    }

    fn records<'a>(
        &'a self,
        _shard: &'a ShardId,
        iterator: &'a str,
        limit: u32,
        mut reservation: Reservation,
    ) -> BoxFuture<'a, Result<Answer, ReadError>> {
        Box::pin(async move {
            self.state().calls.push((Instant::now(), limit));
            let trouble = self.draw();
            sleep(Duration::from_millis(3)).await;
            match trouble {
                Trouble::Throttle => return Err(ReadError::Throttled(None)),
                Trouble::LoseIterator => return Err(ReadError::IteratorGone),
                Trouble::Break(_) => return Err(broken()),
                Trouble::Gone => return Err(ReadError::ShardGone),
                Trouble::Hang => {
                    sleep(Duration::from_secs(30)).await;
                    return Err(broken());
                }
                _ => {}
            }
            let index: usize = iterator.parse().unwrap();
            let (records, millis_behind, mut children) = self.slice(index, limit as usize);
            let decoding_cost = cost(&records);
            let missing = decoding_cost.saturating_sub(reservation.bytes());
            if missing > 0 && !reservation.try_grow_by(missing) {
                return Err(ReadError::TooLarge(decoding_cost));
            }
            let mut next_iterator = children.is_empty().then(|| (index + records.len()).to_string());
            if trouble == Trouble::Contradict {
                // What is on its way must not be handed on, nor be passed over.
                match next_iterator.take() {
                    Some(_) => {}
                    None => children.clear(),
                }
            }
            Ok(Answer { records, next_iterator, millis_behind, children, decoding_cost, reservation })
        })
    }
}

impl Subscriptions for ScriptedShard {
    fn subscribe<'a>(&'a self, _shard: &'a ShardId, start: &'a StartAt) -> BoxFuture<'a, Result<Box<dyn Subscription>, ReadError>> {
        Box::pin(async move {
            self.state().subscriptions.push((Instant::now(), start.clone()));
            let trouble = self.draw();
            sleep(Duration::from_millis(3)).await;
            match trouble {
                Trouble::Throttle => return Err(ReadError::Throttled(None)),
                Trouble::Busy => return Err(ReadError::Busy),
                Trouble::Gone => return Err(ReadError::ShardGone),
                Trouble::Hang => sleep(Duration::from_secs(1000)).await,
                _ => {}
            }
            let index = self.index_of(start)?;
            Ok(Box::new(ScriptedSubscription { shard: self.clone(), index, trouble, events: 0 }) as Box<dyn Subscription>)
        })
    }
}

struct ScriptedSubscription {
    shard: ScriptedShard,
    index: usize,
    trouble: Trouble,
    events: usize,
}

impl Subscription for ScriptedSubscription {
    fn announced(&mut self) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(async {
            match self.trouble {
                Trouble::Break(after) if self.events >= after => return Err(broken()),
                Trouble::End(after) if self.events >= after => return Ok(None),
                Trouble::Evicted(after) if self.events >= after => return Err(ReadError::Busy),
                Trouble::Silence(after) if self.events >= after => std::future::pending().await,
                _ => {}
            }
            let (records, _, children) = self.shard.slice(self.index, usize::MAX);
            if records.is_empty() && children.is_empty() {
                sleep(Duration::from_secs(3)).await;
            }
            Ok(Some(cost(&self.shard.slice(self.index, usize::MAX).0)))
        })
    }

    fn event(&mut self) -> BoxFuture<'_, Result<Option<Event>, ReadError>> {
        Box::pin(async {
            sleep(Duration::from_millis(2)).await;
            self.events += 1;
            self.shard.state().events += 1;
            let (records, millis_behind, mut children) = self.shard.slice(self.index, usize::MAX);
            self.index += records.len();
            let mut continuation = children.is_empty().then(|| sequence(self.index));
            if self.trouble == Trouble::Contradict {
                match continuation.take() {
                    Some(_) => {}
                    None => children.clear(),
                }
            }
            Ok(Some(Event { records, continuation, millis_behind, children }))
        })
    }
}

/// Reads a shard to its end as its reader does: drops waits now and then, opens again after an error. Gives the numbers of the
/// records in the order they came, and the children.
pub(super) async fn read_to_the_end(
    mode: &dyn RetrievalMode,
    start: StartAt,
    share: &Share,
    mut patience: impl FnMut() -> Duration,
) -> (Vec<usize>, Vec<ChildShard>) {
    let mut numbers = Vec::new();
    let mut retrieval = mode.open(&shard_id(), start.clone(), share.clone());
    loop {
        match timeout(patience(), retrieval.fetch()).await {
            Err(_) => {}
            Ok(Ok(Fetched { records, children, end, reservation, .. })) => {
                let held: u64 = records.iter().map(RawRecord::cost).sum();
                assert_eq!(reservation.bytes(), held, "what is held is what the records cost");
                numbers.extend(records.iter().map(|record| number_of(&record.sequence)));
                if end {
                    return (numbers, children);
                }
            }
            Ok(Err(FetchError::FutureTimestamp)) => {}
            Ok(Err(FetchError::Failed(_))) => {
                // As a reader does, and long enough for the pace to hold across both.
                sleep(Duration::from_secs(1)).await;
                let again = numbers.last().map_or_else(|| start.clone(), |last| StartAt::After(sequence(*last)));
                retrieval = mode.open(&shard_id(), again, share.clone());
            }
        }
    }
}

/// Fetches until records come.
pub(super) async fn records_of(retrieval: &mut dyn Retrieval) -> Fetched {
    loop {
        let fetched = retrieval.fetch().await.unwrap();
        if !fetched.records.is_empty() || fetched.end {
            return fetched;
        }
    }
}
