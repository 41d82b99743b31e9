//! Which finished leases may be removed: once nothing can need them any more.
//!
//! A finished lease keeps its children from being created again and says to them that they may run. It goes when every child's
//! lease has moved beyond its beginning and the rows of its own parents are gone, or when the stream does not list the shard any
//! more: then nobody can walk to it.

use crate::ids::{Checkpoint, ShardId};
use crate::lease::Lease;
use crate::port::Shard;
use std::collections::{HashMap, HashSet};

/// The leases to remove, of a table and a listing as they were seen.
pub(crate) fn removable(leases: &HashMap<ShardId, Lease>, listed: &[Shard]) -> Vec<ShardId> {
    let ids: HashSet<&ShardId> = listed.iter().map(|shard| &shard.id).collect();
    let mut children: HashMap<&ShardId, Vec<&ShardId>> = HashMap::new();
    for shard in listed {
        for parent in shard.parents() {
            children.entry(parent).or_default().push(&shard.id);
        }
    }
    let mut removable: Vec<ShardId> = leases
        .values()
        .filter(|lease| lease.is_finished())
        .filter(|lease| {
            if !ids.contains(&lease.shard) {
                return true;
            }
            let mut known: HashSet<&ShardId> = lease.children.iter().collect();
            known.extend(children.get(&lease.shard).into_iter().flatten().copied());
            let moved_on = !known.is_empty() && known.iter().all(|child| leases.get(*child).is_some_and(has_moved_on));
            moved_on && lease.parents.iter().all(|parent| !leases.contains_key(parent))
        })
        .map(|lease| lease.shard.clone())
        .collect();
    removable.sort();
    removable
}

/// Whether something of the shard is settled.
fn has_moved_on(lease: &Lease) -> bool {
    !matches!(lease.checkpoint, Checkpoint::TrimHorizon | Checkpoint::AtTimestamp | Checkpoint::Latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sync::tests::{lease, shard};

    fn table(rows: &[(&str, &str, &[&str])]) -> HashMap<ShardId, Lease> {
        let with_parents = |(id, checkpoint, parents): &(&str, &str, &[&str])| Lease {
            parents: parents.iter().map(|parent| ShardId::from(*parent)).collect(),
            ..lease(id, checkpoint)
        };
        rows.iter().map(with_parents).map(|lease| (lease.shard.clone(), lease)).collect()
    }

    fn names(ids: &[ShardId]) -> Vec<&str> {
        ids.iter().map(ShardId::as_str).collect()
    }

    #[test]
    fn a_parent_goes_when_both_children_have_moved_on() {
        let listed = [shard("0", &[], true), shard("1", &["0"], false), shard("2", &["0"], false)];
        let half = table(&[("0", "SHARD_END", &[]), ("1", "17", &["0"]), ("2", "TRIM_HORIZON", &["0"])]);
        assert!(removable(&half, &listed).is_empty());
        let both = table(&[("0", "SHARD_END", &[]), ("1", "17", &["0"]), ("2", "18", &["0"])]);
        assert_eq!(names(&removable(&both, &listed)), ["0"]);
        let missing = table(&[("0", "SHARD_END", &[]), ("1", "17", &["0"])]);
        assert!(removable(&missing, &listed).is_empty(), "a child without a lease would begin at the initial position");
    }

    #[test]
    fn the_oldest_goes_first() {
        let listed = [shard("0", &[], true), shard("1", &["0"], true), shard("2", &["1"], false)];
        let rows = table(&[("0", "SHARD_END", &[]), ("1", "SHARD_END", &["0"]), ("2", "5", &["1"])]);
        assert_eq!(names(&removable(&rows, &listed)), ["0"]);
        let later = table(&[("1", "SHARD_END", &["0"]), ("2", "5", &["1"])]);
        assert_eq!(names(&removable(&later, &listed)), ["1"]);
    }

    #[test]
    fn a_finished_shard_that_is_gone_from_the_stream_goes_and_an_unfinished_stays() {
        let rows = table(&[("0", "SHARD_END", &[]), ("1", "33", &[])]);
        assert_eq!(names(&removable(&rows, &[])), ["0"]);
    }
}
