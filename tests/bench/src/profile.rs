//! What a record costs in instructions, function by function: the source with a null publisher, run by `valgrind --tool=callgrind`.
//!
//! Counts do not depend on who else uses the machine, as times do. What the kernel does for the process is not in them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::load::{Content, Load, Retrieval};
use crate::programs::Programs;
use crate::source::{Sink, Source};

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
    let mut source = Source::start_as(valgrind, &programs, folder.path(), &load, Sink::Null, arguments.retrieval)?;
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
    print!("{}", table(&annotated(&dump)?, records, arguments)?);
    Ok(())
}

fn control(source: &Source<'_>, what: &str) -> anyhow::Result<()> {
    let done =
        Command::new("callgrind_control").args([what, &source.id().to_string()]).output().context("cannot run `callgrind_control`")?;
    ensure!(done.status.success(), "`callgrind_control {what}` failed: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}

fn annotated(dump: &Path) -> anyhow::Result<String> {
    fs::metadata(dump).with_context(|| format!("callgrind wrote no `{}`", dump.display()))?;
    let done = Command::new("callgrind_annotate")
        .args(["--threshold=100", "--auto=no"])
        .arg(dump)
        .output()
        .context("cannot run `callgrind_annotate`")?;
    ensure!(done.status.success(), "`callgrind_annotate` failed: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The functions that cost most, each once, per record.
fn table(annotated: &str, records: f64, arguments: &Arguments) -> anyhow::Result<String> {
    let mut functions: Vec<(String, f64)> = Vec::new();
    let mut total = 0.0;
    for line in annotated.lines() {
        let Some((count, rest)) = counted(line) else { continue };
        if rest.contains("PROGRAM TOTALS") {
            total = count;
            continue;
        }
        let name = function(rest);
        match functions.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += count,
            None => functions.push((name.to_owned(), count)),
        }
    }
    ensure!(total > 0.0 && !functions.is_empty(), "callgrind counted nothing");
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
    for (name, count) in functions.iter().take(arguments.top) {
        text += &format!("{:>8.1}  {:>5.1}%  {name}\n", count / records, count / total * 100.0);
    }
    Ok(text)
}

/// The count at the beginning of a line, and what is behind it.
fn counted(line: &str) -> Option<(f64, &str)> {
    let (count, rest) = line.trim_start().split_once(' ')?;
    let digits = count.replace(',', "");
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?.map(|count| (count, rest))
}

/// The function of `(12.3%)  file:function [object]`.
fn function(rest: &str) -> &str {
    let rest = rest.split_once(')').map_or(rest, |(_, rest)| rest).trim();
    let rest = rest.rsplit_once(" [").map_or(rest, |(name, _)| name);
    // A path has single colons only behind it.
    let name = rest.split_once(':').map_or(rest, |(_, name)| name);
    name.strip_suffix("'2").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_of_a_function_are_added_up_and_divided_by_the_records() {
        let annotated = "Events shown: Ir\n\n3,000 (100.0%)  PROGRAM TOTALS\n\n\
            1,200 (40.0%)  /src/decode.rs:crate::decode::<impl Read>::body [/bin/bench]\n\
              800 (26.7%)  ???:memcpy [/lib/libc.so]\n  300 (10.0%)  /src/other.rs:crate::decode::<impl Read>::body [/bin/bench]\n";
        let arguments = Arguments { retrieval: Retrieval::Polling, shards: 1, records: 10, top: 2 };
        let text = table(annotated, 10.0, &arguments).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("null/polling/1: 300 instructions a record"), "{text}");
        assert_eq!(lines[3].split_whitespace().collect::<Vec<_>>(), ["150.0", "50.0%", "crate::decode::<impl", "Read>::body"]);
        assert_eq!(lines[4].split_whitespace().collect::<Vec<_>>(), ["80.0", "26.7%", "memcpy"]);
        assert!(table("nothing", 1.0, &arguments).is_err());
    }
}
