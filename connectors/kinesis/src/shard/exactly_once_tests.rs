//! A shard in EFFECTIVELY_ONCE under a lease in memory; the test plays the sink: what is stored when, and what an owner may say.
#![allow(clippy::unwrap_used)]

use super::tests::{Answer, NOW, SHARD, World, claimant, row, run};
use crate::coordinator::ShardEnd;
use crate::ids::Checkpoint;
use crate::lease::{Exact, Fault, Lease, LeaseTable, MemoryTable, OperationKind, PulsarConnect, Taken};
use connector_sdk::{Batch, Clock, Error, Guarantee, Lineage, LineageRequest, Lineages, MessageId, Seal, TopicShape};
use futures_util::FutureExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// The table, the topic, and who comes to them one after the other.
struct Scene {
    table: Arc<MemoryTable>,
    began: Instant,
    processes: u32,
    partitions: u32,
}

/// One owner with its half of the sink.
struct Owner {
    world: World,
    lineages: Lineages,
    /// Seals that were asked for and not answered yet.
    seals: Vec<Seal>,
}

impl Scene {
    async fn with(row: Lease) -> Self {
        let table = Arc::new(MemoryTable::new("orders"));
        table.create(&row).await.unwrap();
        Self { table, began: Instant::now(), processes: 0, partitions: 2 }
    }

    /// A row as the coordinator creates it.
    async fn new() -> Self {
        let scene = Self::with(row("TRIM_HORIZON")).await;
        let fresh = claimant(&scene.table, "creator", Guarantee::EffectivelyOnce, Clock::from_fn(|| 0)).new_attribute(None);
        scene.table.put(Lease { pulsar_connect: Some(fresh), ..row("TRIM_HORIZON") }.encode());
        scene
    }

    /// The clock of all: paused time.
    fn clock(&self, start: u64) -> Clock {
        let began = self.began;
        Clock::from_fn(move || start + u64::try_from(began.elapsed().as_millis()).unwrap())
    }

    async fn take_as(&mut self, guarantee: Guarantee, steal: bool, answers: Vec<Answer>) -> Owner {
        self.processes += 1;
        let claimant = claimant(&self.table, &format!("p{}", self.processes), guarantee, self.clock(0));
        let seen = self.row();
        let taken = if steal { claimant.steal(&seen, None, None).await } else { claimant.take(&seen, None, None).await };
        let Taken::Held(lease) = taken.unwrap() else { panic!("the lease is there to be taken") };
        let lineages = Lineages::default();
        lineages.set_shape(shape(self.partitions));
        let world = run(Arc::clone(&self.table), lease, lineages.clone(), self.clock(NOW), answers);
        Owner { world, lineages, seals: Vec::new() }
    }

    async fn take(&mut self, records: &[u64]) -> Owner {
        self.take_as(Guarantee::EffectivelyOnce, false, vec![Answer::Records(records.to_vec(), 0)]).await
    }

    fn row(&self) -> Lease {
        self.table.lease(SHARD).unwrap()
    }

    fn attribute(&self) -> PulsarConnect {
        self.row().pulsar_connect.unwrap()
    }

    fn exact(&self) -> Exact {
        self.attribute().exact.unwrap()
    }

    /// Updates fail from now on, while the flag stands.
    fn refuse_updates(&self) -> Arc<AtomicBool> {
        let refuse = Arc::new(AtomicBool::new(true));
        let refusing = Arc::clone(&refuse);
        self.table.set_hook(move |operation| {
            (operation.kind == OperationKind::Update && refusing.load(Ordering::Relaxed)).then_some(Fault::Throttled)
        });
        refuse
    }
}

