//! Instances with a scripted source and sink, on paused time.
#![allow(clippy::unwrap_used)]

use super::{LocalRun, Phase, Running};
use connector_sdk::{
    Acknowledgements, Batch, ByteBudget, DynSink, DynSource, Error, ErrorKind, Facts, Failures, Fence, Guarantee, OnRecordError, ReadySink,
    ReadySource, Record, Sink, SinkContext, SinkWatch, Source, SourceContext, SourceSettings, SourceStatus, SourceWatch, StopReport,
    WriteRoom,
};
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What the source does next.
enum Step {
    Give(u64),
    /// Given also after the source was told to read no more.
    Covered(u64),
    Fail(ErrorKind),
    /// A failure that the source deals with itself.
    Tell,
    Rest,
}

/// The outside world of a test: what the source gives, what the sink took, what happened in which order.
#[derive(Default)]
struct World {
    steps: Mutex<VecDeque<Step>>,
    refusals: Mutex<VecDeque<ErrorKind>>,
    log: Mutex<Vec<String>>,
    opened: AtomicU64,
    written: AtomicU64,
    /// While set, receipts do not come.
    holds_receipts: Mutex<bool>,
    receipts: Notify,
}

impl World {
    fn with(steps: impl IntoIterator<Item = Step>) -> Arc<Self> {
        Arc::new(Self { steps: Mutex::new(steps.into_iter().collect()), ..Self::default() })
    }

    fn say(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }

    fn said(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

struct ScriptedSource {
    world: Arc<World>,
    acks: Arc<Acknowledgements<u64>>,
    next: u64,
    failures: Failures,
    winding_down: bool,
}

impl Source for ScriptedSource {
    async fn next(&mut self) -> Result<Option<Batch>, Error> {
        let step = {
            let mut steps = self.world.steps.lock().unwrap();
            match self.winding_down {
                false => steps.pop_front().unwrap_or(Step::Rest),
                // Covered steps still come out; the others are for another life.
                true => match steps.iter().position(|step| matches!(step, Step::Covered(_))) {
                    Some(index) => steps.remove(index).unwrap(),
                    None => return Ok(None),
                },
            }
        };
        match step {
            Step::Give(count) | Step::Covered(count) => {
                let positions: Vec<_> = (self.next..self.next + count).map(|position| (position, 0)).collect();
                self.next += count;
                let handle = self.acks.track(positions);
                Ok(Some(Batch::new("p".into(), vec![Record::default(); count as usize], handle)))
            }
            Step::Fail(kind) => Err(Error::new(kind, "the source broke")),
            Step::Tell => {
                self.failures.tell(&Error::new(ErrorKind::Data, "a shard stands still"));
                std::future::pending().await
            }
            Step::Rest => std::future::pending().await,
        }
    }

    fn wind_down(&mut self) {
        self.winding_down = true;
    }

    async fn stop(&mut self, deadline: Instant) -> StopReport {
        let quiet = tokio::time::timeout_at(deadline, self.acks.quiet()).await.is_ok();
        self.world.say(format!("source stopped at {:?}, quiet: {quiet}", self.acks.watermark()));
        StopReport { replayed: self.acks.read(connector_sdk::AckTracker::pending), ..StopReport::default() }
    }

    fn watch(&self) -> Arc<dyn SourceWatch> {
        Arc::new(Watch(Arc::clone(&self.world)))
    }
}

struct ScriptedSink {
    world: Arc<World>,
    taken: Vec<Batch>,
}

impl Sink for ScriptedSink {
    async fn write(&mut self, batch: Batch) -> Result<(), Error> {
        self.taken.push(batch);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        while *self.world.holds_receipts.lock().unwrap() {
            self.world.receipts.notified().await;
        }
        for batch in self.taken.drain(..) {
            self.world.written.fetch_add(batch.handle.len(), Ordering::Relaxed);
            batch.handle.ack();
        }
        self.world.say("flushed");
        Ok(())
    }

    async fn close(&mut self, _deadline: Instant) {
        self.taken.clear();
        self.world.say("sink closed");
    }

    fn watch(&self) -> Arc<dyn SinkWatch> {
        Arc::new(Watch(Arc::clone(&self.world)))
    }
}

struct Watch(Arc<World>);

impl SourceWatch for Watch {
    fn status(&self) -> SourceStatus {
        SourceStatus { beyond_checkpoint: 7, ..SourceStatus::default() }
    }

    fn facts(&self) -> Facts {
        Facts::default()
    }
}

impl SinkWatch for Watch {
    fn in_flight(&self) -> u64 {
        0
    }

    fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    fn room(&self) -> WriteRoom {
        WriteRoom::Free
    }

    fn waiting_for(&self) -> Option<String> {
        None
    }

    fn facts(&self) -> Facts {
        Facts::default()
    }
}

struct Ready(Arc<World>);

impl ReadySource for Ready {
    fn settings(&self) -> SourceSettings {
        SourceSettings {
            on_record_error: OnRecordError::Fail,
            dead_letter_topic: None,
            accept_duplicates: false,
            receive_queue_bytes: 1 << 20,
            notes: Vec::new(),
        }
    }

    fn connect(&self, context: SourceContext) -> BoxFuture<'_, Result<Box<dyn DynSource>, Error>> {
        Box::pin(async move {
            if let Some(kind) = self.0.refusals.lock().unwrap().pop_front() {
                return Err(Error::new(kind, "the source could not be opened"));
            }
            self.0.opened.fetch_add(1, Ordering::Relaxed);
            let acks = Acknowledgements::new(ByteBudget::new(1 << 20).share(), Fence::new());
            Ok(Box::new(ScriptedSource { world: Arc::clone(&self.0), acks, next: 0, failures: context.failures, winding_down: false })
                as Box<dyn DynSource>)
        })
    }
}

impl ReadySink for Ready {
    fn connect(&self, _context: SinkContext) -> BoxFuture<'_, Result<Box<dyn DynSink>, Error>> {
        Box::pin(async move { Ok(Box::new(ScriptedSink { world: Arc::clone(&self.0), taken: Vec::new() }) as Box<dyn DynSink>) })
    }

