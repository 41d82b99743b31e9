#![allow(clippy::unwrap_used)]
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::config::MetricsLevel;
use crate::ids::ShardId;
use crate::metrics::names::Metric;

const SECOND: Duration = Duration::from_secs(1);

/// A sink that keeps what it is given, fails with a kind, or hangs.
#[derive(Default)]
struct Kept {
    batches: Mutex<Vec<Vec<Datum>>>,
    calls: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
}

#[derive(Clone, Copy)]
enum Trouble {
    Fails(ErrorKind),
    Hangs,
}

impl Kept {
    fn set(&self, trouble: Option<Trouble>) {
        *self.trouble.lock().unwrap() = trouble;
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn sizes(&self) -> Vec<usize> {
        self.batches.lock().unwrap().iter().map(Vec::len).collect()
    }

    /// Sum of the records of all batches.
    fn records(&self) -> f64 {
        let batches = self.batches.lock().unwrap();
        batches.iter().flatten().filter(|datum| datum.metric == Metric::RecordsProcessed).map(|datum| datum.statistic.sum).sum()
    }
}

impl MetricsSink for Kept {
    fn put<'a>(&'a self, datums: &'a [Datum]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            let trouble = *self.trouble.lock().unwrap();
            match trouble {
                None => {
                    self.batches.lock().unwrap().push(datums.to_vec());
                    Ok(())
                }
                Some(Trouble::Fails(kind)) => Err(Error::new(kind, "the sink is in trouble")),
                Some(Trouble::Hangs) => std::future::pending().await,
            }
        })
    }

    fn name(&self) -> &str {
        "orders"
    }
}

struct Bench {
    facts: Facts,
    sink: Arc<Kept>,
    flusher: Flusher,
}

impl Bench {
    fn start(max_queue_size: usize) -> Self {
        let facts = Facts::new(MetricsLevel::Summary, "worker-1");
        let sink = Arc::new(Kept::default());
        let settings = FlushSettings { buffer_time: 10 * SECOND, max_queue_size };
        let dyn_sink: Arc<dyn MetricsSink> = Arc::<Kept>::clone(&sink);
        let flusher = Flusher::start(facts.clone(), dyn_sink, settings, Clock::from_fn(|| 77));
        Self { facts, sink, flusher }
    }

    /// One record in each of so many shards: three datums a shard, and the tracker's.
    fn measure(&self, shards: u32) {
        for number in 0..shards {
            self.facts.shard(&ShardId::from(format!("shardId-{number:012}"))).processed(1, 1, 0);
        }
    }

    fn page(&self, name: &str) -> f64 {
        self.facts.measurements().0.iter().find(|(known, ..)| *known == name).unwrap().2
    }

