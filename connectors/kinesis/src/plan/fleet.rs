//! Whether a fleet of KCL 3.x lives on the application: its leader assigns leases, and two balancers would fight.
//!
//! The version in use is data: the row `Migration3.0`, in the lease table or in `<app>-CoordinatorState`. A fleet that says 3X and
//! shows a sign of life is not joined. One that says 3X and is silent left its table at rest, and is continued.

use super::take::{Scanner, SignOfLife};
use crate::lease::{Item, LEASE_KEY, Lease};
use connector_sdk::{Error, ErrorKind};
use std::time::Duration;
use tokio::time::Instant;

/// Side tables of KCL 3.0 to 3.4, after the application's name.
pub(crate) const COORDINATOR_STATE: &str = "-CoordinatorState";
/// See [`COORDINATOR_STATE`].
pub(crate) const WORKER_METRICS: &str = "-WorkerMetricStats";

/// A row of worker metrics younger than this is a worker's sign of life.
const METRICS_FRESH_SECONDS: u64 = 60;

/// What the rows that are no leases say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The client version in `Migration3.0`.
    version: Option<String>,
    /// The record version of the leader's lock.
    leader: Option<String>,
    /// The youngest worker metrics, in seconds since the epoch.
    metrics_at: Option<u64>,
}

impl Evidence {
    /// Reads rows of the lease table that are no leases, and rows of the side tables.
    pub(crate) fn read<'a>(items: impl IntoIterator<Item = &'a Item>) -> Self {
        let mut evidence = Self::default();
        for item in items {
            let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
            match text(LEASE_KEY).or_else(|| text("key")).as_deref() {
                Some("Migration3.0") => evidence.version = text("cv").or(evidence.version),
                Some("Leader") => evidence.leader = text("recordVersionNumber").or(evidence.leader),
                _ => {
                    let at = item.get("lut").and_then(|value| value.as_n().ok()).and_then(|digits| digits.parse().ok());
                    evidence.metrics_at = evidence.metrics_at.max(at);
                }
            }
        }
        evidence
    }

    /// Whether workers of a KCL 3.x balance by a leader.
    pub(crate) fn says_3x(&self) -> bool {
        matches!(self.version.as_deref(), Some("CLIENT_VERSION_3X" | "CLIENT_VERSION_3X_WITH_ROLLBACK"))
    }

    /// The client version, where there is one that still lets workers of 2.x join.
    pub(crate) fn says_2x(&self) -> Option<&str> {
        self.version.as_deref().filter(|_| !self.says_3x())
    }
}

/// What is known of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Leases may be taken.
    Free,
    /// It says 3X, and was not watched for long enough.
    Watching,
    /// It says 3X and lives.
    Alive,
}

/// The watch over a fleet, across looks.
#[derive(Debug, Default)]
pub(crate) struct FleetWatch {
    since: Option<Instant>,
    leader: Option<String>,
}

impl FleetWatch {
    /// Judges a look: what the rows say, and the leases as the scanner saw them. `now_millis` is the wall clock.
    pub(crate) fn judge(
        &mut self,
        evidence: &Evidence,
        leases: &[Lease],
        scanner: &Scanner,
        failover: Duration,
        now: Instant,
        now_millis: u64,
    ) -> Verdict {
        if !evidence.says_3x() {
            *self = Self::default();
            return Verdict::Free;
        }
        let watched_since = *self.since.get_or_insert(now);
        let leader_moved = self.leader.is_some() && evidence.leader.is_some() && self.leader != evidence.leader;
        self.leader = evidence.leader.clone().or(self.leader.take());
        let metrics_fresh = evidence.metrics_at.is_some_and(|at| (now_millis / 1_000).saturating_sub(at) < METRICS_FRESH_SECONDS);
        // Leases that we or our peers own say nothing about a fleet of Java's.
        let lease_moved = leases
            .iter()
            .filter(|lease| lease.owner.is_some() && !lease.owner_is_writer() && !lease.is_finished())
            .any(|lease| scanner.sign_of_life(lease, failover, now) == SignOfLife::Alive);
        if leader_moved || metrics_fresh || lease_moved {
            Verdict::Alive
        } else if now.saturating_duration_since(watched_since) >= failover {
            Verdict::Free
        } else {
            Verdict::Watching
        }
    }
}

/// The error that ends a source that would join a live fleet.
pub(crate) fn fleet_is_alive(kind: ErrorKind, table: &str) -> Error {
    Error::new(kind, format!(
        "workers of a KCL 3.x are alive on table `{table}`, and their leader gives out the leases: a worker that takes by itself would fight with it"
    ))
    .with_hint("stop them before this source goes on from their checkpoints, or choose another `applicationName`")
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
