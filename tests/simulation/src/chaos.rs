//! A random run: faults drawn from the seed, dense, while the shards are read; then calm, until everything has arrived.

use crate::broker::Storage;
use crate::network::Weather;
use crate::run::{Run, Setting, Verdict, run};
use crate::shard::{ScriptedShard, ShardShape};
use crate::table::TableTrouble;
use crate::worker::Worker;
use crate::world::World;
use connector_kinesis::ids::ShardId;
use connector_sdk::{Guarantee, Mistake, OnRecordError};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long everything may take once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a run does to the topic's size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limits {
    None,
    /// It never falls below the limit of a batch: anything may happen beside.
    AboveBatches,
    /// It falls below while records flow: then the promise holds as long as no refusal goes unseen, so nothing dies or is cut.
    Any,
}

/// What befalls a run at some moment.
#[derive(Debug, Clone, Copy)]
enum Blow {
    /// A worker is gone; another comes after so many milliseconds.
    Crash {
        slot: usize,
        after: u64,
    },
    /// A worker dies at some step soon; another comes after so many milliseconds.
    DieAt {
        slot: usize,
        steps: u64,
        after: u64,
    },
    Stop {
        slot: usize,
        after: u64,
    },
    /// A worker's connections and table stand still.
    Hold {
        slot: usize,
        millis: u64,
    },
    Cut {
        slot: usize,
        lost: bool,
        heard: bool,
    },
    Steal {
        slot: usize,
        shard: usize,
    },
    StorageFails,
    BrokerDies {
        millis: u64,
    },
    Unload,
    /// Names that are not connected are forgotten.
    Forget,
    Grow,
    Limit {
        bytes: Option<usize>,
    },
}

/// A random run of this seed.
pub fn chaos(seed: u64, guarantee: Guarantee, noting: bool, mistake: Option<Mistake>) -> Verdict {
    run(seed, noting, mistake, |world| async move { play(&world, guarantee).await })
}

struct Play {
    run: Run,
    world: World,
    slots: Vec<Option<Worker>>,
    said: Vec<String>,
}

async fn play(world: &World, guarantee: Guarantee) -> Verdict {
    let exact = guarantee == Guarantee::EffectivelyOnce;
    let limits =
        if exact && world.permille(200) { if world.permille(500) { Limits::AboveBatches } else { Limits::Any } } else { Limits::None };
    let setting = Setting {
        guarantee,
        partitions: [0, 1, 1, 2, 2, 3][usize::try_from(world.below(6)).unwrap_or(0)],
        on_record_error: OnRecordError::Fail,
        batch_messages: u32::try_from(world.between(1, 6)).unwrap_or(1),
        batch_bytes: u32::try_from(world.between(150, 600)).unwrap_or(400),
        failover: Duration::from_secs(4),
        checkpoint_interval: Duration::from_millis(world.between(200, 2_500)),
        pause: (0, world.between(1, 900)),
        answer: world.between(1, 6),
    };
    let shape = ShardShape {
        records: world.between(15, 50),
        keys: world.between(1, 6),
        size: world.between(0, 100) + if limits == Limits::AboveBatches { 150 } else { 0 },
        aggregates_permille: if world.permille(300) { 150 } else { 0 },
        large_permille: if limits == Limits::None { 0 } else { 60 },
    };
    let count = if world.permille(200) { 2 } else { 1 };
    let shards: BTreeMap<ShardId, ScriptedShard> = (0..count)
        .map(|at| {
            let id = format!("shardId-{at:012}");
            (ShardId::from(id.as_str()), ScriptedShard::random(world, &format!("s{at}"), shape))
        })
        .collect();
    world.note(|| format!("{setting:?}, {shape:?}, {count} shards"));
    let run = Run::new(world, setting, shards).await;
    let slots = usize::try_from(world.between(1, 3)).unwrap_or(1);
    let mut play = Play { run, world: world.clone(), slots: (0..slots).map(|_| None).collect(), said: Vec::new() };
    // A limit of the topic's own is a policy of the topic. Who may not read is promised nothing where the broker forgets.
    let reads = world.permille(800);
    let recovers_twice = (limits != Limits::None || world.permille(300)) && exact && reads;
    play.run.around.cluster.broker(|broker| {
        broker.set_may_read(reads);
        broker.set_recovers_twice(recovers_twice);
    });
    if limits != Limits::Any {
        play.weather();
    }
    let length = world.between(8_000, 45_000);
    let lowest = u64::from(play.run.around.batch_bytes) + 1_500;
    let blows = play.blows(length, exact && reads, limits, lowest);
    play.endure(blows, length).await;
    let verdict = play.recover().await;
    // A record that is too large stands in the way until the limit is raised; who may not read cannot know whether a name that the
    // broker does not know was ever used.
    Verdict { may_stop: limits != Limits::None || !reads, ..verdict }
}