    /// Lets the given time pass, and the flusher do what is due in it.
    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time + Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn values_are_gathered_for_the_buffer_time_and_put_in_one_call() {
    let bench = Bench::start(10_000);
    for _ in 0..9 {
        bench.measure(2);
        bench.pass(SECOND).await;
    }
    assert_eq!(bench.sink.calls(), 0);
    bench.pass(SECOND).await;
    assert_eq!(bench.sink.sizes(), [7]);
    assert_eq!(bench.sink.records(), 18.0);
    assert!(bench.sink.batches.lock().unwrap()[0].iter().all(|datum| datum.at == 77));
    bench.pass(60 * SECOND).await;
    assert_eq!(bench.sink.calls(), 1, "without values there is no call");
    assert_eq!(bench.page("cloudwatch_datums_put_total"), 7.0);
}

#[tokio::test(start_paused = true)]
async fn a_call_has_at_most_a_thousand_datums() {
    let bench = Bench::start(10_000);
    bench.measure(800);
    bench.pass(10 * SECOND).await;
    assert_eq!(bench.sink.sizes(), [1_000, 1_000, 401]);
    assert_eq!(bench.sink.records(), 800.0);
}

#[test]
fn a_call_has_at_most_a_megabyte() {
    let facts = Facts::new(MetricsLevel::Summary, "worker-1");
    let long = "s".repeat(3_000);
    for number in 0..300 {
        facts.shard(&ShardId::from(format!("{long}{number}"))).processed(1, 1, 0);
    }
    let waiting = VecDeque::from(facts.drain(0));
    let fit = batch_len(&waiting);
    let bytes: usize = waiting.iter().take(fit).map(Datum::size).sum();
    assert!(bytes <= BYTES_A_CALL && fit < 300, "{fit} datums with {bytes} bytes");
    assert!(bytes + waiting[fit].size() > BYTES_A_CALL, "one more would have fitted");
}

#[tokio::test(start_paused = true)]
async fn a_stop_puts_what_is_left() {
    let bench = Bench::start(10_000);
    bench.measure(1);
    let sink = Arc::clone(&bench.sink);
    bench.flusher.stop(Instant::now() + SECOND).await;
    assert_eq!(sink.records(), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_at_its_deadline_when_cloudwatch_hangs() {
    let bench = Bench::start(10_000);
    bench.measure(1);
    bench.sink.set(Some(Trouble::Hangs));
    let before = Instant::now();
    bench.flusher.stop(before + 2 * SECOND).await;
    assert_eq!(Instant::now() - before, 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_cloudwatch_missed_while_away_is_put_when_it_is_back() {
    let bench = Bench::start(10_000);
    bench.sink.set(Some(Trouble::Fails(ErrorKind::Transient)));
    for _ in 0..3 {
        bench.measure(2);
        bench.pass(10 * SECOND).await;
    }
    assert_eq!(bench.sink.calls(), 3, "one call an interval, however much waits");
    bench.sink.set(None);
    bench.pass(10 * SECOND).await;
    bench.measure(1);
    bench.pass(10 * SECOND).await;
    assert_eq!(bench.sink.records(), 7.0);
    assert_eq!(bench.page("cloudwatch_datums_dropped_total"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_and_the_oldest_are_let_go_and_counted() {
    let bench = Bench::start(10);
    bench.sink.set(Some(Trouble::Fails(ErrorKind::Throttled(None))));
    for _ in 0..100 {
        bench.measure(2);
        bench.pass(10 * SECOND).await;
    }
    assert_eq!(bench.page("cloudwatch_datums_dropped_total"), 690.0);
    bench.sink.set(None);
    bench.pass(10 * SECOND).await;
    assert_eq!(bench.page("cloudwatch_datums_put_total"), 10.0);
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_not_held() {
    let bench = Bench::start(10_000);
    bench.sink.set(Some(Trouble::Fails(ErrorKind::Authentication)));
    bench.measure(2);
    bench.pass(10 * SECOND).await;
    assert_eq!(bench.page("cloudwatch_datums_dropped_total"), 7.0);
    bench.sink.set(None);
    bench.measure(1);
    bench.pass(10 * SECOND).await;
    assert_eq!(bench.sink.records(), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_given_up_and_tried_again() {
    let bench = Bench::start(10_000);
    bench.sink.set(Some(Trouble::Hangs));
    bench.measure(1);
    bench.pass(25 * SECOND).await;
    bench.sink.set(None);
    bench.pass(30 * SECOND).await;
    assert_eq!(bench.sink.records(), 1.0);
}

/// Counts events by level, for the one test that is about what is said.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<tracing::Level>>>);

impl tracing::Subscriber for Said {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with(module_path!().trim_end_matches("::tests"))
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        self.0.lock().unwrap().push(*event.metadata().level());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn trouble_costs_one_warning_and_its_end_one_line() {
    let said = Said::default();
    let _guard = tracing::subscriber::set_default(said.clone());
    let bench = Bench::start(10_000);
    bench.sink.set(Some(Trouble::Fails(ErrorKind::Authentication)));
    for _ in 0..20 {
        bench.measure(1);
        bench.pass(10 * SECOND).await;
    }
    assert_eq!(*said.0.lock().unwrap(), [tracing::Level::WARN]);
    bench.sink.set(None);
    for _ in 0..3 {
        bench.measure(1);
        bench.pass(10 * SECOND).await;
    }
    assert_eq!(*said.0.lock().unwrap(), [tracing::Level::WARN, tracing::Level::INFO]);
}
