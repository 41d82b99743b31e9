//! `bench-publish`: the product's producer with nothing around it, publishing without end: what the cells `producer/../ours` measure.
//!
//! It takes the lines of a file as payloads, in their order and over again; no copy is made of them, as the source makes none of what
//! it received. It counts nothing: that is done at the other end.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use connector_pulsar::{ClientConfig, Publisher, PublisherSettings};
use connector_sdk::{AckHandle, AckSink, Batch, Clock, Guarantee, Identity, OnRecordError, Outcome, Random, Record};
use mimalloc::MiMalloc;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Records handed in at once: about what an event of a subscription brings.
const BATCH: u64 = 500;
/// Enough for as many messages on their way as the other clients have.
const MAX_PENDING_BYTES: usize = 128 << 20;

/// Publishes until it is ended.
#[derive(Debug, Parser)]
#[command(name = "bench-publish", version, about)]
struct Arguments {
    /// The broker.
    url: String,
    /// Where to.
    topic: String,
    /// A file whose lines are the payloads.
    payloads: PathBuf,
    /// `LZ4` or `NONE`.
    #[arg(long, default_value = "LZ4")]
    compression: String,
    /// Each message is an entry of its own.
    #[arg(long)]
    unbatched: bool,
}

/// Whoever is told of receipts: the benchmark has no use for them, and stops at what was not stored.
struct Receipts;

impl AckSink for Receipts {
    fn resolve(&self, numbers: Range<u64>, outcome: Outcome) {
        if let Outcome::Failed(error) = outcome {
            eprintln!("bench-publish: {} records from {} on were not stored: {error}", numbers.end - numbers.start, numbers.start);
            std::process::exit(1);
        }
    }

    fn is_fenced(&self, _number: u64) -> bool {
        false
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let text = std::fs::read(&arguments.payloads).with_context(|| format!("cannot read `{}`", arguments.payloads.display()))?;
    let text = Bytes::from(text);
    let payloads: Vec<Bytes> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| text.slice_ref(line)).collect();
    anyhow::ensure!(!payloads.is_empty(), "`{}` holds no payload", arguments.payloads.display());
    let producer = json!({
        "compressionType": arguments.compression,
        "batchingConfig": { "enabled": !arguments.unbatched },
    });
    let settings = PublisherSettings {
        schema: connector_pulsar::SchemaConfig::default(),
        client: ClientConfig::new(arguments.url),
        topic: arguments.topic,
        producer: Some(serde_json::from_value(producer).context("the producer's configuration is wrong")?),
        guarantee: Guarantee::AtLeastOnce,
        exactly_once: None,
        on_record_error: OnRecordError::Fail,
        dead_letter_topic: None,
        max_pending_bytes: MAX_PENDING_BYTES,
        identity: Identity { tenant: "public".into(), namespace: "default".into(), name: "bench".into(), instance: 0, instances: 1 },
        clock: Clock::system(),
        random: Random::from_system(),
    };
    let publisher = Publisher::connect(settings).await?;
    let receipts: Arc<dyn AckSink> = Arc::new(Receipts);
    let mut lines = payloads.iter().cycle();
    let mut next = 0;
    loop {
        let mut records = Vec::with_capacity(BATCH as usize);
        records.extend(lines.by_ref().take(BATCH as usize).map(|line| Record { value: line.clone(), ..Record::default() }));
        let bytes = records.iter().map(Record::cost).sum();
        let handle = AckHandle::new(Arc::clone(&receipts), next..next + BATCH);
        let permit = publisher.reserve(records.len(), bytes).await?;
        permit.submit(Batch::new("bench".into(), records, handle));
        next += BATCH;
    }
}
