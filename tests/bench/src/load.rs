//! The load source: `local-aws` as a process of its own, with a canned stream or an empty one.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use crate::http;
use crate::process::Process;
use crate::programs::Programs;

/// Name of the stream.
pub(crate) const STREAM: &str = "bench";
/// Payload of a record in bytes.
pub(crate) const BYTES: usize = 1024;
/// Different partition keys.
pub(crate) const KEYS: usize = 1000;

/// How shards are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Retrieval {
    FanOut,
    Polling,
}

impl Retrieval {
    /// The kind with this name, as a command line takes it.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let known = [Self::FanOut, Self::Polling];
        known.into_iter().find(|kind| kind.name() == name).ok_or_else(|| "neither `fan-out` nor `polling`".to_owned())
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FanOut => "fan-out",
            Self::Polling => "polling",
        }
    }

    /// Records of one answer: an event of 1 MiB, and a GetRecords answer as full as the service gives it to a consumer that is behind.
    pub(crate) fn records_per_answer(self) -> usize {
        match self {
            Self::FanOut => 1_000,
            Self::Polling => 10_000,
        }
    }
}

/// What the stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Records without end, made up.
    Endless(Retrieval),
    /// Records at a steady pace, so many a second and so many in an event, each with a stamp.
    Paced { records_per_s: u64, per_event: usize },
    /// Nothing.
    Empty,
}

/// A running load source with one stream.
#[derive(Debug)]
pub(crate) struct Load {
    process: Process,
    url: String,
}

impl Load {
    /// Starts it.
    pub(crate) fn start(programs: &Programs, folder: &Path, content: Content, shards: u32) -> anyhow::Result<Self> {
        let mut command = Command::new(&programs.local_aws);
        command.args(["--port", "0", "--no-limits"]).env("RUST_LOG", "warn");
        if content == Content::Empty {
            command.args(["--create-stream", &format!("{STREAM}:{shards}")]);
        }
        let mut process = Process::start("local-aws", &mut command, &folder.join("local-aws.log"))?;
        let url = process.wait_for("address", Duration::from_secs(20), |process| {
            let output = process.output();
            let address = output.lines().find_map(|line| line.strip_prefix("local-aws listens on "))?;
            // The line may be half written.
            output.contains("\n  kinesis").then(|| address.trim().to_owned())
        })?;
        let canned = match content {
            Content::Endless(retrieval) => Some(json!({ "recordsPerAnswer": retrieval.records_per_answer() })),
            Content::Paced { records_per_s, per_event } => {
                Some(json!({ "recordsPerAnswer": per_event, "recordsPerSecond": records_per_s }))
            }
            Content::Empty => None,
        };
        if let Some(mut canned) = canned {
            canned["stream"] = STREAM.into();
            canned["shards"] = shards.into();
            canned["bytes"] = BYTES.into();
            let canned = json!({ "canned": canned });
            http::call("POST", &format!("{url}/_control"), &[], canned.to_string().as_bytes()).context("the canned stream was not made")?;
        }
        Ok(Self { process, url })
    }

    /// Where its services answer.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}