    fn destination(&self) -> String {
        "nowhere".to_owned()
    }
}

fn run(world: &Arc<World>, exit_on_error: bool) -> Running {
    LocalRun {
        source: Arc::new(Ready(Arc::clone(world))),
        sink: Arc::new(Ready(Arc::clone(world))),
        tenant: "public".into(),
        namespace: "default".into(),
        name: "test".into(),
        topic: "persistent://public/default/test".into(),
        guarantee: Guarantee::AtLeastOnce,
        parallelism: 1,
        exit_on_error,
        stop_timeout: Duration::from_secs(30),
    }
    .start()
}

async fn until(what: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(3_600), async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_publishes_what_was_taken_before_the_source_stores() {
    let world = World::with([Step::Give(3), Step::Give(2)]);
    let running = run(&world, false);
    let state = Arc::clone(&running.states[0]);
    until(|| state.received() == 5).await;
    running.stop_handle().ask();
    let report = running.join().await;
    assert_eq!(world.said(), ["flushed", "source stopped at Some(4), quiet: true", "sink closed"]);
    assert_eq!((report.exit_code(), state.written(), state.phase()), (0, 5, Phase::Stopped));
}

#[tokio::test(start_paused = true)]
async fn receipts_that_do_not_come_leave_the_source_time_to_store_and_are_counted() {
    let world = World::with([Step::Give(3)]);
    *world.holds_receipts.lock().unwrap() = true;
    let running = run(&world, false);
    let state = Arc::clone(&running.states[0]);
    until(|| state.received() == 3).await;
    let began = Instant::now();
    running.stop_handle().ask();
    let report = running.join().await;
    assert!(began.elapsed() <= Duration::from_secs(31));
    assert_eq!((report.exit_code(), report.stopped.replayed), (3, 3));
    assert!(report.stopped.troubles[0].contains("receipts"));
}

#[tokio::test(start_paused = true)]
async fn a_second_request_ends_at_once_with_the_count() {
    let world = World::with([Step::Give(3)]);
    *world.holds_receipts.lock().unwrap() = true;
    let running = run(&world, false);
    let state = Arc::clone(&running.states[0]);
    until(|| state.received() == 3).await;
    let stop = running.stop_handle();
    let began = Instant::now();
    stop.ask();
    tokio::time::sleep(Duration::from_millis(5)).await;
    stop.ask();
    let report = running.join().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!((report.exit_code(), report.stopped.replayed), (3, 7));
}

#[tokio::test(start_paused = true)]
async fn a_configuration_error_ends_the_first_start() {
    let world = World::with([]);
    world.refusals.lock().unwrap().push_back(ErrorKind::Configuration);
    let report = run(&world, false).join().await;
    assert_eq!(report.exit_code(), 3);
    assert_eq!(report.error.unwrap().message(), "the source could not be opened");
    assert_eq!(world.opened.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_unreachable_at_the_start_is_waited_for() {
    let world = World::with([Step::Give(1)]);
    world.refusals.lock().unwrap().extend([ErrorKind::Transient, ErrorKind::Throttled(None), ErrorKind::Transient]);
    let running = run(&world, false);
    let state = Arc::clone(&running.states[0]);
    until(|| state.received() == 1).await;
    assert_eq!(state.failures().len(), 3);
    running.stop_handle().ask();
    assert_eq!(running.join().await.exit_code(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_the_start_every_failure_restarts_and_is_kept() {
    let world = World::with([Step::Give(1), Step::Fail(ErrorKind::Authentication), Step::Give(2)]);
    world.refusals.lock().unwrap().clear();
    let running = run(&world, false);
    let state = Arc::clone(&running.states[0]);
    until(|| state.received() == 3).await;
    assert_eq!((state.restarts(), world.opened.load(Ordering::Relaxed)), (1, 2));
    assert_eq!(state.failures()[0].error.message(), "the source broke");
    assert_eq!(state.failure_counts(), (1, 0));
    running.stop_handle().ask();
    assert_eq!(running.join().await.exit_code(), 0);
}

#[tokio::test(start_paused = true)]
async fn exit_on_error_ends_with_the_first_failure() {
    let world = World::with([Step::Give(1), Step::Fail(ErrorKind::Transient)]);
    let report = run(&world, true).join().await;
    assert_eq!((report.exit_code(), world.opened.load(Ordering::Relaxed)), (3, 1));
    assert!(world.said().contains(&"sink closed".to_owned()), "the end is in order even then");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_stands_still_ends_the_run_only_where_that_was_asked_for() {
    let world = World::with([Step::Give(1), Step::Tell]);
    let report = run(&world, true).join().await;
    assert_eq!((report.exit_code(), report.error.unwrap().message()), (3, "a shard stands still"));

    let world = World::with([Step::Give(1), Step::Tell]);
    let running = run(&world, false);
    let state = Arc::clone(&running.states[0]);
    until(|| state.failure_counts() == (1, 0)).await;
    assert_eq!((state.phase(), state.failures()[0].error.message()), (Phase::Running, "a shard stands still"));
    running.stop_handle().ask();
    assert_eq!(running.join().await.exit_code(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_checkpoint_covers_already_is_published_before_the_end() {
    let world = World::with([Step::Give(1), Step::Rest, Step::Give(4), Step::Covered(2)]);
    let running = run(&world, false);
    let state = Arc::clone(&running.states[0]);
    until(|| state.received() == 1).await;
    running.stop_handle().ask();
    assert_eq!(running.join().await.exit_code(), 0);
    assert_eq!(state.written(), 3, "the one before, and the two that are covered");
}

#[tokio::test(start_paused = true)]
async fn another_owner_ends_the_run_at_any_time() {
    let world = World::with([Step::Give(1), Step::Fail(ErrorKind::Fenced)]);
    let report = run(&world, false).join().await;
    assert_eq!((report.exit_code(), world.opened.load(Ordering::Relaxed)), (3, 1));
}
