//! 200,000 records of every size, KPL aggregates among them, over 4 shards: all of them arrive, bit for bit, in order, once.

use std::time::Duration;

use bytes::Bytes;
use local_aws::{NewRecord, Options};

use crate::harness::broker;
use crate::harness::kpl::{self, UserRecord};
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;

const RECORDS: usize = 200_000;
const LARGE: usize = 50;
const MIB: usize = 1024 * 1024;

/// Random bytes of a length that is mostly small.
fn payload(random: &mut fastrand::Rng) -> Bytes {
    let length = match random.u32(..1000) {
        0..50 => 0,
        50..900 => random.usize(1..400),
        900..995 => random.usize(400..8_000),
        _ => random.usize(8_000..64_000),
    };
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes.into()
}

fn fill(stream: &Stream, random: &mut fastrand::Rng) {
    let key = |random: &mut fastrand::Rng| format!("customer-{}", random.u32(..1_000));
    let (mut put, mut large) = (0, 0);
    while put < RECORDS || large < LARGE {
        // A record of 1 MiB counts its key.
        if large * (RECORDS / LARGE) <= put {
            let key = key(random);
            let mut bytes = vec![0; MIB - key.len()];
            random.fill(&mut bytes);
            stream.put([NewRecord::new(key, bytes)]);
            large += 1;
            put += 1;
        }
        match random.u32(..10) {
            0 => {
                let home = key(random);
                // Parts under other keys name the hash of the record's own, as a KPL that packs by shard does.
                let hash = local_aws::kinesis::hash_of(&home);
                let parts: Vec<UserRecord> = (0..random.usize(1..40))
                    .map(|part| match part % 2 {
                        0 => UserRecord { partition_key: home.clone(), explicit_hash_key: None, data: payload(random) },
                        _ => UserRecord { partition_key: format!("{home}-{part}"), explicit_hash_key: Some(hash), data: payload(random) },
                    })
                    .collect();
                put += parts.len();
                stream.put_aggregate(&home, parts);
            }
            _ => {
                let batch: Vec<NewRecord> = (0..random.usize(1..200)).map(|_| NewRecord::new(key(random), payload(random))).collect();
                put += batch.len();
                stream.put(batch);
            }
        }
    }
    // What looks like an aggregate and is none comes as it is.
    let part = || UserRecord { partition_key: "part".to_owned(), explicit_hash_key: None, data: Bytes::from_static(b"hidden") };
    stream.put([
        NewRecord::new("malformed", kpl::with_wrong_checksum(&[part(), part()])),
        NewRecord::new("malformed", kpl::with_broken_message()),
        NewRecord::new("malformed", kpl::magic_alone()),
    ]);
}

async fn every_record_arrives(stream: Stream, setup: impl FnOnce(Setup) -> Setup, seed: u64, partitions: u32) {
    let topic = Topic::partitioned(broker::shared().await, "every-record", partitions).await;
    fill(&stream, &mut fastrand::Rng::with_seed(seed));
    let truth = stream.truth();
    let bytes: usize = truth.records().iter().map(|record| record.data.len()).sum();
    assert!(truth.len() >= RECORDS && bytes <= 1024 * MIB);
    assert!(truth.records().iter().filter(|record| record.data.len() + record.key.len() == MIB).count() >= LARGE);

    let setup = setup(Setup::new(&stream, &topic));
    let source = setup.start().await;
    let follower = topic.follow().await;
    follower.at_least(truth.len(), Duration::from_secs(240)).await;
    source.stop().await;
    drop(follower);
    let comparison = truth.compare(&topic.read_all().await);
    comparison.assert_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_polling_within_the_limits_of_the_service() {
    let stream = Stream::start_with(4, Options::default()).await;
    every_record_arrives(stream, Setup::polling, 1, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_fan_out() {
    let stream = Stream::start(4).await;
    every_record_arrives(stream, |setup| setup, 2, 1).await;
}
