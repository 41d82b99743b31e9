//! Enhanced fan-out: the service pushes; one subscription a shard, renewed where it ended.
//!
//! The service cannot be asked for less, so each event is charged when its head has arrived and before the rest of it is read; while
//! the budget is spent nothing more is read. A subscription that stands unread for too long is given up, and made again after the
//! last number it delivered, when there is room for what was announced. What a subscription may hold uncharged is what its
//! connection buffers: its own window over HTTP/2 (2 MiB), about 400 KiB over HTTP/1.1; for as long as it may stand unread.
//!
//! The watchdog on a silent subscription counts only time in which it was being read. A fetch that is dropped keeps all that has
//! arrived and all that was asked for.

use super::calls::{Event, ReadError, Subscription, Subscriptions};
use super::cursor::Cursor;
use super::polling::hold_for;
use super::trouble::{Contention, Troubles};
use crate::ids::ShardId;
use crate::metrics::{Facts, ShardFacts};
use crate::port::{FetchError, Fetched, Retrieval, RetrievalMode, StartAt};
use connector_sdk::{Error, Random, Reservation, Share};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// How long a time in the service's future is left alone before it is asked for again.
const FUTURE_PAUSE: Duration = Duration::from_secs(1);
/// The pause before a reader that was told of a failure may ask again.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// How patient subscriptions are.
#[derive(Debug, Clone, Copy)]
pub struct FanOutSettings {
    /// Longest wait for the answer to a subscription.
    pub subscribe_timeout: Duration,
    /// A subscription on which nothing has come for so long, while it was being read, is dead. The service sends an empty event
    /// every few seconds.
    pub silence: Duration,
    /// How long a subscription may stand unread for want of room.
    pub unread: Duration,
}

impl Default for FanOutSettings {
    fn default() -> Self {
        Self { subscribe_timeout: Duration::from_secs(15), silence: Duration::from_secs(60), unread: Duration::from_secs(5) }
    }
}

/// Opens shards for enhanced fan-out.
pub struct FanOut {
    subscriptions: Arc<dyn Subscriptions>,
    settings: FanOutSettings,
    facts: Facts,
    random: Random,
}

impl FanOut {
    /// Subscribes through `subscriptions`.
    pub fn new(subscriptions: Arc<dyn Subscriptions>, settings: FanOutSettings, facts: Facts, random: Random) -> Self {
        Self { subscriptions, settings, facts, random }
    }
}

impl RetrievalMode for FanOut {
    fn open(&self, shard: &ShardId, start: StartAt, share: Share) -> Box<dyn Retrieval> {
        Box::new(SubscribedShard {
            subscriptions: Arc::clone(&self.subscriptions),
            settings: self.settings,
            facts: self.facts.shard(shard),
            subscribed: false,
            shard: shard.clone(),
            share,
            cursor: Cursor::new(start),
            troubles: Troubles::new(&self.random),
            contention: Contention::new(&self.random),
            subscribing: None,
            stream: None,
            held: None,
            wanted: None,
            not_before: None,
            ended: false,
        })
    }
}

struct SubscribedShard {
    subscriptions: Arc<dyn Subscriptions>,
    settings: FanOutSettings,
    facts: ShardFacts,
    /// Whether a subscription has stood before.
    subscribed: bool,
    shard: ShardId,
    share: Share,
    cursor: Cursor,
    troubles: Troubles,
    contention: Contention,
    /// The call that is under way, also when nobody waits for it just now.
    subscribing: Option<BoxFuture<'static, Result<Box<dyn Subscription>, ReadError>>>,
    stream: Option<Stream>,
    /// Bytes held for the event that is announced, or wanted before a new subscription.
    held: Option<Reservation>,
    /// What must be held before the next subscription: the cost of the event for which the last one was given up.
    wanted: Option<u64>,
    not_before: Option<Instant>,
    ended: bool,
}

