//! From a MESSAGE to messages: is it for us, is it whole, what of it is wanted.
//!
//! Order: the consumer and its epoch, checksum, metadata, decryption, chunks, decompression, and then the messages. What is
//! damaged is acknowledged as damaged and said; it is never handed on.

use super::chunks::{Abandoned, Chunked};
use super::consumer::{Consumer, News};
use super::subscription::Start;
use super::unacked::Left;
use super::{ConnectionId, Machine, Now};
use crate::crypto::ConsumerCryptoFailureAction;
use crate::message::{BatchIndex, ConsumerId, DeliveredId, Message};
use crate::wire::consume::{Delivery, validation_error};
use crate::wire::frame::FrameError;
use crate::wire::messages::{MessageMetadata, SingleMessageMetadata};
use crate::wire::unpack;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use connector_sdk::{ByteString, Error, ErrorKind, MessageId};

/// An entry whose payload is in clear and decompressed, or opaque.
struct Clear {
    metadata: MessageMetadata,
    payload: Bytes,
    chunks: Vec<MessageId>,
    /// It could not be decrypted and is handed on as it is.
    encrypted: bool,
}

/// Why an entry is not handed on.
enum Unusable {
    /// Nothing is wrong: it is one part of more, or was seen before.
    Silent,
    /// It is damaged, in the way that the protocol has this number for.
    Damaged(i32, FrameError),
    /// Chunks that will never be whole.
    Astray,
    /// There is no key for it, and what is to be done then.
    Encrypted(ConsumerCryptoFailureAction),
}

impl Machine {
    /// A MESSAGE has arrived, and its entry from its first magic number on.
    pub fn delivered(&mut self, now: Now, connection: ConnectionId, delivery: &Delivery, entry: Bytes) {
        if !self.hear(now, connection) {
            return;
        }
        let id = ConsumerId(delivery.consumer_id);
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if consumer.open_on() != Some(connection) {
            // Sent before it was closed: it will be delivered again.
            return;
        }
        let message = MessageId { ledger: delivery.message_id.ledger_id, entry: delivery.message_id.entry_id };
        let size = entry.len();
        let stale = consumer.has_epoch() && delivery.consumer_epoch.is_some_and(|epoch| epoch < consumer.epoch);
        let seeking = consumer.seek.as_ref().is_some_and(|seek| seek.question.is_asked());
        let opened = unpack::open(entry);
        match &opened {
            Ok((metadata, _)) => {
                let count = metadata.num_messages_in_batch.map_or(1, |count| u32::try_from(count).unwrap_or(0));
                // The broker has counted what it meant to deliver.
                consumer.flow.arrived(Left::new(count, &delivery.ack_set).count().max(1), size);
            }
            // How many it was is not known: better too many permits than none.
            Err(_) => consumer.flow.reopened(),
        }
        self.facts.received_entries.add(1);
        if consumer.reading.is_some() {
            if !seeking {
                self.read_back_entry(now, id, message, opened);
            }
            return;
        }
        if stale || seeking {
            return self.grant(now, id);
        }
        match self.clear(now, id, message, opened) {
            Ok(clear) => self.hand_on(now, id, message, delivery, clear),
            Err(unusable) => self.unusable(id, message, unusable),
        }
        self.grant(now, id);
    }

    fn clear(
        &mut self,
        now: Now,
        id: ConsumerId,
        message: MessageId,
        opened: Result<(MessageMetadata, Bytes), FrameError>,
    ) -> Result<Clear, Unusable> {
        let (metadata, mut payload) = opened.map_err(|damage| Unusable::Damaged(validation_error::CHECKSUM, damage))?;
        let Some(consumer) = self.consumers.get_mut(&id) else { return Err(Unusable::Silent) };
        if !metadata.encryption_keys.is_empty() {
            let param = metadata.encryption_param.as_deref().unwrap_or_default();
            let decrypt = consumer.subscription.decrypt.as_ref();
            match decrypt.and_then(|decrypt| decrypt.decrypt(&metadata.encryption_keys, param, &payload)) {
                Some(clear) => payload = clear,
                None if consumer.subscription.crypto_failure == ConsumerCryptoFailureAction::Consume => {
                    return Ok(Clear { metadata, payload, chunks: Vec::new(), encrypted: true });
                }
                None => return Err(Unusable::Encrypted(consumer.subscription.crypto_failure)),
            }
        }
        let mut chunks = Vec::new();
        if metadata.num_chunks_from_msg.is_some_and(|chunks| chunks > 1) {
            let before = consumer.chunks.bytes();
            let (chunked, abandoned) = consumer.chunks.push(now.at, message, &metadata, &payload);
            let after = consumer.chunks.bytes();
            consumer.flow.give(before.saturating_sub(after));
            let over = consumer.flow.hold(after.saturating_sub(before));
            self.facts.overshoot_bytes.add(over as u64);
            if let Some(deadline) = consumer.chunks.deadline() {
                self.wake_at(deadline);
            }
            self.abandon_chunks(id, abandoned);
            match chunked {
                Chunked::Whole(whole, ids) => (payload, chunks) = (whole, ids),
                Chunked::More => return Err(Unusable::Silent),
                Chunked::Again => {
                    self.discard(id, message);
                    return Err(Unusable::Silent);
                }
                Chunked::Astray => return Err(Unusable::Astray),
            }
        }
        let payload = unpack::inflate(&metadata, payload).map_err(|damage| Unusable::Damaged(validation_error::DECOMPRESSION, damage))?;
        Ok(Clear { metadata, payload, chunks, encrypted: false })
    }

