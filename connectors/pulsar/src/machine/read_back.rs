//! Reading a topic back for what some producers have stored in it: the sequence ids of their messages in a range that ends with
//! the last message there was when the reading began.
//!
//! It reads once for all of them, by a subscription of its own that is not durable, and acknowledges nothing. Interruptions continue
//! behind the last entry that was read. A range counts as whole only if that can be seen: the entry it begins with is there (by time:
//! the topic's first message is not younger than the time asked for), and no entry is missing inside a ledger or at its beginning.
//! What cannot be seen is an end of a ledger that was skipped while it was read, and whether what came behind an empty ledger was
//! trimmed as a whole; anything else that is not known counts as gone.
//! An entry that cannot be read, time and again, is an answer; a broker that is away is not.

use super::consumer::Consumer;
use super::flow::Flow;
use super::questions::Seek;
use super::subscription::{Start, Subscription};
use super::{Event, Machine, Now, Trouble};
use crate::message::ConsumerId;
use crate::topic::TopicName;
use crate::wire::frame::FrameError;
use crate::wire::messages::MessageMetadata;
use crate::wire::unpack;
use bytes::Bytes;
use connector_sdk::{Error, ErrorKind, MessageId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that the broker may send ahead.
const BUDGET: usize = 4 << 20;
/// After this long without an entry the broker is asked where it stands.
const PATIENCE: Duration = Duration::from_secs(15);
/// An entry that was damaged this often is so where it is stored.
const DAMAGED: u32 = 5;

/// One reading back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadBackId(pub u64);

/// Where a reading back begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// With this entry, which was stored; an entry below 0 stands for a topic that was empty in that ledger.
    Message(MessageId),
    /// With the first message published at this time (milliseconds since the epoch) or later.
    Time(u64),
    /// With the first message there is.
    Earliest,
    /// Behind the last message there is: only where that stands is wanted.
    End,
}

impl ReadFrom {
    /// The place from which a reading serves both.
    pub fn or_earlier(self, other: Self) -> Self {
        match (self, other) {
            (Self::End, place) | (place, Self::End) => place,
            (Self::Message(one), Self::Message(other)) => Self::Message(one.min(other)),
            (Self::Time(one), Self::Time(other)) => Self::Time(one.min(other)),
            // A place and a time cannot be compared.
            _ => Self::Earliest,
        }
    }
}

/// What was read back.
#[derive(Debug, Clone, Default)]
pub struct ReadBack {
    /// The sequence ids of each producer's messages, sorted, each once; or why those of this one cannot be told.
    found: BTreeMap<String, Result<Vec<u64>, Error>>,
    /// The first entry behind which none is missing.
    since: Option<MessageId>,
    /// Whether the last entry was reached, and for a time: whether the range goes as far back.
    whole: bool,
    /// Whether an entry is missing somewhere.
    broken: bool,
    /// The last entry as of opening.
    last: Option<MessageId>,
    /// Where the topic ended as of opening; an entry below 0: it was empty, in that ledger. None: the broker does not say.
    pub end: Option<MessageId>,
}

