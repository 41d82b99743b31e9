//! From Kinesis records to messages: de-aggregation, what a checkpoint covers dropped, key, properties, number.
//!
//! The number is `ordinal << 24 | index`: the ordinal counts the shard's Kinesis records, the index what came out of one, counted
//! before anything is dropped. So nothing shifts when a filter, the KPL hash-range rule or the de-aggregator changes. Payloads are
//! slices of what was received.

use crate::aggregation::{Deaggregated, UserRecords, deaggregate};
use crate::config::{MessageKeyMode, RecordProperty};
use crate::ids::{HashRange, Position, SequenceNumber, ShardId};
use crate::lease::record_number;
use crate::port::{Encryption, RawRecord};
use bytes::Bytes;
use bytestring::ByteString;
use connector_sdk::{Label, Properties, Record};
use std::cmp::Ordering;
use std::collections::VecDeque;

/// Room for a property's value and lengths: the mean over all kinds.
const PROPERTY: usize = 26;

/// Where a record stands in its shard: what the tracker tracks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: Position,
    /// The number of its Kinesis record in the shard, from 1.
    pub(super) ordinal: u64,
    /// When it arrived, in milliseconds since the epoch; none when the service did not say.
    pub(super) arrived_at: Option<u64>,
}

/// What came out of Kinesis records, in order: a place for each message, and for each record that has none.
#[derive(Default)]
pub(super) struct Decoded {
    pub(super) places: Vec<Place>,
    /// As many as places. None is nothing to publish: an aggregate that is empty or belongs to another shard; settled as a whole.
    pub(super) messages: Vec<Option<Record>>,
}

impl Decoded {
    /// Nothing yet, with room for `count`.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { places: Vec::with_capacity(count), messages: Vec::with_capacity(count) }
    }

    fn push(&mut self, place: Place, message: Option<Record>) {
        self.places.push(place);
        self.messages.push(message);
    }

    fn len(&self) -> usize {
        self.places.len()
    }
}

/// How messages are made; the same for all shards of an instance.
#[derive(Debug, Clone)]
pub(super) struct MessageForm {
    pub(super) properties: Vec<RecordProperty>,
    pub(super) key_mode: MessageKeyMode,
}

/// Decodes one shard's records, in order.
pub(super) struct Decoder {
    shard: ShardId,
    range: Option<HashRange>,
    form: MessageForm,
    /// For a message's properties.
    room: usize,
    covered: Option<Position>,
    ordinal: u64,
    /// The last arrival and its text: neighbours share it.
    arrival: (Option<u64>, String),
    /// An aggregate that is half taken apart.
    current: Option<Current>,
}

struct Current {
    raw: RawRecord,
    users: UserRecords,
    covered_sub: Option<u64>,
}

impl Decoder {
    /// For a shard whose checkpoint covers everything through `covered`; `ordinal` is the number of the Kinesis record before the
    /// next one.
    pub(super) fn new(shard: ShardId, range: Option<HashRange>, form: MessageForm, covered: Option<Position>, ordinal: u64) -> Self {
        let room = form.properties.iter().map(|property| property.name().len() + PROPERTY).sum();
        Self { shard, range, form, room, covered, ordinal, arrival: (None, String::new()), current: None }
    }

    /// Decodes from the front of `raws` until `decoded` has `limit`; an aggregate may be left half taken apart.
    pub(super) fn decode(&mut self, raws: &mut VecDeque<RawRecord>, millis_behind: u64, limit: usize, decoded: &mut Decoded) {
        while decoded.len() < limit {
            if let Some(mut current) = self.current.take() {
                while decoded.len() < limit {
                    let Some(user) = current.users.next() else { break };
                    if current.covered_sub.is_none_or(|covered| user.sub > covered) {
                        let place = self.place(current.raw.sequence.clone(), current.raw.arrived_at, user.sub);
                        let record = self.message(&current.raw, Some(user.partition_key), user.data, user.sub, millis_behind);
                        decoded.push(place, Some(record));
                    }
                }
                self.current = (current.users.len() > 0).then_some(current);
            } else if let Some(raw) = raws.pop_front() {
                self.begin(raw, millis_behind, decoded);
            } else {
                return;
            }
        }
    }

