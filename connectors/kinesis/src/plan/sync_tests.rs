//! The worked example of the KCL, and the rules around it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::ids::{HashRange, SequenceNumber};
use proptest::prelude::*;

/// A lease of a shard.
pub(crate) fn lease(id: &str, checkpoint: &str) -> Lease {
    Lease {
        shard: id.into(),
        owner: None,
        counter: 0,
        owner_switches: 0,
        checkpoint: Checkpoint::parse(checkpoint, 0).unwrap(),
        pending: false,
        parents: Vec::new(),
        children: Vec::new(),
        range: None,
        checkpoint_owner: None,
        has_3x_attributes: false,
        pulsar_connect: None,
    }
}

/// A listed shard; its first sequence number is its id's.
pub(crate) fn shard(id: &str, parents: &[&str], closed: bool) -> Shard {
    let mut parents = parents.iter().map(|parent| ShardId::from(*parent));
    Shard {
        id: id.into(),
        range: HashRange { start: 0, end: u128::MAX },
        parent: parents.next(),
        adjacent_parent: parents.next(),
        starts_at: SequenceNumber::parse(id).unwrap(),
        closed,
    }
}

/// Generations `0 1 2 3 4 5`, then `6 (0+1), 7 (2+3), 4, 5`, then `8 (6+7), 4, 9 and 10 (of 5)`.
fn example() -> Vec<Shard> {
    vec![
        shard("0", &[], true),
        shard("1", &[], true),
        shard("2", &[], true),
        shard("3", &[], true),
        shard("4", &[], false),
        shard("5", &[], true),
        shard("6", &["0", "1"], true),
        shard("7", &["2", "3"], true),
        shard("8", &["6", "7"], false),
        shard("9", &["5"], false),
        shard("10", &["5"], false),
    ]
}

fn table(rows: &[(&str, &str)]) -> HashMap<ShardId, Lease> {
    rows.iter().map(|(id, checkpoint)| lease(id, checkpoint)).map(|lease| (lease.shard.clone(), lease)).collect()
}

fn origin(position: InitialPosition, moment_is_old: bool) -> Origin {
    Origin { position, moment: 5_000, moment_is_old }
}

fn names(new: &[NewLease]) -> Vec<(&str, &str)> {
    new.iter().map(|new| (new.shard.id.as_str(), new.checkpoint.text())).collect()
}

fn missing(rows: &[(&str, &str)], position: InitialPosition) -> Vec<NewLease> {
    missing_leases(&example(), &table(rows), &origin(position, false), None).unwrap()
}

const LEASED: [(&str, &str); 3] = [("4", "TRIM_HORIZON"), ("5", "TRIM_HORIZON"), ("7", "TRIM_HORIZON")];

#[test]
fn the_kcls_example_at_latest_creates_the_other_parent_of_the_merge() {
    assert_eq!(names(&missing(&LEASED, InitialPosition::Latest)), [("6", "LATEST")]);
}

#[test]
fn the_kcls_example_at_trim_horizon_creates_the_oldest_ancestors() {
    assert_eq!(names(&missing(&LEASED, InitialPosition::TrimHorizon)), [("0", "TRIM_HORIZON"), ("1", "TRIM_HORIZON")]);
}

#[test]
fn the_kcls_example_at_a_timestamp_creates_the_oldest_ancestors() {
    let new = missing(&LEASED, InitialPosition::AtTimestamp(200));
    assert_eq!(names(&new), [("0", "AT_TIMESTAMP"), ("1", "AT_TIMESTAMP")]);
    assert_eq!(new[0].start, Some(StartMoment::Timestamp(200)));
}

#[test]
fn ancestors_that_were_closed_before_the_start_are_not_needed() {
    let open: HashSet<ShardId> = ["4", "5", "6", "7"].map(ShardId::from).into();
    let at = origin(InitialPosition::AtTimestamp(200), false);
    let new = missing_leases(&example(), &table(&LEASED), &at, Some(&open)).unwrap();
    assert_eq!(names(&new), [("6", "AT_TIMESTAMP")]);
}

