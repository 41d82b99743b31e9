//! The schedules that broke weaker protocols, by their names, against the code that ships.
//!
//! W1, W2, W3 are successive owners of the one shard; record N is the shard's Nth, with a key that says on which partition it goes.

use connector_kinesis::ids::{Checkpoint, ShardId};
use connector_kinesis::lease::{Fault, Lease};
use connector_pulsar::routing::HashingScheme;
use connector_sdk::Mistake;
use simulation::broker::Storage;
use simulation::run::{Run, Setting, Verdict, run};
use simulation::shard::{ScriptedShard, message};
use simulation::worker::Worker;
use simulation::world::World;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::sleep;

const SHARD: &str = "shardId-000000000000";
/// Nothing is stored in the row by time alone.
const NEVER: Duration = Duration::from_secs(3_600);

struct Scene {
    run: Run,
    shard: ShardId,
}

/// A key that these partition counts send to these partitions.
fn key(wanted: &[(u32, u32)]) -> String {
    let fits = |key: &String| wanted.iter().all(|(count, partition)| HashingScheme::Murmur3_32.hash(key) % count == *partition);
    (0..10_000).map(|number| format!("k{number}")).find(fits).unwrap()
}

impl Scene {
    /// A shard with these records (key and size), of which the first `there` can be read.
    async fn new(world: &World, setting: Setting, records: &[(String, u64)], there: usize) -> Self {
        let mut shard = ScriptedShard::default();
        for (at, (key, size)) in records.iter().enumerate() {
            shard.push(vec![message("s", at as u64, 0, *size, key.clone())]);
        }
        let id = ShardId::from(SHARD);
        let run = Run::new(world, setting, BTreeMap::from([(id.clone(), shard)])).await;
        run.around.stream.show(there);
        Self { run, shard: id }
    }

    fn show(&self, records: usize) {
        self.run.around.stream.show(records);
    }

    async fn until_stored(&self, count: usize) {
        self.run.until(&format!("{count} messages are stored"), |run| run.stored().len() >= count).await;
    }

    /// Until so many entries were answered with "stored before".
    async fn until_repeated(&self, count: u64) {
        self.run
            .until(&format!("{count} were stored before"), |run| run.around.cluster.broker(|broker| broker.duplicates() >= count))
            .await;
    }

    async fn until_checkpoint(&self, record: u64) {
        let wanted = (record * 10).to_string();
        self.run.until(&format!("the checkpoint is record {record}"), |run| run.checkpoint(&self.shard) == wanted).await;
    }

    async fn until_held(&self, worker: &Worker) {
        self.run.until("the lease is held", |_| !worker.holds().is_empty()).await;
    }

    /// Hours pass for whoever is away: the broker forgets.
    async fn forget(&self) {
        sleep(Duration::from_secs(4)).await;
        let millis = self.run.around.world.millis();
        self.run.around.cluster.broker(|broker| {
            for name in broker.known_names() {
                broker.forget(millis, &name);
            }
        });
    }

    fn grow(&self, partitions: u32) {
        self.run.around.cluster.broker(|broker| broker.grow(partitions));
    }

    fn limit(&self, bytes: Option<usize>) {
        self.run.around.cluster.broker(|broker| broker.set_limit(bytes));
    }

    /// The entry at which a reading back of partition 0 would begin, as the row says.
    fn anchor(&self) -> i64 {
        let row = self.run.around.tables.table().lease(SHARD).unwrap();
        let attribute: serde_json::Value = serde_json::from_str(&row.pulsar_connect.unwrap().text()).unwrap();
        attribute["exact"]["covered"]["0"]["message"]["entry"].as_i64().unwrap()
    }

    /// Whether the topic can be read back: else a replay is judged by the broker alone.
    fn may_read(&self, may_read: bool) {
        self.run.around.cluster.broker(|broker| broker.set_may_read(may_read));
    }

    fn resets_deduplication(&self) {
        self.run.around.cluster.broker(|broker| {
            broker.switch_deduplication(false);
            broker.switch_deduplication(true);
        });
    }

