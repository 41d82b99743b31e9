//! Producers with a name of their own, whose messages bear the records' numbers: what the broker's answers mean for them.
//!
//! The broker keeps the highest number of each name and gives one verdict for a whole entry. So at each opening its last number is
//! asked for, and nothing is sent before the owner has looked at it ([`Event::Admission`]); numbers at or below it go as single
//! messages; and an answer counts only where that number explains it. What is not explained fails its record with both numbers.
//! Never: a guess. What a refusal leaves open is the owner's to find out ([`Event::Overtaken`], [`Event::Unclear`]).

use super::entry::{Charge, Entry, Pack};
use super::producer::State;
use super::{ConnectionId, Duty, Event, Machine, Now, ProducerId};
use crate::topic::TopicName;
use bytestring::ByteString;
use connector_sdk::{Error, ErrorKind, Lineage, MessageId, Mistake, Record, planted};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A topic that is opened may have been loaded just now. One with policies of its own recovers its numbers twice then, and lets producers
/// in after the first: by this time the second is over.
const SECOND_RECOVERY: Duration = Duration::from_secs(2);

/// Who a producer is.
#[derive(Debug, Clone)]
pub enum Naming {
    /// The broker names it, and the machine numbers its messages.
    ByBroker,
    /// It has this name on every broker it will ever be on, and its messages bear the records' own numbers.
    Given {
        /// The name.
        name: ByteString,
        /// Whose records it sends, and what for; none for one that is only opened and closed again.
        account: Option<Account>,
    },
}

/// Whose records a named producer sends.
#[derive(Debug, Clone)]
pub struct Account {
    /// Hears of receipts.
    pub lineage: Arc<Lineage>,
    /// The partition of the topic; 0 where it is not partitioned.
    pub partition: u32,
    /// Whether it sends what was spent under the lineage's own name.
    pub late: bool,
}

/// A record that left the machine undecided.
#[derive(Debug)]
pub struct Withdrawn {
    /// The whole record.
    pub record: Record,
    /// Its handle.
    pub duty: Duty,
    /// What it is charged for.
    pub charge: Charge,
}

/// What a named producer has beside any other.
pub(super) struct Named {
    pub(super) account: Option<Account>,
    /// The broker's last number as of the latest opening; -1: none.
    pub(super) last: i64,
    /// Open, and the owner has not looked at it yet: nothing is written.
    pub(super) gated: bool,
    /// When it was opened last.
    opened: Option<Instant>,
    /// Receipted, and not acknowledged before the next opening.
    proof: Option<Proof>,
}

/// The first entry of a topic: the broker must know its number when the producer is opened again.
struct Proof {
    entry: Entry,
    message: MessageId,
    /// The one that the receipt came on.
    connection: ConnectionId,
}

impl Named {
    pub(super) fn new(account: Option<Account>) -> Self {
        Self { account, last: -1, gated: true, opened: None, proof: None }
    }

    /// Whether an entry with these numbers may hold some the broker has already.
    pub(super) fn may_hold(&self, lowest: i64) -> bool {
        let unseen = planted(Mistake::BatchAcrossLastId) || planted(Mistake::DuplicateTrusted);
        lowest <= self.last && !unseen
    }
}

impl Machine {
    /// The owner has looked at a named producer that was opened: it may send.
    pub fn admit(&mut self, now: Now, id: ProducerId) {
        if let Some(named) = &mut self.producer_mut(id).named {
            named.gated = false;
        }
        self.send(now, id);
    }

    /// A named producer is open, at first or again.
    pub(super) fn named_opened(&mut self, now: Now, id: ProducerId, last: i64) {
        let producer = self.producer_mut(id);
        let unknown = producer.pending.iter().any(|entry| entry.writes > 0);
        let Some(named) = &mut producer.named else { return };
        (named.last, named.gated, named.opened) = (last, true, Some(now.at));
        if last >= 0 {
            let topic = producer.topic.clone();
            self.proven.insert(topic);
        }
        self.settle_proof(id);
        self.drop_lost(id);
        self.recut(id);
        self.event(Event::Admission { producer: id, last: u64::try_from(last).ok(), unknown });
    }

    /// The broker's word on the number of the entry that was receipted first: whether it keeps numbers at all.
    fn settle_proof(&mut self, id: ProducerId) {
        let producer = self.producer_mut(id);
        let Some(named) = &mut producer.named else { return };
        let last = named.last;
        let Some(Proof { entry, message, connection }) = named.proof.take() else { return };
        // A number that is too low was put there by a second recovery: numbers are kept. And while there was no connection, for however
        // long, a broker that keeps them may have forgotten the name: the next one proves.
        if last >= 0 || producer.state.connection() != Some(connection) {
            return self.entry_stored(id, entry, Some(message));
        }
        let (name, topic) = (producer.name.as_deref().unwrap_or_default(), &producer.topic);
        let text = format!(
            "the broker stored {} on `{topic}` and keeps no number of producer `{name}`: deduplication is off, and a replay would double records",
            entry.called()
        );
        let error = Error::new(ErrorKind::Configuration, text).with_hint(switch_on(topic));
        self.entry_failed(id, entry, error);
    }

