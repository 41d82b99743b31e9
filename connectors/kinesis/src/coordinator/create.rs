//! The shard sync: lists the stream and creates the leases the table lacks.
//!
//! A table without leases gets one per shard of a listing by the filter of the initial position; what LATEST means is fixed there,
//! once for the application, by the service's own clock.

use super::driver::Driver;
use super::round::Trouble;
use crate::config::InitialPosition;
use crate::ids::{Checkpoint, ShardId};
use crate::lease::{Lease, LeaseTable, StartMoment, create_row};
use crate::metrics::{Facts, LeaseCall};
use crate::plan::sync::{NewLease, Origin, covers_all_keys, first_leases, missing_leases};
use crate::port::{Shard, ShardFilter, ShardList};
use connector_sdk::{Error, ErrorKind};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// Rows created at one time; they are begun in the order of their shards.
const CONCURRENT: usize = 32;
/// How often a listing that contradicts itself is asked again, and after which pause.
const LISTINGS: u32 = 3;
const LISTING_PAUSE: Duration = Duration::from_secs(1);
/// What the local clock is taken back by where the service does not say the time: clocks differ, and a moment too early only
/// repeats what nobody has read.
const CLOCK_MARGIN_MILLIS: u64 = 5_000;

impl Driver {
    /// Creates missing leases.
    pub(super) async fn sync(&mut self) -> Result<(), Trouble> {
        let began = Instant::now();
        let result = self.create_missing().await;
        self.deps.facts.synced_shards(began.elapsed(), result.is_ok());
        if result.is_ok() {
            self.next_sync = Instant::now() + self.settings.leases.shard_sync_interval;
        }
        result
    }

    async fn create_missing(&mut self) -> Result<(), Trouble> {
        let position = self.effective_position();
        let new =
            if self.rows.is_empty() && self.unreadable.is_empty() { self.first(position).await? } else { self.missing(position).await? };
        if new.is_empty() {
            return Ok(());
        }
        self.create(new).await?;
        self.scanner.observe(self.rows.values(), Instant::now());
        Ok(())
    }

    /// The configured position; an instant on any row wins over the configured one.
    fn effective_position(&self) -> InitialPosition {
        let kept = self.starts().filter_map(|start| match start {
            StartMoment::Timestamp(instant) => Some(instant),
            StartMoment::Latest(_) => None,
        });
        match (self.settings.initial_position, kept.min()) {
            (InitialPosition::AtTimestamp(_), Some(instant)) => InitialPosition::AtTimestamp(instant),
            (position, _) => position,
        }
    }

    fn starts(&self) -> impl Iterator<Item = StartMoment> {
        self.rows.values().filter_map(|lease| lease.pulsar_connect.as_ref()?.start)
    }

    /// The oldest moment in any row.
    pub(super) fn oldest_moment(&self) -> Option<u64> {
        self.starts().filter(|start| matches!(start, StartMoment::Latest(_))).map(StartMoment::millis).min()
    }

    /// The leases of a table without any.
    async fn first(&mut self, position: InitialPosition) -> Result<Vec<NewLease>, Trouble> {
        for attempt in 1.. {
            let filter = match position {
                InitialPosition::AtTimestamp(instant) if self.has_come(instant).await => ShardFilter::AtTimestamp(instant),
                // The instant is yet to come: those open now, or what they become, are open then.
                InitialPosition::Latest | InitialPosition::AtTimestamp(_) => ShardFilter::AtLatest,
                InitialPosition::TrimHorizon => ShardFilter::AtTrimHorizon,
            };
            let listing = self.list(filter).await?;
            if covers_all_keys(&listing.shards) {
                let moment = self.moment_of(&listing);
                self.moment = Some(moment);
                self.set_listed(&listing.shards);
                self.listed_whole = false;
                return Ok(first_leases(&listing.shards, &Origin { position, moment, moment_is_old: false }));
            }
            if attempt == LISTINGS {
                break;
            }
            sleep(LISTING_PAUSE).await;
        }
        Err(Error::transient("the listing of the stream's shards does not cover every hash key; it is asked again").into())
    }

    /// The leases that a table lacks.
    async fn missing(&mut self, position: InitialPosition) -> Result<Vec<NewLease>, Trouble> {
        let mut leases = self.rows.clone();
        // A row that cannot be read is a lease all the same, of somebody.
        for shard in &self.unreadable {
            leases.entry(shard.clone()).or_insert_with(|| placeholder(shard));
        }
        for attempt in 1.. {
            let listing = self.list(ShardFilter::All).await?;
            let old = self.oldest_moment();
            let moment = old.unwrap_or_else(|| self.moment_of(&listing));
            self.moment = Some(moment);
            self.set_listed(&listing.shards);
            self.listed_whole = true;
            let origin = Origin { position, moment, moment_is_old: old.is_some() };
            match self.lacking(&listing.shards, &leases, &origin).await? {
                Ok(new) => return Ok(new),
                Err(error) if attempt == LISTINGS => return Err(error.into()),
                Err(_) => sleep(LISTING_PAUSE).await,
            }
        }
        Ok(Vec::new())
    }