    /// Everything can be read; the workers go on until the shard has ended.
    async fn end(self, workers: Vec<Worker>) -> Verdict {
        self.show(usize::MAX);
        let finished = self.run.finish(Duration::from_secs(120)).await;
        let said = workers.iter().flat_map(Worker::said).collect();
        self.run.verdict(finished, said)
    }
}

fn setting(partitions: u32, checkpoint_interval: Duration) -> Setting {
    Setting { partitions, checkpoint_interval, batch_messages: 1, ..Setting::default() }
}

fn exact(verdict: &Verdict) {
    let fine = verdict.findings.is_exact() && verdict.finished && verdict.said.is_empty();
    assert!(fine, "{}\n{}", verdict.in_words(), verdict.trace.join("\n"));
}

fn small(wanted: &[&[(u32, u32)]]) -> Vec<(String, u64)> {
    wanted.iter().map(|wanted| (key(wanted), 10)).collect()
}

fn clean_speaks(mistake: Option<Mistake>) -> Verdict {
    run(1, true, mistake, |world| async move {
        let records = small(&[&[(2, 0)], &[(2, 1)]]);
        let mut scene = Scene::new(&world, setting(1, NEVER), &records, 2).await;
        scene.may_read(false);
        let mut w1 = scene.run.worker(0);
        scene.until_stored(2).await;
        w1.crash();
        scene.show(1);
        let mut w2 = scene.run.worker(1);
        scene.until_repeated(1).await;
        w2.stop(Duration::from_secs(5)).await;
        scene.until_checkpoint(1).await;
        scene.grow(2);
        let w3 = scene.run.worker(2);
        scene.end(vec![w3]).await
    })
}

#[test]
fn clean_speaks_of_all_owners() {
    exact(&clean_speaks(None));
}

#[test]
fn growth_inside_inherited_doubt() {
    exact(&run(1, true, None, |world| async move {
        let records = small(&[&[(2, 1)], &[(2, 1), (3, 0)], &[(2, 0), (3, 2)]]);
        let mut scene = Scene::new(&world, setting(2, Duration::from_millis(200)), &records, 1).await;
        let mut w1 = scene.run.worker(0);
        scene.until_checkpoint(1).await;
        // Record 2 can not be sent, record 3 can.
        scene.run.around.cluster.broker(|broker| broker.fence(1, true));
        scene.show(3);
        scene.until_stored(2).await;
        w1.crash();
        scene.run.around.cluster.broker(|broker| broker.fence(1, false));
        scene.grow(3);
        let w2 = scene.run.worker(1);
        scene.end(vec![w2]).await
    }));
}

fn take_clears(mistake: Option<Mistake>) -> Verdict {
    run(1, true, mistake, |world| async move {
        let records = small(&[&[(2, 0)], &[(2, 1)]]);
        let mut scene = Scene::new(&world, setting(1, NEVER), &records, 1).await;
        let mut before = scene.run.worker(0);
        scene.until_stored(1).await;
        before.stop(Duration::from_secs(5)).await;
        scene.show(2);
        let mut w1 = scene.run.worker(1);
        scene.until_stored(2).await;
        w1.crash();
        scene.grow(2);
        let w2 = scene.run.worker(2);
        scene.end(vec![w2]).await
    })
}

#[test]
fn take_clears_clean() {
    exact(&take_clears(None));
    assert!(!take_clears(Some(Mistake::TakeKeepsClean)).findings.doubled.is_empty());
}

#[test]
fn read_back_from_first_uncovered_send() {
    exact(&run(1, true, None, |world| async move {
        let records = small(&[&[(2, 0)], &[(2, 1)]]);
        let mut scene = Scene::new(&world, setting(2, Duration::from_secs(3)), &records, 1).await;
        let mut w1 = scene.run.worker(0);
        scene.until_stored(1).await;
        // Record 2 is stored, and nobody hears of it; the checkpoint of record 1 is younger.
        scene.run.around.cluster.broker(|broker| broker.mute(1, true));
        scene.show(2);
        scene.until_stored(2).await;
        scene.until_checkpoint(1).await;
        w1.crash();
        scene.run.around.cluster.broker(|broker| broker.mute(1, false));
        scene.forget().await;
        let w2 = scene.run.worker(1);
        scene.end(vec![w2]).await
    }));
}

