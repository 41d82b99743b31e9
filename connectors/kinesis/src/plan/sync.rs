//! Which leases to create: a listing of the stream against the table.
//!
//! A shard gets a lease here only if nothing else will give it one: the worker that finishes a parent creates the children's. So
//! descendants of a lease are left to it, unless all their leased parents are finished already (then the lease is missing, and is
//! created at TRIM_HORIZON). What descends from no lease begins at the initial position, at the oldest ancestor that may still hold
//! records after it.

use crate::config::InitialPosition;
use crate::ids::{Checkpoint, ShardId};
use crate::lease::{Lease, StartMoment};
use crate::port::Shard;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A lease to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewLease {
    /// The shard.
    pub(crate) shard: Shard,
    /// The sentinel it begins at.
    pub(crate) checkpoint: Checkpoint,
    /// What the sentinel stands for.
    pub(crate) start: Option<StartMoment>,
}

/// Where a shard that descends from no lease begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The configured position.
    pub(crate) position: InitialPosition,
    /// The application's moment: the oldest in any row, else the service's clock at this listing.
    pub(crate) moment: u64,
    /// Whether the moment is an older one, from a row: then shards that were closed since may hold records after it.
    pub(crate) moment_is_old: bool,
}

impl Origin {
    /// The sentinel at which a shard begins that descends from no lease.
    fn initial(&self) -> (Checkpoint, Option<StartMoment>) {
        match self.position {
            InitialPosition::Latest => (Checkpoint::Latest, Some(StartMoment::Latest(self.moment))),
            InitialPosition::TrimHorizon => (Checkpoint::TrimHorizon, None),
            InitialPosition::AtTimestamp(instant) => (Checkpoint::AtTimestamp, Some(StartMoment::Timestamp(instant))),
        }
    }

    /// The sentinel at which a descendant of a lease begins.
    fn descendant(&self) -> (Checkpoint, Option<StartMoment>) {
        match self.position {
            InitialPosition::AtTimestamp(_) => self.initial(),
            InitialPosition::Latest => (Checkpoint::TrimHorizon, Some(StartMoment::Latest(self.moment))),
            InitialPosition::TrimHorizon => (Checkpoint::TrimHorizon, None),
        }
    }

    /// Whether ancestors may hold records after the start: everywhere but at a LATEST that is now.
    fn reaches_back(&self) -> bool {
        self.position != InitialPosition::Latest || self.moment_is_old
    }
}

/// A listing that contradicts itself; listing again cures it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stream's listing has the open shard `{child}` of the open parent `{parent}`")]
pub(crate) struct Inconsistent {
    child: ShardId,
    parent: ShardId,
}

/// The leases of a table without any: one for each shard of a listing by the filter of the initial position.
pub(crate) fn first_leases(listed: &[Shard], origin: &Origin) -> Vec<NewLease> {
    let (checkpoint, start) = origin.initial();
    let mut new: Vec<NewLease> =
        listed.iter().map(|shard| NewLease { shard: shard.clone(), checkpoint: checkpoint.clone(), start }).collect();
    in_order(&mut new);
    new
}

/// Whether the shards cover every hash key exactly once.
pub(crate) fn covers_all_keys(shards: &[Shard]) -> bool {
    let mut ranges: Vec<_> = shards.iter().map(|shard| shard.range).collect();
    ranges.sort_unstable();
    let mut next = Some(0);
    for range in ranges {
        if next != Some(range.start) {
            return false;
        }
        next = range.end.checked_add(1);
    }
    // The last key has no successor.
    next.is_none()
}

/// The leases that a table with leases lacks. `open_at_start`: the shards that were open at the instant or the old moment, where
/// that was asked; no ancestor of theirs is needed.
pub(crate) fn missing_leases(
    listed: &[Shard],
    leases: &HashMap<ShardId, Lease>,
    origin: &Origin,
    open_at_start: Option<&HashSet<ShardId>>,
) -> Result<Vec<NewLease>, Inconsistent> {
    let by_id: HashMap<&ShardId, &Shard> = listed.iter().map(|shard| (&shard.id, shard)).collect();
    let mut walk = Walk { by_id, leases, origin, open_at_start, known: HashMap::new(), new: BTreeMap::new() };
    let open: BTreeSet<&ShardId> = listed.iter().filter(|shard| !shard.closed).map(|shard| &shard.id).collect();
    for id in open {
        walk.check_parents(id)?;
        if !walk.leases.contains_key(id) && walk.resolve(id) == Source::Nothing {
            walk.create(id, origin.initial());
        }
    }
    let mut new: Vec<NewLease> = walk.new.into_values().collect();
    in_order(&mut new);
    Ok(new)
}

