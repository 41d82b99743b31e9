//! The coordinator: carries out what the plans say, and owns the shards that run under this worker's leases.
//!
//! Promised: a lease is renewed at a third of the failover time whatever else is slow; a lost lease fences its shard off at once;
//! a shard runs only when its parents are finished; a stop gives every lease away within its deadline, so that nobody waits for the
//! failover time. Never: a lease taken before it is known whose table this is, or a fixed wait on the way to the first record.

mod boundary;
mod create;
mod driver;
mod keeper;
mod open;
mod round;
mod shards;
mod status;
mod stop;
mod worker;

pub use boundary::{RunningShard, ShardEnd, ShardRunner, Stopped};
pub use status::{CoordinatorStatus, KeptError, WaitingShard};
pub use stop::StopSummary;
pub use worker::worker_identifier;

use crate::config::{Application, InitialPosition, LeaseSettings};
use crate::lease::LeaseTable;
use crate::metrics::Facts;
use crate::port::StreamApi;
use bytestring::ByteString;
use connector_sdk::{Clock, Error, ErrorKind, Failures, Guarantee, Identity, Random, Task};
use driver::Driver;
use keeper::Keeper;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// How much longer than its deadline a stop is waited for before its task is ended.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// What a coordinator works with.
#[derive(Clone)]
pub struct CoordinatorDeps {
    /// The stream's own calls.
    pub stream: Arc<dyn StreamApi>,
    /// The lease table.
    pub table: Arc<dyn LeaseTable>,
    /// Starts shards.
    pub runner: Arc<dyn ShardRunner>,
    /// Who this instance is.
    pub identity: Identity,
    /// The wall clock.
    pub clock: Clock,
    /// The clock that counts suspended time.
    pub uptime: Clock,
    /// Randomness.
    pub random: Random,
    /// Where measurements go.
    pub facts: Facts,
    /// Who hears of each error that is dealt with here.
    pub failures: Failures,
}

/// What a coordinator goes by.
#[derive(Debug, Clone)]
pub struct CoordinatorSettings {
    /// The worker identifier: see [`worker_identifier`].
    pub worker: ByteString,
    /// The application's name.
    pub application: Application,
    /// Where a shard that nobody has read begins.
    pub initial_position: InitialPosition,
    /// How leases are kept.
    pub leases: LeaseSettings,
    /// The full name of the topic the records go to.
    pub topic: ByteString,
    /// What is promised about them.
    pub guarantee: Guarantee,
}

/// A coordinator that has looked at everything and holds nothing yet.
pub struct Prepared {
    driver: Driver,
    fatal: oneshot::Receiver<Error>,
    status: Arc<CoordinatorStatus>,
}

impl Prepared {
    /// Begins to take leases. From here on the coordinator has to be stopped, for others not to wait for the failover time.
    pub fn begin(self) -> Coordinator {
        let (stop, stop_asked) = oneshot::channel();
        let keeper = Keeper::new(self.driver.holdings(), self.driver.facts());
        Coordinator {
            keeper: Some(Task::spawn("lease keeper", keeper.run())),
            driver: Task::spawn("lease coordinator", self.driver.run(stop_asked)),
            fatal: self.fatal,
            ended: None,
            stop: Some(stop),
            status: self.status,
        }
    }
}

/// A worker among the workers of an application. Dropped, it ends at once and its leases expire; stopped, it gives them away.
pub struct Coordinator {
    driver: Task<StopSummary>,
    /// Renews until the driver has given everything away.
    keeper: Option<Task<()>>,
    fatal: oneshot::Receiver<Error>,
    /// What ended it, once that is known.
    ended: Option<Error>,
    stop: Option<oneshot::Sender<Instant>>,
    status: Arc<CoordinatorStatus>,
}

impl Coordinator {
    /// Makes sure of the stream, the table and whose it is, and creates missing leases. Where leases of others may forbid taking
    /// any, they are watched, for one failover time and a scan at most. Nothing is held, also when the wait is dropped.
    ///
    /// # Errors
    /// Configuration and authentication errors need a person; the others may be tried again.
    pub async fn prepare(deps: CoordinatorDeps, settings: CoordinatorSettings) -> Result<Prepared, Error> {
        let status = Arc::new(CoordinatorStatus::default());
        let (fatal_sender, fatal) = oneshot::channel();
        let driver = Driver::open(deps, settings, Arc::clone(&status), fatal_sender).await?;
        Ok(Prepared { driver, fatal, status })
    }

    /// Waits for what ends the source as a whole: [`ErrorKind::Fenced`] when another owner was found at work. Cancel-safe; the work
    /// itself goes on in tasks of its own. After it, call [`Coordinator::stop`].
    pub async fn run(&mut self) -> Error {
        if let Some(error) = &self.ended {
            return error.clone();
        }
        let error = match (&mut self.fatal).await {
            Ok(error) => error,
            // Its driver is gone without a word: stopped, or ended by a panic, which the stop says.
            Err(_) => Error::new(ErrorKind::Closed, "the coordinator has ended"),
        };
        self.ended.insert(error).clone()
    }

    /// Stops all shards, each storing how far it came, and gives all leases away, within the deadline.
    pub async fn stop(&mut self, deadline: Instant) -> StopSummary {
        if let Some(stop) = self.stop.take() {
            // A driver that is gone says so below.
            let _gone = stop.send(deadline);
        }
        let summary = match timeout_at(deadline + STOP_GRACE, self.driver.join()).await {
            Ok(Ok(summary)) => summary,
            Ok(Err(error)) => StopSummary::trouble(error.to_string()),
            Err(_) => StopSummary::trouble("the coordinator did not stop in time; its leases are free after the failover time".to_owned()),
        };
        // Nothing is left to renew.
        self.keeper = None;
        summary
    }

    /// How it stands, to be asked at any time.
    pub fn status(&self) -> Arc<CoordinatorStatus> {
        Arc::clone(&self.status)
    }
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
