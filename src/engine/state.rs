//! What can be seen of an instance from outside: counters, phase, the newest failures, and the views of its source and sink.
//!
//! Written by the instance, read by the status line, the metrics page and the status of later faces. Never waits for anything.

use connector_sdk::{Clock, Error, Identity, SinkWatch, SourceWatch};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where an instance stands in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Reaching the services for the first time; what it waits for, when it waits.
    Starting,
    /// Records flow.
    Running,
    /// Failed, waiting to be opened again.
    Restarting,
    /// Asked to stop, finishing.
    Stopping,
    /// Ended.
    Stopped,
}

/// Which side failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureOrigin {
    /// The outside system.
    Source,
    /// Pulsar, or the runtime itself.
    System,
}

/// One failure, as the status shows it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Which side.
    pub origin: FailureOrigin,
    /// When, in milliseconds since the epoch.
    pub at: u64,
    /// What.
    pub error: Error,
}

/// The observable state of one instance.
pub struct InstanceState {
    /// Who it is.
    pub identity: Identity,
    clock: Clock,
    received: AtomicU64,
    received_bytes: AtomicU64,
    restarts: AtomicU64,
    last_received_at: AtomicU64,
    source_failures: AtomicU64,
    system_failures: AtomicU64,
    /// What earlier sinks of this instance wrote before they were opened again.
    written_before: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    phase: Phase,
    failures: VecDeque<Failure>,
    source: Option<Arc<dyn SourceWatch>>,
    sink: Option<Arc<dyn SinkWatch>>,
}

/// How many failures the status keeps.
const NEWEST: usize = 10;

impl InstanceState {
    /// An instance that has not begun.
    pub fn new(identity: Identity, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            identity,
            clock,
            received: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            last_received_at: AtomicU64::new(0),
            source_failures: AtomicU64::new(0),
            system_failures: AtomicU64::new(0),
            written_before: AtomicU64::new(0),
            inner: Mutex::new(Inner { phase: Phase::Starting, failures: VecDeque::new(), source: None, sink: None }),
        })
    }

    pub(super) fn count_received(&self, records: u64, bytes: u64) {
        self.received.fetch_add(records, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_received_at.store(self.clock.millis(), Ordering::Relaxed);
    }

    pub(super) fn enter(&self, phase: Phase) {
        if phase == Phase::Restarting {
            self.restarts.fetch_add(1, Ordering::Relaxed);
        }
        self.lock().phase = phase;
    }

    pub(super) fn failed(&self, origin: FailureOrigin, error: &Error) {
        match origin {
            FailureOrigin::Source => &self.source_failures,
            FailureOrigin::System => &self.system_failures,
        }
        .fetch_add(1, Ordering::Relaxed);
        let failure = Failure { origin, at: self.clock.millis(), error: error.clone() };
        let mut inner = self.lock();
        if inner.failures.len() == NEWEST {
            inner.failures.pop_front();
        }
        inner.failures.push_back(failure);
    }

    pub(super) fn opened(&self, source: Arc<dyn SourceWatch>, sink: Arc<dyn SinkWatch>) {
        let mut inner = self.lock();
        inner.source = Some(source);
        inner.sink = Some(sink);
    }

    pub(super) fn closed(&self) {
        let mut inner = self.lock();
        if let Some(sink) = inner.sink.take() {
            self.written_before.fetch_add(sink.written(), Ordering::Relaxed);
        }
        inner.source = None;
    }

    /// Records taken from the source.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Payload bytes taken from the source.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Records stored by the other side.
    pub fn written(&self) -> u64 {
        self.written_before.load(Ordering::Relaxed) + self.lock().sink.as_ref().map_or(0, |sink| sink.written())
    }

    /// Records handed to the sink and not yet resolved.
    pub fn in_flight(&self) -> u64 {
        self.lock().sink.as_ref().map_or(0, |sink| sink.in_flight())
    }

    /// How often it was opened again after a failure.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// When the last record came, in milliseconds since the epoch; 0 before the first.
    pub fn last_received_at(&self) -> u64 {
        self.last_received_at.load(Ordering::Relaxed)
    }

    /// Failures since the start: of the source, of the rest.
    pub fn failure_counts(&self) -> (u64, u64) {
        (self.source_failures.load(Ordering::Relaxed), self.system_failures.load(Ordering::Relaxed))
    }

    /// The newest failures, oldest first.
    pub fn failures(&self) -> Vec<Failure> {
        self.lock().failures.iter().cloned().collect()
    }

    /// Failures of the last minute, oldest first.
    pub fn failures_of_the_last_minute(&self) -> Vec<Failure> {
        let since = self.clock.millis().saturating_sub(60_000);
        self.failures().into_iter().filter(|failure| failure.at >= since).collect()
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.lock().phase.clone()
    }

    /// The running source's view.
    pub fn source(&self) -> Option<Arc<dyn SourceWatch>> {
        self.lock().source.clone()
    }

    /// The running sink's view.
    pub fn sink(&self) -> Option<Arc<dyn SinkWatch>> {
        self.lock().sink.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
