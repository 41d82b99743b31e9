//! The calls by which a shard is read, as a port: the service itself behind it, or a script in a test.
//!
//! Each is one request; nobody behind the port retries.

use crate::ids::{SequenceNumber, ShardId};
use crate::port::{ChildShard, RawRecord, StartAt};
use connector_sdk::{Error, Reservation};
use futures_util::future::BoxFuture;
use std::time::Duration;

/// Why a call gave nothing.
#[derive(Debug, Clone)]
pub enum ReadError {
    /// The service asks for patience, for this long when it said so.
    Throttled(Option<Duration>),
    /// The iterator is too old, or the service does not take it for its own: a new one is needed.
    IteratorGone,
    /// The time asked for lies in the service's future.
    FutureTimestamp,
    /// The shard is not there any more.
    ShardGone,
    /// Another subscription of the same consumer holds the shard, or held it a moment ago.
    Busy,
    /// The answer needs more room than was held and than is free now: so many bytes while it is decoded.
    TooLarge(u64),
    /// Anything else.
    Failed(Error),
}

/// One answer of GetRecords.
#[must_use = "its bytes are held until it is dropped or handed on"]
pub struct Answer {
    /// Records in order.
    pub records: Vec<RawRecord>,
    /// Where to go on; none at the end of a closed shard.
    pub next_iterator: Option<String>,
    /// How far the answer is behind the shard's tip, in milliseconds.
    pub millis_behind: u64,
    /// The children of a closed shard, on its last answer.
    pub children: Vec<ChildShard>,
    /// The most bytes the answer held while it was decoded: what came over the wire and what became of it.
    pub decoding_cost: u64,
    /// The bytes held, as given to the call and perhaps grown.
    pub reservation: Reservation,
}

/// Reading by polling.
pub trait ShardReads: Send + Sync {
    /// GetShardIterator.
    fn iterator<'a>(&'a self, shard: &'a ShardId, start: &'a StartAt) -> BoxFuture<'a, Result<String, ReadError>>;

    /// GetRecords: at most `limit` records. The answer may cost what `reservation` holds, or more where the share has room for it
    /// at that moment; else the call is given up with [`ReadError::TooLarge`]. Dropped, it leaves nothing behind.
    fn records<'a>(
        &'a self,
        shard: &'a ShardId,
        iterator: &'a str,
        limit: u32,
        reservation: Reservation,
    ) -> BoxFuture<'a, Result<Answer, ReadError>>;
}

/// One event of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Records in order; often none.
    pub records: Vec<RawRecord>,
    /// The position after which a later subscription goes on; none at the end of the shard.
    pub continuation: Option<SequenceNumber>,
    /// How far the event is behind the shard's tip, in milliseconds.
    pub millis_behind: u64,
    /// The children of a closed shard, on its last event.
    pub children: Vec<ChildShard>,
}

/// Reading by enhanced fan-out.
pub trait Subscriptions: Send + Sync {
    /// SubscribeToShard. Dropped, the subscription is closed.
    fn subscribe<'a>(&'a self, shard: &'a ShardId, start: &'a StartAt) -> BoxFuture<'a, Result<Box<dyn Subscription>, ReadError>>;
}

/// A subscription that stands. Both waits are cancel-safe.
pub trait Subscription: Send {
    /// Waits until the next event is on its way and gives what it costs while it is decoded; none when the service has ended the
    /// subscription. Reads no further than what announces the event.
    fn announced(&mut self) -> BoxFuture<'_, Result<Option<u64>, ReadError>>;

    /// Reads and decodes what was announced; none when it was not an event of the shard.
    fn event(&mut self) -> BoxFuture<'_, Result<Option<Event>, ReadError>>;
}
