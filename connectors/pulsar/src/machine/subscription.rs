//! What a consumer asks for: which subscription, from where, and how it acknowledges.

use crate::crypto::{ConsumerCryptoFailureAction, Decrypt};
use crate::wire::consume::subscription_type;
use connector_sdk::MessageId;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How the consumers of one subscription share its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SubscriptionType {
    /// One consumer has all.
    #[default]
    Exclusive,
    /// Each message goes to any one of them.
    Shared,
    /// One has all, the others stand by.
    Failover,
    /// Each key's messages go to one of them, in order.
    KeyShared,
}

impl SubscriptionType {
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Exclusive => subscription_type::EXCLUSIVE,
            Self::Shared => subscription_type::SHARED,
            Self::Failover => subscription_type::FAILOVER,
            Self::KeyShared => subscription_type::KEY_SHARED,
        }
    }

    /// Whether messages are acknowledged and delivered again one by one.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Shared | Self::KeyShared)
    }
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first message there is.
    Earliest,
    /// Behind the last message there is.
    Latest,
    /// At a message.
    Message {
        /// Its entry.
        id: MessageId,
        /// Its place in a batch; `None`: the whole entry.
        index: Option<u32>,
        /// Whether it is read itself.
        inclusive: bool,
    },
    /// At the first message that was published at this time (milliseconds since the epoch) or later.
    Time(u64),
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("the earliest message"),
            Self::Latest => f.write_str("the latest message"),
            Self::Message { id, .. } => write!(f, "message {id}"),
            Self::Time(time) => write!(f, "publish time {time}"),
        }
    }
}

/// What a consumer asks for.
#[derive(Clone)]
pub struct Subscription {
    /// The subscription's name.
    pub name: String,
    /// How it is shared.
    pub kind: SubscriptionType,
    /// Whether the broker keeps what was acknowledged. Without it the consumer is a reader: it goes on behind what was taken.
    pub durable: bool,
    /// Where a new durable subscription begins ([`Start::Earliest`] or [`Start::Latest`]), or where a reader does.
    pub start: Start,
    /// Shown in the topic's statistics; decides who is active in `Failover`.
    pub consumer_name: Option<String>,
    /// Shown in the topic's statistics.
    pub properties: Vec<(String, String)>,
    /// Only the newest message of each key.
    pub read_compacted: bool,
    /// Whether a topic that is not there may be created.
    pub create_topic: bool,
    /// Whether the broker acknowledges messages inside batches (`acknowledgmentAtBatchIndexLevelEnabled`).
    pub batch_index_acks: bool,
    /// Messages delivered and not acknowledged, at most, before no more are asked for.
    pub most_unacknowledged: usize,
    /// Acknowledgements are collected for this long.
    pub ack_delay: Duration,
    /// Acknowledgements sent together, at most.
    pub ack_group: usize,
    /// After this a message that was negatively acknowledged is asked for again; doubled with each redelivery.
    pub nack_first: Duration,
    /// The longest of these delays.
    pub nack_cap: Duration,
    /// Bytes delivered and not taken, at most, as far as sizes can be foreseen.
    pub budget: usize,
    /// What decrypts.
    pub decrypt: Option<Arc<dyn Decrypt>>,
    /// What is done with what cannot be decrypted.
    pub crypto_failure: ConsumerCryptoFailureAction,
}

impl Subscription {
    /// A durable, exclusive subscription from the latest message on.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: SubscriptionType::Exclusive,
            durable: true,
            start: Start::Latest,
            consumer_name: None,
            properties: Vec::new(),
            read_compacted: false,
            create_topic: true,
            batch_index_acks: false,
            most_unacknowledged: 50_000,
            ack_delay: Duration::from_millis(100),
            ack_group: 1_000,
            nack_first: Duration::from_secs(1),
            nack_cap: Duration::from_secs(600),
            budget: 16 << 20,
            decrypt: None,
            crypto_failure: ConsumerCryptoFailureAction::Fail,
        }
    }
}
