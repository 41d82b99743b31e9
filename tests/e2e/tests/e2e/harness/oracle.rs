//! The comparison: what was put against what arrived. Bytes, key, properties, times; nothing lost; order of first appearances.
//!
//! A message is told by its sequence number and sub-sequence number, which every test asks the source for as properties; that they are right is then
//! proven by the bytes, which are compared whole.

use std::collections::{HashMap, HashSet};
use std::fmt;

use bytes::Bytes;

use super::topic::Message;

pub(crate) const NUMBER: &str = "kinesis.sequence.number";
pub(crate) const SUB: &str = "kinesis.sub.sequence.number";
const SHARD: &str = "kinesis.shard.id";
const KEY: &str = "kinesis.partition.key";
/// Findings of a kind that are listed; the rest is counted.
const LISTED: usize = 10;

/// A record's number and sub-sequence number, the partition it is in, and when it was published.
type Stored<'a> = ((&'a str, usize), u32, u64);

/// A record as it was put.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) shard: String,
    pub(crate) number: String,
    pub(crate) sub: usize,
    pub(crate) key: String,
    pub(crate) data: Bytes,
    /// Milliseconds since the epoch, where the service tells it.
    pub(crate) arrived_at: Option<i64>,
}

/// Everything that was put.
pub(crate) struct Truth {
    sent: Vec<Sent>,
    by_number: HashMap<(String, usize), usize>,
    growths: usize,
}

impl Truth {
    pub(crate) fn new(sent: Vec<Sent>) -> Self {
        let by_number = sent.iter().enumerate().map(|(index, one)| ((one.number.clone(), one.sub), index)).collect();
        Self { sent, by_number, growths: 0 }
    }

    /// The topic gained partitions so many times meanwhile: each time a key may move to another partition, with all of its later records.
    pub(crate) fn of_a_topic_that_grew(self, growths: usize) -> Self {
        Self { growths, ..self }
    }

    pub(crate) fn len(&self) -> usize {
        self.sent.len()
    }

    pub(crate) fn records(&self) -> &[Sent] {
        &self.sent
    }

    /// The truth without some records.
    pub(crate) fn without(self, leave_out: impl Fn(&Sent) -> bool) -> Self {
        Self::new(self.sent.into_iter().filter(|one| !leave_out(one)).collect())
    }

    /// Compares; says nothing yet.
    pub(crate) fn compare(&self, arrived: &[Message]) -> Comparison {
        let mut comparison = Comparison { sent: self.sent.len(), arrived: arrived.len(), ..Comparison::default() };
        let mut seen: HashSet<usize> = HashSet::new();
        let mut last_of_shard: HashMap<(u32, &str), (&str, usize)> = HashMap::new();
        let mut last_of_key: HashMap<(&str, u32), (&str, usize)> = HashMap::new();
        let mut of_key: HashMap<&str, Vec<Stored>> = HashMap::new();
        for message in arrived {
            let number = message.property(NUMBER).unwrap_or_default().to_owned();
            let sub = message.property(SUB).and_then(|text| text.parse().ok()).unwrap_or(0);
            let Some(index) = self.by_number.get(&(number.clone(), sub)) else {
                comparison.wrong.add(|| format!("record {number}/{sub} was never put"));
                continue;
            };
            let sent = &self.sent[*index];
            comparison.check_content(sent, message);
            if !seen.insert(*index) {
                comparison.doubled.push(message.publish_time);
                let Message { partition, producer, publish_time, .. } = message;
                comparison
                    .twice
                    .add(|| format!("{number}/{sub} of {} again in partition {partition} at {publish_time} by `{producer}`", sent.shard));
                continue;
            }
            if message.is_late() {
                // Refused and overtaken: it is there, behind what overtook it.
                comparison.late += 1;
                continue;
            }
            let at = (sent.number.as_str(), sent.sub);
            // Sequence numbers are of one length: text order is numeric order, also from parent to child.
            if let Some(before) = last_of_shard.insert((message.partition, sent.shard.as_str()), at).filter(|before| *before >= at) {
                comparison.disorder.add(|| format!("in {} {at:?} came after {before:?}", sent.shard));
            }
            if let Some(before) = last_of_key.insert((sent.key.as_str(), message.partition), at).filter(|before| *before >= at) {
                comparison.disorder.add(|| format!("of key `{}` {at:?} came after {before:?}", sent.key));
            }
            of_key.entry(sent.key.as_str()).or_default().push((at, message.partition, message.publish_time));
        }
        for (key, mut stored) in of_key {
            stored.sort_unstable();
            let moves: Vec<&[Stored]> = stored.windows(2).filter(|pair| pair[0].1 != pair[1].1).collect();
            if moves.len() > self.growths {
                comparison.disorder.add(|| format!("key `{key}` moved {} times between partitions, first {:?}", moves.len(), moves[0]));
            }
            if let Some(early) = moves.iter().find(|pair| pair[0].2 > pair[1].2) {
                comparison.disorder.add(|| format!("key `{key}` moved before what it had on the way was stored: {early:?}"));
            }
        }
        for (_, sent) in self.sent.iter().enumerate().filter(|(index, _)| !seen.contains(index)) {
            comparison.lost.add(|| format!("{} {}/{} of key `{}`, {} bytes", sent.shard, sent.number, sent.sub, sent.key, sent.data.len()));
        }
        comparison
    }
}

