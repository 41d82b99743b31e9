//! Where nothing is sent for a while: how far back a reading back would have to begin moves on all the same.
//!
//! A lineage that is idle on a partition of the topic would else have its newest message ever further behind what others store
//! there, and after a crash all of that would be read. Moved is only where a reading begins, only where everything sent is stored
//! and covered by the stored checkpoint, and only to an end of the topic that was asked for after that.

use super::Exact;
use super::lane::Which;
use super::readings::{Want, Why};
use crate::machine::{Machine, Now, ReadFrom};
use connector_sdk::{Lineage, MessageId};
use std::sync::Arc;

impl Exact {
    /// Asks where the topic ends, for those that sent nothing there since the last time.
    pub(super) fn look_for_idle(&mut self, machine: &mut Machine, now: Now) {
        let lineages: Vec<Arc<Lineage>> = self.lines.values().map(|line| Arc::clone(&line.lineage)).collect();
        for lineage in lineages.into_iter().filter(|lineage| !lineage.is_in_doubt()) {
            for partition in lineage.used() {
                let accepted = self.accepted(machine, &lineage, partition);
                let idle_since = std::mem::replace(&mut self.lane(lineage.id(), partition).idle_at, accepted);
                let may_ask = !self.lane(lineage.id(), partition).is_closed_to_readers;
                let Some(accepted) = accepted.filter(|_| idle_since == accepted && may_ask) else { continue };
                let want = Want {
                    line: lineage.id(),
                    partition,
                    which: Which::Main,
                    name: lineage.name().to_string(),
                    from: ReadFrom::End,
                    why: Why::Idle { accepted },
                };
                let topic = self.topic_of(&lineage, partition);
                self.readings.want(machine, now, topic, want);
            }
        }
    }

    /// The topic ended there, after its producer had accepted so much.
    pub(super) fn anchor(&mut self, machine: &Machine, lineage: &Lineage, partition: u32, accepted: u64, end: Option<MessageId>) {
        if let Some(end) = end
            && !lineage.is_in_doubt()
            && self.accepted(machine, lineage, partition) == Some(accepted)
        {
            lineage.declare_newest(partition, end);
        }
    }

    /// How much was ever accepted for a partition of the topic, where all of that is stored.
    fn accepted(&mut self, machine: &Machine, lineage: &Lineage, partition: u32) -> Option<u64> {
        let lane = self.lane(lineage.id(), partition);
        let is_settled = lane.is_plain() && !lineage.has_spent() && lane.late.producer.is_none_or(|late| machine.is_quiet(late));
        let accepted = lane.main.producer.map_or(0, |main| machine.progress(main).0);
        (is_settled && lane.main.producer.is_none_or(|main| machine.is_quiet(main))).then_some(accepted)
    }
}