#[test]
fn forgetting_has_no_clock() {
    exact(&run(1, true, None, |world| async move {
        let records = small(&[&[(2, 0)], &[(2, 1)]]);
        let mut scene = Scene::new(&world, setting(2, Duration::from_secs(3)), &records, 2).await;
        let mut w1 = scene.run.worker(0);
        scene.until_stored(2).await;
        w1.crash();
        scene.forget().await;
        scene.show(1);
        // Reads partition 0 back, and makes the row seconds old.
        let w2 = scene.run.worker(1);
        scene.until_checkpoint(1).await;
        scene.end(vec![w2]).await
    }));
}

#[test]
fn dedup_reset_while_connected() {
    let verdict = run(1, true, None, |world| async move {
        let records = small(&[&[], &[], &[]]);
        let mut scene = Scene::new(&world, setting(1, NEVER), &records, 3).await;
        scene.may_read(false);
        let mut w1 = scene.run.worker(0);
        scene.until_stored(3).await;
        w1.crash();
        scene.show(1);
        let w2 = scene.run.worker(1);
        scene.until_repeated(1).await;
        scene.resets_deduplication();
        scene.show(2);
        scene.run.until("it stands still", |_| !w2.said().is_empty()).await;
        scene.show(3);
        sleep(Duration::from_secs(10)).await;
        let said = w2.said();
        scene.run.verdict(true, said)
    });
    assert_eq!(verdict.findings.doubled, ["s/2.0"], "{}", verdict.trace.join("\n"));
    assert!(verdict.findings.lost.is_empty() && verdict.said.iter().any(|said| said.contains("20/0")), "{}", verdict.in_words());
}

#[test]
fn dedup_reset_while_connected_and_read_back() {
    exact(&run(1, true, None, |world| async move {
        let records = small(&[&[], &[], &[]]);
        let mut scene = Scene::new(&world, setting(1, Duration::from_millis(200)), &records, 1).await;
        let mut w1 = scene.run.worker(0);
        scene.until_checkpoint(1).await;
        scene.run.around.cluster.broker(|broker| broker.mute(0, true));
        scene.show(3);
        scene.until_stored(3).await;
        w1.crash();
        scene.run.around.cluster.broker(|broker| broker.mute(0, false));
        scene.show(2);
        let w2 = scene.run.worker(1);
        scene.until_checkpoint(2).await;
        // What was read back is known: record 3 is not sent to ask.
        scene.resets_deduplication();
        scene.end(vec![w2]).await
    }));
}

/// A topic with policies of its own: when it is loaded its numbers are recovered twice, and the second time puts old over new.
fn recovered_twice(mistake: Option<Mistake>) -> Verdict {
    run(1, true, mistake, |world| async move {
        let records = small(&[&[], &[], &[], &[]]);
        let mut scene = Scene::new(&world, setting(1, Duration::from_millis(200)), &records, 1).await;
        let mut w1 = scene.run.worker(0);
        scene.until_checkpoint(1).await;
        scene.run.around.cluster.broker(|broker| {
            broker.set_recovers_twice(true);
            broker.unload(scene.run.around.world.millis());
        });
        sleep(Duration::from_millis(900)).await;
        scene.run.around.cluster.broker(|broker| broker.mute(0, true));
        scene.show(3);
        scene.until_stored(3).await;
        sleep(Duration::from_secs(2)).await;
        w1.crash();
        scene.run.around.cluster.broker(|broker| broker.mute(0, false));
        let w2 = scene.run.worker(1);
        scene.end(vec![w2]).await
    })
}

#[test]
fn a_topic_recovered_twice() {
    exact(&recovered_twice(None));
    assert!(!recovered_twice(Some(Mistake::LastIdBelieved)).findings.doubled.is_empty());
}

/// As before, with the connection cut while the record is on its way to storage: it is under no number, and not yet in the topic.
fn on_its_way(mistake: Option<Mistake>) -> Verdict {
    run(1, true, mistake, |world| async move {
        let records = small(&[&[], &[], &[]]);
        let mut scene = Scene::new(&world, setting(1, Duration::from_millis(200)), &records, 1).await;
        let w1 = scene.run.worker(0);
        scene.until_checkpoint(1).await;
        scene.run.around.cluster.broker(|broker| {
            broker.set_storage(Storage { usual: (1_900, 1_900), ..Storage::default() });
            broker.set_recovers_twice(true);
            broker.unload(scene.run.around.world.millis());
        });
        sleep(Duration::from_millis(300)).await;
        scene.show(2);
        sleep(Duration::from_millis(1_400)).await;
        scene.run.around.cluster.cut(w1.name(), true, true);
        scene.until_stored(2).await;
        scene.end(vec![w1]).await
    })
}

