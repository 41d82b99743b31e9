//! Sharing leases: the numbers of the KCL, then many workers at once.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::plan::sync::tests::lease;
use proptest::prelude::*;

const FAILOVER: Duration = Duration::from_secs(10);

fn rules() -> TakeRules {
    TakeRules { failover: FAILOVER, max_leases: usize::MAX, max_steal: 1 }
}

fn owned(id: &str, owner: Option<&str>, counter: u64) -> Lease {
    Lease { owner: owner.map(Into::into), counter, ..lease(id, "7") }
}

fn held(ids: &[&str]) -> HashSet<ShardId> {
    ids.iter().map(|id| ShardId::from(*id)).collect()
}

fn seen(leases: &[Lease], at: Instant) -> Scanner {
    let mut scanner = Scanner::default();
    scanner.observe(leases, at);
    scanner
}

fn sorted(ids: &[ShardId]) -> Vec<&str> {
    let mut ids: Vec<&str> = ids.iter().map(ShardId::as_str).collect();
    ids.sort_unstable();
    ids
}

fn plan_now(leases: &[Lease], mine: &[&str], scanner: &Scanner, now: Instant) -> TakePlan {
    plan(leases, &held(mine), scanner, &rules(), now, &Random::seeded(7))
}

#[test]
fn a_lone_worker_takes_everything_at_the_first_look() {
    let now = Instant::now();
    let leases = [owned("a", None, 0), owned("b", None, 3)];
    let plan = plan_now(&leases, &[], &seen(&leases, now), now);
    assert_eq!(sorted(&plan.take), ["a", "b"]);
    assert!(plan.steal.is_empty());
}

#[test]
fn a_lease_of_another_is_left_until_its_counter_stood_still_for_the_failover_time() {
    let start = Instant::now();
    let leases = [owned("a", Some("other"), 5)];
    let mut scanner = seen(&leases, start);
    let late = start + FAILOVER;
    assert!(plan_now(&leases, &[], &scanner, late - Duration::from_millis(1)).take.is_empty());
    assert_eq!(sorted(&plan_now(&leases, &[], &scanner, late).take), ["a"]);

    let renewed = [owned("a", Some("other"), 6)];
    scanner.observe(&renewed, late);
    assert!(plan_now(&renewed, &[], &scanner, late).take.is_empty());
    assert_eq!(scanner.next_expiry(&held(&[]), FAILOVER, late), Some(late + FAILOVER));
}

#[test]
fn neither_a_finished_lease_nor_a_past_expiry_hides_the_next_one() {
    let start = Instant::now();
    let finished = Lease { owner: Some("other".into()), ..lease("a", "SHARD_END") };
    let (old, young) = (owned("b", Some("other"), 5), owned("c", Some("other"), 5));
    let mut scanner = seen(&[finished.clone(), old.clone()], start);
    let second = Duration::from_secs(1);
    scanner.observe(&[finished, old, young], start + 3 * second);
    assert_eq!(scanner.next_expiry(&held(&["b"]), FAILOVER, start + 4 * second), Some(start + 3 * second + FAILOVER));
    assert_eq!(scanner.next_expiry(&held(&[]), FAILOVER, start + FAILOVER), Some(start + 3 * second + FAILOVER));
    assert_eq!(scanner.next_expiry(&held(&[]), FAILOVER, start + 2 * FAILOVER), None);
}

#[test]
fn a_lease_under_our_name_that_we_do_not_hold_is_a_strangers() {
    let now = Instant::now();
    let leases = [owned("a", Some("me"), 5), owned("b", Some("me"), 5)];
    let plan = plan_now(&leases, &["b"], &seen(&leases, now), now);
    assert_eq!((plan.take.len(), plan.workers), (0, 2));
}

#[test]
fn free_leases_are_taken_up_to_an_even_share() {
    let now = Instant::now();
    let leases = [owned("a", Some("x"), 1), owned("b", Some("y"), 1), owned("c", None, 1), owned("d", None, 1), owned("e", None, 1)];
    let plan = plan_now(&leases, &[], &seen(&leases, now), now);
    assert_eq!((plan.workers, plan.needed, plan.take.len()), (3, 2, 2));
}

#[test]
fn what_stood_free_for_three_failover_times_is_taken_whatever_the_share() {
    let start = Instant::now();
    let mut leases = vec![owned("a", Some("x"), 1), owned("b", None, 1), owned("c", None, 1), owned("d", None, 1)];
    let mut scanner = seen(&leases, start);
    let late = start + FAILOVER * 3;
    leases[0].counter = 9;
    scanner.observe(&leases, late);
    let plan = plan_now(&leases, &[], &scanner, late);
    assert_eq!((plan.very_old, plan.take.len()), (3, 3));
    let capped = TakeRules { max_leases: 1, ..rules() };
    let plan = super::plan(&leases, &held(&[]), &scanner, &capped, late, &Random::seeded(7));
    assert_eq!((plan.take.len(), plan.spillover), (1, 1));
}