#[test]
fn a_hole_at_latest_is_filled_from_the_old_moment_through_shards_that_closed_since() {
    // Rows of 0 to 5 were to be created when all were open; a crash left 0 to 4, and 5 was split before the next start.
    let rows = table(&[("0", "SHARD_END"), ("1", "SHARD_END"), ("2", "SHARD_END"), ("3", "SHARD_END"), ("4", "9"), ("8", "88")]);
    let open_then: HashSet<ShardId> = ["0", "1", "2", "3", "4", "5"].map(ShardId::from).into();
    let new = missing_leases(&example(), &rows, &origin(InitialPosition::Latest, true), Some(&open_then)).unwrap();
    assert_eq!(names(&new), [("5", "LATEST")], "what was put into 5 since the moment is read before its children");
    assert_eq!(new[0].start, Some(StartMoment::Latest(5_000)));
}

#[test]
fn a_child_missing_below_finished_parents_is_created_at_its_beginning() {
    let rows = [("4", "9"), ("5", "SHARD_END"), ("9", "91"), ("8", "88")];
    let new = missing(&rows, InitialPosition::Latest);
    assert_eq!(names(&new), [("10", "TRIM_HORIZON")]);
    assert_eq!(new[0].start, Some(StartMoment::Latest(5_000)), "the moment goes on with the generations");
}

#[test]
fn descendants_of_an_unfinished_lease_are_left_to_who_finishes_it() {
    let rows = [("4", "9"), ("5", "55"), ("8", "88")];
    assert!(missing(&rows, InitialPosition::TrimHorizon).is_empty());
    assert!(missing(&rows, InitialPosition::Latest).is_empty());
}

#[test]
fn finished_ancestors_whose_rows_were_removed_are_not_created_again() {
    let rows = [("4", "9"), ("8", "88"), ("9", "91"), ("10", "101")];
    assert!(missing(&rows, InitialPosition::TrimHorizon).is_empty());
}

#[test]
fn a_new_application_has_one_lease_for_each_listed_shard_in_the_order_of_their_beginnings() {
    let listed = [shard("10", &[], false), shard("4", &[], false)];
    let new = first_leases(&listed, &origin(InitialPosition::Latest, false));
    assert_eq!(names(&new), [("4", "LATEST"), ("10", "LATEST")]);
    assert!(new.iter().all(|new| new.start == Some(StartMoment::Latest(5_000))));
}

#[test]
fn an_open_child_of_an_open_parent_is_no_listing() {
    let listed = [shard("1", &[], false), shard("2", &["1"], false)];
    let error = missing_leases(&listed, &table(&[("7", "7")]), &origin(InitialPosition::Latest, false), None).unwrap_err();
    assert_eq!(error.to_string(), "the stream's listing has the open shard `2` of the open parent `1`");
}

#[test]
fn all_keys_are_covered_once() {
    let part = |start, end| Shard { range: HashRange { start, end }, ..shard("1", &[], false) };
    assert!(covers_all_keys(&[part(10, u128::MAX), part(0, 9)]));
    assert!(!covers_all_keys(&[part(0, 9), part(11, u128::MAX)]));
    assert!(!covers_all_keys(&[part(0, 9), part(9, u128::MAX)]));
    assert!(!covers_all_keys(&[part(0, 9)]));
    assert!(!covers_all_keys(&[]));
}