#[test]
fn what_was_on_its_way_to_storage_is_seen() {
    exact(&on_its_way(None));
    assert!(!on_its_way(Some(Mistake::ReadBackAtOnce)).findings.doubled.is_empty());
}

#[test]
fn an_idle_shard_is_read_back_from_where_the_topic_was_not_long_ago() {
    exact(&run(1, true, None, |world| async move {
        let records = small(&[&[], &[], &[]]);
        let mut scene = Scene::new(&world, setting(1, Duration::from_millis(200)), &records, 1).await;
        let mut w1 = scene.run.worker(0);
        scene.until_checkpoint(1).await;
        let first = scene.anchor();
        scene.run.around.cluster.broker(|broker| broker.store_of_others(world.millis(), 100));
        scene.run.until("a reading would begin later", |_| scene.anchor() >= first + 100).await;
        sleep(Duration::from_secs(200)).await;
        // What is sent from now on is behind it.
        scene.run.around.cluster.broker(|broker| broker.mute(0, true));
        scene.show(2);
        scene.run.until("record 2 is stored", |run| run.stored().contains(&"s/2.0".to_owned())).await;
        w1.crash();
        scene.run.around.cluster.broker(|broker| broker.mute(0, false));
        scene.forget().await;
        let w2 = scene.run.worker(1);
        scene.end(vec![w2]).await
    }));
}

#[test]
fn refusal_of_a_stored_number() {
    exact(&run(1, true, None, |world| async move {
        let records = vec![(key(&[]), 300), (key(&[]), 10)];
        let mut scene = Scene::new(&world, setting(1, NEVER), &records, 1).await;
        let mut w1 = scene.run.worker(0);
        scene.until_stored(1).await;
        w1.crash();
        scene.limit(Some(400));
        let w2 = scene.run.worker(1);
        scene.until_held(&w2).await;
        sleep(Duration::from_secs(5)).await;
        scene.limit(None);
        scene.end(vec![w2]).await
    }));
}

/// Records 2 and 3 go as one batch, which a lowered limit refuses with record 4 behind it.
async fn refused_and_overtaken(world: &World, limit: usize) -> (Scene, Worker) {
    let records = vec![(key(&[(2, 0)]), 600), (key(&[(2, 1)]), 120), (key(&[(2, 1)]), 120), (key(&[(2, 0)]), 10), (key(&[(2, 0)]), 10)];
    let setting = Setting { batch_messages: 2, batch_bytes: 2_000, pause: (1, 1), answer: 8, ..setting(1, NEVER) };
    let mut scene = Scene::new(world, setting, &records, 1).await;
    let worker = scene.run.worker(0);
    scene.until_stored(1).await;
    sleep(Duration::from_millis(200)).await;
    scene.limit(Some(limit));
    // No entry is larger than the first, so that one follows the other.
    scene.show(4);
    (scene, worker)
}

/// Records 2 and 3 are refused with record 4 stored behind them, and their owner dies.
pub(crate) fn limit_lowered(mistake: Option<Mistake>, may_read: bool) -> Verdict {
    run(1, true, mistake, |world| async move {
        let (mut scene, mut w1) = refused_and_overtaken(&world, 350).await;
        scene.may_read(may_read);
        sleep(Duration::from_secs(3)).await;
        w1.crash();
        scene.limit(None);
        let w2 = scene.run.worker(1);
        scene.end(vec![w2]).await
    })
}

#[test]
fn limit_lowered_with_records_behind() {
    let verdict = limit_lowered(None, true);
    assert!(
        verdict.findings.lost.is_empty() && verdict.findings.doubled.is_empty() && verdict.finished,
        "{}\n{}",
        verdict.in_words(),
        verdict.trace.join("\n")
    );
}

