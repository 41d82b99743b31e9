//! What the source adds: from the moment `local-aws` writes an event of a subscription to the moment the scripted broker has read the
//! entry that carries its records, at a steady pace.
//!
//! Both ends read the same machine's clock, outside of the source: the first stamps each payload, the second reads the stamps. The
//! simulator's sending and the scripted broker's reading are in it; nothing in the measured program is.

use std::thread::sleep;
use std::time::Instant;

use anyhow::Context as _;

use crate::cell::{self, Pace};
use crate::figures::{Figures, Flow, Latency};
use crate::load::{Content, Load, Retrieval};
use crate::process::cpu_seconds;
use crate::programs::Programs;
use crate::scripted::Scripted;
use crate::source::{Destination, Sink, Source};

/// Shards of the stream.
pub(crate) const SHARDS: u32 = 4;

/// How many records come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rate {
    /// 2,000 a second, of each shard 10 every 20 ms.
    Steady,
    /// Half of what goes through under an endless backlog, in events of 100.
    Half,
}

impl Rate {
    pub(crate) const ALL: [Self; 2] = [Self::Steady, Self::Half];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Half => "half",
        }
    }
}

/// Measures it. The full load is taken from the figures, or measured when they do not have it.
pub(crate) fn measure(programs: &Programs, pace: Pace, rate: Rate, figures: &Figures) -> anyhow::Result<Latency> {
    let (offered_per_s, per_event) = match rate {
        Rate::Steady => (2_000, 10),
        Rate::Half => ((full(programs, pace, figures)? / 2.0) as u64, 100),
    };
    let folder = tempfile::tempdir().context("no folder for the run's files can be made")?;
    let load = Load::start(programs, folder.path(), Content::Paced { records_per_s: offered_per_s, per_event }, SHARDS)?;
    let scripted = Scripted::start(programs, folder.path(), true)?;
    let mut source = Source::start(programs, folder.path(), &load, Destination::Scripted(&scripted), Retrieval::FanOut)?;
    source.first_record()?;
    sleep(pace.settle);
    // What had arrived before the source was there has waited for it, and is not meant.
    scripted.begin_anew()?;
    let (before, began, cpu) = (scripted.told()?, Instant::now(), cpu_seconds(source.id())?);
    sleep(pace.window);
    let (after, took, cpu) = (scripted.told()?, began.elapsed(), cpu_seconds(source.id())? - cpu);
    source.stop()?;
    let records = (after.messages - before.messages) as f64;
    anyhow::ensure!(records > 0.0 && after.late.count > 0, "no record came through in {} s", pace.window.as_secs());
    let milliseconds = |micros: u64| micros as f64 / 1e3;
    Ok(Latency {
        pace: rate,
        shards: SHARDS,
        per_event,
        offered_per_s,
        records_per_s: records / took.as_secs_f64(),
        records_per_entry: records / (after.entries - before.entries).max(1) as f64,
        p50_ms: milliseconds(after.late.p50),
        p99_ms: milliseconds(after.late.p99),
        most_ms: milliseconds(after.late.most),
        cpu_s_per_million: cpu / records * 1e6,
    })
}

/// Records a second under an endless backlog, into the same scripted broker.
fn full(programs: &Programs, pace: Pace, figures: &Figures) -> anyhow::Result<f64> {
    let is_it = |flow: &&Flow| flow.sink == Sink::Scripted && flow.retrieval == Retrieval::FanOut && flow.shards == SHARDS;
    match figures.flow.iter().find(is_it) {
        Some(flow) => Ok(flow.records_per_s),
        None => Ok(cell::flow(programs, pace, Sink::Scripted, Retrieval::FanOut, SHARDS)?.records_per_s),
    }
}
