//! The coordinator's one loop: it waits for what is due next, and does it.
//!
//! Everything it owns is here; what it does is in `open`, `round`, `create` and `stop`. It holds no lock and waits for no shard.

use super::boundary::ShardEnd;
use super::keeper::Holdings;
use super::shards::{End, Shards, restart_pause};
use super::status::{CoordinatorStatus, KeptError, WaitingShard};
use super::stop::StopSummary;
use super::{CoordinatorDeps, CoordinatorSettings};
use crate::ids::ShardId;
use crate::lease::{Claimant, HeldLease, Lease, StoreError};
use crate::metrics::Facts;
use crate::plan::fleet::{Evidence, FleetWatch};
use crate::plan::gate;
use crate::plan::take::Scanner;
use crate::port::Shard;
use connector_sdk::Error;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// The least time between two rounds that shards' ends ask for: many ends share one.
const ROUND_SPACING: Duration = Duration::from_millis(200);

/// A shard that ran this long without failing has recovered.
const RECOVERED: Duration = Duration::from_secs(300);

/// A lease whose counter we moved this recently needs no renewal before its shard starts.
const FRESH: Duration = Duration::from_secs(1);

/// A worker's state.
pub(super) struct Driver {
    pub(super) deps: CoordinatorDeps,
    pub(super) settings: CoordinatorSettings,
    pub(super) status: Arc<CoordinatorStatus>,
    pub(super) claimant: Arc<Claimant>,
    pub(super) holdings: Arc<Holdings>,
    pub(super) shards: Shards,
    /// Held and not running.
    pub(super) waiting: BTreeMap<ShardId, Waiting>,
    /// Failures in a row of shards that ran.
    pub(super) failures: HashMap<ShardId, u32>,
    /// Takes whose outcome is not known: the row may bear our name. Given away at a stop.
    pub(super) in_doubt: HashSet<ShardId>,
    pub(super) scanner: Scanner,
    /// The leases as they were seen last.
    pub(super) rows: HashMap<ShardId, Lease>,
    /// Keys of rows that should be leases and cannot be read.
    pub(super) unreadable: HashSet<ShardId>,
    /// What the rows that are no leases say; of side tables as of the last look.
    pub(super) side_evidence: Vec<crate::lease::Item>,
    pub(super) fleet: FleetWatch,
    pub(super) last_evidence: Evidence,
    /// The shards as they were listed last.
    pub(super) listed: Vec<Shard>,
    /// Whether that was the whole stream, closed shards included.
    pub(super) listed_whole: bool,
    /// The application's moment: the oldest in any row, else of the first listing.
    pub(super) moment: Option<u64>,
    /// What the service's clock said last, and when we heard it. Local clocks differ.
    pub(super) service_clock: Option<(u64, Instant)>,
    /// Whether a round was completed: this worker has begun to work.
    pub(super) begun: bool,
    /// Whether the start is complete.
    pub(super) opened: bool,
    /// What the last look at the side tables of a KCL 3.x failed with, until it is told.
    pub(super) fleet_look_failed: Option<Error>,
    fatal: Option<oneshot::Sender<Error>>,
    pub(super) next_round: Instant,
    pub(super) next_sync: Instant,
    pub(super) next_fleet_look: Instant,
    pub(super) last_round: Option<Instant>,
    pub(super) round_failures: u32,
}

/// Why a held shard does not run.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    /// When to look again.
    pub(super) until: Instant,
    /// Parents that were unfinished at the last look.
    pub(super) parents: Vec<ShardId>,
}

impl Driver {
    pub(super) fn new(
        deps: CoordinatorDeps,
        settings: CoordinatorSettings,
        status: Arc<CoordinatorStatus>,
        claimant: Arc<Claimant>,
        fatal: oneshot::Sender<Error>,
    ) -> Self {
        let now = Instant::now();
        Self {
            holdings: Holdings::new(settings.leases.failover_time),
            deps,
            settings,
            status,
            claimant,
            shards: Shards::default(),
            waiting: BTreeMap::new(),
            failures: HashMap::new(),
            in_doubt: HashSet::new(),
            scanner: Scanner::default(),
            rows: HashMap::new(),
            unreadable: HashSet::new(),
            side_evidence: Vec::new(),
            fleet: FleetWatch::default(),
            last_evidence: Evidence::default(),
            listed: Vec::new(),
            listed_whole: false,
            moment: None,
            service_clock: None,
            begun: false,
            opened: false,
            fleet_look_failed: None,
            fatal: Some(fatal),
            next_round: now,
            next_sync: now,
            next_fleet_look: now,
            last_round: None,
            round_failures: 0,
        }
    }

