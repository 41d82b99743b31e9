//! What is stored under a name: the broker's word on it, and where that is not enough, the topic itself.
//!
//! The broker's last number may be too low: it forgets names that are away, and it may recover old numbers over new ones without a
//! sign. So wherever more may be stored than is known the topic is read back from the newest place that is known. What is found is
//! stored, what is missing below the highest found can never be stored under the name any more, and what lies beyond is sent. Where
//! the topic cannot be read back, a broker that knows less than the row is not believed, and one that does not is.

use super::Exact;
use super::lane::{Found, Told, Wait, Which};
use super::readings::{Want, Why};
use crate::machine::{Machine, Now, ProducerId, ReadBack, ReadBackId, ReadFrom};
use crate::topic::TopicName;
use connector_sdk::{Error, ErrorKind, Lineage, Mistake, planted};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// For clocks that do not agree, when a topic is read back by time.
const CLOCKS: Duration = Duration::from_secs(60);

impl Exact {
    /// Looks at the broker's word on a name, and decides what has to be found out before anything is sent under it.
    pub(super) fn look_at(&mut self, machine: &mut Machine, now: Now, (number, partition, which): (u64, u32, Which)) {
        let Some(line) = self.lines.get(&number) else { return };
        // The right to it may have been lost while it was opened, by a clock that counts the time of a suspended machine.
        if line.lineage.is_over() {
            return self.end_line(machine, now, number);
        }
        let lineage = Arc::clone(&line.lineage);
        let door = self.lane(number, partition).door(which);
        let (Some(Told { last, unknown }), Some(producer)) = (door.told.take(), door.producer) else { return };
        let newest = lineage.newest(partition);
        let is_known = newest.is_some();
        let known = newest.filter(|_| which == Which::Main).map(|newest| newest.number).filter(|number| *number > 0);
        let used = is_known || which == Which::Late;
        if !used {
            // Never used there, as the row says; from the next write on it says that it is.
            return self.read_back(machine, now, (number, partition, which), producer, Why::FirstUse);
        }
        // No clock in the sign: whoever held it before may have written the row seconds ago.
        let forgotten = last.is_none_or(|last| known.is_some_and(|known| last < known));
        if (lineage.is_in_doubt() || unknown) && (forgotten || !planted(Mistake::LastIdBelieved)) {
            // Also without a sign: a broker that recovers a topic's numbers twice puts old ones over new ones.
            let why = if forgotten { Why::Forgotten } else { Why::Doubt };
            return self.read_back(machine, now, (number, partition, which), producer, why);
        }
        self.admit(machine, now, number, partition, which);
        self.advance(machine, now, number, partition);
    }

    /// Looks into the topic for what is stored under a name; everything of the lane that is not resolved waits for it.
    pub(super) fn read_back(
        &mut self,
        machine: &mut Machine,
        now: Now,
        (line, partition, which): (u64, u32, Which),
        producer: ProducerId,
        why: Why,
    ) {
        let Some(lineage) = self.lines.get(&line).map(|line| Arc::clone(&line.lineage)) else { return };
        let margin = u64::try_from(CLOCKS.as_millis()).unwrap_or(u64::MAX);
        // Behind the newest receipt lies what this owner has on its way under the lineage's own name, and nothing else that may be stored.
        let place = if which == Which::Main && why == Why::Doubt { lineage.newest(partition) } else { lineage.covered(partition) };
        let from = match place.and_then(|place| place.message) {
            _ if why == Why::FirstUse => ReadFrom::End,
            _ if planted(Mistake::ReadBackFromCheckpoint) => ReadFrom::Time(lineage.uncovered_since()),
            Some(message) => ReadFrom::Message(message),
            None => ReadFrom::Time(lineage.uncovered_since().saturating_sub(margin)),
        };
        let name = which.name(&lineage);
        let topic = self.topic_of(&lineage, partition);
        if why == Why::Forgotten {
            warn!(producer = %name, %topic, "the broker may have forgotten what was stored: the topic is read back");
        }
        let items = machine.withdraw(producer);
        let lane = self.lane(line, partition);
        lane.hold(items);
        lane.wait = Wait::ReadBack;
        self.readings.want(machine, now, topic, Want { line, partition, which, name: name.to_string(), from, why });
    }

