//! One round: look at the table, make sure it is ours to work on, create what is missing, take what is free, clean up.

use super::driver::Driver;
use super::shards::restart_pause;
use crate::ids::{HashRange, ShardId};
use crate::lease::{Claimant, Lease, RowError, TableRow, Taken};
use crate::metrics::{LeaseCall, TakeRound};
use crate::plan::fleet::{COORDINATOR_STATE, Evidence, Verdict, WORKER_METRICS, fleet_is_alive};
use crate::plan::identity::{Rivalry, check_instants, check_stream, check_unreadable, gives_way, rivalry};
use crate::plan::{cleanup, take};
use connector_sdk::{Error, ErrorKind};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

/// Takes and removals on their way at one time.
const CONCURRENT: usize = 32;

/// Looks within one failover time while it is watched who is alive.
const LOOKS: u32 = 6;

/// How often the side tables of a KCL 3.x are looked at.
pub(super) const FLEET_LOOK: Duration = Duration::from_secs(60);

/// What keeps a round from its end.
pub(super) enum Trouble {
    /// Ends the source.
    Fatal(Error),
    /// May pass.
    Passing(Error),
}

impl Trouble {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Fatal(error) | Self::Passing(error) => error,
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Passing(error)
    }
}

/// A take on its way: the shard, how long it took, and how it ended.
type Take = BoxFuture<'static, (ShardId, Duration, Result<Taken, Error>)>;

fn take_one(claimant: Arc<Claimant>, range: Option<HashRange>, lease: Lease, moment: Option<u64>, steal: bool) -> Take {
    Box::pin(async move {
        let asked = Instant::now();
        let taking = async {
            match steal {
                false => claimant.take(&lease, range, moment).await,
                true => claimant.steal(&lease, range, moment).await,
            }
        };
        // A take that is not answered by then stays in doubt: its row would expire like a stranger's.
        let result = timeout(claimant.worker().failover, taking)
            .await
            .unwrap_or_else(|_| Err(Error::transient(format!("the take of `{}` was not answered within the failover time", lease.shard))));
        (lease.shard, asked.elapsed(), result)
    })
}

impl Driver {
    /// One round, and when the next is due.
    pub(super) async fn round(&mut self) {
        let began = Instant::now();
        let result = self.work().await;
        let now = Instant::now();
        self.last_round = Some(now);
        // The next lease to expire is looked at when it does, not up to a period later.
        let expiry = self.scanner.next_expiry(&self.holdings.shards(), self.failover(), now);
        let no_later_than_expiry = |due: Instant| expiry.map_or(due, |expiry| expiry.min(due));
        match result {
            Ok(period) => {
                self.round_failures = 0;
                self.next_round = no_later_than_expiry(began + period);
            }
            Err(Trouble::Fatal(error)) => {
                if !self.is_ending() {
                    self.end_with(error);
                }
                self.next_round = now + self.failover();
            }
            Err(Trouble::Passing(error)) => {
                let pause = restart_pause(self.round_failures, self.deps.random.fraction()).min(self.failover());
                self.round_failures += 1;
                warn!(%error, pause_ms = pause.as_millis(), "the lease table or the stream could not be looked at; tried again after a pause");
                self.keep(None, error);
                self.next_round = no_later_than_expiry(now + pause);
            }
        }
    }

    /// The round itself; gives the time to the next one.
    async fn work(&mut self) -> Result<Duration, Trouble> {
        self.forget_lost();
        self.look().await?;
        if self.is_ending() {
            return Ok(self.failover());
        }
        let syncs = Instant::now() >= self.next_sync;
        let first = !self.begun;
        if first {
            // Before the first take it must be known who is alive, and the leases must be there.
            self.settle_fleet_look()?;
            if syncs {
                self.sync().await?;
            }
        }
        if !self.may_take()? {
            self.settle_fleet_look()?;
            // Signs of life come with renewals: looked for often, so that the answer comes soon.
            return Ok(self.failover() / LOOKS);
        }
        // Whatever else fails, a lease that a dead worker left is taken.
        self.take().await?;
        self.start_waiting().await;
        self.begun = true;
        self.settle_fleet_look()?;
        if syncs {
            let known = self.rows.len();
            if !first {
                self.sync().await?;
            }
            let created = self.rows.len() > known;
            self.clean_up().await?;
            if created {
                return Ok(Duration::ZERO);
            }
        }
        Ok(self.failover())
    }

    /// Watches what looks alive on the table until it is known whether it is; costs nothing where there is nothing to watch.
    ///
    /// # Errors
    /// Fatal when leases must not be taken here; else those of a look.
    pub(super) async fn await_verdict(&mut self) -> Result<(), Trouble> {
        while !self.may_take()? {
            sleep(self.failover() / LOOKS).await;
            self.look().await?;
            self.settle_fleet_look()?;
        }
        self.opened = true;
        Ok(())
    }

