//! The end of a shard: its children's rows first, their names on the parent, then `SHARD_END`.
//!
//! In this order a crash between any two steps leaves the parent unfinished, and the next owner repeats them; a child never
//! lacks a row once its parent is finished, and never runs before.

use super::attribute::StartMoment;
use super::create::create_row;
use super::held::{HeldLease, StoreError};
use super::row::Lease;
use crate::config::InitialPosition;
use crate::ids::{Checkpoint, ShardId};
use crate::port::ChildShard;
use connector_sdk::Error;
use tokio::time::Instant;

impl HeldLease {
    /// Ends the shard, everything in which is settled. May be called again after a failure.
    ///
    /// A child of a merge waits for the lease of its other parent: where that one exists in the stream and has no lease, this fails
    /// until the shard sync has created it.
    ///
    /// # Errors
    /// As [`HeldLease::store`].
    pub async fn finish(&self, children: &[ChildShard]) -> Result<(), StoreError> {
        self.within_fence(self.prepare_children(children)).await?;
        self.store_end().await
    }

    async fn prepare_children(&self, children: &[ChildShard]) -> Result<(), StoreError> {
        if children.is_empty() {
            return Ok(());
        }
        for child in children {
            self.check_other_parent(child).await?;
            self.create_child(child).await?;
        }
        let ids: Vec<ShardId> = children.iter().map(|child| child.id.clone()).collect();
        // A row that is gone is nobody's lease.
        match self.claimant.table().put_children(self.shard(), &ids).await.map_err(StoreError::Failed)? {
            true => Ok(()),
            false => Err(StoreError::Lost),
        }
    }

    async fn check_other_parent(&self, child: &ChildShard) -> Result<(), StoreError> {
        for other in child.parents.iter().filter(|parent| *parent != self.shard()) {
            if self.claimant.table().get(other).await.map_err(StoreError::Failed)?.is_some() {
                continue;
            }
            // A listing that knows the child and not the parent: the parent is gone, and nothing of it can be read.
            let listed = self.claimant.listed();
            if listed.contains(&child.id) && !listed.contains(other) {
                continue;
            }
            return Err(StoreError::Failed(Error::transient(format!(
                "shard `{}` was merged with `{other}`, which has no lease yet in table `{}`",
                self.shard(),
                self.claimant.table().name()
            ))));
        }
        Ok(())
    }

    async fn create_child(&self, child: &ChildShard) -> Result<(), StoreError> {
        let inherited = self.attribute().start;
        let (checkpoint, start) = match (inherited, self.claimant.worker().initial_position) {
            (Some(StartMoment::Timestamp(instant)), _) | (None, InitialPosition::AtTimestamp(instant)) => {
                (Checkpoint::AtTimestamp, Some(StartMoment::Timestamp(instant)))
            }
            // The moment goes on with the generations: a row created at LATEST later takes the oldest in any row.
            (inherited, _) => (Checkpoint::TrimHorizon, inherited),
        };
        let lease = Lease {
            shard: child.id.clone(),
            owner: None,
            counter: 0,
            owner_switches: 0,
            checkpoint,
            pending: false,
            parents: child.parents.clone(),
            children: Vec::new(),
            range: Some(child.range),
            checkpoint_owner: None,
            has_3x_attributes: false,
            pulsar_connect: Some(self.claimant.new_attribute(start)),
        };
        let began = Instant::now();
        let created = create_row(&**self.claimant.table(), &lease).await;
        self.facts.created_child_lease(began.elapsed(), created.is_ok());
        created.map(|_| ()).map_err(StoreError::Failed)
    }
}