    /// A topic was read back.
    pub(crate) fn read(&mut self, machine: &mut Machine, now: Now, id: ReadBackId, mut outcome: Result<ReadBack, Error>) {
        for want in self.readings.ended(machine, now, id) {
            if self.lines.contains_key(&want.line) {
                self.read_for(machine, now, &want, outcome.as_mut().map_err(|error| error.clone()));
            }
        }
    }

    /// It was read back for this one.
    fn read_for(&mut self, machine: &mut Machine, now: Now, want: &Want, outcome: Result<&mut ReadBack, Error>) {
        let Want { line, partition, which, why, .. } = *want;
        let Some(lineage) = self.lines.get(&line).map(|line| Arc::clone(&line.lineage)) else { return };
        let end = outcome.as_ref().ok().and_then(|read| read.end);
        if let Why::Idle { accepted } = why {
            self.lane(line, partition).is_closed_to_readers = outcome.is_err();
            return self.anchor(machine, &lineage, partition, accepted, end);
        }
        let accept = self.accept_duplicates;
        let topic = self.topic_of(&lineage, partition);
        let lane = self.lane(line, partition);
        let is_late_out = lane.late.producer.is_some_and(|late| !machine.is_quiet(late));
        lane.wait = if is_late_out { Wait::Quiet(Which::Late) } else { Wait::Nothing };
        if why == Why::FirstUse {
            // Where the topic ends is good to know; that the name is used there has to be written down all the same.
            lane.wait = Wait::Declared(lineage.declare_used(partition, end));
            return;
        }
        let read = outcome.and_then(|read| Ok((read.take(&want.name)?, read.covers(want.from))));
        let name = &want.name;
        match read {
            Ok((_, false)) if why.is_needed() && !accept => lane.refusal = Some(gone(&lineage, &topic, why.refused())),
            Ok((numbers, whole)) => {
                match (whole, why.is_needed()) {
                    (true, _) => {}
                    (false, true) => {
                        warn!(producer = name, %topic, "a part of what has to be read back is gone: records may be published twice, as `acceptDuplicates` allows");
                    }
                    (false, false) => {
                        warn!(producer = name, %topic, "a part of what would show what is stored is gone from the topic: for that part the broker's last number is believed");
                    }
                }
                // What was not seen is missing only where everything could be.
                let through = if whole { numbers.last().copied().max(why.refused()).unwrap_or(0) } else { 0 };
                let found = Found { numbers, through };
                let door = lane.door(which);
                info!(producer = name, %topic, found = found.numbers.len(), through = found.last(), last = door.last, "the topic was read back");
                let last = Some(found.last()).filter(|last| *last > 0);
                door.last = door.last.max(last);
                door.found = last.map(|_| found);
            }
            Err(error) if accept && why.is_needed() => {
                warn!(producer = name, %topic, %error, "the topic cannot be read back: records may be published twice, as `acceptDuplicates` allows");
            }
            Err(error) if why.is_needed() => lane.refusal = Some(unreadable(&lineage, &topic, why.refused(), &error)),
            Err(error) => {
                warn!(producer = name, %topic, %error, "the topic cannot be read back for what is stored: the broker's last number is believed");
            }
        }
        self.admit(machine, now, line, partition, which);
        self.advance(machine, now, line, partition);
    }
}

/// Why the broker's word alone does not tell what is stored.
fn reason(lineage: &Lineage, topic: &TopicName, refused: Option<u64>) -> String {
    match refused {
        Some(number) => format!("`{topic}` has refused number {number} of producer `{}`, which it may have stored before", lineage.name()),
        None => format!("the broker has forgotten the numbers of producer `{}` on `{topic}`", lineage.name()),
    }
}

fn gone(lineage: &Lineage, topic: &TopicName, refused: Option<u64>) -> Error {
    let reason = reason(lineage, topic, refused);
    Error::new(
        ErrorKind::Data,
        format!("nobody can know whether it is stored: {reason}, and a part of the topic that has to be read back is gone"),
    )
    .with_hint("set `configs.acceptDuplicates` to true to go on, which may publish records twice; keep acknowledged messages longer (`pulsar-admin namespaces set-retention`) so that it does not happen again")
}

fn unreadable(lineage: &Lineage, topic: &TopicName, refused: Option<u64>, error: &Error) -> Error {
    let reason = reason(lineage, topic, refused);
    Error::new(
        ErrorKind::Data,
        format!("nobody can know whether it is stored: {reason}, and the topic cannot be read back: {}", error.message()),
    )
    .with_hint("grant the role `consume` on the topic, or set `configs.acceptDuplicates` to true to go on, which may publish records twice")
}