    /// What the last look at the side tables failed with.
    pub(super) fn settle_fleet_look(&mut self) -> Result<(), Trouble> {
        self.fleet_look_failed.take().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Scans the table and refuses what is not ours to work on.
    pub(super) async fn look(&mut self) -> Result<(), Trouble> {
        let began = Instant::now();
        let scanned = self.deps.table.scan().await;
        self.deps.facts.lease_call(LeaseCall::List, began.elapsed(), scanned.is_ok());
        let (mut leases, mut others, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for row in scanned? {
            match row {
                TableRow::Lease(lease) => leases.push(*lease),
                TableRow::Other(item) => others.push(item),
                TableRow::Unreadable(error) => unreadable.push(error),
            }
        }
        let table = self.deps.table.name().to_owned();
        check_unreadable(&unreadable, &table).map_err(Trouble::Fatal)?;
        check_stream(&leases, &self.claimant.worker().stream, &table).map_err(Trouble::Fatal)?;
        check_instants(&leases, self.settings.initial_position, &table).map_err(Trouble::Fatal)?;
        self.say_unreadable(&unreadable);
        self.scanner.observe(&leases, began);
        // One that may pass does not keep the rows from being known.
        match self.look_for_fleet(&leases).await {
            Err(Trouble::Passing(error)) => self.fleet_look_failed = Some(error),
            other => {
                other?;
                self.fleet_look_failed = None;
            }
        }
        self.last_evidence = Evidence::read(others.iter().chain(&self.side_evidence));
        self.rows = leases.into_iter().map(|lease| (lease.shard.clone(), lease)).collect();
        // What we hold is known better than any scan knows it.
        for held in self.holdings.all().iter().filter(|held| !held.fence().has_fallen()) {
            self.rows.insert(held.shard().clone(), held.row());
        }
        Ok(())
    }

    /// Names each malformed row once.
    fn say_unreadable(&mut self, rows: &[RowError]) {
        let mut keys = HashSet::new();
        for row in rows {
            if let RowError::Malformed { key, .. } = row {
                let key = ShardId::from(key.as_str());
                if !self.unreadable.contains(&key) {
                    warn!(table = self.deps.table.name(), error = %row, "a row of the lease table is left alone");
                    self.keep(Some(key.clone()), Error::new(ErrorKind::Data, format!("{row}; its shard is not read")));
                }
                keys.insert(key);
            }
        }
        self.unreadable = keys;
    }

    /// Looks at the side tables of a KCL 3.x, each minute.
    async fn look_for_fleet(&mut self, leases: &[Lease]) -> Result<(), Trouble> {
        if Instant::now() < self.next_fleet_look {
            return Ok(());
        }
        let mut evidence = Vec::new();
        for suffix in [COORDINATOR_STATE, WORKER_METRICS] {
            let table = format!("{}{suffix}", self.settings.application.name);
            match self.deps.table.side_rows(&table).await {
                Ok(rows) => evidence.extend(rows.into_iter().flatten()),
                Err(error) if error.kind() != ErrorKind::Authentication => return Err(error.into()),
                // Without a trace of a 3.x there is no need to know.
                Err(_) if !leases.iter().any(|lease| lease.has_3x_attributes) => {}
                Err(error) => {
                    return Err(Trouble::Fatal(
                        error.context("workers of a KCL 3.x have used this application, and whether they are alive cannot be seen"),
                    ));
                }
            }
        }
        self.side_evidence = evidence;
        // While a fleet is being watched, its leader's record must be seen to move.
        let pause = if Evidence::read(&self.side_evidence).says_3x() && !self.begun { self.failover() / LOOKS } else { FLEET_LOOK };
        self.next_fleet_look = Instant::now() + pause;
        Ok(())
    }

    /// Whether leases may be taken now. An error ends the source.
    fn may_take(&mut self) -> Result<bool, Trouble> {
        let now = Instant::now();
        let leases: Vec<Lease> = self.rows.values().cloned().collect();
        let verdict = self.fleet.judge(&self.last_evidence, &leases, &self.scanner, self.failover(), now, self.deps.clock.millis());
        match verdict {
            Verdict::Alive => return Err(Trouble::Fatal(fleet_is_alive(self.verdict_kind(), self.deps.table.name()))),
            Verdict::Watching => {
                self.wait_for("whether workers of a KCL 3.x are alive on this application");
                return Ok(false);
            }
            Verdict::Free => {}
        }
        if let Some(version) = self.last_evidence.says_2x().filter(|_| !self.begun) {
            warn!(
                version,
                "the application is prepared for a KCL 3.x; this worker joins as one of 2.x, and the change to 3.x will wait for it"
            );
        }
        if !self.settings.application.is_default {
            self.status.set_waiting_for(None);
            return Ok(true);
        }
        match rivalry(&leases, &self.claimant.worker().writer, &self.scanner, self.failover(), now) {
            Rivalry::TheirsFirst(other) => Err(Trouble::Fatal(gives_way(self.verdict_kind(), &self.settings.application, &other))),
            // Once we work, a newcomer is judged while we go on.
            Rivalry::Undecided if !self.begun => {
                self.wait_for("whether another connector is alive on this application");
                Ok(false)
            }
            Rivalry::OursFirst(other) => {
                warn!(%other, "another connector came to this application; it gives way");
                self.status.set_waiting_for(None);
                Ok(true)
            }
            Rivalry::Undecided | Rivalry::Alone => {
                self.status.set_waiting_for(None);
                Ok(true)
            }
        }
    }

    /// A start ends by what a person must change; what runs already is ended by the other owner.
    fn verdict_kind(&self) -> ErrorKind {
        if self.opened { ErrorKind::Fenced } else { ErrorKind::Configuration }
    }

    fn wait_for(&self, what: &str) {
        if self.status.waiting_for().is_none() {
            info!("waiting for up to the failover time to see {what}");
        }
        self.status.set_waiting_for(Some(what.to_owned()));
    }

    /// Takes what the plan says.
    async fn take(&mut self) -> Result<(), Trouble> {
        let began = Instant::now();
        let rules = take::TakeRules {
            failover: self.failover(),
            max_leases: usize::try_from(self.settings.leases.max_leases_for_worker).unwrap_or(usize::MAX),
            max_steal: usize::try_from(self.settings.leases.max_leases_to_steal_at_one_time).unwrap_or(usize::MAX),
        };
        let mut leases: Vec<Lease> = self.rows.values().cloned().collect();
        leases.sort_by(|one, other| one.shard.cmp(&other.shard));
        let held = self.holdings.shards();
        let plan = take::plan(&leases, &held, &self.scanner, &rules, began, &self.deps.random);
        let both = plan.take.iter().map(|shard| (shard, false)).chain(plan.steal.iter().map(|shard| (shard, true)));
        let wanted: Vec<(Lease, bool)> = both.filter_map(|(shard, steal)| Some((self.rows.get(shard)?.clone(), steal))).collect();
        let (mut taken, mut refused, mut failure) = (0, 0, None);
        let moment = self.oldest_moment().or(self.moment);
        self.in_doubt.extend(wanted.iter().map(|(lease, _)| lease.shard.clone()));
        let to_take = wanted.len();
        let ranges: HashMap<&ShardId, HashRange> = self.listed.iter().map(|shard| (&shard.id, shard.range)).collect();
        let takes: Vec<Take> = wanted
            .into_iter()
            .map(|(lease, steal)| take_one(Arc::clone(&self.claimant), ranges.get(&lease.shard).copied(), lease, moment, steal))
            .collect();
        let mut takes = stream::iter(takes).buffer_unordered(CONCURRENT);
        while let Some((shard, took, result)) = takes.next().await {
            self.deps.facts.lease_call(LeaseCall::Take, took, result.is_ok());
            match result {
                Ok(Taken::Held(lease)) => {
                    self.in_doubt.remove(&shard);
                    taken += 1;
                    self.hold(lease);
                }
                Ok(Taken::Refused | Taken::Finished) => {
                    self.in_doubt.remove(&shard);
                    refused += 1;
                    debug!(%shard, "another worker was quicker");
                }
                Err(error) => {
                    if error.kind() == ErrorKind::Configuration {
                        return Err(Trouble::Fatal(error));
                    }
                    warn!(%shard, %error, "the lease could not be taken");
                    failure = Some(error);
                }
            }
        }
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let round = TakeRound {
            total: number(plan.total),
            workers: number(plan.workers),
            expired: number(plan.free),
            very_old: number(plan.very_old),
            needed: number(plan.needed),
            to_take: number(to_take),
            taken,
            untaken: refused,
            spillover: number(plan.spillover),
        };
        self.deps.facts.took_leases(round, began.elapsed(), failure.is_none());
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Removes finished leases that nothing needs any more. Only after a listing that is younger than the scan: a shard that is in
    /// the table and not in it is gone from the stream.
    async fn clean_up(&mut self) -> Result<(), Trouble> {
        if !self.settings.leases.cleanup_leases_upon_shard_completion || !self.listed_whole {
            return Ok(());
        }
        for shard in cleanup::removable(&self.rows, &self.listed) {
            let Some(lease) = self.rows.get(&shard) else { continue };
            if self.deps.table.delete(lease).await? {
                info!(%shard, "lease of a finished shard removed");
                self.rows.remove(&shard);
            }
        }
        Ok(())
    }
}
