//! The start of a coordinator: the stream, the table, the leases it lacks, and whose it is. Nothing is taken here.

use super::driver::Driver;
use super::round::Trouble;
use super::status::CoordinatorStatus;
use super::{CoordinatorDeps, CoordinatorSettings};
use crate::lease::{Claimant, Ensured, StreamMark, Worker};
use crate::plan::identity::{LEGACY_TABLE, legacy_table_exists};
use connector_sdk::{Error, ErrorKind};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::info;

/// Letters and digits in front of the ids of this process's writes.
const WRITE_PREFIX: usize = 12;

impl Driver {
    /// Looks at everything once. No lease is held after an error.
    pub(super) async fn open(
        deps: CoordinatorDeps,
        settings: CoordinatorSettings,
        status: Arc<CoordinatorStatus>,
        fatal: oneshot::Sender<Error>,
    ) -> Result<Self, Error> {
        // First the stream: no table is made for one that does not exist.
        let stream = deps.stream.describe().await?;
        let described = Instant::now();
        check_legacy_table(&deps, &settings).await?;
        let ensured = deps.table.ensure(settings.leases.billing_mode).await?;
        if ensured == Ensured::Created {
            info!(table = deps.table.name(), "lease table created");
        }
        let worker = Worker {
            id: settings.worker.clone(),
            writer: deps.identity.full_name().into(),
            stream: StreamMark { arn: stream.arn, created_at: stream.created_at },
            topic: settings.topic.clone(),
            failover: settings.leases.failover_time,
            initial_position: settings.initial_position,
            write_prefix: deps.random.name(WRITE_PREFIX),
            guarantee: settings.guarantee,
            uptime: deps.uptime.clone(),
        };
        let claimant = Claimant::measured(Arc::clone(&deps.table), worker, deps.facts.clone(), deps.clock.clone());
        let mut driver = Self::new(deps, settings, status, claimant, fatal);
        driver.hear_time(stream.answered_at, described);
        if ensured == Ensured::Created {
            // No fleet has left anything beside a table that was not there.
            driver.next_fleet_look = Instant::now() + super::round::FLEET_LOOK;
        }
        driver.look().await.map_err(Trouble::into_error)?;
        driver.settle_fleet_look().map_err(Trouble::into_error)?;
        driver.sync().await.map_err(Trouble::into_error)?;
        driver.await_verdict().await.map_err(Trouble::into_error)?;
        Ok(driver)
    }
}

/// With the default application name only: a table of the JVM connector would be left behind unnoticed.
async fn check_legacy_table(deps: &CoordinatorDeps, settings: &CoordinatorSettings) -> Result<(), Error> {
    let is_default = settings.application.is_default && deps.table.name() == settings.application.name;
    if !is_default || deps.table.exists(deps.table.name()).await? {
        return Ok(());
    }
    match deps.table.exists(LEGACY_TABLE).await {
        Ok(true) => Err(legacy_table_exists(&settings.application)),
        Ok(false) => Ok(()),
        // No right to look counts as absent.
        Err(error) if error.kind() == ErrorKind::Authentication => Ok(()),
        Err(error) => Err(error),
    }
}
