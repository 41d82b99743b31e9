//! What was delivered and not acknowledged, what is acknowledged and not confirmed, what is to be asked for again.
//!
//! An entry is forgotten when the broker has confirmed its acknowledgement, or when it will be delivered anew anyway and nothing
//! of it is acknowledged. Promised: an acknowledgement outlives every interruption until it is confirmed; a message that was
//! acknowledged is neither handed on again nor asked for again as long as that is remembered; a batch is acknowledged whole, when
//! all of its messages are, unless the broker takes them one by one. It does no I/O and reads no clock.

use crate::message::DeliveredId;
use connector_sdk::MessageId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// The messages of an entry that are not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    words: Vec<u64>,
}

impl Left {
    /// All of `size` messages, less those a broker's set (when there is one) says are done.
    pub(super) fn new(size: u32, still: &[i64]) -> Self {
        let size = size as usize;
        let mut words = vec![u64::MAX; size.div_ceil(64)];
        if let Some(last) = words.last_mut().filter(|_| !size.is_multiple_of(64)) {
            *last = (1 << (size % 64)) - 1;
        }
        let mut left = Self { words };
        if !still.is_empty() {
            left.keep(still);
        }
        left
    }

    fn keep(&mut self, still: &[i64]) {
        for (at, word) in self.words.iter_mut().enumerate() {
            *word &= still.get(at).map_or(0, |still| u64::from_ne_bytes(still.to_ne_bytes()));
        }
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|word| word & 1 << (index % 64) != 0)
    }

    fn remove(&mut self, index: u32) -> bool {
        let there = self.contains(index);
        if there {
            self.words[index as usize / 64] &= !(1 << (index % 64));
        }
        there
    }

    pub(super) fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// As the protocol writes it.
    fn to_set(&self) -> Vec<i64> {
        self.words.iter().map(|word| i64::from_ne_bytes(word.to_ne_bytes())).collect()
    }
}

#[derive(Debug)]
struct Tracked {
    size: u32,
    left: Left,
    /// Its messages that the owner has.
    in_hand: u32,
    /// Of a message in chunks all but the last.
    chunks: Vec<MessageId>,
    /// It is among those whose acknowledgement is to be sent.
    due: bool,
    /// Acknowledgements that name it and are not confirmed: of a batch in parts there may be several.
    sent: u32,
    /// When it is asked for again.
    again: Option<Instant>,
}

/// Everything up to and with an entry, or with the part of it that `left` does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UpTo {
    id: MessageId,
    left: Option<Left>,
}

impl UpTo {
    /// Says what another one says, too: the later of them, or of one entry what neither has left.
    fn add(&mut self, other: Self) {
        if self.id < other.id {
            *self = other;
        } else if self.id == other.id {
            self.left = self.left.take().zip(other.left).map(|(mut left, other)| {
                left.keep(&other.to_set());
                left
            });
        }
    }
}

/// One entry's part of an ACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AckedEntry {
    pub(super) id: MessageId,
    /// 1: not acknowledged; empty: the whole entry is.
    pub(super) set: Vec<i64>,
}

/// What one ACK says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Group {
    Individual(Vec<AckedEntry>),
    Cumulative(AckedEntry),
}

#[derive(Debug)]
struct Sent {
    number: u64,
    entries: Vec<MessageId>,
    up_to: Option<UpTo>,
}

/// One consumer's unacknowledged messages.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    entries: BTreeMap<MessageId, Tracked>,
    due: VecDeque<MessageId>,
    up_to: Option<UpTo>,
    /// By request.
    sent: BTreeMap<u64, Sent>,
    again: BTreeSet<(Instant, MessageId)>,
    in_hand: usize,
    /// Of the group that is being collected.
    number: u64,
    /// Of the newest group.
    last: u64,
}

impl Unacked {
    /// Messages the owner has and has not acknowledged.
    pub(super) fn in_hand(&self) -> usize {
        self.in_hand
    }

    /// An entry has arrived: the messages of it that are to be handed on.
    pub(super) fn deliver(&mut self, id: MessageId, size: u32, still: &[i64], chunks: Vec<MessageId>) -> Option<Left> {
        if self.unconfirmed_up_to().any(|up_to| id < up_to.id || id == up_to.id && up_to.left.is_none()) {
            return None;
        }
        let tracked = self.entries.entry(id).or_insert_with(|| Tracked {
            size,
            left: Left::new(size, &[]),
            in_hand: 0,
            chunks,
            due: false,
            sent: 0,
            again: None,
        });
        if !still.is_empty() {
            tracked.left.keep(still);
        }
        if let Some(at) = tracked.again.take() {
            self.again.remove(&(at, id));
        }
        self.in_hand -= tracked.in_hand as usize;
        tracked.in_hand = tracked.left.count();
        self.in_hand += tracked.in_hand as usize;
        (tracked.in_hand > 0).then(|| tracked.left.clone())
    }