impl Owner {
    /// The lineage that was opened, if there is one by now.
    async fn opened(&mut self) -> Option<Arc<Lineage>> {
        sleep(Duration::from_millis(1)).await;
        let mut opened = None;
        for request in self.lineages.take_requests() {
            match request {
                LineageRequest::Open(lineage) => opened = Some(lineage),
                LineageRequest::Seal(seal) => self.seals.push(seal),
                LineageRequest::AskShape(question) => {
                    question.answer(self.lineages.watch_shape().borrow().clone().unwrap());
                }
                LineageRequest::Look(_) => {}
            }
        }
        opened
    }

    /// The first batch, with its lineage.
    async fn first(&mut self) -> (Batch, Arc<Lineage>) {
        let opened = self.opened().await;
        let batch = self.world.batch().await.unwrap();
        let lineage = match opened {
            Some(lineage) => lineage,
            None => self.opened().await.unwrap(),
        };
        assert!(Arc::ptr_eq(batch.lineage.as_ref().unwrap(), &lineage));
        (batch, lineage)
    }

    /// The process is gone: nothing more is written.
    fn crash(self) {
        drop(self);
    }
}

fn shape(partitions: u32) -> TopicShape {
    TopicShape { topic: "persistent://public/default/orders".into(), partitions, hashing: "Murmur3_32Hash".into() }
}

fn numbers(batch: &Batch) -> Vec<u64> {
    batch.records.iter().map(|record| record.sequence.unwrap()).collect()
}

/// Plays the sink: the records are written, stored on partition 0, and acknowledged.
fn publish(lineage: &Lineage, batch: Batch) {
    let last = *numbers(&batch).last().unwrap();
    lineage.writing(0, last);
    lineage.receipted(0, last, Some(MessageId { ledger: 7, entry: i64::try_from(last >> 24).unwrap() }));
    batch.handle.ack();
}

const fn number(ordinal: u64) -> u64 {
    ordinal << 24
}