    /// The outer error is of a call, the inner one of a listing that contradicts itself.
    async fn lacking(
        &mut self,
        listed: &[Shard],
        leases: &HashMap<ShardId, Lease>,
        origin: &Origin,
    ) -> Result<Result<Vec<NewLease>, Error>, Trouble> {
        let inconsistent = |error: crate::plan::sync::Inconsistent| Error::transient(error.to_string());
        let new = match missing_leases(listed, leases, origin, None) {
            Ok(new) => new,
            Err(error) => return Ok(Err(inconsistent(error))),
        };
        let since = match origin.position {
            InitialPosition::AtTimestamp(instant) => Some(instant),
            InitialPosition::Latest if origin.moment_is_old => Some(origin.moment),
            InitialPosition::Latest | InitialPosition::TrimHorizon => None,
        };
        let Some(since) = since.filter(|_| !new.is_empty()) else { return Ok(Ok(new)) };
        if !self.has_come(since).await {
            return Ok(Ok(new));
        }
        // Only ancestors that were open then may hold records that are wanted.
        let open = self.list(ShardFilter::AtTimestamp(since)).await?;
        let open: HashSet<ShardId> = open.shards.into_iter().map(|shard| shard.id).collect();
        Ok(missing_leases(listed, leases, origin, Some(&open)).map_err(inconsistent))
    }

    async fn list(&mut self, filter: ShardFilter) -> Result<ShardList, Trouble> {
        let listing = self.deps.stream.list_shards(filter).await.map_err(|error| match error.kind() {
            // The stream is gone, or is not the one it was.
            ErrorKind::Configuration => Trouble::Fatal(error),
            _ => Trouble::Passing(error),
        })?;
        self.hear_time(listing.answered_at, Instant::now());
        Ok(listing)
    }

    /// The service said the time in an answer that came `at`.
    pub(super) fn hear_time(&mut self, answered_at: Option<u64>, at: Instant) {
        self.service_clock = answered_at.map(|millis| (millis, at)).or(self.service_clock);
    }

    /// The service's clock, never ahead of it: it says whole seconds, rounded down.
    fn service_millis(&self) -> u64 {
        match self.service_clock {
            Some((millis, at)) => millis.saturating_add(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
            None => self.deps.clock.millis().saturating_sub(CLOCK_MARGIN_MILLIS),
        }
    }

    /// Whether the instant has come by the service's clock. One that may have come is waited for: shards may have closed since.
    async fn has_come(&mut self, instant: u64) -> bool {
        let to_come = instant.saturating_sub(self.service_millis());
        if to_come > CLOCK_MARGIN_MILLIS {
            return false;
        }
        sleep(Duration::from_millis(to_come)).await;
        true
    }

    fn set_listed(&mut self, shards: &[Shard]) {
        self.listed = shards.to_vec();
        self.claimant.set_listed(shards.iter().map(|shard| shard.id.clone()).collect());
    }

    /// The service's clock at the listing.
    fn moment_of(&self, listing: &ShardList) -> u64 {
        listing.answered_at.unwrap_or_else(|| {
            let moment = self.deps.clock.millis().saturating_sub(CLOCK_MARGIN_MILLIS);
            if self.moment.is_none() {
                warn!(moment, "the service did not say the time; LATEST means this machine's clock less 5 s");
            }
            moment
        })
    }

    async fn create(&mut self, new: Vec<NewLease>) -> Result<(), Trouble> {
        let creations: Vec<Creation> =
            new.into_iter().map(|new| create_one(Arc::clone(&self.deps.table), self.deps.facts.clone(), self.row(new))).collect();
        let mut created = stream::iter(creations).buffered(CONCURRENT);
        let mut rows = Vec::new();
        let mut others = false;
        let mut failure = None;
        while let Some(result) = created.next().await {
            match result {
                Ok((lease, true)) => rows.push(lease),
                Ok((_, false)) => others = true,
                // The rest is not begun: what is there then is what a crash would leave.
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        drop(created);
        if !rows.is_empty() {
            info!(leases = rows.len(), "leases created");
        }
        self.rows.extend(rows.into_iter().map(|lease| (lease.shard.clone(), lease)));
        if others {
            // Another worker is at it too, or a reply was lost: the rows are looked at again at once.
            self.next_round = Instant::now();
        }
        match failure {
            Some(error) => Err(error.into()),
            None if others => self.look().await,
            None => Ok(()),
        }
    }

    fn row(&self, new: NewLease) -> Lease {
        Lease {
            parents: new.shard.parents().cloned().collect(),
            range: Some(new.shard.range),
            pulsar_connect: Some(self.claimant.new_attribute(new.start)),
            checkpoint: new.checkpoint,
            ..placeholder(&new.shard.id)
        }
    }
}

/// A creation on its way: the row, and whether it is new.
type Creation = BoxFuture<'static, Result<(Lease, bool), Error>>;

fn create_one(table: Arc<dyn LeaseTable>, facts: Facts, lease: Lease) -> Creation {
    Box::pin(async move {
        let began = Instant::now();
        let created = create_row(&*table, &lease).await;
        if !matches!(created, Ok(false)) {
            facts.lease_call(LeaseCall::Create, began.elapsed(), created.is_ok());
        }
        created.map(|is_new| (lease, is_new))
    })
}

/// A lease of which nothing is known but that it is not finished.
fn placeholder(shard: &ShardId) -> Lease {
    Lease {
        shard: shard.clone(),
        owner: None,
        counter: 0,
        owner_switches: 0,
        checkpoint: Checkpoint::TrimHorizon,
        pending: false,
        parents: Vec::new(),
        children: Vec::new(),
        range: None,
        checkpoint_owner: None,
        has_3x_attributes: false,
        pulsar_connect: None,
    }
}