#[test]
fn late_name_is_in_doubt_too() {
    let verdict = run(1, true, None, |world| async move {
        let (mut scene, mut w1) = refused_and_overtaken(&world, 450).await;
        scene.until_stored(4).await;
        w1.crash();
        scene.limit(None);
        scene.grow(2);
        let w2 = scene.run.worker(1);
        scene.end(vec![w2]).await
    });
    assert!(
        verdict.findings.lost.is_empty() && verdict.findings.doubled.is_empty() && verdict.finished,
        "{}\n{}",
        verdict.in_words(),
        verdict.trace.join("\n")
    );
}

#[test]
fn steal_then_growth() {
    exact(&run(1, true, None, |world| async move {
        let records = small(&[&[(2, 0)], &[(2, 1)], &[(2, 0)]]);
        let mut scene = Scene::new(&world, setting(1, NEVER), &records, 1).await;
        let w2 = scene.run.worker(0);
        scene.until_stored(1).await;
        scene.grow(2);
        let w1 = scene.run.worker(1);
        sleep(Duration::from_secs(1)).await;
        w1.steal(&scene.shard);
        scene.until_held(&w1).await;
        // The loser does not know of it yet, and sends by the old count.
        scene.show(2);
        scene.until_stored(2).await;
        scene.end(vec![w1, w2]).await
    }));
}

pub(crate) fn late_renewal(mistake: Option<Mistake>) -> Verdict {
    run(1, true, mistake, |world| async move {
        // Record 3 goes to another partition by the new count, to one that is in use already; with 4 to come, its receipt ends no shard.
        let records = small(&[&[(2, 0)], &[(2, 1)], &[(2, 1), (3, 0)], &[]]);
        let mut scene = Scene::new(&world, setting(2, NEVER), &records, 2).await;
        let mut w1 = scene.run.worker(0);
        scene.until_stored(2).await;
        scene.grow(3);
        // Right before the publisher looks at the topic again a renewal is given up, lands late, and those after it are lost: what
        // stores the new count meets it.
        let stores = Arc::new(AtomicU64::new(0));
        let (met, clock, mut renewals) = (Arc::clone(&stores), world.clone(), 0);
        scene.run.around.tables.set_script(move |call| {
            if clock.elapsed() < Duration::from_millis(58_450) {
                return None;
            }
            if call.is_renewal() {
                renewals += 1;
                return match renewals {
                    1 => Some(Fault::LandsAfter(Duration::from_millis(1_150))),
                    2..=4 => Some(Fault::LostBefore),
                    _ => None,
                };
            }
            let first = call.is_store() && renewals > 0 && met.fetch_add(1, Ordering::Relaxed) == 0;
            first.then_some(Fault::Slow(Duration::from_millis(600)))
        });
        scene.run.until("a store met the renewal", |_| stores.load(Ordering::Relaxed) >= 1).await;
        sleep(Duration::from_millis(750)).await;
        scene.show(3);
        scene.until_stored(3).await;
        w1.crash();
        let w2 = scene.run.worker(1);
        scene.end(vec![w2]).await
    })
}

#[test]
fn late_renewal_is_not_my_write() {
    exact(&late_renewal(None));
}

#[test]
fn missing_below_found_is_spent() {
    let verdict = run(1, true, None, |world| async move {
        let (mut scene, mut w1) = refused_and_overtaken(&world, 350).await;
        sleep(Duration::from_secs(3)).await;
        w1.crash();
        scene.limit(None);
        scene.forget().await;
        let mut w2 = scene.run.worker(1);
        scene.until_stored(4).await;
        w2.crash();
        let w3 = scene.run.worker(2);
        scene.end(vec![w3]).await
    });
    assert!(
        verdict.findings.lost.is_empty() && verdict.findings.doubled.is_empty() && verdict.finished,
        "{}\n{}",
        verdict.in_words(),
        verdict.trace.join("\n")
    );
}

fn batch_across(mistake: Option<Mistake>) -> Verdict {
    run(1, true, mistake, |world| async move {
        let records = small(&[&[], &[], &[], &[]]);
        let setting = Setting { batch_messages: 4, batch_bytes: 2_000, pause: (0, 0), answer: 8, ..setting(1, NEVER) };
        let mut scene = Scene::new(&world, setting, &records, 2).await;
        scene.may_read(false);
        let mut w1 = scene.run.worker(0);
        scene.until_stored(2).await;
        w1.crash();
        scene.show(4);
        let w2 = scene.run.worker(1);
        scene.end(vec![w2]).await
    })
}