    fn hand_on(&mut self, now: Now, id: ConsumerId, message: MessageId, delivery: &Delivery, clear: Clear) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let Clear { metadata, payload, chunks, encrypted } = clear;
        let batch = metadata.num_messages_in_batch.filter(|_| !encrypted);
        if batch.is_some_and(|count| !unpack::has_room_for(count, &payload)) {
            let damage = FrameError::Entry("its payload is too short for its messages");
            return self.unusable(id, message, Unusable::Damaged(validation_error::BATCH, damage));
        }
        let size = batch.map_or(1, |count| u32::try_from(count).unwrap_or(0)).max(1);
        let durable = consumer.subscription.durable;
        let still = wanted(consumer, message, size, if batch.is_some() { &delivery.ack_set } else { &[] });
        let left = if durable {
            let left = consumer.unacked.deliver(message, size, &still, chunks);
            if consumer.unacked.due() > 0 && consumer.acks_due.is_none() {
                consumer.acks_due = Some(now.at);
            }
            left
        } else {
            Some(Left::new(size, &still)).filter(|left| left.count() > 0)
        };
        let Some(left) = left else { return };
        let common = Common {
            topic: consumer.topic_text.clone(),
            producer_name: ByteString::from(metadata.producer_name.as_str()),
            redelivery_count: delivery.redelivery_count.unwrap_or(0),
            metadata: &metadata,
            encrypted,
        };
        let alone = DeliveredId { consumer: id, message, batch: None };
        let messages = match batch {
            None => Ok((vec![common.single(alone, payload)], Vec::new())),
            Some(count) => common.batch(alone, payload, count, &left),
        };
        let (messages, void) = match messages {
            Ok(messages) => messages,
            Err(damage) => {
                consumer.unacked.forget(message);
                return self.unusable(id, message, Unusable::Damaged(validation_error::BATCH, damage));
            }
        };
        let cost = messages.iter().map(Message::cost).sum();
        let over = consumer.flow.hold(cost);
        self.facts.overshoot_bytes.add(over as u64);
        self.facts.received_messages.add(messages.len() as u64);
        self.facts.received_bytes.add(cost as u64);
        if !messages.is_empty() {
            self.news(id, News::Delivered(messages));
        }
        for id in void.into_iter().filter(|_| durable) {
            self.acknowledge(now, id, false);
        }
    }

    fn unusable(&mut self, id: ConsumerId, message: MessageId, unusable: Unusable) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        let entry = format!("entry {message} of `{}`", consumer.topic);
        let durable = consumer.subscription.durable;
        let (error, discarded) = match unusable {
            Unusable::Silent => return,
            Unusable::Damaged(number, damage) => {
                if durable {
                    self.ack_damaged(id, message, number);
                }
                (Error::new(ErrorKind::Data, format!("{entry} cannot be read: {damage}")), true)
            }
            Unusable::Astray => {
                self.discard(id, message);
                (Error::new(ErrorKind::Data, format!("{entry} is a part of a message whose other parts are not there")), true)
            }
            Unusable::Encrypted(ConsumerCryptoFailureAction::Discard) => {
                if durable {
                    self.ack_damaged(id, message, validation_error::DECRYPTION);
                }
                (Error::new(ErrorKind::Data, format!("{entry} cannot be decrypted")), true)
            }
            Unusable::Encrypted(_) => {
                let error = Error::configuration(format!("{entry} cannot be decrypted")).with_hint(
                    "configure the private key, or choose what is done with such messages by `cryptoConfig.consumerCryptoFailureAction`",
                );
                (error, false)
            }
        };
        self.facts.unusable_entries.add(1);
        self.news(id, News::Unusable { id: message, error, discarded });
    }

    /// Acknowledges an entry that is of no use, where that means something.
    fn discard(&mut self, id: ConsumerId, message: MessageId) {
        if self.consumers.get(&id).is_some_and(|consumer| consumer.subscription.durable) {
            self.ack_damaged(id, message, validation_error::UNCOMPRESSED_SIZE);
        }
    }

    /// Messages in chunks that were let go of before they were whole: said, and acknowledged, as Java's client does.
    fn abandon_chunks(&mut self, id: ConsumerId, abandoned: Vec<Abandoned>) {
        for Abandoned { ids, bytes } in abandoned {
            let Some(consumer) = self.consumers.get_mut(&id) else { return };
            consumer.flow.give(bytes);
            let Some(first) = ids.first().copied() else { continue };
            let error = Error::new(
                ErrorKind::Data,
                format!("the message in chunks that begins with entry {first} of `{}` did not become whole", consumer.topic),
            );
            for chunk in ids {
                self.discard(id, chunk);
            }
            self.facts.unusable_entries.add(1);
            self.news(id, News::Unusable { id: first, error, discarded: true });
        }
    }

    pub(super) fn tick_chunks(&mut self, now: Now, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let abandoned = consumer.chunks.expire(now.at);
        if let Some(deadline) = consumer.chunks.deadline() {
            self.wake_at(deadline);
        }
        if !abandoned.is_empty() {
            self.abandon_chunks(id, abandoned);
            self.grant(now, id);
        }
    }
}