    fn unconfirmed_up_to(&self) -> impl Iterator<Item = &UpTo> {
        self.up_to.iter().chain(self.sent.values().filter_map(|sent| sent.up_to.as_ref()))
    }

    /// A message is done. `by_index`: the broker takes the messages of a batch one by one.
    pub(super) fn ack(&mut self, message: DeliveredId, by_index: bool) {
        let size = message.batch.map_or(1, |batch| batch.size.max(1));
        let id = message.message;
        // What is not known was delivered before an interruption: the broker knows it all the same.
        let tracked = self.entries.entry(id).or_insert_with(|| Tracked {
            size,
            left: Left::new(size, &[]),
            in_hand: 0,
            chunks: Vec::new(),
            due: false,
            sent: 0,
            again: None,
        });
        if tracked.left.remove(message.batch.map_or(0, |batch| batch.index)) {
            self.in_hand -= usize::from(tracked.in_hand > 0);
            tracked.in_hand = tracked.in_hand.saturating_sub(1);
        }
        let whole = tracked.left.is_empty();
        if whole && let Some(at) = tracked.again.take() {
            self.again.remove(&(at, id));
        }
        if (whole || by_index) && !std::mem::replace(&mut tracked.due, true) {
            self.due.push_back(id);
        }
    }

    /// A message and everything before it is done.
    pub(super) fn ack_up_to(&mut self, message: DeliveredId, by_index: bool) {
        let id = message.message;
        let mut up_to = UpTo { id, left: None };
        if let Some(batch) = message.batch.filter(|batch| batch.index + 1 < batch.size) {
            for index in 0..batch.index {
                let earlier = DeliveredId { batch: Some(crate::message::BatchIndex { index, ..batch }), ..message };
                self.ack(earlier, false);
            }
            self.ack(message, false);
            let tracked = self.entries.get(&id).expect("just acknowledged in part");
            if !tracked.left.is_empty() {
                up_to = if by_index {
                    UpTo { id, left: Some(tracked.left.clone()) }
                } else {
                    // The broker takes the entry whole or not at all: up to the one before.
                    UpTo { id: MessageId { entry: id.entry.saturating_sub(1), ..id }, left: None }
                };
            }
        }
        let done: Vec<MessageId> = match up_to.left {
            None => self.entries.range(..=up_to.id).map(|(id, _)| *id).collect(),
            Some(_) => self.entries.range(..up_to.id).map(|(id, _)| *id).collect(),
        };
        for id in done {
            self.forget(id);
        }
        self.collect_up_to(up_to);
    }

    fn collect_up_to(&mut self, up_to: UpTo) {
        match &mut self.up_to {
            Some(collected) => collected.add(up_to),
            None => self.up_to = Some(up_to),
        }
    }

    /// Nobody will acknowledge an entry any more: it is done otherwise, or damaged.
    pub(super) fn forget(&mut self, id: MessageId) {
        if let Some(tracked) = self.entries.remove(&id) {
            self.in_hand -= tracked.in_hand as usize;
            if let Some(at) = tracked.again {
                self.again.remove(&(at, id));
            }
        }
    }

    /// The entry is asked for again at `at`, unless it is acknowledged by then. `false`: the owner has only copies that were delivered
    /// before, so it comes again anyway, or is done.
    pub(super) fn ask_again(&mut self, id: MessageId, at: Instant) -> bool {
        let Some(tracked) = self.entries.get_mut(&id).filter(|tracked| tracked.in_hand > 0) else { return false };
        if let Some(before) = tracked.again.replace(at) {
            self.again.remove(&(before, id));
        }
        self.again.insert((at, id));
        true
    }

    /// When an entry is to be asked for again.
    pub(super) fn next_again(&self) -> Option<Instant> {
        self.again.first().map(|(at, _)| *at)
    }