/// A subscription and how it stands.
struct Stream {
    subscription: Box<dyn Subscription>,
    /// What the event that is on its way costs.
    announced: Option<u64>,
    /// Since when there has been no room for it.
    unread_since: Option<Instant>,
    /// Time spent reading since anything came.
    silent: Duration,
    /// Whether nothing of the shard has come yet.
    fresh: bool,
}

impl Retrieval for SubscribedShard {
    fn fetch(&mut self) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(self.next())
    }

    fn rest(&mut self) {
        self.wanted = self.stream.as_ref().and_then(|stream| stream.announced).or(self.wanted);
        (self.stream, self.subscribing, self.held) = (None, None, None);
    }
}

impl SubscribedShard {
    async fn next(&mut self) -> Result<Fetched, FetchError> {
        loop {
            if let Some(moment) = self.not_before {
                sleep_until(moment).await;
                self.not_before = None;
            }
            if self.ended {
                return Ok(self.end().await);
            }
            let step = match &self.stream {
                None => self.subscribe().await,
                Some(_) => self.read().await,
            };
            match step {
                Ok(Step::Fetched(fetched)) => return Ok(fetched),
                Ok(Step::On) => {}
                Err(ReadError::ShardGone) => return Ok(self.end().await),
                Err(error) => self.failed(error)?,
            }
        }
    }

    async fn subscribe(&mut self) -> Result<Step, ReadError> {
        if self.subscribing.is_none() {
            if let Some(cost) = self.wanted {
                self.held = None;
                self.held = Some(self.share.reserve(cost).await);
                self.wanted = None;
            }
            self.subscribing = Some(self.begin());
        }
        let subscribing = self.subscribing.as_mut().expect("one was begun above, or before");
        let answer = subscribing.as_mut().await;
        self.subscribing = None;
        let subscription = answer?;
        if std::mem::replace(&mut self.subscribed, true) {
            self.facts.resubscribed();
        }
        self.stream = Some(Stream { subscription, announced: None, unread_since: None, silent: Duration::ZERO, fresh: true });
        Ok(Step::On)
    }

