//! Named producers against a broker's deduplication, under lost connections, unloads, failing storage, refusals and changes of owner
//! at random; every failure has its seed.

#![allow(clippy::unwrap_used)]

use super::named_model::World;
use super::*;
use crate::wire::messages::{self as proto, BaseCommand, kind};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A topic's limit is not lowered below this.
const LOWEST: usize = 250;

#[derive(Debug, Clone)]
enum Step {
    Append {
        producer: usize,
        size: usize,
    },
    Connect,
    Write,
    Answer,
    Persist,
    Repeat,
    Lose {
        at: usize,
        told: bool,
    },
    Notice,
    Unload {
        assigned: bool,
    },
    FailStorage,
    /// Storage takes its time.
    Stall(bool),
    /// The topic takes no entries above this any more.
    Lower(usize),
    Slow(bool),
    Admit(usize),
    TakeBack(usize),
    Reopen(usize),
    Rest(usize),
    ChangeOwner(usize),
    Sleep(u64),
}

/// What a schedule does to the topic's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limits {
    /// Nothing: it stays what it is.
    Kept,
    /// It never falls below what a batch takes, as is assumed of it: anything may happen beside.
    AboveBatches,
    /// It falls below while records flow. Where a refusal goes unheard and something behind it is stored, the last number says that what
    /// was refused is stored, too, and nobody can know better. So no connection is cut, and no producer is closed but by its broker,
    /// whose word comes behind its refusals.
    Any,
}

impl Limits {
    fn world(self, seed: u64) -> World {
        World::with(seed, |settings| match self {
            Self::Kept => {}
            // With what an entry holds beside its records, this is less than the topic takes at the least.
            Self::AboveBatches => settings.batching.max_bytes = LOWEST - 110,
            // Nor is a connection given up because it was silent.
            Self::Any => settings.ping_interval = Duration::from_secs(86_400),
        })
    }

    fn allow(self, step: &Step) -> bool {
        match step {
            Step::Lower(_) => self != Self::Kept,
            Step::Lose { .. } | Step::Reopen(_) | Step::Rest(_) | Step::ChangeOwner(_) => self != Self::Any,
            _ => true,
        }
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    prop_oneof![3 => Just(Limits::Kept), 1 => Just(Limits::AboveBatches), 2 => Just(Limits::Any)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0usize..2, 0usize..400).prop_map(|(producer, size)| Step::Append { producer, size }),
        4 => Just(Step::Connect),
        14 => Just(Step::Write),
        14 => Just(Step::Answer),
        8 => Just(Step::Persist),
        1 => Just(Step::Repeat),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(at, told)| Step::Lose { at, told }),
        1 => Just(Step::Notice),
        1 => any::<bool>().prop_map(|assigned| Step::Unload { assigned }),
        1 => Just(Step::FailStorage),
        2 => any::<bool>().prop_map(Step::Stall),
        1 => (LOWEST..450).prop_map(Step::Lower),
        1 => any::<bool>().prop_map(Step::Slow),
        2 => (0usize..2).prop_map(Step::Admit),
        1 => (0usize..2).prop_map(Step::TakeBack),
        1 => (0usize..2).prop_map(Step::Reopen),
        1 => (0usize..2).prop_map(Step::Rest),
        1 => (0usize..2).prop_map(Step::ChangeOwner),
        5 => (0u64..3_000).prop_map(Step::Sleep),
    ];
    prop::collection::vec(step, 1..300)
}

