//! What stands between a record handed in and its receipt: packs that were never written, entries that were.

use super::duty::{Duties, Duty};
use crate::crypto::Sealer;
use crate::wire::entry::{Encoded, Frames};
use crate::wire::messages as proto;
use crate::wire::unpack::unpack_own;
use bytes::Bytes;
use bytestring::ByteString;
use connector_sdk::{AckHandle, Label, PartitionId, Record};
use std::collections::HashMap;
use std::sync::Arc;

/// What records are charged for in the instance's bounds, freed when they are resolved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charge {
    /// Of the bound in messages.
    pub records: usize,
    /// Of the bound in bytes.
    pub bytes: usize,
}

impl std::ops::AddAssign for Charge {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// Records for one entry that was never encoded; nothing of it is on any wire.
#[derive(Debug, Default)]
pub(crate) struct Pack {
    pub(crate) records: Vec<Record>,
    pub(crate) charges: Vec<Charge>,
    pub(crate) duties: Duties,
    pub(crate) value_bytes: usize,
    /// Milliseconds since the epoch at which its first record came.
    pub(crate) publish_time: u64,
}

impl Pack {
    pub(crate) fn push(&mut self, record: Record, partition: &PartitionId, handle: AckHandle, charge: Charge) {
        self.value_bytes += record.value.len();
        self.records.push(record);
        self.charges.push(charge);
        self.duties.push(partition, handle);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn charge(&self) -> Charge {
        total(&self.charges)
    }

    /// One pack for each record, in order.
    pub(crate) fn into_singles(self) -> impl Iterator<Item = Self> {
        let publish_time = self.publish_time;
        self.records.into_iter().zip(self.charges).zip(self.duties.into_singles()).map(move |((record, charge), duty)| {
            let mut single = Self { publish_time, ..Self::default() };
            single.push(record, &duty.partition, duty.handle, charge);
            single
        })
    }

    /// Two packs with half of the records each, in order.
    pub(crate) fn into_halves(self) -> (Self, Self) {
        let middle = self.records.len() / 2;
        self.split_at(middle)
    }

    /// Two packs, the first with this many records.
    pub(crate) fn split_at(self, middle: usize) -> (Self, Self) {
        let mut front = Self { publish_time: self.publish_time, ..Self::default() };
        let mut back = Self { publish_time: self.publish_time, ..Self::default() };
        for (at, single) in self.into_singles().enumerate() {
            if at < middle { front.absorb(single) } else { back.absorb(single) }
        }
        (front, back)
    }

    /// Cuts out the records whose right is lost; says how many and what they were charged for.
    pub(crate) fn cut_fenced(&mut self) -> (usize, Charge) {
        let before = std::mem::take(self);
        let (mut cut, mut charge) = (0, Charge::default());
        self.publish_time = before.publish_time;
        for single in before.into_singles() {
            if single.duties.all_fenced() {
                cut += 1;
                charge += single.charge();
                single.duties.give_back();
            } else {
                self.absorb(single);
            }
        }
        (cut, charge)
    }

    /// One pack for each key, records in order; the pack whose last record came first is the first.
    pub(crate) fn into_keys(self) -> impl Iterator<Item = Self> {
        let publish_time = self.publish_time;
        let mut places: HashMap<Option<ByteString>, usize> = HashMap::new();
        let mut packs: Vec<(usize, Self)> = Vec::new();
        let rows = self.records.into_iter().zip(self.charges).zip(self.duties.into_singles());
        for (row, ((record, charge), duty)) in rows.enumerate() {
            let place = match places.get(&record.key) {
                Some(place) => *place,
                None => {
                    places.insert(record.key.clone(), packs.len());
                    packs.push((row, Self { publish_time, ..Self::default() }));
                    packs.len() - 1
                }
            };
            let (last, pack) = &mut packs[place];
            *last = row;
            pack.push(record, &duty.partition, duty.handle, charge);
        }
        packs.sort_by_key(|(last, _)| *last);
        packs.into_iter().map(|(_, pack)| pack)
    }

    fn absorb(&mut self, single: Self) {
        for ((record, charge), duty) in single.records.into_iter().zip(single.charges).zip(single.duties.into_singles()) {
            self.push(record, &duty.partition, duty.handle, charge);
        }
    }

    /// The record of a pack that holds one.
    pub(crate) fn into_only(self) -> (Record, Duty, Charge) {
        let charge = self.charge();
        let record = self.records.into_iter().next().expect("asked of packs of one record only");
        let duty = self.duties.into_singles().next().expect("each record has a duty");
        (record, duty, charge)
    }
}

/// What of a record its encoded message does not say. All else is read back from the frame where it is needed again, so that records on
/// their way to the broker are held once.
#[derive(Debug)]
struct Mark {
    label: Label,
    sequence: Option<u64>,
}

/// An encoded entry, kept as it is until the broker has answered it.
#[derive(Debug)]
pub(crate) struct Entry {
    frames: Frames,
    /// Of the frames, those whose receipt has come: of a message in chunks, one after the other.
    answered: usize,
    /// Where the last of those was stored.
    answered_at: Option<proto::MessageId>,
    /// What it was sealed by.
    sealer: Option<Arc<Sealer>>,
    pub(crate) sequence: i64,
    pub(crate) highest: i64,
    /// What of its records is not in the frame.
    marks: Vec<Mark>,
    charges: Vec<Charge>,
    pub(crate) duties: Duties,
    publish_time: u64,
    /// Metadata and payload.
    pub(crate) size: usize,
    /// What a broker's `maxMessageSize` is compared with.
    pub(crate) judged_size: usize,
    /// Above the batch limit: always alone.
    pub(crate) oversize: bool,
    /// How often it was handed to a connection.
    pub(crate) writes: u32,
    /// What its producer had written before it, when it was handed to the present connection.
    pub(crate) behind_bytes: u64,
}

impl Entry {
    pub(crate) fn new(pack: Pack, encoded: Encoded, oversize: bool) -> Self {
        let Pack { records, charges, duties, publish_time, .. } = pack;
        let marks = records.into_iter().map(|Record { label, sequence, .. }| Mark { label, sequence }).collect();
        let Encoded { frames, sequence, highest, entry_size: size, judged_size, sealer } = encoded;
        Self {
            frames,
            answered: 0,
            answered_at: None,
            sealer,
            sequence,
            highest,
            marks,
            charges,
            duties,
            publish_time,
            size,
            judged_size,
            oversize,
            writes: 0,
            behind_bytes: 0,
        }
    }

