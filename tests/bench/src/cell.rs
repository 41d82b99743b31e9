//! One cell of the table: a source of some kind on some number of shards, from its start to its end.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::figures::{Figures, Flow};
use crate::latency::{self, Rate, SHARDS};
use crate::load::{Content, Load, Retrieval};
use crate::process::{cpu_seconds, memory};
use crate::producer::{self, Client, Layout, Target};
use crate::programs::Programs;
use crate::scripted::Scripted;
use crate::source::{Destination, Sink, Source};
use crate::{drain, idle};

/// How long things are watched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// From the first record to the window: connections, caches and the broker's compiler come to rest.
    pub(crate) settle: Duration,
    /// The measured window.
    pub(crate) window: Duration,
    /// From the last lease to the look at an idle source's memory.
    pub(crate) idle: Duration,
    /// How long the broker is warmed up before the first cell.
    pub(crate) warm_up: Duration,
    /// From the first message of Java's producer to the window: its compiler comes to rest.
    pub(crate) java: Duration,
}

impl Pace {
    pub(crate) const FULL: Self = Self {
        settle: Duration::from_secs(2),
        window: Duration::from_secs(10),
        idle: Duration::from_secs(20),
        warm_up: Duration::from_secs(15),
        java: Duration::from_secs(10),
    };
    pub(crate) const QUICK: Self = Self {
        settle: Duration::from_secs(1),
        window: Duration::from_secs(3),
        idle: Duration::from_secs(5),
        warm_up: Duration::from_secs(3),
        java: Duration::from_secs(5),
    };
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    /// The load source, read by nothing but a counter.
    Load(Retrieval, u32),
    /// The source under an endless backlog.
    Flow(Sink, Retrieval, u32),
    /// The source on a stream in which nothing happens.
    Idle(Retrieval, u32),
    /// A producer without a source.
    Producer(Target, Layout, Client),
    /// What the source adds at a steady pace.
    Latency(Rate),
}

impl Cell {
    /// All cells, in the order of the table.
    pub(crate) fn all() -> Vec<Self> {
        let both = [Retrieval::FanOut, Retrieval::Polling];
        let mut cells: Vec<Self> = both.iter().map(|retrieval| Self::Load(*retrieval, 4)).collect();
        cells.push(Self::Flow(Sink::Scripted, Retrieval::FanOut, SHARDS));
        // Before a real broker has work: what it does behind its receipts, on the same cores, would be in the longest waits.
        cells.extend(Rate::ALL.map(Self::Latency));
        for sink in [Sink::Null, Sink::Broker] {
            for retrieval in both {
                cells.extend([1, 4, 16].map(|shards| Self::Flow(sink, retrieval, shards)));
            }
        }
        cells.extend(both.map(|retrieval| Self::Idle(retrieval, 4)));
        // The clients of a row take turns: what is compared is measured within the same minute.
        for target in [Target::Scripted, Target::Broker] {
            for layout in Layout::ALL {
                cells.extend(Client::ALL.map(|client| Self::Producer(target, layout, client)));
            }
        }
        cells
    }

    /// Its name, as `--only` takes it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Load(retrieval, shards) => format!("load/{}/{shards}", retrieval.name()),
            Self::Flow(sink, retrieval, shards) => format!("{}/{}/{shards}", sink.name(), retrieval.name()),
            Self::Idle(retrieval, shards) => format!("idle/{}/{shards}", retrieval.name()),
            Self::Producer(target, layout, client) => format!("producer/{}/{}/{}", target.name(), layout.name(), client.name()),
            Self::Latency(rate) => format!("latency/{}", rate.name()),
        }
    }

    /// Whether it has all parts of one of the wishes; all are wanted when none is named.
    pub(crate) fn is_wanted(&self, wishes: &[String]) -> bool {
        let name = self.name();
        let has = |part: &str| name.split('/').any(|own| own == part);
        wishes.is_empty() || wishes.iter().any(|wish| wish.split('/').all(has))
    }

    pub(crate) fn needs_broker(&self) -> bool {
        matches!(self, Self::Flow(Sink::Broker, ..) | Self::Idle(..) | Self::Producer(Target::Broker, ..))
    }

    /// Measures it and adds the figures.
    pub(crate) fn measure(&self, programs: &Programs, pace: Pace, figures: &mut Figures) -> anyhow::Result<()> {
        match *self {
            Self::Load(retrieval, shards) => figures.load.push(drain::measure(programs, pace, retrieval, shards)?),
            Self::Flow(sink, retrieval, shards) => figures.flow.push(flow(programs, pace, sink, retrieval, shards)?),
            Self::Idle(retrieval, shards) => figures.idle.push(idle::measure(programs, pace, retrieval, shards)?),
            Self::Producer(target, layout, client) => figures.producer.push(producer::measure(programs, pace, target, layout, client)?),
            Self::Latency(rate) => figures.latency.push(latency::measure(programs, pace, rate, figures)?),
        }
        Ok(())
    }
}