fn play(world: &mut World, steps: Vec<Step>, limits: Limits, knows: bool) {
    let mut producers = [world.open("one"), world.open("two")];
    if knows {
        // Nothing has to be proved, and waited for.
        world.broker.recover("one", 0);
    }
    let (mut last_answer, mut stalled) = (None, false);
    for step in steps.into_iter().filter(|step| limits.allow(step)) {
        let now = world.now();
        match step {
            Step::Append { producer, size } => drop(world.append(producers[producer], size)),
            Step::Connect => world.connect_one(),
            Step::Write => world.write_one(),
            Step::Answer => last_answer = world.answer_one().or(last_answer),
            Step::Persist if stalled => {}
            Step::Persist => world.broker.persist(),
            Step::Stall(stall) => stalled = stall,
            Step::Lower(limit) => world.broker.largest = Some(world.broker.largest.map_or(limit, |before| before.min(limit))),
            Step::Repeat => {
                if let Some((connection, command)) = last_answer.clone().filter(|(_, command)| command.send_receipt.is_some()) {
                    world.tell(connection, command);
                }
            }
            Step::Lose { at, told } => world.lose(at, told),
            Step::Notice => world.notice(),
            Step::Unload { assigned } => world.broker.unload(assigned),
            Step::FailStorage => world.broker.fail_storage(),
            Step::Slow(slow) => world.slow = slow,
            Step::Admit(at) => world.admit(producers[at]),
            Step::TakeBack(at) => world.take_back(producers[at]),
            Step::Reopen(at) => world.machine.reopen(now, producers[at]),
            Step::Rest(at) => world.rest(producers[at]),
            Step::ChangeOwner(at) => producers[at] = world.change_owner(producers[at]),
            Step::Sleep(ms) => world.sleep(Duration::from_millis(ms)),
        }
        world.actions();
        assert_eq!(world.unstored_and_settled(), [0u64; 0], "acknowledged and not stored");
    }
    while limits != Limits::Any && (!world.up.is_empty() || !world.connecting.is_empty()) {
        world.lose(0, true);
    }
}

/// What has to hold once everything is at rest.
fn hold(world: &World) {
    assert_eq!(world.wrong, [""; 0]);
    assert_eq!(world.broker.wrong, [""; 0]);
    let failed = world.ends.failed.lock().unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    let settled = world.ends.settled.lock().unwrap();
    let given_back = world.ends.given_back.lock().unwrap();
    for (number, (_, _, times)) in &world.handed_in {
        assert_eq!(settled.get(number), Some(&1), "record {number}");
        assert_eq!(1 + given_back.get(number).copied().unwrap_or(0), *times, "handles of record {number}");
    }
    for owner in world.owners.values() {
        let name = owner.lineage.name();
        let stored = world.broker.stored.get(&name.to_string()).cloned().unwrap_or_default();
        assert!(stored.windows(2).all(|pair| pair[0] < pair[1]), "doubled or out of order: {stored:?}");
        let mine = world.handed_in.iter().filter(|(_, (whose, ..))| whose.as_str() == &**name).map(|(number, _)| *number);
        let elsewhere: BTreeSet<u64> = owner.spent.union(&world.dropped).copied().collect();
        let missing: Vec<u64> = mine.filter(|number| stored.contains(number) == elsewhere.contains(number)).collect();
        assert!(missing.is_empty(), "{missing:?} are neither stored nor refused, or both");
    }
    assert_eq!(world.facts.in_flight_records.get(), 0);
    assert_eq!(world.facts.in_flight_bytes.get(), 0);
    assert!(world.machine.requests.is_empty(), "{:?}", world.machine.requests);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn each_number_is_stored_once_and_in_order_whatever_happens(
        seed: u64,
        steps in steps(),
        limit in prop::option::weighted(0.3, 150usize..500),
        limits in limits(),
        knows: bool,
    ) {
        let mut world = limits.world(seed);
        world.broker.largest = limit;
        play(&mut world, steps, limits, knows);
        world.quiesce();
        hold(&world);
    }
}

#[test]
fn the_schedules_reach_what_they_are_meant_to_reach() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut sums = [0; 7];
    for seed in 0..200 {
        let schedule = steps().new_tree(&mut runner).unwrap().current();
        let limits = limits().new_tree(&mut runner).unwrap().current();
        let mut world = limits.world(seed);
        world.broker.largest = (seed % 4 == 0).then_some(300);
        play(&mut world, schedule, limits, seed % 2 == 0);
        world.quiesce();
        let verdict = |name| world.broker.verdicts.get(name).copied().unwrap_or(0);
        let facts = &world.facts;
        let batched = facts.entry_records.get() - facts.entries.get();
        let numbers = [
            facts.reopens.get(),
            facts.disconnects.get(),
            verdict("busy"),
            verdict("duplicate"),
            verdict("unknown"),
            verdict("too large"),
            batched,
        ];
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum += number;
        }
    }
    assert!(sums.iter().all(|sum| *sum > 5), "{sums:?}");
}