impl Play {
    fn weather(&self) {
        let world = &self.world;
        let some = |chance, most: u64| if world.permille(chance) { world.below(most + 1) } else { 0 };
        let around = &self.run.around;
        around.cluster.set_weather(Weather {
            slow_permille: some(500, 100),
            stuck_permille: some(500, 12),
            unheard_permille: some(500, 500),
        });
        around.tables.set_trouble(TableTrouble {
            reply_lost: some(500, 60),
            request_lost: some(300, 60),
            late: some(500, 60),
            throttled: some(200, 40),
            slow: some(300, 100),
        });
        let storage = Storage { usual: (1, world.between(1, 30)), slow_permille: some(400, 100), failing_permille: some(300, 20) };
        around.cluster.broker(|broker| broker.set_storage(storage));
    }

    fn blows(&self, length: u64, forgets: bool, limits: Limits, lowest: u64) -> Vec<(u64, Blow)> {
        let world = &self.world;
        let (slots, shards) = (self.slots.len() as u64, self.run.around.stream.shards().len() as u64);
        let slot = || usize::try_from(world.below(slots)).unwrap_or(0);
        let after = || if world.permille(500) { world.below(300) } else { world.between(300, 8_000) };
        let mut blows: Vec<(u64, Blow)> = (0..world.between(3, 18))
            .map(|_| {
                let blow = match world.below(100) {
                    0..89 if limits == Limits::Any => Blow::Stop { slot: slot(), after: after() },
                    0..18 => Blow::Crash { slot: slot(), after: after() },
                    18..42 => Blow::DieAt { slot: slot(), steps: world.below(30), after: after() },
                    42..50 => Blow::Stop { slot: slot(), after: after() },
                    50..58 => Blow::Hold { slot: slot(), millis: world.between(200, 9_000) },
                    58..66 => Blow::Cut { slot: slot(), lost: world.permille(500), heard: world.permille(700) },
                    66..76 => Blow::Steal { slot: slot(), shard: usize::try_from(world.below(shards)).unwrap_or(0) },
                    76..81 => Blow::StorageFails,
                    81..85 => Blow::BrokerDies { millis: world.between(50, 3_000) },
                    85..89 => Blow::Unload,
                    89..94 if forgets => Blow::Forget,
                    _ => Blow::Grow,
                };
                (world.below(length), blow)
            })
            .collect();
        if limits != Limits::None {
            let (low, high) = if limits == Limits::Any { (200, 1_200) } else { (lowest, lowest + 1_000) };
            for _ in 0..world.between(1, 4) {
                let bytes = world.permille(600).then(|| usize::try_from(world.between(low, high)).unwrap_or(1_000));
                blows.push((world.below(length), Blow::Limit { bytes }));
            }
        }
        blows.sort_by_key(|(at, _)| *at);
        blows
    }

    async fn endure(&mut self, blows: Vec<(u64, Blow)>, length: u64) {
        let began = Instant::now();
        for slot in 0..self.slots.len() {
            self.fill(slot);
        }
        for (at, blow) in blows {
            sleep_until(began + Duration::from_millis(at)).await;
            self.world.note(|| format!("{blow:?}"));
            self.fall(blow).await;
        }
        sleep_until(began + Duration::from_millis(length)).await;
    }