impl ReadBack {
    /// The sequence ids that this producer has stored in the range, sorted, each once.
    ///
    /// # Errors
    /// They are in batches that nobody but a reader with the private key can open.
    pub fn take(&mut self, name: &str) -> Result<Vec<u64>, Error> {
        self.found.remove(name).unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Whether everything from there to the end was read; `false`: some of it is gone, or that cannot be excluded.
    pub fn covers(&self, from: ReadFrom) -> bool {
        let ReadFrom::Message(from) = from else { return self.whole && !self.broken };
        let begins = match self.since {
            // An empty topic that is empty still.
            None => from.entry < 0 && self.last.is_none(),
            Some(since) if from.entry < 0 => since <= from || (since.entry == 0 && since.ledger >= from.ledger),
            Some(since) => since <= from,
        };
        let ends = from.entry < 0 || self.last.is_some_and(|last| from <= last);
        self.whole && begins && ends
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// By time: is the first message there is older?
    FirstLook,
    Reading,
}

/// An entry's metadata and payload, or what is wrong with them.
type Opened = Result<(MessageMetadata, Bytes), FrameError>;

/// A reading's state.
#[derive(Debug)]
pub(super) struct Reading {
    /// What it has come to so far.
    read: ReadBack,
    from: ReadFrom,
    stage: Stage,
    /// Whether the end was asked for.
    ended: bool,
    /// The last entry read in order.
    at: Option<MessageId>,
    /// How often the entry behind `at` could not be read.
    damaged: u32,
    /// When something was last heard of the entries.
    heard: Option<Instant>,
    /// The broker was asked and nothing came since.
    asked: bool,
}

impl Reading {
    /// What the broker may send.
    pub(super) fn grant(&mut self, now: Now, flow: &mut Flow) -> Option<u32> {
        if !self.ended {
            return None;
        }
        if self.heard.is_none() {
            self.heard = Some(now.at);
        }
        flow.grant(usize::MAX)
    }

    /// When the broker is asked where it stands.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.heard.map(|heard| heard + PATIENCE)
    }

    pub(super) fn resubscribed(&mut self) {
        self.heard = None;
        self.asked = false;
    }

    /// Whether nothing is missing between the entry read last and this one, as far as that can be seen.
    fn follows(&self, id: MessageId) -> bool {
        self.at.is_some_and(|at| if id.ledger == at.ledger { at.entry.checked_add(1) == Some(id.entry) } else { id.entry == 0 })
    }

    /// Takes the ids out of an entry, if it is of a producer that is looked for.
    fn collect(&mut self, topic: &TopicName, id: MessageId, metadata: &MessageMetadata, payload: Bytes) -> Result<(), FrameError> {
        let Some(known) = self.read.found.get_mut(&metadata.producer_name) else { return Ok(()) };
        let Ok(found) = known else { return Ok(()) };
        let first = metadata.sequence_id;
        let Some(count) = metadata.num_messages_in_batch else {
            // Of a message in chunks the last one makes it whole.
            let whole = metadata.num_chunks_from_msg.is_none_or(|chunks| metadata.chunk_id.unwrap_or(0) + 1 >= chunks);
            found.extend(u64::try_from(first).ok().filter(|_| whole));
            return Ok(());
        };
        if !metadata.encryption_keys.is_empty() {
            // As many ids as messages between the lowest and the highest: then it is these.
            let highest = metadata.highest_sequence_id.unwrap_or(first);
            if highest.checked_sub(first).and_then(|more| more.checked_add(1)) == Some(i64::from(count)) {
                found.extend((first..=highest).filter_map(|id| u64::try_from(id).ok()));
            } else {
                *known = Err(encrypted(topic, id));
            }
            return Ok(());
        }
        let payload = unpack::inflate(metadata, payload)?;
        let mut ids = Vec::with_capacity(usize::try_from(count).unwrap_or_default().min(payload.len()));
        for (single, index) in unpack::batched(payload, count).zip(0..) {
            let (single, _) = single?;
            ids.extend(u64::try_from(single.sequence_id.unwrap_or(first.saturating_add(index))).ok());
        }
        found.append(&mut ids);
        Ok(())
    }
}

fn encrypted(topic: &TopicName, id: MessageId) -> Error {
    Error::new(ErrorKind::Data, format!("reading `{topic}` back: the sequence ids inside the encrypted batch {id} cannot be read"))
        .with_hint("the ids in it have gaps, and only their lowest and highest are in clear")
}

impl Machine {
    /// Reads back which sequence ids producers of these names have stored in a topic (one that is not partitioned, or one partition),
    /// from a place to the end as of now; the answer is [`Event::ReadBack`]. It waits for a cluster that cannot be reached, saying so
    /// by [`Event::Trouble`].
    pub fn read_back(&mut self, now: Now, topic: TopicName, from: ReadFrom, names: impl IntoIterator<Item = String>) -> ReadBackId {
        let (start, stage) = match from {
            // Everything there is came after it.
            ReadFrom::Message(id) if id.entry < 0 => (Start::Earliest, Stage::Reading),
            ReadFrom::Message(id) => (Start::Message { id, index: None, inclusive: true }, Stage::Reading),
            ReadFrom::Time(_) => (Start::Earliest, Stage::FirstLook),
            ReadFrom::Earliest => (Start::Earliest, Stage::Reading),
            ReadFrom::End => (Start::Latest, Stage::Reading),
        };
        let subscription = Subscription {
            durable: false,
            start,
            create_topic: false,
            budget: BUDGET,
            ..Subscription::new(format!("read-back-{:016x}", self.random.u64(..)))
        };
        let mut consumer = Consumer::new(topic, Arc::new(subscription), &self.settings);
        consumer.last = Some(super::questions::Question::default());
        let found = names.into_iter().map(|name| (name, Ok(Vec::new()))).collect();
        consumer.reading = Some(Box::new(Reading {
            read: ReadBack { found, whole: true, ..ReadBack::default() },
            from,
            stage,
            ended: false,
            at: None,
            damaged: 0,
            heard: None,
            asked: false,
        }));
        ReadBackId(self.add_consumer(now, consumer).0)
    }

