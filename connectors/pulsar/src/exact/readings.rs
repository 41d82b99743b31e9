//! Topics that are read back: one reading of a topic at a time, for everybody who waits for it.
//!
//! After a crash many lineages want to know the same of the same topics. Who asks while a topic is being read waits for the next
//! reading, which begins at the oldest place that any of them needs: what it costs does not grow with their number.
//!
//! What may be stored without a receipt is read back a moment after it was asked for: a connection that breaks leaves entries on their way to
//! storage, and a broker that has forgotten their numbers does not tell of them.

use super::lane::Which;
use crate::machine::{Machine, Now, ReadBackId, ReadFrom};
use crate::topic::TopicName;
use connector_sdk::{Mistake, planted};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a broken connection left on its way to storage is expected to be there after this time.
const SETTLING: Duration = Duration::from_secs(2);

/// Why a lineage wants a topic read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its name was never used there: where the topic ends now is where a reading back would begin.
    FirstUse,
    /// Nothing was sent there for a while: a reading back could begin where the topic ends now. So much the producer had accepted.
    Idle { accepted: u64 },
    /// More may be stored than the broker says.
    Doubt,
    /// The broker knows less than is known to be stored.
    Forgotten,
    /// Numbers up to this were refused, and the broker may have them.
    Refused(Option<u64>),
}

impl Why {
    /// Whether nobody can know what is stored unless the topic is read back.
    pub(super) fn is_needed(self) -> bool {
        matches!(self, Self::Forgotten | Self::Refused(_))
    }

    /// Whether only the topic's end is asked for.
    fn is_for_the_end(self) -> bool {
        matches!(self, Self::FirstUse | Self::Idle { .. })
    }

    fn is_idle(self) -> bool {
        matches!(self, Self::Idle { .. })
    }

    /// Numbers up to this will never be stored any more, unless they are.
    pub(super) fn refused(self) -> Option<u64> {
        match self {
            Self::Refused(number) => number,
            _ => None,
        }
    }
}

/// What one lineage wants to know.
#[derive(Debug, Clone)]
pub(super) struct Want {
    pub(super) line: u64,
    pub(super) partition: u32,
    pub(super) which: Which,
    /// The producer's name.
    pub(super) name: String,
    pub(super) from: ReadFrom,
    pub(super) why: Why,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Readings {
    running: BTreeMap<ReadBackId, (TopicName, Vec<Want>)>,
    /// With the moment from which each may begin.
    waiting: BTreeMap<TopicName, Vec<(Instant, Want)>>,
}

impl Readings {
    pub(super) fn want(&mut self, machine: &mut Machine, now: Now, topic: TopicName, want: Want) {
        let asks_already = |other: &Want| (other.line, other.partition) == (want.line, want.partition) && other.why.is_idle();
        if want.why.is_idle() && self.all().any(asks_already) {
            return;
        }
        let at_once = want.why.is_for_the_end() || planted(Mistake::ReadBackAtOnce);
        let not_before = if at_once { now.at } else { now.at + SETTLING };
        self.waiting.entry(topic.clone()).or_default().push((not_before, want));
        self.begin(machine, now, topic);
    }

    /// Begins what has waited long enough.
    pub(super) fn look(&mut self, machine: &mut Machine, now: Now) {
        for topic in self.waiting.keys().cloned().collect::<Vec<_>>() {
            self.begin(machine, now, topic);
        }
    }

    /// Who waited for this reading, which has ended.
    pub(super) fn ended(&mut self, machine: &mut Machine, now: Now, id: ReadBackId) -> Vec<Want> {
        let Some((topic, wants)) = self.running.remove(&id) else { return Vec::new() };
        self.begin(machine, now, topic);
        wants
    }

    fn all(&self) -> impl Iterator<Item = &Want> {
        let running = self.running.values().flat_map(|(_, wants)| wants);
        running.chain(self.waiting.values().flatten().map(|(_, want)| want))
    }

    /// Nobody wants to know anything of this lineage any more.
    pub(super) fn drop_line(&mut self, machine: &mut Machine, now: Now, line: u64) {
        for wants in self.waiting.values_mut() {
            wants.retain(|(_, want)| want.line != line);
        }
        for (_, wants) in self.running.values_mut() {
            wants.retain(|want| want.line != line);
        }
        let idle: Vec<ReadBackId> = self.running.iter().filter(|(_, (_, wants))| wants.is_empty()).map(|(id, _)| *id).collect();
        for id in idle {
            machine.drop_read_back(id);
            self.ended(machine, now, id);
        }
    }

    /// A topic that is being read for what is stored in it, or is about to be, and for how many producers.
    pub(super) fn shown(&self) -> Option<(&TopicName, usize)> {
        let stored = |want: &&Want| !want.why.is_for_the_end();
        let running = self.running.values().map(|(topic, wants)| (topic, wants.iter().filter(stored).count()));
        let waiting = self.waiting.iter().map(|(topic, wants)| (topic, wants.iter().map(|(_, want)| want).filter(stored).count()));
        running.chain(waiting).find(|(_, producers)| *producers > 0)
    }

    /// Begins to read a topic, if somebody waits for it and it is not being read.
    fn begin(&mut self, machine: &mut Machine, now: Now, topic: TopicName) {
        if self.running.values().any(|(running, _)| *running == topic) {
            return;
        }
        let Some(waiting) = self.waiting.remove(&topic) else { return };
        let (due, mut later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(not_before, _)| *not_before <= now.at);
        // A place and a time cannot be compared: who goes by time reads alone.
        let is_by_time = |(_, want): &(Instant, Want)| matches!(want.from, ReadFrom::Time(_));
        let (by_time, mut together): (Vec<_>, Vec<_>) = due.into_iter().partition(is_by_time);
        let mut by_time = by_time.into_iter();
        if together.is_empty() {
            together.extend(by_time.next());
        }
        later.extend(by_time);
        if !later.is_empty() {
            self.waiting.insert(topic.clone(), later);
        }
        let wants: Vec<Want> = together.into_iter().map(|(_, want)| want).collect();
        let Some(from) = wants.iter().map(|want| want.from).reduce(ReadFrom::or_earlier) else { return };
        let names = wants.iter().filter(|want| !want.why.is_for_the_end()).map(|want| want.name.clone());
        let id = machine.read_back(now, topic.clone(), from, names);
        self.running.insert(id, (topic, wants));
    }
}
