//! Whether a shard may start: only when each parent's lease is finished or absent. Order per partition key hangs on it.

use crate::ids::ShardId;
use crate::lease::Lease;
use std::collections::HashMap;

/// What a look at the table says about a shard's parents.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// All parents are finished: finished stays finished.
    Open,
    /// These parents are unfinished, or the table as it was seen has no row of them. A scan may miss a row, so an absent parent
    /// must be confirmed by a consistent read.
    Ask(Vec<ShardId>),
}

/// Looks at the parents of a shard in a table as it was seen.
pub(crate) fn look(parents: &[ShardId], seen: &HashMap<ShardId, Lease>) -> Gate {
    let unsettled: Vec<ShardId> = parents.iter().filter(|parent| !seen.get(*parent).is_some_and(Lease::is_finished)).cloned().collect();
    if unsettled.is_empty() { Gate::Open } else { Gate::Ask(unsettled) }
}

/// Whether a parent, read consistently, lets its children start.
pub(crate) fn lets_start(parent: Option<&Lease>) -> bool {
    parent.is_none_or(Lease::is_finished)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sync::tests::lease;

    #[test]
    fn children_wait_for_every_parent() {
        let seen: HashMap<ShardId, Lease> =
            [lease("a", "SHARD_END"), lease("b", "77")].into_iter().map(|lease| (lease.shard.clone(), lease)).collect();
        let ids = |names: &[&str]| names.iter().map(|name| ShardId::from(*name)).collect::<Vec<_>>();
        assert_eq!(look(&ids(&[]), &seen), Gate::Open);
        assert_eq!(look(&ids(&["a"]), &seen), Gate::Open);
        assert_eq!(look(&ids(&["a", "b"]), &seen), Gate::Ask(ids(&["b"])));
        assert_eq!(look(&ids(&["a", "gone"]), &seen), Gate::Ask(ids(&["gone"])));
        assert!(lets_start(None) && lets_start(seen.get(&ShardId::from("a"))));
        assert!(!lets_start(seen.get(&ShardId::from("b"))));
    }
}
