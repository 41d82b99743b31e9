//! Whose table is this: another stream's, another connector's, or ours.

use super::take::{Scanner, SignOfLife};
use crate::config::{Application, InitialPosition};
use crate::ids::Checkpoint;
use crate::lease::{Lease, RowError, StreamMark, no_instant};
use connector_sdk::{Error, ErrorKind};
use std::time::Duration;
use tokio::time::Instant;

/// The table that the connector of Pulsar IO uses when no application name is given.
pub(crate) const LEGACY_TABLE: &str = "pulsar-kinesis";

/// The error when the default name would leave a table of the JVM connector behind.
pub(crate) fn legacy_table_exists(application: &Application) -> Error {
    Error::configuration(format!(
        "no `applicationName` is set, and there is a lease table `{LEGACY_TABLE}`, as the JVM connector makes, but none of the name `{}`",
        application.name
    ))
    .with_hint(format!(
        "set `applicationName` to `{LEGACY_TABLE}` to go on from its checkpoints, or to `{}` to begin anew at the initial position",
        application.name
    ))
}

/// Refuses rows whose owner this program cannot be: of several streams, or of another version of it.
pub(crate) fn check_unreadable(rows: &[RowError], table: &str) -> Result<(), Error> {
    for row in rows {
        let hint = match row {
            RowError::MultiStream { .. } => "give this source an `applicationName` of its own",
            RowError::UnknownVersion { .. } => "run the version that wrote it, or give this source an `applicationName` of its own",
            RowError::NoKey | RowError::Malformed { .. } => continue,
        };
        return Err(Error::configuration(format!("{row}, in table `{table}`")).with_hint(hint));
    }
    Ok(())
}

/// Refuses a table whose checkpoints belong to another stream.
pub(crate) fn check_stream(leases: &[Lease], stream: &StreamMark, table: &str) -> Result<(), Error> {
    let marks = leases.iter().filter_map(|lease| lease.pulsar_connect.as_ref().map(|attribute| (lease, &attribute.stream)));
    for (lease, mark) in marks {
        if mark.is_same_as(stream) {
            continue;
        }
        let what = if mark.arn == stream.arn {
            "an earlier stream of the same name, which was deleted and created again".to_owned()
        } else {
            format!("the stream `{}`", mark.arn)
        };
        return Err(Error::configuration(format!(
            "the checkpoint of `{}` in table `{table}` belongs to {what}, not to `{}`",
            lease.shard, stream.arn
        ))
        .with_hint("choose another `applicationName`, or delete the table to begin anew"));
    }
    Ok(())
}

/// Refuses a table with rows that begin at an instant nobody knows.
pub(crate) fn check_instants(leases: &[Lease], position: InitialPosition, table: &str) -> Result<(), Error> {
    if matches!(position, InitialPosition::AtTimestamp(_)) {
        return Ok(());
    }
    let without = |lease: &&Lease| {
        lease.checkpoint == Checkpoint::AtTimestamp && lease.pulsar_connect.as_ref().is_none_or(|attribute| attribute.start.is_none())
    };
    match leases.iter().find(without) {
        Some(lease) => Err(no_instant(&lease.shard, table)),
        None => Ok(()),
    }
}

/// Whether another connector works on the same table under the default application name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rivalry {
    /// Nobody else is alive here.
    Alone,
    /// Another identity's leases were not watched for long enough.
    Undecided,
    /// Another identity is alive, and the lowest lease is ours: it gives way.
    OursFirst(String),
    /// Another identity is alive and has the lowest lease: we give way.
    TheirsFirst(String),
}

/// Looks for another identity (`writer` is ours) among the owners of the leases.
pub(crate) fn rivalry(leases: &[Lease], writer: &str, scanner: &Scanner, failover: Duration, now: Instant) -> Rivalry {
    let mut lowest: Option<(&Lease, &str)> = None;
    let mut rival = None;
    let mut undecided = false;
    for lease in leases.iter().filter(|lease| lease.owner_is_writer() && !lease.is_finished()) {
        let Some(attribute) = &lease.pulsar_connect else { continue };
        let identity: &str = &attribute.writer;
        let alive = match scanner.sign_of_life(lease, failover, now) {
            SignOfLife::Alive => true,
            SignOfLife::Unknown => {
                undecided |= identity != writer;
                false
            }
            SignOfLife::Silent => false,
        };
        if alive && lowest.is_none_or(|(first, _)| lease.shard < first.shard) {
            lowest = Some((lease, identity));
        }
        if alive && identity != writer {
            rival = Some(identity);
        }
    }
    match (lowest, rival) {
        (Some((_, first)), Some(_)) if first != writer => Rivalry::TheirsFirst(first.to_owned()),
        (_, Some(rival)) => Rivalry::OursFirst(rival.to_owned()),
        (_, None) if undecided => Rivalry::Undecided,
        (_, None) => Rivalry::Alone,
    }
}

/// The error that ends the one that gives way.
pub(crate) fn gives_way(kind: ErrorKind, application: &Application, other: &str) -> Error {
    Error::new(
        kind,
        format!(
            "no `applicationName` is set, and the connector `{other}` already reads this stream as `{}`: each would get only a part of it",
            application.name
        ),
    )
    .with_hint("set an `applicationName` of its own to read everything, or the same one on both to share the stream on purpose")
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