/// Runs the way of a record once, so that the first cell does not meet a broker that interprets its code.
pub(crate) fn warm_up(programs: &Programs, pace: Pace) -> anyhow::Result<()> {
    flow(programs, Pace { window: pace.warm_up, ..pace }, Sink::Broker, Retrieval::FanOut, 4)
        .map(drop)
        .context("the broker could not be warmed up")
}

/// What the processes had done at a moment.
struct Reading {
    at: Instant,
    records: f64,
    source: f64,
    load: f64,
    broker: Option<f64>,
}

impl Reading {
    fn take(broker: Option<u32>, source: &Source<'_>, load: &Load) -> anyhow::Result<Self> {
        // The page first: what rendering it costs is then outside of the window at its end, and inside at its beginning.
        let records = source.written()?;
        Ok(Self {
            at: Instant::now(),
            records,
            source: cpu_seconds(source.id())?,
            load: cpu_seconds(load.id())?,
            broker: broker.map(cpu_seconds).transpose()?,
        })
    }
}

pub(crate) fn flow(programs: &Programs, pace: Pace, sink: Sink, retrieval: Retrieval, shards: u32) -> anyhow::Result<Flow> {
    let folder = tempfile::tempdir().context("no folder for the run's files can be made")?;
    let load = Load::start(programs, folder.path(), Content::Endless(retrieval), shards)?;
    let scripted = (sink == Sink::Scripted).then(|| Scripted::start(programs, folder.path(), false)).transpose()?;
    let to = match &scripted {
        Some(scripted) => Destination::Scripted(scripted),
        None if sink == Sink::Broker => Destination::Broker(programs.broker()?),
        None => Destination::Null,
    };
    let broker = match to {
        Destination::Null => None,
        Destination::Broker(broker) => broker.pid,
        Destination::Scripted(scripted) => Some(scripted.id()),
    };
    let mut source = Source::start(programs, folder.path(), &load, to, retrieval)?;
    let first_record = source.first_record()?;
    sleep(pace.settle);
    let before = Reading::take(broker, &source, &load)?;
    sleep(pace.window);
    let after = Reading::take(broker, &source, &load)?;
    let memory = memory(source.id())?;
    let ended = source.stop()?;
    let records = after.records - before.records;
    anyhow::ensure!(records > 0.0, "no record came through in {} s", pace.window.as_secs());
    let per_million = |after: f64, before: f64| (after - before) / records * 1e6;
    Ok(Flow {
        sink,
        retrieval,
        shards,
        records_per_s: records / after.at.duration_since(before.at).as_secs_f64(),
        cpu_s_per_million: per_million(after.source, before.source),
        load_cpu_s_per_million: per_million(after.load, before.load),
        broker_cpu_s_per_million: after.broker.zip(before.broker).map(|(after, before)| per_million(after, before)),
        peak_memory_mib: memory.peak,
        first_record_ms: first_record.as_secs_f64() * 1e3,
        stop_ms: ended.took.as_secs_f64() * 1e3,
        exit_code: ended.code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_names_parts_and_not_letters() {
        let wanted = |wishes: &[&str]| {
            let wishes: Vec<String> = wishes.iter().map(|wish| (*wish).to_owned()).collect();
            Cell::all().iter().filter(|cell| cell.is_wanted(&wishes)).map(Cell::name).collect::<Vec<_>>()
        };
        assert_eq!(wanted(&["null/1"]), ["null/fan-out/1", "null/polling/1"]);
        assert_eq!(wanted(&["broker/fan-out/16", "idle/polling"]), ["broker/fan-out/16", "idle/polling/4"]);
        assert_eq!(wanted(&["producer/crate/lz4"]), ["producer/scripted/lz4/crate", "producer/broker/lz4/crate"]);
        assert_eq!(wanted(&[]).len(), 37);
        assert!(wanted(&["nul"]).is_empty());
    }
}
