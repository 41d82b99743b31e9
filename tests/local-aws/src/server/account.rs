//! Everything one process of stand-ins knows: the machine, the neighbours, the faults, the counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::access::{AccessRules, Refusal};
use crate::clock::Clock;
use crate::cloudwatch::Datum;
use crate::dynamodb::DynamoDb;
use crate::faults::{Call, FaultAction, Faults};
use crate::kinesis::Kinesis;
use crate::sts::Sts;

/// How often what was called, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestCounts {
    /// By service and operation, as in `kinesis.GetRecords`.
    pub by_operation: BTreeMap<String, u64>,
    /// By access key id; the empty key id stands for unsigned requests.
    pub by_access_key_id: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Counts {
    operations: HashMap<(&'static str, String), u64>,
    keys: HashMap<String, u64>,
}

/// The shared state behind the port. Each part has its own lock; no two are ever held at once, and none over an await.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) clock: Clock,
    pub(crate) stop: CancellationToken,
    /// Told after every call that may have moved the machine's next due time.
    pub(crate) changed: Notify,
    pub(crate) dynamodb: DynamoDb,
    kinesis: Mutex<Kinesis>,
    sts: Mutex<Sts>,
    datums: Mutex<Vec<Datum>>,
    faults: Mutex<Faults>,
    access: Mutex<AccessRules>,
    counts: Mutex<Counts>,
    requests: AtomicU64,
}

impl Account {
    pub(crate) fn new(kinesis: Kinesis, dynamodb: DynamoDb) -> Self {
        let (clock, seed) = (kinesis.clock().clone(), kinesis.settings().seed);
        Self {
            clock,
            stop: CancellationToken::new(),
            changed: Notify::new(),
            dynamodb,
            kinesis: Mutex::new(kinesis),
            sts: Mutex::new(Sts::new(seed)),
            datums: Mutex::default(),
            faults: Mutex::new(Faults::new(seed)),
            access: Mutex::default(),
            counts: Mutex::default(),
            requests: AtomicU64::new(0),
        }
    }

    pub(crate) fn kinesis(&self) -> MutexGuard<'_, Kinesis> {
        lock(&self.kinesis)
    }

    pub(crate) fn sts(&self) -> MutexGuard<'_, Sts> {
        lock(&self.sts)
    }

    pub(crate) fn datums(&self) -> MutexGuard<'_, Vec<Datum>> {
        lock(&self.datums)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(crate) fn access(&self) -> MutexGuard<'_, AccessRules> {
        lock(&self.access)
    }

    /// A number for the next request.
    pub(crate) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a call.
    pub(crate) fn count(&self, call: &Call<'_>) {
        let mut counts = lock(&self.counts);
        *counts.operations.entry((call.service.as_str(), call.operation.to_owned())).or_default() += 1;
        *counts.keys.entry(call.access_key_id.to_owned()).or_default() += 1;
    }

    pub(crate) fn request_counts(&self) -> RequestCounts {
        let counts = lock(&self.counts);
        RequestCounts {
            by_operation: counts
                .operations
                .iter()
                .map(|((service, operation), count)| (format!("{service}.{operation}"), *count))
                .collect(),
            by_access_key_id: counts.keys.iter().map(|(key, count)| (key.clone(), *count)).collect(),
        }
    }

    /// Why the caller is refused, if it is.
    pub(crate) fn refusal(&self, call: &Call<'_>) -> Option<Refusal> {
        let session = self.sts().session(call.access_key_id, self.clock.now());
        self.access().refusal(call, session)
    }

    /// Whether any fault may strike, so that calls need a closer look.
    pub(crate) fn has_faults(&self) -> bool {
        !self.faults().is_empty()
    }

    /// What strikes this call.
    pub(crate) fn draw_faults(&self, call: &Call<'_>) -> Vec<FaultAction> {
        self.faults().draw(call, self.clock.now())
    }
}

/// A lock whose holder panicked is still whole: every change is made in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