/// The answer never comes, and nothing remembers the question.
#[test]
fn a_producer_that_is_closed_while_its_broker_is_asked_for_leaves_no_question_behind() {
    for answers in 1..4 {
        let mut world = World::new(1);
        let producer = world.open("one");
        world.append(producer, 1);
        world.actions();
        world.connect_one();
        for _ in 0..answers {
            world.actions();
            world.write_one();
            world.answer_one();
        }
        world.actions();
        world.machine.close(world.now(), producer);
        world.owners.clear();
        while !world.up.is_empty() {
            world.lose(0, true);
        }
        assert!(world.machine.requests.is_empty(), "after {answers} answers: {:?}", world.machine.requests);
    }
}

/// What is behind it is stored: its number would be taken for a repetition, and be lost.
#[test]
fn a_refused_record_that_was_overtaken_is_not_sent_again_under_its_name() {
    let mut world = World::new(1);
    let producer = world.open("one");
    world.append(producer, 400);
    world.quiesce();
    world.broker.largest = Some(300);
    for size in [350, 10] {
        world.append(producer, size);
        world.actions();
        world.sleep(Duration::from_millis(20));
        world.actions();
    }
    assert_eq!(world.wire.len(), 2);
    world.quiesce();
    hold(&world);
    assert_eq!(world.broker.stored["one"], [1, 3]);
    assert_eq!(world.owners[&producer].spent, BTreeSet::from([2]));
}

/// Else those behind it, repeated first, make the broker take its records for repetitions: they would be lost.
#[test]
fn the_records_of_a_refused_batch_go_before_what_was_written_behind_it_on_an_earlier_connection() {
    let mut world = World::new(1);
    let producer = world.open("one");
    world.append(producer, 600);
    world.quiesce();
    world.broker.largest = Some(300);
    for sizes in [&[350][..], &[100; 4], &[10]] {
        for size in sizes {
            world.append(producer, *size);
        }
        world.actions();
        world.sleep(Duration::from_millis(20));
        world.actions();
    }
    assert_eq!(world.wire.len(), 3);
    // The first is refused; the others are lost on their way, and repeated with care: the topic takes less now.
    world.write_one();
    drop(world.answer_one());
    world.lose(0, true);
    world.quiesce();
    hold(&world);
    assert_eq!(world.broker.stored["one"], [1, 3, 4, 5, 6, 7]);
    assert_eq!(world.owners[&producer].spent, BTreeSet::from([2]));
}

/// A topic with policies of its own, loaded just now, recovers its numbers a second time, and forgets what came since the first.
#[test]
fn what_is_to_show_that_numbers_are_kept_goes_behind_a_second_recovery() {
    let mut world = World::new(1);
    let producer = world.open("one");
    world.append(producer, 1);
    exchange(&mut world);
    assert!(world.machine.is_open(producer));
    world.sleep(Duration::from_millis(1_900));
    exchange(&mut world);
    world.broker.forget();
    assert_eq!(world.facts.entries.get(), 0);
    world.quiesce();
    hold(&world);
}

/// The name was away, and may have been for hours.
#[test]
fn a_name_forgotten_while_there_was_no_connection_is_no_sign_that_deduplication_is_off() {
    let mut world = with_a_proof();
    world.lose(0, true);
    world.broker.forget();
    world.quiesce();
    hold(&world);
    assert_eq!(world.broker.stored["one"], [1, 2, 3]);
}

/// Nothing is proved by a number that was not looked for.
#[test]
fn behind_a_proof_that_was_cut_off_the_next_record_proves() {
    let mut world = with_a_proof();
    world.lose(0, true);
    world.broker.forget();
    for _ in 0..100 {
        exchange(&mut world);
        world.sleep(Duration::from_millis(100));
    }
    world.broker.persist();
    drop(world.answer_one());
    world.broker.forget();
    exchange(&mut world);
    let failed = world.ends.failed.lock().unwrap();
    assert!(failed[&2].contains("deduplication is off"), "{failed:?}");
    assert_eq!(world.broker.stored["one"], [1, 2]);
}