/// Findings of one kind: the first few, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) count: usize,
    first: Vec<String>,
}

impl Findings {
    fn add(&mut self, tell: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < LISTED {
            self.first.push(tell());
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        self.first.iter().try_for_each(|one| write!(f, "\n    {one}"))
    }
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) sent: usize,
    pub(crate) arrived: usize,
    pub(crate) lost: Findings,
    pub(crate) wrong: Findings,
    pub(crate) disorder: Findings,
    /// Messages published under a name for numbers that were refused and overtaken; their order is not judged.
    pub(crate) late: usize,
    /// Publish times of messages that repeat an earlier one, in milliseconds since the epoch.
    pub(crate) doubled: Vec<u64>,
    twice: Findings,
}

impl Comparison {
    fn check_content(&mut self, sent: &Sent, message: &Message) {
        let which = || format!("{}/{}", sent.number, sent.sub);
        if message.value != sent.data {
            self.wrong.add(|| format!("{}: {} bytes were put, {} other bytes arrived", which(), sent.data.len(), message.value.len()));
        }
        if message.key.as_deref() != Some(sent.key.as_str()) || message.key_is_base64 {
            self.wrong.add(|| format!("{}: the key is {:?}, not `{}` as text", which(), message.key, sent.key));
        }
        if message.property(SHARD) != Some(sent.shard.as_str()) || message.property(KEY) != Some(sent.key.as_str()) {
            self.wrong.add(|| format!("{}: the properties are {:?}", which(), message.properties));
        }
        let arrived_at = sent.arrived_at.and_then(|at| u64::try_from(at).ok());
        if message.event_time.is_none() || arrived_at.is_some_and(|at| message.event_time != Some(at)) {
            self.wrong.add(|| format!("{}: the event time is {:?}, it arrived at {arrived_at:?}", which(), message.event_time));
        }
    }

    /// Whether everything arrived, unchanged, in order and once.
    pub(crate) fn is_exact(&self) -> bool {
        self.lost.count + self.wrong.count + self.disorder.count + self.doubled.len() == 0
    }

    /// Everything arrived, unchanged and in order; what is doubled is left to the caller.
    pub(crate) fn assert_whole(&self) {
        assert!(self.lost.count == 0 && self.wrong.count == 0 && self.disorder.count == 0, "{self}");
    }

    /// Everything arrived, unchanged, in order and once.
    pub(crate) fn assert_exact(&self) {
        self.assert_whole();
        assert!(self.doubled.is_empty(), "{self}");
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} records were put, {} messages arrived, {} of them doubled, {} late",
            self.sent,
            self.arrived,
            self.doubled.len(),
            self.late
        )?;
        writeln!(f, "  lost: {}", self.lost)?;
        writeln!(f, "  doubled: {}", self.twice)?;
        writeln!(f, "  wrong: {}", self.wrong)?;
        write!(f, "  out of order: {}", self.disorder)
    }
}
