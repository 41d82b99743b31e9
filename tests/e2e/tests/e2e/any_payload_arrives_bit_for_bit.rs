//! Any payload arrives bit for bit: every byte value, what is no text, nothing at all; under each compression, and from an encrypted stream.

use std::time::{Duration, Instant};

use local_aws::NewRecord;
use serde_json::json;

use crate::harness::broker;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;

/// Payloads that a detour over text would change.
fn hard_payloads() -> Vec<Vec<u8>> {
    let mut payloads: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    payloads.push(Vec::new());
    payloads.push((0..=255).collect());
    payloads.extend((0x80..=0xFF).map(|byte| vec![b'a', byte, b'b']));
    payloads.push("\u{FEFF}byte order mark, \u{1F980}, \u{FFFD}".as_bytes().to_vec());
    payloads.push(vec![0xED, 0xA0, 0x80]);
    payloads.push(vec![0; 100_000]);
    payloads.push([0xF3, 0x89, 0x9A, 0xC2].repeat(10));
    payloads
}

fn put(stream: &Stream) {
    stream.put(
        hard_payloads().into_iter().enumerate().map(|(index, bytes)| NewRecord::new(format!("key \u{e9}\u{4e16} {}", index % 20), bytes)),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_each_compression() {
    let stream = Stream::start(2).await;
    put(&stream);
    let count = hard_payloads().len();
    for compression in ["NONE", "LZ4", "ZLIB", "ZSTD", "SNAPPY"] {
        let topic = Topic::new(broker::shared().await, &format!("bytes-{}", compression.to_lowercase()));
        let setup = Setup::new(&stream, &topic)
            .config("applicationName", format!("by-{compression}"))
            .top("name", compression.to_lowercase())
            .top("producerConfig", json!({ "compressionType": compression }));
        let source = setup.start().await;
        // The crate `pulsar` takes Snappy for its framed form, which no other client writes.
        if compression == "SNAPPY" {
            let arrived = topic.read_with_java(count).await;
            source.stop().await;
            stream.truth().compare(&arrived).assert_exact();
            continue;
        }
        let follower = topic.follow().await;
        follower.at_least(count, Duration::from_secs(60)).await;
        drop(follower);
        source.stop().await;
        stream.truth().compare(&topic.read_all().await).assert_exact();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_encrypted_stream() {
    for fan_out in [true, false] {
        let stream = Stream::start(2).await;
        stream.local.kinesis(|kinesis| kinesis.set_encryption(&stream.name, Some("alias/aws/kinesis".to_owned()))).unwrap();
        put(&stream);
        let topic = Topic::new(broker::shared().await, "encrypted");
        let source = Setup::new(&stream, &topic).config("useEnhancedFanOut", fan_out).start().await;
        let follower = topic.follow().await;
        follower.at_least(hard_payloads().len(), Duration::from_secs(60)).await;
        drop(follower);
        source.stop().await;
        let arrived = topic.read_all().await;
        assert!(arrived.iter().all(|message| message.property("kinesis.encryption.type") == Some("KMS")));
        stream.truth().compare(&arrived).assert_exact();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_record_of_a_new_application_comes_soon() {
    let stream = Stream::start(4).await;
    stream.put_numbered(0, 4, 4);
    let topic = Topic::new(broker::shared().await, "first");
    let follower = topic.follow().await;
    let setup = Setup::new(&stream, &topic);
    let began = Instant::now();
    let source = setup.start().await;
    follower.at_least(1, Duration::from_secs(20)).await;
    println!("start to first record: {} ms", began.elapsed().as_millis());
    source.stop().await;
}
