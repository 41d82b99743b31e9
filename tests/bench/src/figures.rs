//! The figures of a run, as they are kept in a file: numbers with their units in their names.

use serde::{Deserialize, Serialize};

use crate::cell::Pace;
use crate::latency::Rate;
use crate::load::{BYTES, KEYS, Retrieval};
use crate::machine::Machine;
use crate::producer::{Client, Layout, Target};
use crate::programs::Programs;
use crate::source::Sink;

/// Everything one run found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// What was called, without the names of files.
    pub(crate) command: String,
    pub(crate) machine: Machine,
    /// Version of the program that was measured.
    pub(crate) version: String,
    /// Version of the broker, where one was there and told it.
    pub(crate) broker_version: Option<String>,
    pub(crate) records: Records,
    /// Length of each measured window.
    pub(crate) window_s: u64,
    pub(crate) load: Vec<LoadSource>,
    pub(crate) flow: Vec<Flow>,
    pub(crate) idle: Vec<Idle>,
    #[serde(default)]
    pub(crate) producer: Vec<Produced>,
    #[serde(default)]
    pub(crate) latency: Vec<Latency>,
    pub(crate) goals: Vec<Goal>,
}

/// What a record looks like.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Records {
    pub(crate) bytes: usize,
    pub(crate) partition_keys: usize,
    /// In an event of a subscription.
    pub(crate) per_fan_out_event: usize,
    /// In an answer of GetRecords.
    pub(crate) per_polling_answer: usize,
}

/// The load source, read by a counter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LoadSource {
    pub(crate) retrieval: Retrieval,
    pub(crate) shards: u32,
    pub(crate) records_per_s: f64,
    pub(crate) cpu_s_per_million: f64,
}

/// The source under an endless backlog.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) sink: Sink,
    pub(crate) retrieval: Retrieval,
    pub(crate) shards: u32,
    pub(crate) records_per_s: f64,
    /// The source's own process.
    pub(crate) cpu_s_per_million: f64,
    pub(crate) load_cpu_s_per_million: f64,
    pub(crate) broker_cpu_s_per_million: Option<f64>,
    pub(crate) peak_memory_mib: f64,
    /// From the start of the process to the first acknowledged record of a new application.
    pub(crate) first_record_ms: f64,
    /// From SIGTERM to the end of the process, records flowing.
    pub(crate) stop_ms: f64,
    pub(crate) exit_code: Option<i32>,
}

/// The source on a stream in which nothing happens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) retrieval: Retrieval,
    pub(crate) shards: u32,
    /// Resident, program text included.
    pub(crate) memory_mib: f64,
    /// Of that, what no file stands behind.
    pub(crate) anonymous_memory_mib: f64,
    pub(crate) peak_memory_mib: f64,
    pub(crate) cpu_ms_per_s: f64,
    pub(crate) stop_ms: f64,
    pub(crate) exit_code: Option<i32>,
}

/// A producer alone, publishing as fast as it may.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Produced {
    pub(crate) target: Target,
    pub(crate) layout: Layout,
    pub(crate) client: Client,
    /// Counted by the broker.
    pub(crate) messages_per_s: f64,
    /// The client's own process.
    pub(crate) cpu_us_per_message: f64,
    pub(crate) broker_cpu_us_per_message: Option<f64>,
}

/// From an event of a subscription to the entry in the scripted broker's hands, records coming at a steady pace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) pace: Rate,
    pub(crate) shards: u32,
    /// In an event.
    pub(crate) per_event: usize,
    /// What was asked for.
    pub(crate) offered_per_s: u64,
    /// What came.
    pub(crate) records_per_s: f64,
    pub(crate) records_per_entry: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) most_ms: f64,
    /// The source's own process.
    pub(crate) cpu_s_per_million: f64,
}

/// A goal, what was found, and whether that reaches it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) unit: String,
    pub(crate) at_most: f64,
    /// The worst of the cells that the goal is about.
    pub(crate) found: f64,
    /// Of which cell.
    pub(crate) cell: String,
    pub(crate) reached: bool,
}

impl Produced {
    /// Of its cell.
    pub(crate) fn name(&self) -> String {
        format!("producer/{}/{}/{}", self.target.name(), self.layout.name(), self.client.name())
    }
}

impl Figures {
    /// What our own producer did in the same place as another one.
    pub(crate) fn ours_beside(&self, other: &Produced) -> Option<&Produced> {
        let beside = |ours: &&Produced| ours.client == Client::Ours && ours.target == other.target && ours.layout == other.layout;
        self.producer.iter().find(beside)
    }

    /// A run that begins.
    pub(crate) fn begin(command: String, programs: &Programs, pace: Pace) -> Self {
        Self {
            command,
            machine: Machine::here(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            broker_version: programs.broker.as_ref().and_then(|broker| broker.version()),
            records: Records {
                bytes: BYTES,
                partition_keys: KEYS,
                per_fan_out_event: Retrieval::FanOut.records_per_answer(),
                per_polling_answer: Retrieval::Polling.records_per_answer(),
            },
            window_s: pace.window.as_secs(),
            load: Vec::new(),
            flow: Vec::new(),
            idle: Vec::new(),
            producer: Vec::new(),
            latency: Vec::new(),
            goals: Vec::new(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run of two cells and an idle one, with known figures.
    pub(crate) fn figures() -> Figures {
        let flow = |shards: u32, cpu: f64| Flow {
            sink: Sink::Broker,
            retrieval: Retrieval::FanOut,
            shards,
            records_per_s: 123_456.7,
            cpu_s_per_million: cpu,
            load_cpu_s_per_million: 1.25,
            broker_cpu_s_per_million: Some(8.0),
            peak_memory_mib: 60.4,
            first_record_ms: 321.6,
            stop_ms: 45.4,
            exit_code: Some(0),
        };
        let produced = |client: Client, cpu_us_per_message: f64| Produced {
            target: Target::Scripted,
            layout: Layout::Lz4,
            client,
            messages_per_s: 1e6 / cpu_us_per_message,
            cpu_us_per_message,
            broker_cpu_us_per_message: Some(0.1),
        };
        Figures {
            command: "bench".to_owned(),
            machine: Machine::default(),
            version: "0.1.0".to_owned(),
            broker_version: Some("4.0.8".to_owned()),
            records: Records { bytes: 1024, partition_keys: 1000, per_fan_out_event: 1000, per_polling_answer: 10_000 },
            window_s: 10,
            load: vec![LoadSource { retrieval: Retrieval::FanOut, shards: 4, records_per_s: 400_000.0, cpu_s_per_million: 2.0 }],
            flow: vec![flow(1, 6.5), flow(4, 4.5)],
            idle: vec![Idle {
                retrieval: Retrieval::FanOut,
                shards: 4,
                memory_mib: 20.0,
                anonymous_memory_mib: 8.0,
                peak_memory_mib: 22.0,
                cpu_ms_per_s: 1.5,
                stop_ms: 12.0,
                exit_code: Some(0),
            }],
            producer: vec![produced(Client::Ours, 1.0), produced(Client::Crate, 2.0)],
            latency: vec![Latency {
                pace: Rate::Half,
                shards: 4,
                per_event: 100,
                offered_per_s: 50_000,
                records_per_s: 49_990.0,
                records_per_entry: 30.0,
                p50_ms: 0.8,
                p99_ms: 2.5,
                most_ms: 7.0,
                cpu_s_per_million: 3.0,
            }],
            goals: Vec::new(),
        }
    }
}
