//! An idle source: every lease held, every subscription open, the broker connected, and nothing to do.

use std::thread::sleep;

use anyhow::Context as _;

use crate::cell::Pace;
use crate::figures::Idle;
use crate::load::{Content, Load, Retrieval};
use crate::process::{cpu_seconds, memory};
use crate::programs::Programs;
use crate::source::{Destination, Source};

/// Measures it.
pub(crate) fn measure(programs: &Programs, pace: Pace, retrieval: Retrieval, shards: u32) -> anyhow::Result<Idle> {
    let folder = tempfile::tempdir().context("no folder for the run's files can be made")?;
    let load = Load::start(programs, folder.path(), Content::Empty, shards)?;
    let mut source = Source::start(programs, folder.path(), &load, Destination::Broker(programs.broker()?), retrieval)?;
    source.shows("pulsar_connect_partitions_held", f64::from(shards), "lease of each shard")?;
    let cpu_before = cpu_seconds(source.id())?;
    sleep(pace.idle);
    let cpu = cpu_seconds(source.id())? - cpu_before;
    let memory = memory(source.id())?;
    let ended = source.stop()?;
    Ok(Idle {
        retrieval,
        shards,
        memory_mib: memory.resident,
        anonymous_memory_mib: memory.anonymous,
        peak_memory_mib: memory.peak,
        cpu_ms_per_s: cpu / pace.idle.as_secs_f64() * 1e3,
        stop_ms: ended.took.as_secs_f64() * 1e3,
        exit_code: ended.code,
    })
}
