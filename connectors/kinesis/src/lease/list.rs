//! The lease table as a person wants to see it. Reads only, once.

use super::attribute::{PulsarConnect, StartMoment};
use super::exact::{Exact, parts_of_number};
use super::row::Lease;
use super::table::{LeaseTable, TableRow};
use crate::config::MessageKeyMode;
use connector_sdk::{Covered, Error};
use serde::Serialize;
use std::collections::BTreeMap;

/// All leases of a table, by shard.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseListing {
    /// The leases.
    pub leases: Vec<LeaseView>,
    /// Rows that should be leases and cannot be read, in sentences.
    pub unreadable: Vec<String>,
}

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseView {
    /// The shard.
    pub shard: String,
    /// The worker that holds it, or held it last.
    pub owner: Option<String>,
    /// How far it came: `sequence/sub-sequence`, or a sentinel.
    pub checkpoint: String,
    /// The shard's parents.
    pub parents: Vec<String>,
    /// The shard's children.
    pub children: Vec<String>,
    /// Moves with each write: look twice to see whether the lease is alive.
    pub counter: u64,
    /// Changes of owner since the last checkpoint.
    pub owner_switches: u64,
    /// The hash keys it covers, lowest and highest.
    pub hash_range: Option<(String, String)>,
    /// What this program knows beyond the KCL; none where only Java wrote the row.
    #[serde(flatten)]
    pub ours: Option<OurView>,
}

/// What only this program writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OurView {
    /// tenant/namespace/name of the last writer.
    pub identity: String,
    /// Where its records go.
    pub topic: String,
    /// Which counting of records.
    pub epoch: u64,
    /// The ordinal of the checkpointed record.
    pub ordinal: Option<u64>,
    /// What LATEST or AT_TIMESTAMP stands for, in milliseconds since the epoch.
    pub start: Option<StartMoment>,
    /// When progress was last stored, by its writer's clock, in milliseconds since the epoch.
    pub written_at: Option<u64>,
    /// When the reader was last at the tip with everything settled, in milliseconds since the epoch.
    pub caught_up_at: Option<u64>,
    /// Whether nothing was sent beyond the checkpoint. Else, in EFFECTIVELY_ONCE, what may have been sent beyond it is in doubt: it is
    /// sent again under the same numbers.
    pub clean: bool,
    /// What EFFECTIVELY_ONCE goes by; none under another guarantee.
    pub exact: Option<ExactView>,
}

/// What EFFECTIVELY_ONCE goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExactView {
    /// Partitions of the topic that records are routed over; 0: it is not partitioned.
    pub partitions: u32,
    /// The hash that chooses a key's partition.
    pub hashing: String,
    /// What the key is.
    pub key_mode: MessageKeyMode,
    /// The highest number that the checkpoint covers, by partition of the topic.
    pub last_numbers: BTreeMap<u32, LastNumber>,
    /// How many numbers beyond the checkpoint must not be sent under the producer's own name.
    pub spent: usize,
    /// No send that the checkpoint does not cover is older than this, in milliseconds since the epoch.
    pub uncovered_since: u64,
}

/// The newest of one partition of the topic that the checkpoint covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastNumber {
    /// The sequence id at the broker: `ordinal << 24 | index`; 0 where none was sent there.
    pub sequence_id: u64,
    /// The ordinal of its Kinesis record in the shard.
    pub ordinal: u64,
    /// The index of what came out of that record.
    pub index: u64,
    /// `ledger:entry` of the newest message, where it is known.
    pub message: Option<String>,
}

/// Lists the leases of a table.
///
/// # Errors
/// Those of the table.
pub async fn list_leases(table: &dyn LeaseTable) -> Result<LeaseListing, Error> {
    let mut listing = LeaseListing { leases: Vec::new(), unreadable: Vec::new() };
    for row in table.scan().await? {
        match row {
            TableRow::Lease(lease) => listing.leases.push(LeaseView::of(&lease)),
            TableRow::Other(_) => {}
            TableRow::Unreadable(error) => listing.unreadable.push(error.to_string()),
        }
    }
    listing.leases.sort_by(|one, other| one.shard.cmp(&other.shard));
    Ok(listing)
}

impl LeaseView {
    fn of(lease: &Lease) -> Self {
        Self {
            shard: lease.shard.to_string(),
            owner: lease.owner.as_ref().map(ToString::to_string),
            checkpoint: lease.checkpoint.to_string(),
            parents: lease.parents.iter().map(ToString::to_string).collect(),
            children: lease.children.iter().map(ToString::to_string).collect(),
            counter: lease.counter,
            owner_switches: lease.owner_switches,
            hash_range: lease.range.map(|range| (range.start.to_string(), range.end.to_string())),
            ours: lease.pulsar_connect.as_ref().map(OurView::of),
        }
    }
}

impl OurView {
    fn of(attribute: &PulsarConnect) -> Self {
        Self {
            identity: attribute.writer.to_string(),
            topic: attribute.topic.to_string(),
            epoch: attribute.epoch,
            ordinal: attribute.ordinal(),
            start: attribute.start,
            written_at: attribute.written_at,
            caught_up_at: attribute.caught_up_at,
            clean: attribute.clean,
            exact: attribute.exact.as_ref().map(ExactView::of),
        }
    }
}

impl ExactView {
    fn of(exact: &Exact) -> Self {
        Self {
            partitions: exact.partitions,
            hashing: exact.hashing.to_string(),
            key_mode: exact.key_mode,
            last_numbers: exact.covered.iter().map(|(partition, covered)| (*partition, LastNumber::of(covered))).collect(),
            spent: exact.spent.len(),
            uncovered_since: exact.uncovered_since,
        }
    }
}

impl LastNumber {
    fn of(covered: &Covered) -> Self {
        let (ordinal, index) = parts_of_number(covered.number);
        Self { sequence_id: covered.number, ordinal, index, message: covered.message.map(|message| message.to_string()) }
    }
}