    /// Entries of several messages, some of which the broker may have, go as single messages; and all behind them, in order.
    fn recut(&mut self, id: ProducerId) {
        let producer = self.producer_mut(id);
        let Some(named) = &producer.named else { return };
        let Some(first) = producer.pending.iter().position(|entry| entry.len() > 1 && named.may_hold(entry.sequence)) else { return };
        self.take_back_from(id, first);
    }

    /// How many records of a pack go alone, from its front: those that the broker may have, or the one that is to show whether it keeps
    /// numbers. One verdict over an entry of which it has a part would lose the other part.
    pub(super) fn alone(&self, id: ProducerId, pack: &Pack) -> usize {
        let Some(named) = &self.producer(id).named else { return 0 };
        let held = pack.records.partition_point(|record| named.may_hold(record.sequence.map_or(-1, as_id)));
        held.max(usize::from(self.is_to_prove(id)))
    }

    /// Whether the next receipt is to show whether the broker keeps numbers.
    fn is_to_prove(&self, id: ProducerId) -> bool {
        let producer = self.producer(id);
        producer.named.as_ref().is_some_and(|named| named.last < 0 && named.account.is_some()) && !self.proven.contains(&producer.topic)
    }

    /// Until when nothing is sent that is to show whether the broker keeps numbers.
    pub(super) fn proves_from(&self, id: ProducerId) -> Option<Instant> {
        let opened = self.producer(id).named.as_ref().and_then(|named| named.opened);
        opened.filter(|_| self.is_to_prove(id)).map(|opened| opened + SECOND_RECOVERY)
    }

    /// Numbers up to this are about to be put on a wire.
    pub(super) fn tell_writing(&self, id: ProducerId, highest: i64) {
        let account = self.producer(id).named.as_ref().and_then(|named| named.account.as_ref());
        if let (Some(account), Ok(number)) = (account, u64::try_from(highest)) {
            account.lineage.writing(account.partition, number);
        }
    }

    /// The broker's answer to the oldest entry of a named producer.
    pub(super) fn named_receipt(&mut self, now: Now, connection: ConnectionId, id: ProducerId, entry: Entry, message: Option<MessageId>) {
        let producer = self.producer(id);
        let Some(named) = &producer.named else { return };
        let (last, name, topic) = (named.last, producer.name.as_deref().unwrap_or_default(), &producer.topic);
        let replayed = entry.highest <= last;
        match (message, replayed) {
            // Not stored now because it was before, as the last number says.
            (None, true) => self.entry_stored(id, entry, None),
            (None, false) if planted(Mistake::DuplicateTrusted) => self.entry_stored(id, entry, None),
            (Some(message), false) if self.is_to_prove(id) => {
                let producer = self.producer_mut(id);
                if let Some(named) = &mut producer.named {
                    let before = named.proof.replace(Proof { entry, message, connection });
                    debug_assert!(before.is_none(), "one proof at a time is on the wire");
                }
                // A receipt that crossed the close of its producer: the opening that follows shows it.
                if let State::Ready(present) = producer.state {
                    self.close_then(now, present, id, super::producer::After::Here);
                }
            }
            (Some(_), false) => self.entry_stored(id, entry, message),
            (None, false) => {
                let text = format!(
                    "the broker took {} for stored before (number {} of producer `{name}` on `{topic}`), but its last number was {last} when the producer was opened",
                    entry.called(),
                    entry.highest
                );
                let error = Error::new(ErrorKind::Data, text)
                    .with_hint("nothing is known of it: look for the record in the topic, then start again");
                self.entry_failed(id, entry, error);
            }
            (Some(message), true) => {
                let text = format!(
                    "the broker stored {} again at {message} (number {} of producer `{name}` on `{topic}`, whose last number was {last}): \
                     deduplication was switched off or reset while it was replayed, and this record is there twice",
                    entry.called(),
                    entry.highest
                );
                let error = Error::new(ErrorKind::Data, text).with_hint(switch_on(topic));
                self.entry_failed(id, entry, error);
            }
        }
    }

    /// The entry's first record cannot be promised any more: its partition stops there.
    fn entry_failed(&mut self, id: ProducerId, entry: Entry, error: Error) {
        let (count, charge) = (entry.len(), entry.charge());
        self.producer_mut(id).resolved += count as u64;
        self.facts.refused_records.add(count as u64);
        entry.duties.fail(error);
        self.free(count, charge);
    }