/// A stream that was resharded at random: each step splits or merges shards that are open.
fn any_stream() -> impl Strategy<Value = Vec<Shard>> {
    (1usize..4, proptest::collection::vec((any::<bool>(), any::<usize>()), 0..8)).prop_map(|(first, steps)| {
        let mut shards: Vec<Shard> = (0..first).map(|id| shard(&id.to_string(), &[], false)).collect();
        for (split, choice) in steps {
            let open: Vec<usize> = (0..shards.len()).filter(|index| !shards[*index].closed).collect();
            let one = open[choice % open.len()];
            let other = open[(choice + 1) % open.len()];
            shards[one].closed = true;
            let parent = shards[one].id.to_string();
            if split || one == other {
                for _ in 0..2 {
                    shards.push(shard(&shards.len().to_string(), &[&parent], false));
                }
            } else {
                shards[other].closed = true;
                let adjacent = shards[other].id.to_string();
                shards.push(shard(&shards.len().to_string(), &[&parent, &adjacent], false));
            }
        }
        shards
    })
}

/// Whether a shard has a lease, or gets one when its parents are finished.
fn will_be_read(id: &ShardId, by_id: &HashMap<ShardId, Shard>, leased: &HashSet<ShardId>) -> bool {
    leased.contains(id) || by_id.get(id).is_some_and(|shard| shard.parents().any(|parent| will_be_read(parent, by_id, leased)))
}

proptest! {
    #[test]
    fn every_open_shard_is_read_and_no_merge_waits_for_ever(
        stream in any_stream(), leased in proptest::collection::vec((any::<usize>(), any::<bool>()), 0..5), which in 0u8..3, old: bool,
    ) {
        let leases: HashMap<ShardId, Lease> = leased
            .into_iter()
            .map(|(index, finished)| {
                let shard = &stream[index % stream.len()];
                lease(shard.id.as_str(), if finished && shard.closed { "SHARD_END" } else { "7" })
            })
            .map(|lease| (lease.shard.clone(), lease))
            .collect();
        let position = match which { 0 => InitialPosition::Latest, 1 => InitialPosition::TrimHorizon, _ => InitialPosition::AtTimestamp(9) };
        let new = missing_leases(&stream, &leases, &origin(position, old), None).unwrap();

        let by_id: HashMap<ShardId, Shard> = stream.iter().map(|shard| (shard.id.clone(), shard.clone())).collect();
        let mut all: HashSet<ShardId> = leases.keys().cloned().collect();
        for new in &new {
            prop_assert!(all.insert(new.shard.id.clone()), "a lease is created that exists");
        }
        for shard in stream.iter().filter(|shard| !shard.closed) {
            prop_assert!(will_be_read(&shard.id, &by_id, &all), "nobody would ever read {}", shard.id);
        }
        // Who finishes one parent of a merge finds the other one leased, or nothing of it is to be read.
        for shard in stream.iter().filter(|shard| shard.adjacent_parent.is_some() && !all.contains(&shard.id)) {
            let parents: Vec<bool> = shard.parents().map(|parent| will_be_read(parent, &by_id, &all)).collect();
            let needed = stream.iter().any(|open| !open.closed && !all.contains(&open.id) && descends(open, &shard.id, &by_id, &all));
            prop_assert!(!needed || parents[0] == parents[1], "one parent of {} would wait for the other for ever", shard.id);
        }
        // A second look at the table that then is finds nothing more to do.
        let mut later = leases;
        later.extend(new.into_iter().map(|new| {
            let lease = Lease { checkpoint: new.checkpoint, ..lease(new.shard.id.as_str(), "7") };
            (lease.shard.clone(), lease)
        }));
        prop_assert_eq!(missing_leases(&stream, &later, &origin(position, old), None).unwrap(), Vec::new());
    }
}

/// Whether the shard is `ancestor`, or comes from it through shards without leases.
fn descends(shard: &Shard, ancestor: &ShardId, by_id: &HashMap<ShardId, Shard>, leased: &HashSet<ShardId>) -> bool {
    shard.id == *ancestor
        || shard
            .parents()
            .any(|parent| !leased.contains(parent) && by_id.get(parent).is_some_and(|parent| descends(parent, ancestor, by_id, leased)))
}