    pub(super) fn holdings(&self) -> Arc<Holdings> {
        Arc::clone(&self.holdings)
    }

    pub(super) fn facts(&self) -> Facts {
        self.deps.facts.clone()
    }

    pub(super) fn failover(&self) -> Duration {
        self.settings.leases.failover_time
    }

    /// Works until it is asked to stop.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<Instant>) -> StopSummary {
        loop {
            let due = self.next_due();
            tokio::select! {
                biased;
                Ok(deadline) = &mut stop => return self.stop(deadline).await,
                (shard, ran, end) = self.shards.next_end() => self.ended(&shard, ran, end),
                () = sleep_until(due) => tokio::select! {
                    biased;
                    // What the round leaves behind half done is settled by the stop.
                    Ok(deadline) = &mut stop => return self.stop(deadline).await,
                    () = self.do_what_is_due() => {}
                },
            }
            self.show();
        }
    }

    fn next_due(&self) -> Instant {
        let waiting = self.waiting.values().map(|waiting| waiting.until).min();
        waiting.map_or(self.next_round, |waiting| waiting.min(self.next_round))
    }

    async fn do_what_is_due(&mut self) {
        if Instant::now() >= self.next_round {
            self.round().await;
        }
        self.start_waiting().await;
    }

    /// A lease is held from now on; its shard starts as soon as it may.
    pub(super) fn hold(&mut self, lease: Arc<HeldLease>) {
        let shard = lease.shard().clone();
        info!(%shard, checkpoint = %lease.checkpoint(), "lease taken");
        self.rows.insert(shard.clone(), lease.row());
        self.holdings.insert(lease);
        self.waiting.insert(shard, Waiting { until: Instant::now(), parents: Vec::new() });
    }

    /// Starts what waits and may start now.
    pub(super) async fn start_waiting(&mut self) {
        let now = Instant::now();
        let due: Vec<ShardId> = self.waiting.iter().filter(|(_, waiting)| waiting.until <= now).map(|(shard, _)| shard.clone()).collect();
        for shard in due {
            let lease = self.holdings.get(&shard).filter(|lease| !lease.fence().has_fallen());
            let Some(lease) = lease else {
                self.forget(&shard);
                continue;
            };
            match self.unfinished_parents(&lease).await {
                Ok(parents) if parents.is_empty() => {
                    // What waited may have been taken from us without our knowing: nothing starts on an old belief.
                    if lease.moved_at().elapsed() > FRESH
                        && let Err(error) = lease.renew().await
                    {
                        if let StoreError::Failed(error) = error {
                            warn!(%shard, %error, "the lease could not be renewed before the shard starts");
                            self.wait(shard, FRESH, Vec::new());
                        } else {
                            self.forget(&shard);
                        }
                        continue;
                    }
                    self.waiting.remove(&shard);
                    let running = self.deps.runner.start(Arc::clone(&lease));
                    self.shards.start(&lease, running);
                }
                Ok(parents) => self.wait(shard, self.settings.leases.parent_shard_poll_interval, parents),
                Err(error) => {
                    warn!(%shard, %error, "the leases of the shard's parents could not be read");
                    self.keep(Some(shard.clone()), error);
                    self.wait(shard, self.settings.leases.parent_shard_poll_interval, Vec::new());
                }
            }
        }
    }

    fn wait(&mut self, shard: ShardId, pause: Duration, parents: Vec<ShardId>) {
        self.waiting.insert(shard, Waiting { until: Instant::now() + pause, parents });
    }

    /// The parents that are not finished, read consistently where the last scan does not settle it.
    async fn unfinished_parents(&mut self, lease: &HeldLease) -> Result<Vec<ShardId>, Error> {
        let gate::Gate::Ask(parents) = gate::look(&lease.parents(), &self.rows) else { return Ok(Vec::new()) };
        let (began, facts) = (Instant::now(), self.deps.facts.shard(lease.shard()));
        let result = self.look_at_parents(parents).await;
        facts.looked_at_parents(began.elapsed(), result.as_ref().is_ok_and(Vec::is_empty));
        result
    }

    /// Those of these parents that are not finished, read consistently.
    async fn look_at_parents(&mut self, parents: Vec<ShardId>) -> Result<Vec<ShardId>, Error> {
        let mut unfinished = Vec::new();
        for parent in parents {
            let row = self.deps.table.get(&parent).await?;
            if !gate::lets_start(row.as_ref()) {
                unfinished.push(parent.clone());
            }
            if let Some(row) = row {
                self.rows.insert(parent, row);
            }
        }
        Ok(unfinished)
    }

    /// A shard that ran has ended.
    pub(super) fn ended(&mut self, shard: &ShardId, ran: Duration, end: End) {
        match end {
            End::Itself(ShardEnd::Finished) => self.finished(shard),
            End::Itself(ShardEnd::Failed(error)) => self.failed(shard, ran, error),
            End::Itself(ShardEnd::LeaseLost) | End::Lost | End::Stopped(_) | End::Overdue => self.forget(shard),
        }
    }

    /// The shard is settled to its end: its lease is nobody's work any more, and its children may run.
    fn finished(&mut self, shard: &ShardId) {
        if let Some(lease) = self.holdings.remove(shard) {
            self.rows.insert(shard.clone(), lease.row());
        }
        self.failures.remove(shard);
        self.deps.facts.release(shard);
        let now = Instant::now();
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.parents.contains(shard)) {
            waiting.until = now;
        }
        // Its children's leases are there to be taken, and the listing may know of more.
        let soon = self.last_round.map_or(now, |last| now.max(last + ROUND_SPACING));
        self.next_round = self.next_round.min(soon);
        self.next_sync = now;
    }

    /// The lease is kept; the shard is started again after a pause.
    fn failed(&mut self, shard: &ShardId, ran: Duration, error: Error) {
        if self.holdings.get(shard).is_none_or(|lease| lease.fence().has_fallen()) {
            self.forget(shard);
            return;
        }
        let failures = self.failures.entry(shard.clone()).or_default();
        if ran >= RECOVERED {
            *failures = 0;
        }
        let pause = restart_pause(*failures, self.deps.random.fraction());
        *failures += 1;
        warn!(%shard, %error, pause_ms = pause.as_millis(), "shard failed; it is started again after a pause");
        self.keep(Some(shard.clone()), error);
        self.wait(shard.clone(), pause, Vec::new());
    }

    /// The lease is not ours any more.
    fn forget(&mut self, shard: &ShardId) {
        if let Some(lease) = self.holdings.remove(shard) {
            lease.fence().fall();
            self.holdings.count_loss();
        }
        self.waiting.remove(shard);
        self.failures.remove(shard);
        self.deps.facts.release(shard);
    }

    /// Forgets what was lost without having run: the keeper lets fences fall, and a shard that runs ends by it.
    pub(super) fn forget_lost(&mut self) {
        for lease in self.holdings.all() {
            if lease.fence().has_fallen() && !self.shards.contains(lease.shard()) {
                self.forget(lease.shard());
            }
        }
    }

    /// Ends the source: no lease is taken any more; those held are kept until the stop.
    pub(super) fn end_with(&mut self, error: Error) {
        warn!(%error, "this source cannot go on");
        self.keep(None, error.clone());
        if let Some(fatal) = self.fatal.take() {
            // Whoever waited for it may be gone already, stopping us.
            let _gone = fatal.send(error);
        }
    }

    /// Whether the source was ended.
    pub(super) fn is_ending(&self) -> bool {
        self.fatal.is_none()
    }

    pub(super) fn keep(&self, shard: Option<ShardId>, error: Error) {
        self.deps.failures.tell(&error);
        self.status.keep(KeptError { at: self.deps.clock.millis(), shard, error });
    }

    pub(super) fn show(&self) {
        let waiting = self.waiting.iter().map(|(shard, waiting)| WaitingShard { shard: shard.clone(), parents: waiting.parents.clone() });
        self.status.set_leases(self.holdings.len(), waiting.collect());
    }
}
