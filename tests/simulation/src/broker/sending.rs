//! SEND, the verdict on it, and storage: later than the verdict, in order, and not always.

use super::dedup::Verdict;
use super::session::code;
use super::topic::{LinkId, ProducerKey, Stored, Writing};
use super::{Broker, Due, Out};
use bytes::Bytes;
use connector_pulsar::wire::messages::{self as proto, BaseCommand, kind};
use std::time::Duration;

impl Broker {
    pub(super) fn send(&mut self, link: LinkId, send: &proto::Send, entry: Bytes) {
        let key = (link, send.producer_id);
        let Some(name) = self.producer_topic(key).cloned() else {
            // What crossed the close of its producer is dropped without a word; anything else breaks the protocol.
            let crossed = self.sessions.get(&link).is_some_and(|session| session.closed.contains(&send.producer_id));
            if !crossed {
                self.hang_up(link);
            }
            return;
        };
        let limit = self.limit;
        let number = self.next_number();
        let Some(topic) = self.topics.get_mut(&name) else { return };
        let Some(producer) = topic.producers.get_mut(&key) else { return };
        let (lowest, highest) = (send.sequence_id, send.highest_sequence_id.unwrap_or(-1).max(send.sequence_id));
        let refuse = |broker: &mut Self, error, message: &str| {
            let refusal = proto::SendError { producer_id: send.producer_id, sequence_id: highest, error, message: message.to_owned() };
            broker.say(link, BaseCommand { kind: kind::SEND_ERROR, send_error: Some(refusal), ..BaseCommand::default() });
        };
        if producer.closing.is_some() {
            return refuse(self, code::PERSISTENCE, "Producer is closed");
        }
        // The size comes first: even of what is stored already.
        if limit.is_some_and(|limit| entry.len() > limit) {
            return refuse(self, code::NOT_ALLOWED, "Exceed maximum message size");
        }
        if topic.fenced {
            return refuse(self, code::PERSISTENCE, "Topic is fenced");
        }
        match topic.dedup.judge(&producer.name, lowest, highest) {
            Verdict::Duplicate => {
                self.duplicates += 1;
                self.receipt(key, lowest, send.highest_sequence_id, (-1, -1));
            }
            Verdict::Unknown => refuse(self, code::PERSISTENCE, "Cannot determine whether the message is a duplicate at this time"),
            Verdict::Accept => {
                producer.unanswered += 1;
                let producer = producer.name.clone();
                let said_highest = send.highest_sequence_id;
                topic.writes += 1;
                topic.writing.push_back(Writing { number, from: key, producer, lowest, highest, said_highest, entry, done: false });
                let (low, high) = self.storage.usual;
                let slow = self.storage.slow_permille;
                let millis = if self.permille(slow) { self.random.u64(20..=2_000) } else { self.random.u64(low..=high.max(low)) };
                self.out.push(Out::Later(Duration::from_millis(millis), Due::Stored { topic: name, number }));
            }
        }
    }

    fn receipt(&mut self, key: ProducerKey, sequence_id: i64, highest: Option<i64>, id: (i64, i64)) {
        let receipt = proto::SendReceipt {
            producer_id: key.1,
            sequence_id,
            message_id: Some(proto::MessageId { ledger_id: id.0, entry_id: id.1 }),
            highest_sequence_id: Some(highest.unwrap_or(-1)),
        };
        self.say(key.0, BaseCommand { kind: kind::SEND_RECEIPT, send_receipt: Some(receipt), ..BaseCommand::default() });
    }

    /// A write has reached storage; those are acknowledged in order.
    pub(super) fn reached_storage(&mut self, millis: u64, name: &str, number: u64) {
        let failing = self.storage.failing_permille;
        let fails = self.permille(failing);
        let Some(topic) = self.topics.get_mut(name) else { return };
        let Some(writing) = topic.writing.iter_mut().find(|writing| writing.number == number) else { return };
        if fails {
            return self.fail_writes(name);
        }
        writing.done = true;
        while self.store_next(millis, name, false) {}
    }

    /// Stores the first write, if it is done; or done or not, `by_force`.
    pub(super) fn store_next(&mut self, millis: u64, name: &str, by_force: bool) -> bool {
        let order = self.stored;
        let Some(topic) = self.topics.get_mut(name) else { return false };
        let Some(writing) = topic.writing.pop_front_if(|writing| writing.done || by_force) else { return false };
        let id = (topic.ledger, topic.next_entry);
        topic.next_entry += 1;
        topic.dedup.stored(&writing.producer, writing.highest);
        topic.entries.push(Stored { id, order, at: millis, producer: writing.producer, entry: writing.entry });
        self.stored += 1;
        self.answered(name, writing.from);
        if !self.muted.contains(name) {
            self.receipt(writing.from, writing.lowest, writing.said_highest, id);
        }
        self.close_if_answered(writing.from);
        self.deliver(name);
        true
    }

    fn answered(&mut self, topic: &str, key: ProducerKey) {
        if let Some(producer) = self.topics.get_mut(topic).and_then(|topic| topic.producers.get_mut(&key)) {
            producer.unanswered = producer.unanswered.saturating_sub(1);
        }
    }

    /// A write failed, and so does all behind it: the topic is fenced, its producers are let go.
    pub(super) fn fail_writes(&mut self, name: &str) {
        let millis = self.random.u64(0..=400);
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.fenced = true;
        let failed = std::mem::take(&mut topic.writing);
        let producers: Vec<ProducerKey> = topic.producers.keys().copied().collect();
        for writing in failed {
            self.answered(name, writing.from);
            let refusal = proto::SendError {
                producer_id: writing.from.1,
                sequence_id: writing.highest,
                error: code::PERSISTENCE,
                message: "Bookie operation timeout".into(),
            };
            self.say(writing.from.0, BaseCommand { kind: kind::SEND_ERROR, send_error: Some(refusal), ..BaseCommand::default() });
        }
        for key in producers {
            self.let_go(name, key);
        }
        self.out.push(Out::Later(Duration::from_millis(millis), Due::Loaded(name.to_owned())));
    }
}
