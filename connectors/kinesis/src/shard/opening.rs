//! What a shard's records are sent under in EFFECTIVELY_ONCE: decided once, by the row as it was taken and the first record that is
//! read. Pure.
//!
//! Promised: numbers go on only where the row says which record they belong to; what may have been sent by an owner before is never
//! sent under other names, or over other partitions, unless the epoch changes. Never: a name that depends on who sends.

use crate::config::MessageKeyMode;
use crate::ids::{Checkpoint, SequenceNumber, ShardId};
use crate::lease::{Exact, NUMBERING, NextRecord, NumberedPosition, Numbering, PulsarConnect, last_number_before, record_number};
use bytestring::ByteString;
use connector_sdk::TopicShape;

/// The row as it was taken.
pub(super) struct Found<'a> {
    pub(super) attribute: &'a PulsarConnect,
    pub(super) checkpoint: &'a Checkpoint,
    /// Whether nothing was ever sent beyond the checkpoint.
    pub(super) clean: bool,
}

/// Where records are to go now.
pub(super) struct Wanted<'a> {
    pub(super) shape: &'a TopicShape,
    pub(super) key_mode: MessageKeyMode,
}

/// What to store before anything is handed on, and to go by then.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// The epoch, and the ordinal of the checkpointed record in it; 0 where it has none.
    pub(super) numbering: Numbering,
    /// The ordinal of the record before the first one that was read.
    pub(super) before: u64,
    /// The highest number that the checkpoint covers.
    pub(super) covered: u64,
    pub(super) exact: Exact,
    /// Whether an owner before may have sent more than the checkpoint covers, under this epoch's names.
    pub(super) in_doubt: bool,
    /// The epoch that ends with this opening.
    pub(super) former: Option<Former>,
}

/// An epoch that is over: nobody may send under its names any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Former {
    pub(super) epoch: u64,
    pub(super) topic: ByteString,
    pub(super) partitions: u32,
    /// Whether there may be a sender under the name for spent numbers.
    pub(super) late: bool,
    /// The highest number its last checkpoint covered, as far as is known.
    pub(super) covered: u64,
}

/// The name that a shard's producers have, on every partition of the topic.
pub(super) fn lineage_name(table: &str, stream: &str, shard: &ShardId, epoch: u64) -> ByteString {
    format!("pulsar-connect/{table}/{stream}/{shard}/{epoch}").into()
}

/// Whether a topic that was cut into `before` partitions and is now into `now` cannot be the same: it was deleted and made again.
pub(super) fn is_made_anew(before: u32, now: u32) -> bool {
    now < before || (before == 0 && now > 0)
}

/// Decides what `first`, the first record that was read, and all behind it are sent under; `now` in milliseconds since the epoch.
pub(super) fn decide(found: &Found<'_>, wanted: &Wanted<'_>, first: &SequenceNumber, now: u64) -> Opening {
    let Wanted { shape, key_mode } = wanted;
    let stored = found.attribute.exact.as_ref();
    let known = known_place(found, first);
    let goes_on = match stored {
        // Another guarantee ran last: what it sent is known only where it left nothing open.
        None => found.clean,
        Some(exact) => exact.numbering == NUMBERING && (found.clean || has_same_routes(exact, wanted)),
    };
    let known = known.filter(|_| goes_on);
    let in_doubt = known.is_some() && !found.clean;
    let same_topic = stored.filter(|exact| exact.topic == shape.topic && !is_made_anew(exact.partitions, shape.partitions));
    let kept = same_topic.filter(|_| known.is_some());
    let place = known.unwrap_or_else(|| new_place(found, first, now));
    let exact = Exact {
        topic: shape.topic.clone(),
        // What may have been sent already goes by the count it was sent by.
        partitions: kept.filter(|_| in_doubt).map_or(shape.partitions, |exact| exact.partitions),
        hashing: shape.hashing.clone(),
        key_mode: *key_mode,
        numbering: NUMBERING,
        covered: kept.map(|exact| exact.covered.clone()).unwrap_or_default(),
        spent: kept.map(|exact| exact.spent.clone()).unwrap_or_default(),
        uncovered_since: kept.filter(|_| in_doubt).map_or(now, |exact| exact.uncovered_since),
        next: (place.numbering.ordinal == 0).then(|| NextRecord::behind(found.checkpoint, first, place.before + 1)),
    };
    let is_new = place.numbering.epoch != found.attribute.epoch;
    let former = stored.filter(|_| is_new).map(|exact| Former {
        epoch: found.attribute.epoch,
        topic: exact.topic.clone(),
        partitions: exact.partitions,
        late: !exact.spent.is_empty(),
        covered: stored_number(found.attribute, exact),
    });
    Opening { covered: place.covered, numbering: place.numbering, before: place.before, exact, in_doubt, former }
}