    /// Takes up to `most` entries that are to be asked for again now.
    pub(super) fn take_again(&mut self, now: Instant, most: usize) -> Vec<MessageId> {
        let mut ids = Vec::new();
        while ids.len() < most && self.again.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, id)) = self.again.pop_first() else { break };
            if let Some(tracked) = self.entries.get_mut(&id) {
                tracked.again = None;
                self.in_hand -= tracked.in_hand as usize;
                tracked.in_hand = 0;
                ids.push(id);
            }
        }
        ids
    }

    /// Everything that is not acknowledged comes again: only what is acknowledged, or in part, need be remembered.
    pub(super) fn all_again(&mut self) {
        self.again.clear();
        self.in_hand = 0;
        self.entries.retain(|_, tracked| {
            tracked.again = None;
            tracked.in_hand = 0;
            tracked.due || tracked.left.is_empty() || tracked.left.count() < tracked.size
        });
    }

    /// The broker may not have heard what it has not confirmed.
    pub(super) fn reopened(&mut self) {
        for request in self.sent.keys().copied().collect::<Vec<_>>() {
            self.refused(request);
        }
        self.all_again();
    }

    /// Nothing that was delivered means anything any more.
    pub(super) fn clear(&mut self) {
        let last = self.last;
        *self = Self { number: last, last, ..Self::default() };
    }

    /// Whether there is something to be sent, and how many entries.
    pub(super) fn due(&self) -> usize {
        self.due.len() + usize::from(self.up_to.is_some())
    }

    /// The next ACK to be sent under this request number.
    pub(super) fn next_group(&mut self, request: u64, most: usize) -> Option<Group> {
        let number = self.number;
        if let Some(up_to) = self.up_to.take() {
            let set = up_to.left.as_ref().map(Left::to_set).unwrap_or_default();
            let group = Group::Cumulative(AckedEntry { id: up_to.id, set });
            self.sent.insert(request, Sent { number, entries: Vec::new(), up_to: Some(up_to) });
            self.begin_group();
            return Some(group);
        }
        let mut acked = Vec::new();
        let mut entries = Vec::new();
        while entries.len() < most {
            let Some(id) = self.due.pop_front() else { break };
            // Acknowledged meanwhile with everything before another one, and perhaps delivered anew since.
            let Some(tracked) = self.entries.get_mut(&id).filter(|tracked| tracked.due) else { continue };
            tracked.due = false;
            tracked.sent += 1;
            let set = if tracked.left.is_empty() { Vec::new() } else { tracked.left.to_set() };
            acked.extend(tracked.chunks.iter().map(|chunk| AckedEntry { id: *chunk, set: Vec::new() }));
            acked.push(AckedEntry { id, set });
            entries.push(id);
        }
        if acked.is_empty() {
            return None;
        }
        self.sent.insert(request, Sent { number, entries, up_to: None });
        self.begin_group();
        Some(Group::Individual(acked))
    }

    fn begin_group(&mut self) {
        self.last += 1;
        self.number = self.last;
    }

    /// The broker has done what the request said.
    pub(super) fn confirmed(&mut self, request: u64) {
        let Some(sent) = self.sent.remove(&request) else { return };
        for id in sent.entries {
            let Some(tracked) = self.entries.get_mut(&id) else { continue };
            tracked.sent = tracked.sent.saturating_sub(1);
            if tracked.left.is_empty() && !tracked.due && tracked.sent == 0 {
                self.forget(id);
            }
        }
    }

    /// The broker has not, or may not have, done it: it is sent again.
    pub(super) fn refused(&mut self, request: u64) {
        let Some(sent) = self.sent.remove(&request) else { return };
        self.number = self.number.min(sent.number);
        for id in sent.entries {
            // Acknowledged meanwhile with everything before another one, and perhaps tracked anew since.
            let Some(tracked) = self.entries.get_mut(&id).filter(|tracked| tracked.sent > 0) else { continue };
            tracked.sent -= 1;
            if !std::mem::replace(&mut tracked.due, true) {
                self.due.push_back(id);
            }
        }
        if let Some(up_to) = sent.up_to {
            self.collect_up_to(up_to);
        }
    }

    /// A mark for [`Unacked::is_confirmed`]: everything acknowledged until now.
    pub(super) fn mark(&self) -> u64 {
        self.last + u64::from(self.due() > 0)
    }

    /// Whether the broker has confirmed everything that was acknowledged before the mark was taken (of a batch that it only takes
    /// whole: once all of it was acknowledged).
    pub(super) fn is_confirmed(&self, mark: u64) -> bool {
        let collecting = self.due() > 0 && self.number < mark;
        !collecting && self.sent.values().all(|sent| sent.number >= mark)
    }
}

#[cfg(test)]
#[path = "unacked_tests.rs"]
mod tests;