    /// A refusal of an entry of a named producer for what it is. Says whether it was dealt with; else the entry was alone, stored
    /// nothing, and is judged like any other.
    pub(super) fn named_refusal(&mut self, id: ProducerId, at: usize) -> bool {
        let producer = self.producer(id);
        let Some(named) = &producer.named else { return false };
        let Some(entry) = producer.pending.get(at) else { return false };
        let (unclear, overtaken) = (entry.sequence <= named.last, at + 1 < producer.on_wire);
        if !unclear && !overtaken {
            return false;
        }
        let producer = self.producer_mut(id);
        let Some(entry) = producer.pending.remove(at) else { return false };
        producer.on_wire -= 1;
        producer.largest = 0;
        // Nothing more is written until the owner has admitted it again.
        if let Some(named) = &mut producer.named {
            named.gated = true;
        }
        self.facts.refused_entries.add(1);
        let items = self.withdrawn(id, std::iter::once(entry.into_pack()).collect());
        self.event(if unclear { Event::Unclear { producer: id, items } } else { Event::Overtaken { producer: id, items } });
        true
    }

    /// Takes out everything that has not been resolved, oldest first, written or not.
    pub fn withdraw(&mut self, id: ProducerId) -> Vec<Withdrawn> {
        let producer = self.producer_mut(id);
        producer.on_wire = 0;
        let packs: Vec<Pack> = std::mem::take(&mut producer.pending).into_iter().map(Entry::into_pack).collect();
        let mut items = self.withdrawn(id, packs);
        items.extend(self.withdraw_unwritten(id));
        items
    }

    /// Takes out everything that was never written on the present connection, oldest first.
    pub fn withdraw_unwritten(&mut self, id: ProducerId) -> Vec<Withdrawn> {
        let producer = self.producer_mut(id);
        producer.due = None;
        let unwritten = producer.pending.drain(producer.on_wire..).map(Entry::into_pack).collect::<Vec<_>>();
        let open = std::mem::take(&mut producer.open);
        let packs = unwritten.into_iter().chain(std::mem::take(&mut producer.queue)).chain(std::iter::once(open)).collect();
        self.withdrawn(id, packs)
    }

    fn withdrawn(&mut self, id: ProducerId, packs: Vec<Pack>) -> Vec<Withdrawn> {
        let mut items = Vec::new();
        for single in packs.into_iter().flat_map(Pack::into_singles) {
            let (record, duty, charge) = single.into_only();
            self.facts.in_flight_bytes.sub(charge.bytes as u64);
            items.push(Withdrawn { record, duty, charge });
        }
        self.facts.in_flight_records.sub(items.len() as u64);
        self.producer_mut(id).resolved += items.len() as u64;
        items
    }

    /// What a named producer that ends for good still has to say for an entry whose proof did not come.
    pub(super) fn drop_proof(&mut self, id: ProducerId) {
        let proof = self.producer_mut(id).named.as_mut().and_then(|named| named.proof.take());
        if let Some(Proof { entry, .. }) = proof {
            // Stored, but perhaps not remembered: whoever comes next reads it again and asks.
            let (count, charge) = (entry.len(), entry.charge());
            entry.duties.give_back();
            self.free(count, charge);
        }
    }

    /// Opens a named producer again, on the broker it is on.
    pub fn reopen(&mut self, now: Now, id: ProducerId) {
        if let State::Ready(connection) = self.producer(id).state {
            self.close_then(now, connection, id, super::producer::After::Here);
        }
    }

    /// Closes a producer until it has something to send again.
    pub fn rest(&mut self, now: Now, id: ProducerId) {
        if let State::Ready(connection) = self.producer(id).state {
            self.close_then(now, connection, id, super::producer::After::Rest);
        }
    }

    /// Ends a producer for good: it is closed on the wire, what is unresolved is given back, and its number is used again.
    pub fn close(&mut self, now: Now, id: ProducerId) {
        let state = std::mem::replace(&mut self.producer_mut(id).state, State::Closed);
        self.give_back_all(id);
        // Nobody waits for the answer any more, and with its connection it may never come.
        if let Some(request) = state.request().filter(|_| !matches!(state, State::Closing { .. })) {
            self.requests.remove(&request);
        }
        match state {
            State::Ready(connection) | State::Opening { connection, .. } => {
                self.close_then(now, connection, id, super::producer::After::End);
            }
            State::Closing { connection, request, deadline, .. } => {
                self.producer_mut(id).state = State::Closing { connection, request, deadline, after: super::producer::After::End };
            }
            _ => self.ended(id),
        }
    }

    /// A producer is gone from its broker for good.
    pub(super) fn ended(&mut self, id: ProducerId) {
        self.producer_mut(id).state = State::Closed;
        self.unused.push(id);
        self.event(Event::Ended { producer: id });
    }
}

fn as_id(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The command that switches deduplication on where the topic is.
fn switch_on(topic: &TopicName) -> String {
    let namespace = topic.namespace();
    format!("run `pulsar-admin namespaces set-deduplication {namespace} --enable`, then start again: what is stored is not published twice")
}