/// Where the numbers stand.
struct NumberedPlace {
    numbering: Numbering,
    before: u64,
    covered: u64,
}

/// Where the row's own numbers stand, if `first` is the record that it expects.
fn known_place(found: &Found<'_>, first: &SequenceNumber) -> Option<NumberedPlace> {
    let epoch = found.attribute.epoch;
    if let (Some(numbered), Checkpoint::At(position)) = (&found.attribute.position, found.checkpoint)
        && numbered.is(position)
        && position.sequence.cmp(first).is_eq()
    {
        let NumberedPosition { ordinal, sub, .. } = *numbered;
        return Some(at_checkpoint(epoch, ordinal, sub));
    }
    let next = found.attribute.exact.as_ref()?.next.as_ref()?;
    (next.is_behind(found.checkpoint) && next.is(first)).then(|| behind_checkpoint(epoch, next.ordinal))
}

/// A count that begins with `first`, under an epoch that no row of this lease can have had: the clock tells it from the epochs of a
/// table that was deleted since, whose names the broker still knows.
fn new_place(found: &Found<'_>, first: &SequenceNumber, now: u64) -> NumberedPlace {
    let epoch = (found.attribute.epoch + 1).max(now / 1_000);
    match found.checkpoint {
        Checkpoint::At(position) if position.sequence.cmp(first).is_eq() => at_checkpoint(epoch, 1, position.sub),
        _ => behind_checkpoint(epoch, 1),
    }
}

/// The first record is the checkpointed one.
fn at_checkpoint(epoch: u64, ordinal: u64, sub: u64) -> NumberedPlace {
    let covered = record_number(ordinal, sub).unwrap_or_else(|| last_number_before(ordinal + 1));
    NumberedPlace { numbering: Numbering { epoch, ordinal }, before: ordinal.saturating_sub(1), covered }
}

/// The first record is `ordinal`, and lies behind the checkpoint.
fn behind_checkpoint(epoch: u64, ordinal: u64) -> NumberedPlace {
    NumberedPlace { numbering: Numbering { epoch, ordinal: 0 }, before: ordinal.saturating_sub(1), covered: last_number_before(ordinal) }
}

/// The highest number that the row's last numbered checkpoint covered.
fn stored_number(attribute: &PulsarConnect, exact: &Exact) -> u64 {
    match (&attribute.position, &exact.next) {
        (Some(position), _) => at_checkpoint(attribute.epoch, position.ordinal, position.sub).covered,
        (None, Some(next)) => last_number_before(next.ordinal),
        (None, None) => 0,
    }
}

/// Whether a record would take the same way as when it was sent by the row's owners before.
fn has_same_routes(exact: &Exact, wanted: &Wanted<'_>) -> bool {
    let Wanted { shape, key_mode } = wanted;
    exact.topic == shape.topic
        && exact.hashing == shape.hashing
        && exact.key_mode == *key_mode
        && !is_made_anew(exact.partitions, shape.partitions)
}

#[cfg(test)]
#[path = "opening_tests.rs"]
mod tests;