#[tokio::test(start_paused = true)]
async fn what_records_are_sent_under_is_stored_before_anything_is_handed_on() {
    let mut scene = Scene::new().await;
    let mut owner = scene.take(&[1, 2, 3]).await;
    let refuse = scene.refuse_updates();
    assert!(owner.world.batch().await.is_none() && owner.opened().await.is_none(), "nothing is stored yet");
    refuse.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(2)).await;
    let (batch, lineage) = owner.first().await;
    assert_eq!(numbers(&batch), [number(1), number(2), number(3)]);
    let attribute = scene.attribute();
    assert_eq!(*lineage.name(), format!("pulsar-connect/orders/orders/{SHARD}/{}", attribute.epoch));
    assert!(!lineage.is_in_doubt() && lineage.partitions() == 2 && attribute.position.is_none());
    let exact = attribute.exact.unwrap();
    let next = exact.next.unwrap();
    assert_eq!((next.checkpoint.as_ref(), next.sequence.as_ref(), next.ordinal), ("TRIM_HORIZON", "1", 1));
    assert_eq!(scene.row().checkpoint, Checkpoint::TrimHorizon);
    batch.handle.ack();
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_known_yet_is_waited_for() {
    let mut scene = Scene::new().await;
    scene.partitions = 0;
    let claimant = claimant(&scene.table, "w", Guarantee::EffectivelyOnce, scene.clock(0));
    let Taken::Held(lease) = claimant.take(&scene.row(), None, None).await.unwrap() else { panic!("free") };
    let lineages = Lineages::default();
    let mut world = run(Arc::clone(&scene.table), lease, lineages.clone(), scene.clock(NOW), vec![Answer::Records(vec![1], 0)]);
    assert!(world.batch().await.is_none());
    lineages.set_shape(shape(0));
    assert_eq!(world.batch().await.unwrap().lineage.unwrap().partitions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_comes_to_the_same_names_and_numbers() {
    for broken in 0..24 {
        for fault in [Fault::LostBefore, Fault::LostAfter, Fault::Late(1)] {
            let scene = Scene::new().await;
            let mut sent: BTreeMap<String, (String, u64)> = BTreeMap::new();
            let first = scene.table.operations();
            let fault = Some(fault.clone());
            scene.table.set_hook(move |operation| if operation.number == first + broken { fault.clone() } else { None });
            for life in [0, 3, 7, 8, 9] {
                let begins = match scene.row().checkpoint {
                    Checkpoint::At(position) => position.sequence.as_str().parse().unwrap(),
                    _ => 1,
                };
                let claimant = claimant(&scene.table, &format!("life-{life}"), Guarantee::EffectivelyOnce, scene.clock(0));
                let Ok(Taken::Held(lease)) = claimant.take(&scene.row(), None, None).await else { continue };
                let lineages = Lineages::default();
                lineages.set_shape(shape(2));
                let answers = vec![Answer::Records((begins..begins + 4).collect(), 0)];
                let mut world = run(Arc::clone(&scene.table), lease, lineages, scene.clock(NOW), answers);
                if let Ok(Some(mut batch)) = timeout(Duration::from_secs(3), world.queue.take()).await {
                    let lineage = batch.lineage.clone().unwrap();
                    for record in &batch.records {
                        let under = (lineage.name().to_string(), record.sequence.unwrap());
                        let before = sent.entry(record.label.position.to_string()).or_insert_with(|| under.clone());
                        assert_eq!(*before, under, "record {} with operation {broken} broken", record.label);
                    }
                    batch.handle.split_to(2).ack();
                    sleep(Duration::from_secs(life)).await;
                    batch.handle.give_back();
                }
            }
            let stored = scene.row().checkpoint;
            assert!(
                sent.len() >= 4 && stored != Checkpoint::TrimHorizon,
                "{} sent, {stored} stored with operation {broken} broken",
                sent.len()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_carries_what_it_covers_and_the_oldest_send_it_does_not() {
    let mut scene = Scene::new().await;
    let answers = vec![Answer::Records(vec![1, 2], 0)];
    let mut owner = scene.take_as(Guarantee::EffectivelyOnce, false, answers).await;
    let (batch, lineage) = owner.first().await;
    publish(&lineage, batch);
    owner.world.pass(2).await;
    assert!(scene.exact().covered.is_empty(), "not before the interval");
    owner.world.pass(5).await;
    let exact = scene.exact();
    assert_eq!((exact.covered[&0].number, exact.covered[&0].message), (number(2), Some(MessageId { ledger: 7, entry: 2 })));
    assert_eq!(exact.next, None, "the checkpoint has a number of its own");
    assert_eq!(scene.attribute().position.unwrap().ordinal, 2);
    owner.crash();

    let taken_at = scene.clock(NOW).millis();
    let mut owner = scene.take(&[2, 3, 4]).await;
    let (mut batch, lineage) = owner.first().await;
    assert_eq!(numbers(&batch), [number(3), number(4)]);
    assert_eq!(lineage.covered(0).unwrap().number, number(2));
    let inherited = lineage.uncovered_since();
    assert!(lineage.is_in_doubt() && inherited <= taken_at);
    lineage.set_doubt_end(number(3));
    lineage.writing(0, number(4));
    let third = batch.handle.split_to(1);
    owner.world.pass(6).await;
    third.ack();
    owner.world.pass(6).await;
    let exact = scene.exact();
    assert!(!lineage.is_in_doubt(), "the checkpoint has passed its end");
    assert!(exact.uncovered_since >= taken_at && exact.uncovered_since < scene.clock(NOW).millis() - 10_000, "record 4's hand-over");
    batch.handle.ack();
    owner.world.pass(6).await;
    assert!(scene.exact().uncovered_since > exact.uncovered_since, "nothing is on its way");
}

#[tokio::test(start_paused = true)]
async fn sentinel_row_is_a_position() {
    let mut scene = Scene::new().await;
    let mut owner = scene.take(&[5, 6]).await;
    let (batch, lineage) = owner.first().await;
    lineage.writing(0, number(2));
    let name = lineage.name().clone();
    drop(batch);
    owner.crash();
    let mut owner = scene.take(&[5, 6]).await;
    let (batch, lineage) = owner.first().await;
    assert_eq!((lineage.name(), lineage.is_in_doubt()), (&name, true));
    assert_eq!(numbers(&batch), [number(1), number(2)]);
    assert!(owner.seals.is_empty());
}

#[tokio::test(start_paused = true)]
async fn take_clears_clean() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::AtMostOnce, Guarantee::EffectivelyOnce] {
        let mut scene = Scene::new().await;
        assert!(scene.attribute().clean, "nothing was ever sent");
        let owner = scene.take_as(guarantee, false, Vec::new()).await;
        assert!(!scene.attribute().clean, "{guarantee:?}: in the take's own write");
        owner.crash();
        let mut owner = scene.take(&[1]).await;
        let (batch, lineage) = owner.first().await;
        assert!(!scene.attribute().clean);
        lineage.writing(0, number(1));
        drop(batch);
        owner.crash();
        let mut owner = scene.take(&[1]).await;
        assert!(owner.first().await.1.is_in_doubt(), "{guarantee:?}");
    }
}

/// An owner sends records 1 and 2, stores nothing and is gone.
async fn left_in_doubt() -> Scene {
    let mut scene = Scene::new().await;
    let mut owner = scene.take(&[1, 2]).await;
    let (batch, lineage) = owner.first().await;
    lineage.writing(0, number(2));
    drop(batch);
    owner.crash();
    scene
}

/// Stops the owner and gives its lease away, as the coordinator does. Whether the row is clean then.
async fn stop(scene: &Scene, owner: Owner) -> bool {
    let (_, world) = owner.world.stop().await;
    world.lease.give_away().await.unwrap();
    assert_eq!(scene.row().owner, None);
    scene.attribute().clean
}

#[tokio::test(start_paused = true)]
async fn clean_speaks_of_all_owners() {
    for (doubt_end, clean) in [(None, false), (Some(number(2)), false), (Some(number(1)), true)] {
        let mut scene = left_in_doubt().await;
        let mut owner = scene.take(&[1]).await;
        let (batch, lineage) = owner.first().await;
        doubt_end.into_iter().for_each(|end| lineage.set_doubt_end(end));
        publish(&lineage, batch);
        assert_eq!(stop(&scene, owner).await, clean, "doubt ends at {doubt_end:?}");
        assert_eq!(scene.row().checkpoint.text(), "1");
        scene.partitions = 3;
        let mut owner = scene.take(&[1, 2]).await;
        assert_eq!(owner.first().await.1.partitions(), if clean { 3 } else { 2 }, "the count changes only where the row is clean");
    }
}

#[tokio::test(start_paused = true)]
async fn clean_is_said_only_with_everything_receipted_and_stored() {
    // All of it.
    let mut scene = Scene::new().await;
    let mut owner = scene.take(&[1, 2]).await;
    let (batch, lineage) = owner.first().await;
    publish(&lineage, batch);
    assert!(stop(&scene, owner).await);
    // Nothing came.
    let owner = scene.take_as(Guarantee::EffectivelyOnce, false, Vec::new()).await;
    assert!(stop(&scene, owner).await, "as it was found");
    // One was written and is unknown.
    let mut owner = scene.take(&[2, 3, 4]).await;
    let (mut batch, lineage) = owner.first().await;
    lineage.writing(0, number(4));
    batch.handle.split_to(1).ack();
    batch.handle.give_back();
    assert!(!stop(&scene, owner).await);
    assert_eq!(scene.row().checkpoint.text(), "3");
    // Found in doubt, and nothing came: nobody can say.
    let owner = scene.take_as(Guarantee::EffectivelyOnce, false, Vec::new()).await;
    assert!(!stop(&scene, owner).await);
    // What was not written is not sent.
    let mut scene = Scene::new().await;
    let mut owner = scene.take(&[1, 2]).await;
    let (mut batch, lineage) = owner.first().await;
    lineage.writing(0, number(1));
    batch.handle.split_to(1).ack();
    batch.handle.give_back();
    assert!(stop(&scene, owner).await);
    // Still on its way at the deadline.
    let mut owner = scene.take(&[1, 2]).await;
    let (batch, _) = owner.first().await;
    assert!(!stop(&scene, owner).await);
    drop(batch);
}

#[tokio::test(start_paused = true)]
async fn another_guarantee_leaves_its_numbers_only_clean() {
    for (settled, keeps) in [(2, true), (1, false)] {
        let mut scene = Scene::new().await;
        let mut owner = scene.take(&[1]).await;
        let (batch, lineage) = owner.first().await;
        publish(&lineage, batch);
        assert!(stop(&scene, owner).await);
        let epoch = scene.attribute().epoch;

        let mut owner = scene.take_as(Guarantee::AtLeastOnce, false, vec![Answer::Records(vec![1, 2, 3], 0)]).await;
        assert_eq!(scene.attribute().exact, None, "it is not kept true under this guarantee");
        let mut batch = owner.world.batch().await.unwrap();
        assert!(batch.lineage.is_none());
        batch.handle.split_to(settled).ack();
        assert_eq!(stop(&scene, owner).await, keeps);

        let begins = settled + 1;
        drop(batch);
        let mut owner = scene.take(&[begins, begins + 1]).await;
        let (batch, lineage) = owner.first().await;
        assert_eq!(scene.attribute().epoch == epoch, keeps);
        assert!(!lineage.is_in_doubt(), "nothing was sent under this name");
        assert_eq!(numbers(&batch), [if keeps { number(begins + 1) } else { number(2) }]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_moved_checkpoint_ends_the_old_producers_before_the_new_epoch_is_stored() {
    let mut scene = left_in_doubt().await;
    let before = scene.attribute().epoch;
    let old = format!("pulsar-connect/orders/orders/{SHARD}/{before}");
    scene.table.put(Lease { checkpoint: Checkpoint::parse("2", 0).unwrap(), ..scene.row() }.encode());
    scene.partitions = 4;
    let mut owner = scene.take(&[2, 3]).await;
    assert!(owner.world.batch().await.is_none() && owner.opened().await.is_none());
    let seal = owner.seals.pop().unwrap();
    assert_eq!((&seal.names[..], seal.partitions), (&[old.into()][..], 2), "by the count of then");
    assert_eq!(scene.attribute().epoch, before, "nothing is stored before");
    seal.answer(Err(Error::transient("the broker is away")));
    owner.world.pass(2).await;
    assert!(owner.opened().await.is_none());
    assert_eq!(owner.world.failures.lock().unwrap().len(), 1);
    owner.seals.pop().unwrap().answer(Ok(Some(number(2))));
    let (batch, lineage) = owner.first().await;
    assert!(scene.attribute().epoch > before && !lineage.is_in_doubt() && lineage.partitions() == 4);
    assert_eq!(numbers(&batch), [number(2)], "the checkpointed record is the first of the new epoch");
    let doubles = owner.world.board.doubles();
    assert!(doubles.len() == 1 && doubles[0].contains("2/0") && doubles[0].contains(&before.to_string()), "{doubles:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_steal_a_new_epoch_waits_until_the_owner_before_must_know() {
    let mut scene = left_in_doubt().await;
    scene.table.put(Lease { checkpoint: Checkpoint::parse("2", 0).unwrap(), ..scene.row() }.encode());
    let mut owner = scene.take_as(Guarantee::EffectivelyOnce, true, vec![Answer::Records(vec![2, 3], 0)]).await;
    owner.world.pass(9).await;
    assert!(owner.opened().await.is_none() && owner.seals.is_empty());
    owner.world.pass(2).await;
    assert!(owner.opened().await.is_none());
    owner.seals.pop().unwrap().answer(Ok(None));
    let (batch, lineage) = owner.first().await;
    assert!(owner.world.board.doubles().is_empty(), "the broker knows of nothing sent");
    assert_eq!(lineage.doubt_from(), None);
    drop(batch);
}

#[tokio::test(start_paused = true)]
async fn what_is_spent_is_stored_at_once_and_until_it_is() {
    let mut scene = Scene::new().await;
    let mut owner = scene.take(&[1, 2, 3]).await;
    let (mut batch, lineage) = owner.first().await;
    let version = lineage.declare_spent([number(2)]);
    sleep(Duration::from_millis(1)).await;
    assert!(lineage.is_stored(version), "not at the interval");
    assert_eq!(scene.exact().spent, BTreeSet::from([number(2)]));
    assert_eq!(scene.row().checkpoint, Checkpoint::TrimHorizon);
    assert!(scene.exact().next.is_some(), "the checkpoint has not moved");

    let refuse = scene.refuse_updates();
    let version = lineage.declare_spent([number(3)]);
    sleep(Duration::from_secs(4)).await;
    assert!(!lineage.is_stored(version));
    refuse.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(2)).await;
    assert!(lineage.is_stored(version));
    assert_eq!(scene.exact().spent, BTreeSet::from([number(2), number(3)]));

    batch.handle.split_to(2).ack();
    owner.world.pass(6).await;
    assert_eq!(scene.exact().spent, BTreeSet::from([number(3)]), "the checkpoint has passed the other");
    owner.crash();
    let mut owner = scene.take(&[2, 3]).await;
    let (again, lineage) = owner.first().await;
    assert!(lineage.is_spent(number(3)) && lineage.has_spent());
    drop((batch, again));
}

#[tokio::test(start_paused = true)]
async fn what_is_spent_is_stored_while_the_shard_stops() {
    let mut scene = Scene::new().await;
    let mut owner = scene.take(&[1, 2]).await;
    let (batch, lineage) = owner.first().await;
    lineage.writing(0, number(2));
    let stopping = tokio::spawn(owner.world.stop());
    sleep(Duration::from_millis(10)).await;
    let version = lineage.declare_spent([number(1)]);
    sleep(Duration::from_millis(10)).await;
    assert!(lineage.is_stored(version), "the sink waits for it, and the stop for the sink");
    batch.handle.ack();
    let (beyond, world) = stopping.await.unwrap();
    assert_eq!((beyond, world.stored().as_str()), (0, "2"));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_grows_outside_doubt_is_sent_to_by_its_new_count_once_all_is_settled() {
    let mut scene = Scene::new().await;
    let answers = vec![Answer::Records(vec![1, 2], 0)];
    let mut owner = scene.take_as(Guarantee::EffectivelyOnce, false, answers).await;
    let (batch, lineage) = owner.first().await;
    owner.lineages.set_shape(shape(5));
    owner.world.resume(Answer::Records(vec![3], 0));
    assert!(owner.world.batch().await.is_none(), "handing on stops");
    assert_eq!((lineage.partitions(), scene.exact().partitions), (2, 2), "something is on its way");
    publish(&lineage, batch);
    sleep(Duration::from_millis(1)).await;
    assert_eq!((lineage.partitions(), scene.exact().partitions), (5, 5));
    assert_eq!(scene.row().checkpoint.text(), "2", "in one write with the checkpoint");
    assert_eq!(numbers(&owner.world.batch().await.unwrap()), [number(3)]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_handed_on_while_a_grown_count_is_not_stored() {
    let mut scene = Scene::new().await;
    let mut owner = scene.take(&[1]).await;
    let (batch, lineage) = owner.first().await;
    let refuse = scene.refuse_updates();
    owner.lineages.set_shape(shape(3));
    publish(&lineage, batch);
    sleep(Duration::from_secs(1)).await;
    // What is read now waits.
    owner.world.resume(Answer::Records(vec![2], 0));
    assert!(owner.world.batch().await.is_none());
    assert_eq!(lineage.partitions(), 2);
    refuse.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((lineage.partitions(), scene.exact().partitions), (3, 3));
    assert_eq!(numbers(&owner.world.batch().await.unwrap()), [number(2)]);
}

#[tokio::test(start_paused = true)]
async fn growth_inside_inherited_doubt() {
    let mut scene = left_in_doubt().await;
    scene.partitions = 3;
    let mut owner = scene.take(&[1, 2, 3]).await;
    let (mut batch, lineage) = owner.first().await;
    assert_eq!(lineage.partitions(), 2, "what may be there already was routed by it");
    let first = batch.handle.split_to(1);
    first.ack();
    owner.world.pass(6).await;
    assert_eq!(lineage.partitions(), 2, "nobody knows yet where the doubt ends");
    lineage.set_doubt_end(number(2));
    owner.world.pass(6).await;
    assert_eq!((lineage.partitions(), scene.exact().partitions), (2, 2), "the checkpoint is before its end");
    batch.handle.ack();
    owner.world.pass(6).await;
    assert_eq!((lineage.partitions(), scene.exact().partitions), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn doubt_that_the_found_checkpoint_covers_already_ends_when_that_is_known() {
    let mut scene = left_in_doubt().await;
    let mut owner = scene.take(&[1, 2]).await;
    let (batch, lineage) = owner.first().await;
    lineage.set_doubt_end(number(2));
    publish(&lineage, batch);
    owner.world.pass(6).await;
    owner.crash();
    scene.partitions = 3;
    let mut owner = scene.take(&[2]).await;
    let lineage = owner.opened().await.unwrap();
    assert!(lineage.is_in_doubt() && lineage.partitions() == 2);
    lineage.set_doubt_end(number(2));
    sleep(Duration::from_millis(1)).await;
    assert!(!lineage.is_in_doubt());
    assert_eq!((lineage.partitions(), scene.exact().partitions), (3, 3));
    assert!(stop(&scene, owner).await);
}

#[tokio::test(start_paused = true)]
async fn steal_then_growth() {
    // W2 owns it by one partition and has sent nothing; the topic grows; W1 steals.
    let mut scene = Scene::new().await;
    scene.partitions = 1;
    let mut loser = scene.take(&[1]).await;
    let (_unsent, _) = loser.first().await;
    scene.partitions = 2;
    let stolen_at = Instant::now();
    let mut thief = scene.take_as(Guarantee::EffectivelyOnce, true, vec![Answer::Records(vec![1], 0)]).await;
    let (batch, lineage) = thief.first().await;
    assert_eq!(lineage.doubt_from(), Some(stolen_at + Duration::from_secs(10)), "what is read before it is no end");
    assert_eq!((lineage.partitions(), lineage.is_in_doubt()), (1, true));
    drop(batch);
    thief.world.pass(6).await;
    assert_eq!(scene.exact().partitions, 1);
}

#[tokio::test(start_paused = true)]
async fn late_renewal_is_not_my_write() {
    let mut scene = Scene::new().await;
    let mut owner = scene.take(&[1]).await;
    let (batch, lineage) = owner.first().await;
    // The write of the new count never arrives; a renewal that was given up before lands instead.
    let (hooked, mut updates) = (Arc::clone(&scene.table), 0);
    scene.table.set_hook(move |operation| {
        updates += u32::from(operation.kind == OperationKind::Update);
        if operation.kind != OperationKind::Update || updates > 1 {
            return None;
        }
        let row = hooked.lease(SHARD).unwrap();
        hooked.put(Lease { counter: row.counter + 1, ..row }.encode());
        Some(Fault::LostBefore)
    });
    owner.lineages.set_shape(shape(4));
    publish(&lineage, batch);
    sleep(Duration::from_millis(1)).await;
    assert_eq!((lineage.partitions(), scene.exact().partitions), (2, 2), "not taken for stored");
    sleep(Duration::from_secs(2)).await;
    assert_eq!((lineage.partitions(), scene.exact().partitions), (4, 4), "stored again");
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_has_not_seen_the_topic_grow_begins_no_epoch() {
    let mut scene = Scene::new().await;
    scene.partitions = 3;
    let mut owner = scene.take(&[1, 2]).await;
    let (batch, lineage) = owner.first().await;
    let name = lineage.name().clone();
    drop(batch);
    owner.crash();
    // The publisher of the next owner was opened before the topic grew, and asks only each minute.
    scene.partitions = 2;
    let mut owner = scene.take_as(Guarantee::EffectivelyOnce, true, vec![Answer::Records(vec![1, 2], 0)]).await;
    sleep(Duration::from_millis(1)).await;
    let Some(LineageRequest::AskShape(question)) = owner.lineages.take_requests().pop() else { panic!("it is asked first") };
    owner.lineages.set_shape(shape(3));
    question.answer(shape(3));
    let (_batch, lineage) = owner.first().await;
    assert_eq!((lineage.name(), lineage.partitions()), (&name, 3));
    assert!(owner.seals.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_topic_with_fewer_partitions_than_records_went_to_stops_the_shard() {
    let mut scene = Scene::new().await;
    let mut owner = scene.take(&[1, 2]).await;
    let (batch, _) = owner.first().await;
    owner.lineages.set_shape(shape(1));
    sleep(Duration::from_millis(1)).await;
    assert!(batch.handle.is_fenced());
    drop(batch);
    let parked = owner.world.board.views()[0].1.parked.clone().unwrap();
    assert!(parked.reason.contains("2 partitions and has 1"), "{}", parked.reason);
    assert_eq!(owner.world.failures.lock().unwrap().len(), 1);
    owner.world.pass(12).await;
    assert!(owner.world.shard.ended().now_or_never().is_none(), "the lease stays");
}

#[tokio::test(start_paused = true)]
async fn a_record_without_a_number_of_its_own_parks_the_shard() {
    let mut scene = Scene::new().await;
    let mut owner = scene.take(&[1]).await;
    let (batch, lineage) = owner.first().await;
    publish(&lineage, batch);
    assert!(stop(&scene, owner).await);
    let mut attribute = scene.attribute();
    attribute.position.as_mut().unwrap().ordinal = (1 << 39) - 2;
    scene.table.put(Lease { pulsar_connect: Some(attribute), ..scene.row() }.encode());
    let answers = vec![Answer::Records(vec![1, 2], 0), Answer::Records(vec![3, 4], 0)];
    let mut owner = scene.take_as(Guarantee::EffectivelyOnce, false, answers).await;
    let (batch, _) = owner.first().await;
    assert_eq!(numbers(&batch), [((1 << 39) - 1) << 24]);
    assert!(owner.world.batch().await.is_none());
    let parked = owner.world.board.views()[0].1.parked.clone().unwrap();
    assert_eq!(parked.record, "3/0");
    drop(batch);
}

#[tokio::test(start_paused = true)]
async fn a_lineage_is_over_with_its_owner() {
    let mut scene = Scene::new().await;
    let mut owner = scene.take(&[1]).await;
    let (batch, lineage) = owner.first().await;
    publish(&lineage, batch);
    let (_, world) = owner.world.stop().await;
    assert!(lineage.is_over());
    drop(world);

    let mut scene = Scene::new().await;
    let answers = vec![Answer::Last(vec![1], vec!["shardId-000000000001"])];
    let mut owner = scene.take_as(Guarantee::EffectivelyOnce, false, answers).await;
    let (batch, lineage) = owner.first().await;
    publish(&lineage, batch);
    assert!(matches!(owner.world.shard.ended().await, ShardEnd::Finished));
    assert!(lineage.is_over());
    assert!(scene.table.lease("shardId-000000000001").unwrap().pulsar_connect.unwrap().clean, "nothing was sent of the child");
}