    /// Whether an aggregate is half taken apart.
    pub(super) fn is_in_the_middle(&self) -> bool {
        self.current.is_some()
    }

    /// Decodes a Kinesis record of its own, or begins to take an aggregate apart.
    fn begin(&mut self, mut raw: RawRecord, millis_behind: u64, decoded: &mut Decoded) {
        let covered_sub = match self.covered.as_ref().map(|covered| (raw.sequence.cmp(&covered.sequence), covered.sub)) {
            Some((Ordering::Less, _)) => return,
            Some((Ordering::Equal, sub)) => Some(sub),
            Some((Ordering::Greater, _)) => {
                // Numbers only rise: nothing is covered any more.
                self.covered = None;
                None
            }
            None => None,
        };
        self.ordinal += 1;
        match deaggregate(&raw, self.range) {
            // The record itself is what the checkpoint covers.
            Deaggregated::Raw | Deaggregated::Discarded | Deaggregated::Empty if covered_sub.is_some() => {}
            Deaggregated::Raw => {
                let (partition_key, data) = (raw.partition_key.take(), std::mem::take(&mut raw.data));
                let record = self.message(&raw, partition_key, data, 0, millis_behind);
                decoded.push(self.place(raw.sequence, raw.arrived_at, 0), Some(record));
            }
            Deaggregated::Discarded | Deaggregated::Empty => decoded.push(self.place(raw.sequence, raw.arrived_at, 0), None),
            Deaggregated::UserRecords(users) => self.current = Some(Current { raw, users, covered_sub }),
        }
    }

    fn place(&self, sequence: SequenceNumber, arrived_at: Option<u64>, sub: u64) -> Place {
        Place { position: Position { sequence, sub }, ordinal: self.ordinal, arrived_at }
    }

    fn message(&mut self, raw: &RawRecord, partition_key: Option<ByteString>, data: Bytes, sub: u64, millis_behind: u64) -> Record {
        let mut properties = Properties::with_capacity(self.room);
        for index in 0..self.form.properties.len() {
            let property = self.form.properties[index];
            let name = property.name();
            match property {
                RecordProperty::ArrivalTimestamp => {
                    if let Some(arrived_at) = raw.arrived_at {
                        properties.push(name, self.arrival_text(arrived_at));
                    }
                }
                RecordProperty::EncryptionType => properties.push(
                    name,
                    match raw.encryption {
                        Encryption::None => "NONE",
                        Encryption::Kms => "KMS",
                    },
                ),
                RecordProperty::PartitionKey => {
                    if let Some(partition_key) = &partition_key {
                        properties.push(name, partition_key);
                    }
                }
                RecordProperty::SequenceNumber => properties.push(name, raw.sequence.as_str()),
                RecordProperty::SubSequenceNumber => properties.push(name, sub.to_string()),
                RecordProperty::ShardId => properties.push(name, self.shard.as_str()),
                RecordProperty::MillisBehindLatest => properties.push(name, millis_behind.to_string()),
            }
        }
        Record {
            value: data,
            key: match self.form.key_mode {
                MessageKeyMode::PartitionKey => partition_key,
                MessageKeyMode::ShardId => Some(self.shard.text().clone()),
            },
            event_time: raw.arrived_at,
            properties,
            sequence: record_number(self.ordinal, sub),
            label: Label { position: raw.sequence.text().clone(), index: sub },
        }
    }

    fn arrival_text(&mut self, arrived_at: u64) -> &str {
        if self.arrival.0 != Some(arrived_at) {
            self.arrival = (Some(arrived_at), super::expiry::instant(arrived_at));
        }
        &self.arrival.1
    }

    /// The first record of an answer, for those who look whether something expired.
    pub(super) fn first(records: &[RawRecord]) -> Option<(&SequenceNumber, Option<u64>)> {
        records.first().map(|record| (&record.sequence, record.arrived_at))
    }

    /// The next record is the one behind `ordinal`.
    pub(super) fn count_from(&mut self, ordinal: u64) {
        self.ordinal = ordinal;
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
