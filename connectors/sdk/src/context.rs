//! What an instance gives its connectors: who they are, what is promised, the clock, randomness and the byte budget.
//!
//! Nothing in a connector reads the machine's clock or random source by itself, so that a run can be replayed from a seed.

use crate::{ByteBudget, Error, Lineages};
use bytestring::ByteString;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the instance promises about each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guarantee {
    /// Each record arrives, perhaps more than once after a crash.
    #[default]
    AtLeastOnce,
    /// No record arrives twice; a crash may lose what was on its way, and says how many.
    AtMostOnce,
    /// Each record arrives once: numbers that outlive every owner, and a broker that drops what it has.
    EffectivelyOnce,
}

/// Who this instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Pulsar tenant.
    pub tenant: ByteString,
    /// Pulsar namespace, without the tenant.
    pub namespace: ByteString,
    /// The connector's name.
    pub name: ByteString,
    /// The instance's number, from 0.
    pub instance: u32,
    /// How many instances there are (`parallelism`).
    pub instances: u32,
}

impl Identity {
    /// `tenant/namespace/name`, the same for all instances.
    pub fn full_name(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.namespace, self.name)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.tenant, self.namespace, self.name, self.instance)
    }
}

/// The wall clock. For intervals use `tokio::time`, which tests pause.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        }))
    }

    /// Milliseconds since the machine was started, the time it was suspended included: for rights that others see expire meanwhile.
    pub fn uptime() -> Self {
        Self(Arc::new(|| {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            u64::try_from(now.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0)
        }))
    }

    /// A clock that says what `millis` says: for tests and simulations.
    pub fn from_fn(millis: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(millis))
    }

    /// Milliseconds since the epoch; of [`Clock::uptime`], since the machine was started.
    pub fn millis(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A seeded source of randomness, shared by the parts of an instance.
#[derive(Debug, Clone)]
pub struct Random(Arc<Mutex<fastrand::Rng>>);

impl Random {
    /// Repeats itself for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// Seeded by the operating system.
    pub fn from_system() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// A number below `bound` (0 for a bound of 0).
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.lock().u64(0..bound) }
    }

    /// A number from 0 up to and without 1.
    pub fn fraction(&self) -> f64 {
        self.lock().f64()
    }

    /// Mixes the items.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        self.lock().shuffle(items);
    }

    /// `count` letters and digits, for names.
    pub fn name(&self, count: usize) -> String {
        let mut random = self.lock();
        (0..count).map(|_| random.alphanumeric().to_ascii_lowercase()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, fastrand::Rng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a connector tells of failures that it deals with itself (a part is opened again, a partition stands still): they are kept
/// for the status, counted, and end the instance where it was told to exit on errors.
#[derive(Clone)]
pub struct Failures(Arc<dyn Fn(&Error) + Send + Sync>);

impl Failures {
    /// Told by calling `tell`, which must not block.
    pub fn to(tell: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Told to nobody: for tests.
    pub fn unheard() -> Self {
        Self::to(|_| ())
    }

    /// Something failed and is dealt with.
    pub fn tell(&self, error: &Error) {
        (self.0)(error);
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Failures")
    }
}

/// Everything a source gets from the instance it runs in.
#[derive(Clone)]
pub struct SourceContext {
    /// Who it is.
    pub identity: Identity,
    /// What is promised.
    pub guarantee: Guarantee,
    /// The full name of the topic the records go to.
    pub destination: ByteString,
    /// The process's byte budget.
    pub budget: ByteBudget,
    /// Who hears of failures the source deals with itself.
    pub failures: Failures,
    /// With EFFECTIVELY_ONCE: what it shares with the sink.
    pub lineages: Lineages,
    /// The wall clock.
    pub clock: Clock,
    /// See [`Clock::uptime`].
    pub uptime: Clock,
    /// Randomness.
    pub random: Random,
}
