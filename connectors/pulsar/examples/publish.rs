//! Publishes records to a topic and says how fast: `publish URL TOPIC COUNT [BYTES]`.
//!
//! Keys are `k0` to `k99`; the payload begins with the record's number, so that a reader can check order and completeness; random
//! letters follow. From the environment: `AUTH_PLUGIN`, `AUTH_PARAMS`, `TRUST_FILE`, `PRODUCER_CONFIG` (JSON).

use connector_pulsar::{ClientConfig, Publisher, PublisherSettings};
use connector_sdk::{AckHandle, AckSink, Batch, Clock, Guarantee, Identity, OnRecordError, Outcome, Random, Record};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Count {
    settled: AtomicU64,
    other: AtomicU64,
}

impl AckSink for Count {
    fn resolve(&self, numbers: Range<u64>, outcome: Outcome) {
        let count = numbers.end - numbers.start;
        match outcome {
            Outcome::Settled => self.settled.fetch_add(count, Ordering::Relaxed),
            Outcome::Failed(_) | Outcome::GivenBack => self.other.fetch_add(count, Ordering::Relaxed),
        };
    }

    fn is_fenced(&self, _number: u64) -> bool {
        false
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (url, topic) = (args.next().ok_or("no service URL")?, args.next().ok_or("no topic")?);
    let count: u64 = args.next().ok_or("no count")?.parse()?;
    let size: usize = args.next().map_or(Ok(1_024), |text| text.parse())?;
    let mut client = ClientConfig::new(url);
    client.auth_plugin = std::env::var("AUTH_PLUGIN").ok();
    client.auth_params = std::env::var("AUTH_PARAMS").ok().map(Into::into);
    client.tls_trust_certs_file_path = std::env::var("TRUST_FILE").ok();
    let producer = std::env::var("PRODUCER_CONFIG").ok().map(|text| serde_json::from_str(&text)).transpose()?;
    let settings = PublisherSettings {
        client,
        topic,
        producer,
        schema: connector_pulsar::SchemaConfig::default(),
        guarantee: Guarantee::AtLeastOnce,
        exactly_once: None,
        on_record_error: OnRecordError::Fail,
        dead_letter_topic: None,
        max_pending_bytes: 64 << 20,
        identity: Identity { tenant: "public".into(), namespace: "default".into(), name: "example".into(), instance: 0, instances: 1 },
        clock: Clock::system(),
        random: Random::from_system(),
    };
    let began = Instant::now();
    let mut publisher = Publisher::connect(settings).await.map_err(|error| {
        eprintln!("{error}");
        format!("{:?}", error.kind())
    })?;
    println!("connected after {:?}", began.elapsed());
    let mut random = fastrand::Rng::with_seed(1);
    let letters: Vec<u8> = (0..size + (1 << 20)).map(|_| random.alphanumeric() as u8).collect();
    let seen = Arc::new(Count::default());
    let began = Instant::now();
    let mut at = 0;
    while at < count {
        let next = (at + 500).min(count);
        let mut records = Vec::with_capacity(500);
        for number in at..next {
            let mut value = format!("{number:012}").into_bytes();
            let from = random.usize(..1 << 20);
            value.extend_from_slice(&letters[from..from + size.saturating_sub(value.len())]);
            records.push(Record { value: value.into(), key: Some(format!("k{}", number % 100).into()), ..Record::default() });
        }
        let bytes = records.iter().map(Record::cost).sum();
        let handle = AckHandle::new(Arc::<Count>::clone(&seen) as Arc<dyn AckSink>, at..next);
        let permit = publisher.reserve(records.len(), bytes).await?;
        permit.submit(Batch::new("example".into(), records, handle));
        at = next;
    }
    publisher.flush().await?;
    let took = began.elapsed();
    println!("{count} records in {took:?}, {:.0} records/s", count as f64 / took.as_secs_f64());
    println!("settled {}, other {}", seen.settled.load(Ordering::Relaxed), seen.other.load(Ordering::Relaxed));
    for (name, _, value) in publisher.facts().export().0 {
        if value > 0.0 {
            println!("{name} {value}");
        }
    }
    publisher.close(tokio::time::Instant::now() + Duration::from_secs(5)).await;
    Ok(())
}
