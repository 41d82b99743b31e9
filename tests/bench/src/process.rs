//! A measured process: started with its output in a file, asked for what the kernel knows of it, stopped, and killed when dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// The kernel's clock ticks a second, as Linux tells them to programs, on every architecture.
const TICKS: f64 = 100.0;
/// How often something awaited is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(2);
/// Lines of its output that an error shows.
const TAIL: usize = 15;

/// A child process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    output: PathBuf,
    started: Instant,
}

/// How a process ended after it was asked to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) took: Duration,
    /// Absent when a signal ended it.
    pub(crate) code: Option<i32>,
}

impl Process {
    /// Starts `command`; all its output goes to `output`.
    pub(crate) fn start(name: &str, command: &mut Command, output: &Path) -> anyhow::Result<Self> {
        let file = File::create(output).with_context(|| format!("cannot write `{}`", output.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name: name.to_owned(), output: output.to_owned(), started })
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it wrote.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Looks until there is something to see; an error when the process ends first or time runs out.
    pub(crate) fn wait_for<T>(&mut self, what: &str, within: Duration, mut look: impl FnMut(&Self) -> Option<T>) -> anyhow::Result<T> {
        let began = Instant::now();
        loop {
            if let Some(seen) = look(self) {
                return Ok(seen);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before {what}; it wrote:\n{}", self.name, self.tail());
            }
            if began.elapsed() > within {
                bail!("{} showed no {what} within {} s; it wrote:\n{}", self.name, within.as_secs(), self.tail());
            }
            sleep(LOOK);
        }
    }

    /// SIGTERM, and how long it took to end.
    pub(crate) fn stop(mut self, within: Duration) -> anyhow::Result<Ended> {
        let began = Instant::now();
        let sent = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().context("cannot run `kill`")?;
        anyhow::ensure!(sent.success(), "SIGTERM could not be sent to {}: it is gone; it wrote:\n{}", self.name, self.tail());
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Ended { took: began.elapsed(), code: status.code() });
            }
            if began.elapsed() > within {
                bail!("{} did not end within {} s of SIGTERM; it wrote:\n{}", self.name, within.as_secs(), self.tail());
            }
            sleep(LOOK);
        }
    }

    fn tail(&self) -> String {
        let text = self.output();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// User and system time of a process, all its threads together, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    parse_cpu(&text).with_context(|| format!("the kernel's line about process {pid} cannot be read"))
}

fn parse_cpu(stat: &str) -> Option<f64> {
    // The name stands in brackets and may itself hold anything; the 12th and 13th fields after it are the times.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS)
}

/// What a process holds in memory, in MiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) resident: f64,
    /// Of that, what is not backed by a file.
    pub(crate) anonymous: f64,
    /// The most it ever was.
    pub(crate) peak: f64,
}

/// A process's memory.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} is gone"))?;
    parse_memory(&text).with_context(|| format!("the kernel does not tell the memory of process {pid}"))
}

fn parse_memory(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
        Some(kib / 1024.0)
    };
    Some(Memory { resident: field("VmRSS:")?, anonymous: field("RssAnon:")?, peak: field("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cpu_time_is_read_past_any_name() {
        let stat = "42 (a ) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 7 8 20 0 5 0 100 1 1";
        assert_eq!(parse_cpu(stat).unwrap(), 2.0);
        assert!(parse_cpu("42 (short) S 1").is_none());
    }

    #[test]
    fn memory_is_in_mebibytes() {
        let read = parse_memory("VmPeak:\t 9 kB\nVmHWM:\t  20480 kB\nVmRSS:\t  10240 kB\nRssAnon:\t    5120 kB\n").unwrap();
        assert_eq!((read.resident, read.anonymous, read.peak), (10.0, 5.0, 20.0));
    }

    #[test]
    fn a_process_that_ends_early_is_told_with_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such stream; exit 3"]);
        let mut process = Process::start("the source", &mut command, &folder.path().join("log")).unwrap();
        let error = process.wait_for("first record", Duration::from_secs(20), |_| None::<()>).unwrap_err().to_string();
        assert!(error.contains("no such stream") && error.contains("before first record"), "{error}");
    }

    #[test]
    fn a_stop_tells_the_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done"]);
        let mut process = Process::start("the source", &mut command, &folder.path().join("log")).unwrap();
        process.wait_for("a word", Duration::from_secs(20), |process| process.output().contains("ready").then_some(())).unwrap();
        assert_eq!(process.stop(Duration::from_secs(20)).unwrap().code, Some(3));
    }
}
