//! Where doubt ends: the highest number that owners before may have sent, over all partitions on which their names were used.
//!
//! It is known only from producers opened after the lease was taken, and after a steal not before the loser must have noticed.

use super::lane::{Lane, Wait, Which};
use super::{Exact, Line};
use crate::machine::{Machine, Now};
use connector_sdk::Lineage;
use std::sync::Arc;
use std::time::Instant;

/// How far the search is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doubt {
    /// There is nothing to find out, or it was.
    None,
    /// Last numbers told from this moment on count, on these partitions of the topic.
    Since { moment: Instant, partitions: Vec<u32>, late: bool },
}

impl Doubt {
    pub(super) fn open(lineage: &Lineage, now: Instant) -> Self {
        let moment = lineage.doubt_from().map_or(now, |from| from.into_std().max(now));
        Self::Since { moment, partitions: lineage.used(), late: lineage.has_spent() }
    }
}

impl Line {
    /// Whether the broker's word on a name was heard since.
    fn is_told(&self, partition: u32, which: Which, since: Instant) -> bool {
        let Some(lane) = self.lanes.get(&partition) else { return false };
        let door = if which == Which::Main { &lane.main } else { &lane.late };
        door.asked.is_some_and(|asked| asked >= since)
    }

    /// Whether what the broker's word on either name gave rise to is still being done.
    fn is_busy(&self, partition: u32) -> bool {
        let busy =
            |lane: &Lane| matches!(lane.wait, Wait::ReadBack | Wait::Reopened(_)) || lane.main.told.is_some() || lane.late.told.is_some();
        self.lanes.get(&partition).is_some_and(busy)
    }
}

impl Exact {
    /// Opens what has to be opened, and says where doubt ends once everything was told.
    pub(super) fn look_into_doubt(&mut self, machine: &mut Machine, now: Now, number: u64) {
        let Some(line) = self.lines.get(&number) else { return };
        let Doubt::Since { moment, partitions, late } = line.doubt.clone() else { return };
        // Where nobody can know what is stored, nobody can know where doubt ends.
        if now.at < moment || line.lanes.values().any(|lane| lane.refusal.is_some()) {
            return;
        }
        let lineage = Arc::clone(&line.lineage);
        let names = [Which::Main, Which::Late].into_iter().filter(|which| late || *which == Which::Main);
        let doors: Vec<(u32, Which)> = names.flat_map(|which| partitions.iter().map(move |partition| (*partition, which))).collect();
        let mut all_told = true;
        for (partition, which) in doors {
            let Some(line) = self.lines.get(&number) else { return };
            // While one name is looked into, the other's word is not asked for again: it stands.
            if line.is_told(partition, which, moment) {
                all_told &= !line.is_busy(partition);
                continue;
            }
            all_told = false;
            let door = self.lane(number, partition).door(which);
            match (door.producer, door.admitted) {
                (None, _) => {
                    self.open(machine, now, &lineage, partition, which);
                }
                // Its last number was told too early to count.
                (Some(producer), Some(_)) => {
                    door.admitted = None;
                    machine.reopen(now, producer);
                }
                (Some(_), None) => {}
            }
        }
        if all_told && let Some(line) = self.lines.get_mut(&number) {
            let end = line.lanes.values().filter_map(Lane::last).max().unwrap_or(0);
            line.doubt = Doubt::None;
            lineage.set_doubt_end(end);
        }
    }
}