#[test]
fn one_lease_at_a_time_is_stolen_from_who_has_most() {
    let now = Instant::now();
    let leases: Vec<Lease> =
        ["a", "b", "c", "d"].map(|id| owned(id, Some("rich"), 1)).into_iter().chain([owned("e", Some("poor"), 1)]).collect();
    let plan = plan_now(&leases, &[], &seen(&leases, now), now);
    assert_eq!(plan.steal.len(), 1);
    assert!(
        sorted(&leases.iter().filter(|lease| lease.owner.as_deref() == Some("rich")).map(|lease| lease.shard.clone()).collect::<Vec<_>>())
            .contains(&plan.steal[0].as_str())
    );
}

#[test]
fn nothing_is_stolen_while_something_is_free_or_the_share_is_reached() {
    let now = Instant::now();
    let with_free = [owned("a", Some("x"), 1), owned("b", Some("x"), 1), owned("c", None, 1)];
    assert!(plan_now(&with_free, &[], &seen(&with_free, now), now).steal.is_empty());
    let even = [owned("a", Some("x"), 1), owned("b", Some("me"), 1)];
    assert!(plan_now(&even, &["b"], &seen(&even, now), now).steal.is_empty());
    // Two workers have two each of five: the fifth is ours, and one more is not worth a move.
    let three =
        [owned("a", Some("x"), 1), owned("b", Some("x"), 1), owned("c", Some("y"), 1), owned("d", Some("y"), 1), owned("e", Some("me"), 1)];
    assert!(plan_now(&three, &["e"], &seen(&three, now), now).steal.is_empty());
}

#[test]
fn finished_leases_count_for_nobody() {
    let now = Instant::now();
    let leases = [lease("a", "SHARD_END"), owned("b", None, 1)];
    let plan = plan_now(&leases, &[], &seen(&leases, now), now);
    assert_eq!((sorted(&plan.take), plan.total), (vec!["b"], 1));
}

#[test]
fn a_counter_that_moved_under_our_eyes_is_a_sign_of_life() {
    let start = Instant::now();
    let mut scanner = seen(&[owned("a", Some("x"), 1)], start);
    let lease = owned("a", Some("x"), 2);
    assert_eq!(scanner.sign_of_life(&lease, FAILOVER, start), SignOfLife::Unknown);
    scanner.observe([&lease], start + FAILOVER / 2);
    assert_eq!(scanner.sign_of_life(&lease, FAILOVER, start + FAILOVER), SignOfLife::Alive);
    assert_eq!(scanner.sign_of_life(&lease, FAILOVER, start + FAILOVER * 2), SignOfLife::Silent);
}

proptest! {
    /// Workers that follow the plan come to even shares and stay there.
    #[test]
    fn workers_come_to_even_shares_and_stop_moving_leases(workers in 1usize..6, leases in 1usize..24, seed: u64) {
        let random = Random::seeded(seed);
        let names: Vec<String> = (0..workers).map(|index| format!("w{index}")).collect();
        let mut rows: Vec<Lease> = (0..leases).map(|index| owned(&format!("s{index:02}"), None, 0)).collect();
        let mut scanners: Vec<Scanner> = names.iter().map(|_| Scanner::default()).collect();
        let mut now = Instant::now();
        let mut quiet = 0;
        for _ in 0..leases * 3 + 5 {
            let mut moved = false;
            for (name, scanner) in names.iter().zip(&mut scanners) {
                now += Duration::from_millis(500);
                scanner.observe(&rows, now);
                let mine: HashSet<ShardId> =
                    rows.iter().filter(|lease| lease.owner.as_deref() == Some(name.as_str())).map(|lease| lease.shard.clone()).collect();
                let plan = plan(&rows, &mine, scanner, &rules(), now, &random);
                prop_assert!(plan.take.iter().chain(&plan.steal).all(|shard| !mine.contains(shard)));
                for lease in rows.iter_mut().filter(|lease| plan.take.contains(&lease.shard) || plan.steal.contains(&lease.shard)) {
                    lease.owner = Some(name.as_str().into());
                    lease.counter += 1;
                    moved = true;
                }
            }
            rows.iter_mut().for_each(|lease| lease.counter += 1);
            quiet = if moved { 0 } else { quiet + 1 };
        }
        prop_assert!(quiet > 0, "leases never stop moving");
        let load = |name: &String| rows.iter().filter(|lease| lease.owner.as_deref() == Some(name.as_str())).count();
        let loads: Vec<usize> = names.iter().map(load).collect();
        let share = leases.div_ceil(workers);
        prop_assert!(loads.iter().all(|load| *load <= share.max(1)), "{:?} of {}", loads, leases);
        prop_assert_eq!(loads.iter().sum::<usize>(), leases);
        prop_assert!(leases < workers || loads.iter().all(|load| *load >= 1), "{:?}", loads);
    }
}