    /// The answer to where the topic ends, and where the broker's cursor stands.
    pub(super) fn read_back_end(&mut self, now: Now, id: ConsumerId, answer: MessageId, cursor: Option<MessageId>) {
        let last = Some(answer).filter(|last| last.entry >= 0);
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let Some(reading) = &mut consumer.reading else { return };
        if !std::mem::replace(&mut reading.ended, true) {
            reading.read.last = last;
            // Of an empty topic the broker tells no last message; its cursor stands before the first one that will be.
            reading.read.end = Some(answer).filter(|end| end.ledger >= 0).or(cursor.filter(|cursor| cursor.ledger >= 0));
            if reading.from == ReadFrom::End {
                return self.end_reading(id);
            }
            let from_is_there = match reading.from {
                ReadFrom::Message(from) => from.entry < 0 || last.is_some_and(|last| from <= last),
                // An empty topic may be new, or trimmed.
                ReadFrom::Time(_) => last.is_some(),
                ReadFrom::Earliest | ReadFrom::End => true,
            };
            reading.read.whole = from_is_there;
            if last.is_none() || !from_is_there {
                return self.end_reading(id);
            }
        } else if cursor.is_some_and(|cursor| Some(cursor) >= reading.read.last) || last < reading.read.last {
            // Where the cursor was sought there is nothing behind; else somebody moved it, or deleted what was to be read.
            let sought = reading.at.is_none() && reading.stage == Stage::Reading && matches!(reading.from, ReadFrom::Time(_));
            reading.read.whole &= sought && last >= reading.read.last;
            return self.end_reading(id);
        }
        self.drive(now, id);
    }

    /// An entry of the range.
    pub(super) fn read_back_entry(&mut self, now: Now, id: ConsumerId, message: MessageId, opened: Opened) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let topic = &consumer.topic;
        let Some(reading) = &mut consumer.reading else { return };
        if !reading.ended || reading.at.is_some_and(|at| message <= at) {
            return;
        }
        reading.heard = Some(now.at);
        reading.asked = false;
        let read = opened.and_then(|(metadata, payload)| reading.collect(topic, message, &metadata, payload).map(|()| metadata));
        let metadata = match read {
            Ok(metadata) => metadata,
            Err(damage) => {
                // Perhaps only on its way: it is read again.
                let error = Error::transient(format!("reading `{topic}` back: entry {message}: {damage}"));
                reading.damaged += 1;
                if reading.damaged >= DAMAGED {
                    return self.end_read_back(id, Err(error));
                }
                return self.interrupt_consumer(now, id, Some(Trouble::from(error)), None);
            }
        };
        reading.damaged = 0;
        if !reading.follows(message) {
            reading.read.broken |= reading.at.is_some();
            reading.read.since = Some(message);
        }
        if reading.stage == Stage::FirstLook
            && let ReadFrom::Time(time) = reading.from
        {
            reading.stage = Stage::Reading;
            // The first message is younger: what was before it, if anything, is gone; all that is left is to be read.
            reading.read.whole &= metadata.publish_time <= time;
            if reading.read.whole && Some(message) < reading.read.last {
                consumer.start = Start::Time(time);
                consumer.seek = Some(Seek::new(consumer.start, false));
                // Behind the seek nothing may be left to read: then the cursor says so.
                consumer.last = Some(super::questions::Question::default());
                reading.read.since = None;
                return self.drive(now, id);
            }
        }
        reading.at = Some(message);
        consumer.start = Start::Message { id: message, index: None, inclusive: false };
        if Some(message) >= reading.read.last {
            return self.end_reading(id);
        }
        self.grant(now, id);
    }

    /// Entries that do not come: does the broker still mean to send them?
    pub(super) fn tick_read_back(&mut self, now: Now, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let Some(reading) = &mut consumer.reading else { return };
        let Some(deadline) = reading.deadline() else { return };
        if now.at < deadline {
            return self.wake_at(deadline);
        }
        reading.heard = Some(now.at);
        if std::mem::replace(&mut reading.asked, true) {
            let error = Error::transient(format!("reading `{}` back: the broker sends nothing", consumer.topic));
            return self.interrupt_consumer(now, id, Some(error.into()), None);
        }
        self.ask_last(now, id);
    }

    /// Nobody wants to know any more.
    pub fn drop_read_back(&mut self, id: ReadBackId) {
        self.close_consumer(ConsumerId(id.0));
    }

    fn end_reading(&mut self, id: ConsumerId) {
        let Some(reading) = self.consumers.get_mut(&id).and_then(|consumer| consumer.reading.as_deref_mut()) else { return };
        let mut read = std::mem::take(&mut reading.read);
        for ids in read.found.values_mut().flatten() {
            ids.sort_unstable();
            ids.dedup();
        }
        self.end_read_back(id, Ok(read));
    }

    pub(super) fn end_read_back(&mut self, id: ConsumerId, outcome: Result<ReadBack, Error>) {
        self.close_consumer(id);
        self.event(Event::ReadBack { id: ReadBackId(id.0), outcome });
    }
}