    fn fill(&mut self, slot: usize) {
        if self.slots[slot].as_ref().is_none_or(|worker| !worker.is_alive()) {
            self.clear(slot);
            let worker = self.run.worker(u32::try_from(slot).unwrap_or(0));
            self.slots[slot] = Some(worker);
        }
    }

    fn clear(&mut self, slot: usize) {
        if let Some(mut worker) = self.slots[slot].take() {
            self.said.extend(worker.said());
            worker.crash();
        }
    }

    async fn fall(&mut self, blow: Blow) {
        let cluster = self.run.around.cluster.clone();
        let millis = self.world.millis();
        match blow {
            Blow::Crash { slot, after } => {
                self.clear(slot);
                self.pass(after).await;
                self.fill(slot);
            }
            Blow::DieAt { slot, steps, after } => {
                if let Some(worker) = &self.slots[slot] {
                    worker.life().die_after(steps);
                    tokio::select! {
                        biased;
                        () = worker.life().died() => {}
                        () = tokio::time::sleep(Duration::from_secs(5)) => {}
                    }
                }
                self.clear(slot);
                self.pass(after).await;
                self.fill(slot);
            }
            Blow::Stop { slot, after } => {
                if let Some(worker) = &mut self.slots[slot] {
                    worker.stop(Duration::from_secs(4)).await;
                }
                self.clear(slot);
                self.pass(after).await;
                self.fill(slot);
            }
            Blow::Hold { slot, millis } => {
                if let Some(worker) = &self.slots[slot] {
                    let pause = Duration::from_millis(millis);
                    worker.life().hold(pause);
                    cluster.hold(worker.name(), pause);
                }
            }
            Blow::Cut { slot, lost, heard } => {
                if let Some(worker) = &self.slots[slot] {
                    cluster.cut(worker.name(), lost, heard);
                }
            }
            Blow::Steal { slot, shard } => {
                let id = self.run.around.stream.shards().keys().nth(shard).cloned();
                if let (Some(worker), Some(id)) = (&self.slots[slot], id) {
                    worker.steal(&id);
                }
            }
            Blow::StorageFails => cluster.broker(|broker| broker.fail_storage()),
            Blow::BrokerDies { millis: away } => {
                cluster.broker(|broker| broker.kill(millis));
                self.pass(away).await;
                cluster.broker(|broker| broker.start());
            }
            Blow::Unload => cluster.broker(|broker| broker.unload(millis)),
            // In the hours that it takes everything that was on its way arrives.
            Blow::Forget if !cluster.is_quiet() => {}
            Blow::Forget => cluster.broker(|broker| {
                for name in broker.known_names() {
                    broker.forget(millis, &name);
                }
            }),
            Blow::Grow => cluster.broker(|broker| {
                let more = broker.partitions() + 1;
                broker.grow(more.min(4));
            }),
            Blow::Limit { bytes } => cluster.broker(|broker| broker.set_limit(bytes)),
        }
    }

    async fn pass(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Nothing goes wrong any more: what can go on does; what stands still is restarted by a person who accepts what was said.
    async fn recover(mut self) -> Verdict {
        self.world.note(|| "calm");
        self.run.calm();
        for slot in 0..self.slots.len() {
            self.fill(slot);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut restarted = false;
        let mut finished = self.run.finish(Duration::from_secs(90)).await;
        while !finished && Instant::now() < deadline {
            let stands = self.slots.iter().flatten().any(|worker| !worker.said().is_empty());
            if stands {
                for slot in 0..self.slots.len() {
                    self.clear(slot);
                }
                let accepts = std::mem::replace(&mut restarted, true);
                self.world.note(|| if accepts { "restarted by a person who accepts duplicates" } else { "restarted by a person" });
                let worker = if accepts { self.run.worker_that_accepts_duplicates(0) } else { self.run.worker(0) };
                self.slots[0] = Some(worker);
            }
            finished = self.run.finish(Duration::from_secs(90)).await;
        }
        for slot in 0..self.slots.len() {
            self.clear(slot);
        }
        let said = std::mem::take(&mut self.said);
        self.run.verdict(finished, said)
    }
}
