//! 16 shards whose answers are 10 MiB each, and a broker that stands still: memory stays bounded, whatever waits in the stream, and afterwards all arrives.

use std::time::Duration;

use local_aws::NewRecord;
use local_aws::kinesis::even_start;

use crate::harness::broker;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;

const SHARDS: u32 = 16;
const RECORD: usize = 100_000;
/// 24 MB a shard: two whole answers and more, 384 MB in all.
const RECORDS_A_SHARD: usize = 240;
/// The budget of 64 MiB, what is outside of it (the program, its stacks, the allocator's slack, one answer being decoded), and room for a build without
/// optimisation. Sixteen answers alone would be 160 MiB on top.
const MOST_KIB: u64 = 200 * 1024;
const PAUSE: Duration = Duration::from_secs(15);

async fn bounded(label: &str, fan_out: bool) {
    let (broker, _alone) = broker::breakable().await;
    let stream = Stream::start(SHARDS).await;
    let topic = Topic::new(broker, label);
    let source = Setup::new(&stream, &topic).config("useEnhancedFanOut", fan_out).metrics().start().await;
    stream.put_numbered(0, 100, 100);
    source.shows("pulsar_source_written_total", 100.0, Duration::from_secs(60)).await;
    broker.signal("pause").await;
    let mut random = fastrand::Rng::with_seed(16);
    for shard in 0..SHARDS {
        let hash = even_start(shard.into(), SHARDS.into());
        stream.put((0..RECORDS_A_SHARD).map(|index| {
            let mut bytes = vec![0; RECORD];
            random.fill(&mut bytes);
            NewRecord { explicit_hash_key: Some(hash), ..NewRecord::new(format!("key-{shard}-{}", index % 10), bytes) }
        }));
    }
    tokio::time::sleep(PAUSE).await;
    let paused = source.peak_memory_kib();
    broker.signal("resume").await;
    // Counted in the topic: what a lost lease doubles is written twice.
    topic.follow().await.different(100 + SHARDS as usize * RECORDS_A_SHARD, Duration::from_secs(180)).await;
    let flowing = source.peak_memory_kib();
    println!("peak memory: {paused} KiB while the broker stood still, {flowing} KiB in all");
    source.stop().await;
    stream.truth().compare(&topic.read_all().await).assert_whole();
    assert!(flowing <= MOST_KIB, "{flowing} KiB were held, at most {MOST_KIB} may be");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_polling() {
    bounded("memory-polling", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_fan_out() {
    bounded("memory-fan-out", true).await;
}
