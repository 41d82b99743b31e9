//! A message as a consumer hands it on.

use bytes::Bytes;
use connector_sdk::{ByteString, MessageId, Properties};
use std::fmt;

/// A consumer of one topic or partition, for as long as its machine lives; its number on the wire too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerId(pub u64);

/// A message's place inside its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchIndex {
    /// From 0.
    pub index: u32,
    /// Messages in the batch.
    pub size: u32,
}

/// What a message is acknowledged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveredId {
    /// Which of the topics or partitions it came from.
    pub consumer: ConsumerId,
    /// The entry; of a message in chunks the last one's.
    pub message: MessageId,
    /// Where it stands in its batch; `None`: alone in its entry.
    pub batch: Option<BatchIndex>,
}

impl fmt::Display for DeliveredId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.batch {
            Some(batch) => write!(f, "{}:{}", self.message, batch.index),
            None => self.message.fmt(f),
        }
    }
}

/// A message. Cheap to clone: payload, keys and names are shared.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What it is acknowledged by.
    pub id: DeliveredId,
    /// The topic or partition it came from, by its full name.
    pub topic: ByteString,
    /// The payload.
    pub payload: Bytes,
    /// The key; one that was marked as Base64 is decoded.
    pub key: Option<Bytes>,
    /// Whether the key was marked as Base64 of bytes.
    pub binary_key: bool,
    /// The key that orders it in `Key_Shared` subscriptions, when it is not the key.
    pub ordering_key: Option<Bytes>,
    /// The properties, in order.
    pub properties: Properties,
    /// Milliseconds since the epoch, as the producer's user says.
    pub event_time: Option<u64>,
    /// Milliseconds since the epoch, by the producer's clock.
    pub publish_time: u64,
    /// Who published it.
    pub producer_name: ByteString,
    /// Its own sequence id, also inside a batch.
    pub sequence_id: i64,
    /// How often it was delivered before, as the broker counts (always 0 in `Exclusive` and `Failover` subscriptions).
    pub redelivery_count: u32,
    /// The version of its schema at the broker.
    pub schema_version: Option<Bytes>,
    /// The payload could not be decrypted and is handed on as it is, a whole batch as one message.
    pub encrypted: bool,
}

impl Message {
    /// What it occupies in the byte budget.
    pub(crate) fn cost(&self) -> usize {
        crate::machine::MESSAGE_COST + self.payload.len() + self.key.as_ref().map_or(0, Bytes::len) + self.properties.size()
    }
}
