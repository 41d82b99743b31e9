//! The publisher against a scripted cluster in the same process, in paused time: no socket, no waiting, no luck.

#![allow(clippy::unwrap_used)]

mod broker;
mod entries;
mod exactly_once;
mod faults;
mod flow;
mod log_lines;
mod refusals;
mod start;

use super::*;
use broker::Cluster;
use connector_sdk::{AckHandle, AckSink, Outcome};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// What became of each record of one partition.
#[derive(Default)]
pub(super) struct Seen {
    outcomes: Mutex<BTreeMap<u64, &'static str>>,
    reasons: Mutex<Vec<Error>>,
    fenced: AtomicBool,
    /// As a source's partition: what stands behind a failure is not written any more.
    halts: AtomicBool,
}

impl AckSink for Seen {
    fn resolve(&self, numbers: Range<u64>, outcome: Outcome) {
        let word = match outcome {
            Outcome::Settled => "settled",
            Outcome::GivenBack => "given back",
            Outcome::Failed(reason) => {
                self.reasons.lock().unwrap().push(reason);
                "failed"
            }
        };
        for number in numbers {
            let before = self.outcomes.lock().unwrap().insert(number, word);
            assert_eq!(before, None, "record {number} was resolved twice");
        }
    }

    fn is_fenced(&self, number: u64) -> bool {
        let failed = |(earlier, word): (&u64, &&str)| *word == "failed" && *earlier < number;
        (self.halts.load(Ordering::Relaxed) && self.outcomes.lock().unwrap().iter().any(failed)) || self.fenced.load(Ordering::Relaxed)
    }
}

impl Seen {
    fn numbers(&self, wanted: &str) -> Vec<u64> {
        self.outcomes.lock().unwrap().iter().filter(|(_, word)| **word == wanted).map(|(number, _)| *number).collect()
    }
}

fn settings() -> PublisherSettings {
    PublisherSettings {
        client: ClientConfig::new("pulsar://one:6650"),
        topic: "orders".into(),
        producer: None,
        schema: SchemaConfig::default(),
        guarantee: Guarantee::AtLeastOnce,
        exactly_once: None,
        on_record_error: OnRecordError::Fail,
        dead_letter_topic: None,
        max_pending_bytes: 8 << 20,
        identity: Identity { tenant: "acme".into(), namespace: "shop".into(), name: "orders".into(), instance: 2, instances: 3 },
        clock: Clock::from_fn(|| 1_700_000_000_000),
        random: Random::seeded(5),
    }
}

async fn connect(cluster: &Cluster, settings: PublisherSettings) -> Result<Publisher, Error> {
    Publisher::connect_by(settings, Arc::new(cluster.clone())).await
}

/// A record whose payload is its number, with `size` bytes behind it that do not compress.
fn record(number: u64, size: usize) -> Record {
    let mut value = format!("{number:08}").into_bytes();
    let mut random = fastrand::Rng::with_seed(number);
    value.resize_with(8 + size, || random.u8(..));
    let label = connector_sdk::Label { position: format!("4959{number}").into(), index: 0 };
    Record { value: value.into(), key: Some(format!("k{}", number % 10).into()), label, ..Record::default() }
}

fn batch(seen: &Arc<Seen>, first: u64, records: Vec<Record>) -> Batch {
    let numbers = first..first + records.len() as u64;
    Batch::new("shard-1".into(), records, AckHandle::new(Arc::<Seen>::clone(seen), numbers))
}

async fn publish(publisher: &mut Publisher, seen: &Arc<Seen>, numbers: Range<u64>, size: usize) {
    let first = numbers.start;
    let records = numbers.map(|number| record(number, size)).collect();
    Sink::write(publisher, batch(seen, first, records)).await.unwrap();
}