/// Oldest first: a crash half way leaves no child without its parent.
fn in_order(new: &mut [NewLease]) {
    new.sort_by(|one, other| (&one.shard.starts_at, &one.shard.id).cmp(&(&other.shard.starts_at, &other.shard.id)));
}

/// Where a shard's lease comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// It has a finished lease.
    Finished,
    /// It has a lease, or will get one: by this plan, or from who finishes its parents.
    Coming,
    /// Nothing gives it one.
    Nothing,
}

struct Walk<'a> {
    by_id: HashMap<&'a ShardId, &'a Shard>,
    leases: &'a HashMap<ShardId, Lease>,
    origin: &'a Origin,
    open_at_start: Option<&'a HashSet<ShardId>>,
    known: HashMap<&'a ShardId, Source>,
    new: BTreeMap<&'a ShardId, NewLease>,
}

impl<'a> Walk<'a> {
    fn create(&mut self, id: &'a ShardId, (checkpoint, start): (Checkpoint, Option<StartMoment>)) {
        let shard = self.by_id[id].clone();
        self.new.insert(id, NewLease { shard, checkpoint, start });
        self.known.insert(id, Source::Coming);
    }

    fn check_parents(&self, id: &ShardId) -> Result<(), Inconsistent> {
        match self.by_id[id].parents().find(|parent| self.by_id.get(parent).is_some_and(|parent| !parent.closed)) {
            Some(parent) => Err(Inconsistent { child: id.clone(), parent: parent.clone() }),
            None => Ok(()),
        }
    }

    /// Finds where the lease of a listed shard comes from; creates what its ancestors lack. Deep lineages are walked without
    /// recursion: a stream may have been resharded many times.
    fn resolve(&mut self, id: &'a ShardId) -> Source {
        let mut path = vec![id];
        while let Some(&top) = path.last() {
            if self.known.contains_key(top) {
                path.pop();
                continue;
            }
            if let Some(lease) = self.leases.get(top) {
                self.known.insert(top, if lease.is_finished() { Source::Finished } else { Source::Coming });
                path.pop();
                continue;
            }
            let parents = self.parents_of(top);
            let unknown = parents.iter().copied().find(|parent| !self.known.contains_key(parent) && !path.contains(parent));
            match unknown {
                Some(parent) => path.push(parent),
                None => {
                    let source = self.conclude(top, &parents);
                    self.known.insert(top, source);
                    path.pop();
                }
            }
        }
        self.known.get(id).copied().unwrap_or(Source::Nothing)
    }

    /// The parents that can matter: listed, or leased. None for a shard that was open at the start, unless they are leased.
    fn parents_of(&self, id: &ShardId) -> Vec<&'a ShardId> {
        let shard: &'a Shard = self.by_id[id];
        let was_open = self.open_at_start.is_some_and(|open| open.contains(id));
        let matters = |parent: &&'a ShardId| self.leases.contains_key(*parent) || (self.by_id.contains_key(parent) && !was_open);
        shard.parents().filter(matters).collect()
    }

    fn conclude(&mut self, id: &'a ShardId, parents: &[&'a ShardId]) -> Source {
        let source = |walk: &Self, parent: &ShardId| walk.known.get(parent).copied().unwrap_or(Source::Nothing);
        if parents.iter().any(|parent| source(self, parent) != Source::Nothing) {
            // Descends from a lease. A merge waits for both parents, so the other one needs a lease too.
            for parent in parents {
                if source(self, parent) == Source::Nothing {
                    self.create(parent, self.origin.initial());
                }
            }
            if parents.iter().all(|parent| source(self, parent) == Source::Finished) {
                self.create(id, self.origin.descendant());
            }
            return Source::Coming;
        }
        if self.origin.reaches_back() {
            // The oldest of its line. Its descendants follow from it.
            self.create(id, self.origin.initial());
            return Source::Coming;
        }
        Source::Nothing
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
pub(crate) mod tests;