/// Which messages of an entry are wanted, as a set: those the broker names, less those before the place that was sought.
fn wanted(consumer: &Consumer, message: MessageId, size: u32, still: &[i64]) -> Vec<i64> {
    let Start::Message { id, index, inclusive } = consumer.start else { return still.to_vec() };
    let first = match (index, inclusive) {
        _ if consumer.subscription.durable && message != id => 0,
        _ if message > id => 0,
        // A reader goes on behind it.
        _ if message < id => u32::MAX,
        (None, true) => 0,
        (None, false) => u32::MAX,
        (Some(index), true) => index,
        (Some(index), false) => index.saturating_add(1),
    };
    if first == 0 {
        return still.to_vec();
    }
    let mut set = vec![0i64; (size as usize).div_ceil(64)];
    for index in first..size {
        let (word, bit) = (index as usize / 64, 1i64 << (index % 64));
        if still.is_empty() || still.get(word).is_some_and(|still| still & bit != 0) {
            set[word] |= bit;
        }
    }
    set
}

/// What the messages of an entry have in common.
struct Common<'a> {
    topic: ByteString,
    producer_name: ByteString,
    redelivery_count: u32,
    metadata: &'a MessageMetadata,
    encrypted: bool,
}

impl Common<'_> {
    fn single(&self, id: DeliveredId, payload: Bytes) -> Message {
        let metadata = self.metadata;
        let binary_key = metadata.partition_key_b64_encoded.unwrap_or(false);
        Message {
            id,
            topic: self.topic.clone(),
            payload,
            key: metadata.partition_key.clone().map(|key| decoded(key, binary_key)),
            binary_key,
            ordering_key: metadata.ordering_key.clone(),
            properties: unpack::properties(&metadata.properties),
            event_time: metadata.event_time.filter(|time| *time > 0),
            publish_time: metadata.publish_time,
            producer_name: self.producer_name.clone(),
            sequence_id: metadata.sequence_id,
            redelivery_count: self.redelivery_count,
            schema_version: metadata.schema_version.clone().filter(|version| !version.is_empty()),
            encrypted: self.encrypted,
        }
    }

    /// The messages that are wanted, and those that compaction has made void.
    fn batch(&self, id: DeliveredId, payload: Bytes, count: i32, left: &Left) -> Result<(Vec<Message>, Vec<DeliveredId>), FrameError> {
        let size = u32::try_from(count).map_err(|_| FrameError::Entry("its batch has a negative size"))?;
        let (mut messages, mut void) = (Vec::with_capacity(left.count() as usize), Vec::new());
        for (next, index) in unpack::batched(payload, count).zip(0..) {
            let (single, payload) = next?;
            let id = DeliveredId { batch: Some(BatchIndex { index, size }), ..id };
            match left.contains(index) {
                true if single.compacted_out == Some(true) => void.push(id),
                true => messages.push(self.batched(id, single, payload)),
                false => {}
            }
        }
        Ok((messages, void))
    }

    fn batched(&self, id: DeliveredId, single: SingleMessageMetadata, payload: Bytes) -> Message {
        let index = i64::from(id.batch.map_or(0, |batch| batch.index));
        let binary_key = single.partition_key_b64_encoded.unwrap_or(false);
        Message {
            id,
            topic: self.topic.clone(),
            payload,
            key: single.partition_key.map(|key| decoded(key, binary_key)),
            binary_key,
            ordering_key: single.ordering_key,
            properties: unpack::properties(&single.properties),
            event_time: single.event_time.filter(|time| *time > 0),
            publish_time: self.metadata.publish_time,
            producer_name: self.producer_name.clone(),
            sequence_id: single.sequence_id.unwrap_or(self.metadata.sequence_id.saturating_add(index)),
            redelivery_count: self.redelivery_count,
            schema_version: self.metadata.schema_version.clone().filter(|version| !version.is_empty()),
            encrypted: false,
        }
    }
}

/// A key as its user gave it; one that is not what it is marked as stays as it is.
fn decoded(key: Bytes, binary: bool) -> Bytes {
    if !binary {
        return key;
    }
    STANDARD.decode(&key).map_or(key, Bytes::from)
}