    fn begin(&self) -> BoxFuture<'static, Result<Box<dyn Subscription>, ReadError>> {
        let (subscriptions, shard, start) = (Arc::clone(&self.subscriptions), self.shard.clone(), self.cursor.start().clone());
        let (allowed, late) = (self.settings.subscribe_timeout, self.error("was not answered in time"));
        Box::pin(async move {
            let answer = timeout(allowed, subscriptions.subscribe(&shard, &start)).await;
            answer.unwrap_or(Err(ReadError::Failed(late)))
        })
    }

    /// One step on the subscription: the head of an event, and when there is room for it, the event.
    async fn read(&mut self) -> Result<Step, ReadError> {
        let Some(stream) = &mut self.stream else { return Ok(Step::On) };
        let cost = match stream.announced {
            Some(cost) => cost,
            None => match watched(&mut stream.silent, self.settings.silence, stream.subscription.announced()).await {
                Some(announced) => match announced? {
                    Some(cost) => *stream.announced.insert(cost),
                    None if stream.fresh => return Err(ReadError::Failed(self.error("was ended before anything came"))),
                    None => {
                        // The service ends each subscription after five minutes.
                        self.stream = None;
                        return Ok(Step::On);
                    }
                },
                None => return Err(ReadError::Failed(self.error("was silent for too long"))),
            },
        };
        if !self.held.as_mut().is_some_and(|held| held.bytes() >= cost || held.try_grow_by(cost - held.bytes())) {
            self.held = None;
            let since = *stream.unread_since.get_or_insert_with(Instant::now);
            match timeout_at(since + self.settings.unread, self.share.reserve(cost)).await {
                Ok(reservation) => self.held = Some(reservation),
                Err(_) => {
                    tracing::debug!(shard = self.shard.as_str(), "subscription given up until there is room for what it brings");
                    self.wanted = Some(cost);
                    self.stream = None;
                    return Ok(Step::On);
                }
            }
        }
        stream.unread_since = None;
        let event = match watched(&mut stream.silent, self.settings.silence, stream.subscription.event()).await {
            Some(event) => event?,
            None => return Err(ReadError::Failed(self.error("fell silent in the middle of an event"))),
        };
        stream.announced = None;
        match event {
            Some(event) => self.delivered(event).map(Step::Fetched),
            None => Ok(Step::On),
        }
    }

    fn delivered(&mut self, event: Event) -> Result<Fetched, ReadError> {
        let Event { records, continuation, millis_behind, children } = event;
        let end = continuation.is_none();
        if end == children.is_empty() {
            let said = if end { "brought neither a continuation nor child shards" } else { "brought a continuation and child shards" };
            return Err(ReadError::Failed(
                self.error(said).with_hint("check that the endpoint is that of the service, or of a stand-in that knows resharding"),
            ));
        }
        self.troubles.over();
        self.contention.over();
        match continuation {
            Some(number) => self.cursor.pass_to(number),
            None => self.cursor.pass(&records),
        }
        self.ended = end;
        if end {
            self.stream = None;
        } else if let Some(stream) = &mut self.stream {
            (stream.fresh, stream.silent) = (false, Duration::ZERO);
        }
        let mut reservation = self.held.take().expect("an event is read only while its bytes are held");
        hold_for(&mut reservation, &records);
        Ok(Fetched { records, millis_behind, children, end, reservation })
    }

    /// Gives the subscription up; waits, or tells the reader.
    fn failed(&mut self, error: ReadError) -> Result<(), FetchError> {
        self.stream = None;
        self.held = None;
        let now = Instant::now();
        let wait = match error {
            ReadError::FutureTimestamp => {
                self.not_before = Some(now + FUTURE_PAUSE);
                return Err(FetchError::FutureTimestamp);
            }
            ReadError::Busy => self.contention.refused(self.shard.as_str()),
            ReadError::Throttled(asked) => {
                self.facts.throttled();
                self.troubles.throttled(self.shard.as_str(), asked)
            }
            ReadError::Failed(error) => match self.troubles.failed(error) {
                Ok(wait) => wait,
                Err(error) => {
                    self.not_before = Some(now + AFTER_FAILURE);
                    return Err(FetchError::Failed(error));
                }
            },
            // None of these belongs to fan-out; a port that says so has failed.
            ReadError::IteratorGone | ReadError::TooLarge(_) | ReadError::ShardGone => AFTER_FAILURE,
        };
        tracing::debug!(shard = self.shard.as_str(), ?wait, "subscribing again");
        self.not_before = Some(now + wait);
        Ok(())
    }

    fn error(&self, what: &str) -> Error {
        Error::transient(format!("`kinesis:SubscribeToShard` on shard `{}` {what}", self.shard))
    }

    /// The shard is gone, or its end is asked for again.
    async fn end(&mut self) -> Fetched {
        self.ended = true;
        self.stream = None;
        self.held = None;
        let reservation = self.share.reserve(0).await;
        Fetched { records: Vec::new(), millis_behind: 0, children: Vec::new(), end: true, reservation }
    }
}

enum Step {
    Fetched(Fetched),
    On,
}

/// Reads for as long as silence is allowed, less what it has lasted; none when that is over. Time counts only while this is awaited.
async fn watched<T>(silent: &mut Duration, allowed: Duration, reading: impl Future<Output = T>) -> Option<T> {
    struct Counted<'a>(Instant, &'a mut Duration);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            *self.1 += self.0.elapsed();
        }
    }
    let left = allowed.saturating_sub(*silent);
    let counted = Counted(Instant::now(), silent);
    let read = timeout(left, reading).await.ok();
    drop(counted);
    if read.is_some() {
        *silent = Duration::ZERO;
    }
    read
}

#[cfg(test)]
#[path = "fan_out_tests.rs"]
mod tests;