#[test]
fn batch_across_the_last_id() {
    exact(&batch_across(None));
    assert!(!batch_across(Some(Mistake::DuplicateTrusted)).findings.lost.is_empty());
}

#[test]
fn reopen_of_a_live_id() {
    exact(&run(1, true, None, |world| async move {
        let records = small(&[&[], &[], &[]]);
        let mut scene = Scene::new(&world, setting(1, NEVER), &records, 3).await;
        // The first receipt is followed by a close and an opening: the broker still stores when it comes.
        scene.run.around.cluster.broker(|broker| {
            broker.set_storage(simulation::broker::Storage { usual: (300, 300), slow_permille: 0, failing_permille: 0 });
        });
        let mut w1 = scene.run.worker(0);
        scene.until_stored(1).await;
        sleep(Duration::from_secs(2)).await;
        w1.crash();
        let w2 = scene.run.worker(1);
        scene.end(vec![w2]).await
    }));
}

#[test]
fn idle_name_forgotten() {
    exact(&run(1, true, None, |world| async move {
        let records = small(&[&[], &[]]);
        let mut scene = Scene::new(&world, setting(1, Duration::from_secs(1)), &records, 1).await;
        let w1 = scene.run.worker(0);
        scene.until_checkpoint(1).await;
        sleep(Duration::from_secs(90)).await;
        let is_closed = scene.run.around.cluster.broker(|broker| broker.connected_names().iter().all(|name| !name.contains(SHARD)));
        assert!(is_closed, "a producer without work is closed");
        scene.forget().await;
        scene.end(vec![w1]).await
    }));
}

#[test]
fn sentinel_row_is_a_position() {
    let verdict = run(1, true, None, |world| async move {
        let records = small(&[&[], &[]]);
        let mut scene = Scene::new(&world, setting(1, NEVER), &records, 1).await;
        for instance in 0..3 {
            let mut worker = scene.run.worker(instance);
            scene.until_held(&worker).await;
            sleep(Duration::from_secs(3)).await;
            worker.crash();
        }
        let names = scene.run.around.cluster.broker(|broker| broker.known_names());
        let ours = names.iter().filter(|name| name.contains(SHARD)).count();
        assert_eq!(ours, 1, "one epoch: {names:?}");
        let last = scene.run.worker(3);
        scene.end(vec![last]).await
    });
    exact(&verdict);
}

/// The assumption: a machine that is frozen past its lease, and its clocks with it, sends under the old name when it thaws.
#[test]
fn frozen_clock() {
    let verdict = run(1, true, None, |world| async move {
        let records = small(&[&[], &[], &[]]);
        let mut scene = Scene::new(&world, setting(1, Duration::from_millis(200)), &records, 1).await;
        let mut w1 = scene.run.worker(0);
        scene.until_checkpoint(1).await;
        scene.run.around.tables.freeze(w1.name());
        let pause = Duration::from_secs(30);
        w1.life().hold(pause);
        scene.run.around.cluster.hold(w1.name(), pause);
        // By hand the application is sent back to the beginning: a new epoch.
        let row = scene.run.around.tables.table().lease(SHARD).unwrap();
        scene.run.around.tables.table().put(Lease { checkpoint: Checkpoint::TrimHorizon, ..row }.encode());
        let mut w2 = scene.run.worker(1);
        scene.until_stored(2).await;
        w2.crash();
        // It thaws, and is asked for what it never sent.
        scene.show(2);
        scene.until_stored(3).await;
        w1.crash();
        let w3 = scene.run.worker(2);
        scene.end(vec![w3]).await
    });
    let doubled = &verdict.findings.doubled;
    assert!(doubled.contains(&"s/1.0".to_owned()), "sent back by hand: {}", verdict.in_words());
    assert!(doubled.contains(&"s/2.0".to_owned()), "outside what was said: {}\n{}", verdict.in_words(), verdict.trace.join("\n"));
    assert!(verdict.findings.lost.is_empty());
}