/// A second recovery that takes longer than is thought puts an old number there: one that keeps none would have none.
#[test]
fn a_number_that_is_too_low_is_no_sign_that_deduplication_is_off() {
    let mut world = with_a_proof();
    world.broker.recover("one", 0);
    world.quiesce();
    hold(&world);
    assert_eq!(world.broker.stored["one"], [1, 2, 3]);
}

#[test]
fn a_number_that_is_not_kept_fails_the_one_record_that_shows_it() {
    let mut world = with_a_proof();
    world.broker.forget();
    exchange(&mut world);
    let failed = world.ends.failed.lock().unwrap();
    assert!(failed[&1].contains("deduplication is off"), "{failed:?}");
    assert_eq!(world.broker.stored["one"], [1]);
}

/// Everything that happens without time.
fn exchange(world: &mut World) {
    loop {
        world.actions();
        world.connect_one();
        world.write_one();
        let answered = world.answer_one().is_some();
        world.actions();
        if !answered && world.wire.is_empty() && world.connecting.is_empty() {
            return;
        }
    }
}

/// Of three records the first is stored and receipted, and its producer not yet closed.
fn with_a_proof() -> World {
    let mut world = World::new(1);
    let producer = world.open("one");
    for _ in 0..3 {
        world.append(producer, 1);
    }
    exchange(&mut world);
    world.sleep(Duration::from_secs(2));
    exchange(&mut world);
    world.broker.persist();
    drop(world.answer_one());
    assert_eq!(world.broker.stored["one"], [1]);
    world
}

/// All numbers are at or below it: nothing is counted from there.
#[test]
fn a_named_producer_whose_last_number_is_the_highest_there_is_is_admitted() {
    let mut world = World::new(1);
    let producer = world.open("one");
    world.slow = true;
    while world.owners[&producer].looked == 0 {
        world.actions();
        world.connect_one();
        world.write_one();
        for (_, command) in &mut world.broker.answers {
            if let Some(success) = &mut command.producer_success {
                success.last_sequence_id = Some(i64::MAX);
            }
        }
        drop(world.answer_one());
    }
    assert!(world.machine.is_open(producer));
}

/// Numbers behind the last one there is cannot be given: the producer is closed and opened again later.
#[test]
fn a_last_number_that_leaves_no_room_is_refused() {
    let settings = Settings::new("pulsar://broker:6650".parse().unwrap());
    let mut machine = Machine::new(settings, Arc::new(Facts::default()), fastrand::Rng::with_seed(1)).unwrap();
    let now = Now { at: Instant::now(), wall: 0 };
    let producer = machine.open(now, "a".parse().unwrap(), Naming::ByBroker);
    let connection = ConnectionId(1);
    machine.connected(now, connection, crate::auth::AuthData::none());
    let connected = Some(proto::Connected::default());
    machine.received(now, connection, BaseCommand { kind: kind::CONNECTED, connected, ..Default::default() });
    let found = proto::LookupResponse {
        broker_service_url: Some("pulsar://broker:6650".into()),
        response: Some(1),
        request_id: 1,
        ..Default::default()
    };
    machine.received(now, connection, BaseCommand { kind: kind::LOOKUP_RESPONSE, lookup_response: Some(found), ..Default::default() });
    let success = proto::ProducerSuccess { request_id: 2, last_sequence_id: Some(i64::MAX), ..Default::default() };
    machine.received(now, connection, BaseCommand { kind: kind::PRODUCER_SUCCESS, producer_success: Some(success), ..Default::default() });
    assert!(!machine.is_open(producer));
    let troubles: Vec<String> = std::iter::from_fn(|| machine.next_action())
        .filter_map(|action| match action {
            Action::Event(Event::Trouble { trouble, .. }) => Some(trouble.error.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(troubles.len(), 1, "{troubles:?}");
}
