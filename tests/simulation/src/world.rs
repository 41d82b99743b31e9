//! What a run goes by: its seed, its time, what is due when, and what is written down of it.
//!
//! Everything random in a run comes from here, and everything that happens later than now is called from one agenda, so that the
//! same seed gives the same run. Time is tokio's, paused: it passes when nothing is left to do.

use connector_sdk::{Clock, Random};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The wall clock at the start of each run, in milliseconds since the epoch.
pub const START: u64 = 1_700_000_000_000;

type Call = Box<dyn FnOnce() + Send>;

/// One run's time, randomness and notes. Clones are the same.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    began: Instant,
    random: Mutex<fastrand::Rng>,
    agenda: Mutex<Agenda>,
    bell: Notify,
    noting: AtomicBool,
    notes: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Agenda {
    due: BTreeMap<(Instant, u64), Call>,
    made: u64,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic ends the whole run.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A world at its start; `noting`: whether what happens is written down.
    pub fn new(seed: u64, noting: bool) -> Self {
        Self(Arc::new(Inner {
            began: Instant::now(),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            agenda: Mutex::default(),
            bell: Notify::new(),
            noting: AtomicBool::new(noting),
            notes: Mutex::default(),
        }))
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// Milliseconds since the epoch.
    pub fn millis(&self) -> u64 {
        START + u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A wall clock that is wrong by `skew` milliseconds.
    pub fn clock(&self, skew: i64) -> Clock {
        let world = self.clone();
        Clock::from_fn(move || world.millis().saturating_add_signed(skew))
    }

    /// A source of randomness for a part of the run.
    pub fn fork(&self) -> Random {
        Random::seeded(self.below(u64::MAX))
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&self, bound: u64) -> u64 {
        lock(&self.0.random).u64(..bound.max(1))
    }

    /// A number of `range`, its end included.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in so many of a thousand cases.
    pub fn permille(&self, chance: u64) -> bool {
        self.below(1_000) < chance
    }

    /// Milliseconds between the two.
    pub fn millis_between(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// Calls `call` after `delay`; what is due at the same time is called in the order of asking.
    pub fn after(&self, delay: Duration, call: impl FnOnce() + Send + 'static) {
        self.at(Instant::now() + delay, call);
    }

    /// Calls `call` at a time.
    pub fn at(&self, due: Instant, call: impl FnOnce() + Send + 'static) {
        let mut agenda = lock(&self.0.agenda);
        let number = agenda.made;
        agenda.made += 1;
        agenda.due.insert((due, number), Box::new(call));
        drop(agenda);
        self.0.bell.notify_one();
    }

    /// Calls what becomes due, for ever.
    pub async fn run(&self) {
        loop {
            let first = lock(&self.0.agenda).due.keys().next().map(|(due, _)| *due);
            match first {
                None => self.0.bell.notified().await,
                Some(due) if due > Instant::now() => {
                    tokio::select! {
                        biased;
                        () = sleep_until(due) => {}
                        () = self.0.bell.notified() => {}
                    }
                }
                Some(_) => {
                    let call = lock(&self.0.agenda).due.pop_first();
                    if let Some((_, call)) = call {
                        call();
                    }
                    // Whoever it concerns acts before the next is called.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Forgets what is due: a run is over, and nothing of it stays behind.
    pub fn end(&self) {
        lock(&self.0.agenda).due.clear();
    }

    /// Writes a line down, if lines are written down.
    pub fn note<T: Display>(&self, line: impl FnOnce() -> T) {
        if self.0.noting.load(Ordering::Relaxed) {
            let millis = self.elapsed().as_millis();
            let line = format!("{:>7}.{:03} {}", millis / 1_000, millis % 1_000, line());
            lock(&self.0.notes).push(line);
        }
    }

    /// The lines so far.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.0.notes))
    }
}