    /// What is to be written: the frames that are not answered.
    pub(crate) fn unanswered(&self) -> &[Bytes] {
        &self.frames.as_slice()[self.answered..]
    }

    /// Whether it is one message in chunks.
    pub(crate) fn is_chunked(&self) -> bool {
        matches!(self.frames, Frames::Chunks(_))
    }

    /// A receipt has come, for its first frame that had none unless it repeats the one before; says whether all have theirs now.
    pub(crate) fn answer(&mut self, at: Option<proto::MessageId>) -> bool {
        // The receipts of a message's chunks bear one number: only the place tells them apart.
        if self.answered == 0 || at.is_none() || at != self.answered_at {
            self.answered += 1;
            self.answered_at = at;
        }
        self.unanswered().is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.marks.len()
    }

    pub(crate) fn charge(&self) -> Charge {
        total(&self.charges)
    }

    /// What to call it in a message to a person.
    pub(crate) fn called(&self) -> String {
        let label = |mark: Option<&Mark>| mark.map(|mark| mark.label.to_string()).unwrap_or_default();
        let partition = self.duties.partition().map_or("", |partition| partition);
        match self.len() {
            1 => format!("record `{}` of `{partition}`", label(self.marks.first())),
            _ => format!("records `{}` to `{}` of `{partition}`", label(self.marks.first()), label(self.marks.last())),
        }
    }

    /// Back into a pack, with the records read out of the frame.
    pub(crate) fn into_pack(self) -> Pack {
        let read = unpack_own(self.frames.as_slice(), self.sealer.as_deref());
        let entry = read.expect("a frame that this client encoded and kept reads back");
        let records: Vec<Record> = entry
            .records
            .into_iter()
            .zip(self.marks)
            .map(|(record, Mark { label, sequence })| Record { label, sequence, ..record })
            .collect();
        let value_bytes = records.iter().map(|record| record.value.len()).sum();
        Pack { records, charges: self.charges, duties: self.duties, value_bytes, publish_time: self.publish_time }
    }
}

fn total(charges: &[Charge]) -> Charge {
    let mut sum = Charge::default();
    for charge in charges {
        sum += *charge;
    }
    sum
}
