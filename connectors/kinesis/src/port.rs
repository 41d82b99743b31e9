//! What this crate asks of Kinesis, as a port: the service itself behind it, or a simulator in the same process.
//!
//! Each call is one request (a listing: all its pages); nobody behind the port retries. Back-off, deadlines across calls and what
//! an error means for a shard belong to the callers.

use crate::ids::{HashRange, SequenceNumber, ShardId};
use bytes::Bytes;
use bytestring::ByteString;
use connector_sdk::{Error, Reservation, Share};
use futures_util::future::BoxFuture;

/// A stream, as described by the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDescription {
    /// Its name.
    pub name: ByteString,
    /// Its ARN.
    pub arn: ByteString,
    /// When it was created, in milliseconds since the epoch; tells a re-created stream from the old one.
    pub created_at: u64,
    /// How long records are kept, in hours.
    pub retention_hours: u32,
    /// The service's clock at the answer, in milliseconds (whole seconds, rounded down); none without a `Date` header.
    pub answered_at: Option<u64>,
}

/// A shard, as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// The hash keys it covers.
    pub range: HashRange,
    /// Its parent, after a split or a merge.
    pub parent: Option<ShardId>,
    /// Its second parent, after a merge.
    pub adjacent_parent: Option<ShardId>,
    /// Its first possible sequence number.
    pub starts_at: SequenceNumber,
    /// Whether it is closed (an ending sequence number is known).
    pub closed: bool,
}

impl Shard {
    /// Its parents: none, one, or two.
    pub fn parents(&self) -> impl Iterator<Item = &ShardId> {
        self.parent.iter().chain(&self.adjacent_parent)
    }
}

/// A listing and when the service made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardList {
    /// The shards, in the service's order.
    pub shards: Vec<Shard>,
    /// The service's clock at the first page's answer, in milliseconds (whole seconds, rounded down); none without a `Date` header.
    pub answered_at: Option<u64>,
}

/// Which shards to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardFilter {
    /// All that are still known.
    All,
    /// Those open now.
    AtLatest,
    /// Those open at the oldest record: they tile the hash space.
    AtTrimHorizon,
    /// Those open at an instant, in milliseconds since the epoch.
    AtTimestamp(u64),
}

/// Where a shard is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest record.
    TrimHorizon,
    /// The first record that arrived at or after this instant, in milliseconds since the epoch.
    Timestamp(u64),
    /// This record itself.
    Sequence(SequenceNumber),
    /// What follows this record.
    After(SequenceNumber),
}

/// How the service encrypts a record at rest. What is read is always clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all.
    None,
    /// By a KMS key.
    Kms,
}

/// One Kinesis record as it came, before de-aggregation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// Its sequence number.
    pub sequence: SequenceNumber,
    /// Its partition key; none where the service chose the shard itself and the producer gave no key.
    pub partition_key: Option<ByteString>,
    /// Its payload.
    pub data: Bytes,
    /// When it arrived, in milliseconds since the epoch; none when the service did not say.
    pub arrived_at: Option<u64>,
    /// How it was encrypted at rest.
    pub encryption: Encryption,
}

impl RawRecord {
    /// Bytes it is charged for while it is held undecoded.
    pub fn cost(&self) -> u64 {
        let key = self.partition_key.as_ref().map_or(0, |key| key.len());
        (self.data.len() + key + self.sequence.as_str().len()) as u64 + 160
    }
}

/// A child shard, as named by the last answer of its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildShard {
    /// Its id.
    pub id: ShardId,
    /// One parent, or both of a merge.
    pub parents: Vec<ShardId>,
    /// The hash keys it covers.
    pub range: HashRange,
}

/// One answer of a shard.
#[must_use = "its bytes are held until it is dropped or handed on"]
pub struct Fetched {
    /// Records in order; may be none.
    pub records: Vec<RawRecord>,
    /// How far the answer is behind the shard's tip, in milliseconds; 0 at the tip.
    pub millis_behind: u64,
    /// The shard's children: non-empty exactly on the last answer of a closed shard.
    pub children: Vec<ChildShard>,
    /// Whether the shard has ended (or is gone without a trace: then there are no children).
    pub end: bool,
    /// The bytes held of the shard's share for these records.
    pub reservation: Reservation,
}

/// Why a shard's reading stopped.
#[derive(Debug, Clone)]
pub enum FetchError {
    /// The time asked for lies in the service's future: wait, never skip.
    FutureTimestamp,
    /// Anything else, after the retrieval's own retries made no sense; the caller opens again with back-off.
    Failed(Error),
}

/// A shard being read: polled or pushed, the same to its reader.
pub trait Retrieval: Send {
    /// The next answer. Cancel-safe. Throttling, expired iterators, the end of a subscription and broken connections are this
    /// trait's own business and never skip or repeat a record.
    fn fetch(&mut self) -> BoxFuture<'_, Result<Fetched, FetchError>>;

    /// Nothing will be fetched for a while: what stands unread on a connection is let go of. The next fetch goes on behind the last
    /// answer.
    fn rest(&mut self) {}
}

/// Opens shards for reading; knows whether by polling or by enhanced fan-out.
pub trait RetrievalMode: Send + Sync {
    /// Begins to read `shard` at `start`; what is fetched is charged to `share`. Reaches the network only at the first fetch.
    fn open(&self, shard: &ShardId, start: StartAt, share: Share) -> Box<dyn Retrieval>;
}

/// The calls on the stream as a whole that the coordination of workers needs.
pub trait StreamApi: Send + Sync {
    /// DescribeStreamSummary.
    fn describe(&self) -> BoxFuture<'_, Result<StreamDescription, Error>>;

    /// ListShards, all pages.
    fn list_shards(&self, filter: ShardFilter) -> BoxFuture<'_, Result<ShardList, Error>>;
}
