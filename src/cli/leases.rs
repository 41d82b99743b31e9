//! `pulsar-connect leases`: the lease table of a Kinesis source, once, as a table or as JSON. Reads only.

use super::source_flags::SourceFile;
use crate::config::{self, SecretsProvider, Surroundings};
use crate::registry::{self, LeaseListing, LeaseView, OurView};
use clap::Args;
use connector_sdk::Problem;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;

/// How long the table may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Columns of the table.
const COLUMNS: usize = 11;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: SourceFile,
    /// The leases as JSON
    #[arg(long)]
    json: bool,
    /// Class name of the secrets provider
    #[arg(long, value_name = "CLASS", alias = "secretsProviderClassName")]
    secrets_provider_classname: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let configs = match configs(arguments) {
        Ok(configs) => configs,
        Err(problems) => return super::complain(&config::report(&arguments.file.shown(), &problems), super::WRONG_CONFIGURATION),
    };
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return super::complain(&format!("pulsar-connect: threads cannot be started: {error}\n"), super::FAILED),
    };
    let listing = match runtime.block_on(async { timeout(PATIENCE, registry::leases(configs)).await }) {
        Ok(Ok(listing)) => listing,
        Ok(Err(error)) => return super::complain(&super::failure(&error), super::FAILED),
        Err(_) => {
            let text = format!("pulsar-connect: the lease table did not answer within {} s\n", PATIENCE.as_secs());
            return super::complain(&text, super::FAILED);
        }
    };
    if arguments.json {
        return match serde_json::to_string_pretty(&listing) {
            Ok(text) => super::print(&format!("{text}\n")),
            Err(error) => super::complain(&format!("pulsar-connect: the leases cannot be written as JSON: {error}\n"), super::FAILED),
        };
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    super::print(&table(&listing, now))
}

fn configs(arguments: &Arguments) -> Result<Value, Vec<Problem>> {
    let class = arguments.secrets_provider_classname.as_deref().unwrap_or_default();
    let secrets = SecretsProvider::named("--secrets-provider-classname", class).map_err(|problem| vec![problem])?;
    let document = config::read(arguments.file.path()).map_err(|problem| vec![problem])?;
    let connectors = registry::connectors();
    let (info, configs) =
        config::resolve_configs(document, Surroundings { connectors: &connectors, secrets, environment: &super::environment })?;
    if info.name != registry::WITH_LEASES {
        return Err(vec![Problem::new("archive", format!("the connector `{}` keeps no leases", info.name))]);
    }
    Ok(configs)
}

/// The listing as columns; `now` in milliseconds since the epoch.
fn table(listing: &LeaseListing, now: u64) -> String {
    const HEADER: [&str; COLUMNS] =
        ["SHARD", "OWNER", "CHECKPOINT", "EPOCH", "ORDINAL", "SENT", "PARENTS", "AGE", "COUNTER", "AT TIP", "TOPIC"];
    let mut rows: Vec<[String; COLUMNS]> = vec![HEADER.map(str::to_owned)];
    rows.extend(listing.leases.iter().map(|lease| row(lease, now)));
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    for trouble in &listing.unreadable {
        text.push_str(&format!("unreadable: {trouble}\n"));
    }
    if listing.leases.is_empty() {
        text.push_str("no leases\n");
    }
    text
}

fn row(lease: &LeaseView, now: u64) -> [String; COLUMNS] {
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let ours = lease.ours.as_ref();
    // How long ago the checkpoint, or the take, was stored: renewals between move only the counter.
    let stored = ours.and_then(|ours| ours.written_at).map(|at| age(now.saturating_sub(at)));
    let caught_up = ours.and_then(|ours| ours.caught_up_at).map(|at| format!("{} ago", age(now.saturating_sub(at))));
    [
        lease.shard.clone(),
        or_dash(lease.owner.clone().unwrap_or_default()),
        lease.checkpoint.clone(),
        or_dash(ours.map(|ours| ours.epoch.to_string()).unwrap_or_default()),
        or_dash(ours.and_then(|ours| ours.ordinal).map(|ordinal| ordinal.to_string()).unwrap_or_default()),
        or_dash(ours.map(sent).unwrap_or_default()),
        or_dash(lease.parents.join(" ")),
        or_dash(stored.unwrap_or_default()),
        lease.counter.to_string(),
        or_dash(caught_up.unwrap_or_default()),
        or_dash(ours.map(|ours| ours.topic.clone()).unwrap_or_default()),
    ]
}

/// What is known of what was sent beyond the checkpoint.
fn sent(ours: &OurView) -> String {
    match &ours.exact {
        _ if ours.clean => "clean".to_owned(),
        Some(exact) if exact.spent > 0 => format!("in doubt, {} spent", exact.spent),
        Some(_) => "in doubt".to_owned(),
        None => String::new(),
    }
}

/// Milliseconds in the largest unit that fits.
fn age(millis: u64) -> String {
    match millis / 1_000 {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
#[path = "leases_tests.rs"]
mod tests;
