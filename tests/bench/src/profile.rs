//! What a record costs in instructions, function by function: the source with a null publisher, run by `valgrind --tool=callgrind`.
//!
//! Counts do not depend on who else uses the machine, as times do. What the kernel does for the process is not in them.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::load::{Content, Load, Retrieval};
use crate::programs::Programs;
use crate::source::{Destination, Source};

/// Under callgrind everything takes fifty times as long.
const PATIENCE: Duration = Duration::from_secs(600);
const WRITTEN: &str = "pulsar_source_written_total";

/// What is counted.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How shards are read: `fan-out` or `polling`.
    #[arg(long, default_value = "fan-out", value_parser = Retrieval::parse)]
    retrieval: Retrieval,
    /// Shards of the stream.
    #[arg(long, default_value_t = 4)]
    shards: u32,
    /// Records that are let by before counting begins, and records that are counted.
    #[arg(long, default_value_t = 100_000)]
    records: u32,
    /// Functions that are printed.
    #[arg(long, default_value_t = 25)]
    top: usize,
}

/// Runs the source and prints what a record cost.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let programs = Programs::find(false)?;
    let folder = tempfile::tempdir().context("no folder for the run's files can be made")?;
    let load = Load::start(&programs, folder.path(), Content::Endless(arguments.retrieval), arguments.shards)?;
    let counts = folder.path().join("counts");
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", counts.display())).arg(&programs.bench);
    let mut source = Source::start_as(valgrind, folder.path(), &load, Destination::Null, arguments.retrieval)?;
    let window = f64::from(arguments.records);
    source.shows_within(PATIENCE, WRITTEN, window, "records to warm up with (is `valgrind` installed?)")?;
    // Each count of records is taken just before that of instructions: what passes in between is the same on both sides.
    let before = source.written()?;
    control(&source, "--zero")?;
    source.shows_within(PATIENCE, WRITTEN, before + window, "records to count")?;
    let after = source.written()?;
    control(&source, "--dump")?;
    source.stop()?;
    let records = after - before;
    let dump = folder.path().join("counts.1");
    let dump = fs::read_to_string(&dump).with_context(|| format!("callgrind wrote no `{}`", dump.display()))?;
    print!("{}", table(&dump, records, arguments)?);
    Ok(())
}

fn control(source: &Source<'_>, what: &str) -> anyhow::Result<()> {
    let done =
        Command::new("callgrind_control").args([what, &source.id().to_string()]).output().context("cannot run `callgrind_control`")?;
    ensure!(done.status.success(), "`callgrind_control {what}` failed: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}

/// What each function cost by itself, without those it called, in callgrind's own form: `fn=(number) name`, then lines of place and
/// cost. (The tool that prints it counts calls that were under way when counting began as cost of their callers.)
fn own_costs(dump: &str) -> HashMap<&str, f64> {
    let mut names = HashMap::new();
    let mut costs = HashMap::new();
    let (mut current, mut is_call) = ("", false);
    for line in dump.lines() {
        if let Some((number, name)) = ["fn=", "cfn="].iter().find_map(|kind| line.strip_prefix(kind)).and_then(named) {
            let name = if name.is_empty() { names.get(number).copied().unwrap_or(number) } else { name };
            names.insert(number, name);
            if line.starts_with("fn=") {
                current = name.strip_suffix("'2").unwrap_or(name);
            }
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split_whitespace().nth(1).and_then(|cost| cost.parse::<f64>().ok()).unwrap_or_default();
            if !std::mem::take(&mut is_call) {
                *costs.entry(current).or_default() += cost;
            }
        }
    }
    costs
}

/// The number and the name of `(number) name`; the name is there once.
fn named(text: &str) -> Option<(&str, &str)> {
    let (number, name) = text.strip_prefix('(')?.split_once(')')?;
    Some((number, name.trim()))
}

/// The functions that cost most, per record.
fn table(dump: &str, records: f64, arguments: &Arguments) -> anyhow::Result<String> {
    let mut functions: Vec<(&str, f64)> = own_costs(dump).into_iter().collect();
    let total: f64 = functions.iter().map(|(_, cost)| cost).sum();
    ensure!(total > 0.0, "callgrind counted nothing");
    functions.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let mut text = format!(
        "null/{}/{}: {:.0} instructions a record, over {records} records of {} bytes\n\n{:>8}  {:>6}  function\n",
        arguments.retrieval.name(),
        arguments.shards,
        total / records,
        crate::load::BYTES,
        "each",
        "share"
    );
    for (name, cost) in functions.iter().take(arguments.top) {
        text += &format!("{:>8.1}  {:>5.1}%  {name}\n", cost / records, cost / total * 100.0);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_functions_own_cost_is_added_up_and_divided_by_the_records() {
        let dump = "events: Ir\n\nfl=(1) a.rs\nfn=(1) read\n10 1000\n+2 200\ncfn=(2) copy\ncalls=3 20\n11 800\n\n\
            fn=(2)\n20 800\n\nfn=(3) read'2\n* 300\ntotals: 2300\n";
        let arguments = Arguments { retrieval: Retrieval::Polling, shards: 1, records: 10, top: 2 };
        let text = table(dump, 10.0, &arguments).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(text.starts_with("null/polling/1: 230 instructions a record"), "{text}");
        assert_eq!((&lines[3][..], &lines[4][..]), (&["150.0", "65.2%", "read"][..], &["80.0", "34.8%", "copy"][..]));
        assert!(table("nothing", 1.0, &arguments).is_err());
    }
}
