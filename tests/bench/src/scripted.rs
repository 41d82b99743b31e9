//! The scripted broker (`bench-broker`) as a process of its own, and what it tells.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use crate::http;
use crate::process::Process;
use crate::programs::Programs;

/// A running scripted broker.
pub(crate) struct Scripted {
    process: Process,
    url: String,
    figures: String,
}

/// What it says of itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Told {
    /// Messages acknowledged so far.
    pub(crate) messages: u64,
    pub(crate) entries: u64,
    pub(crate) late: Late,
}

/// How long ago messages were handed on when they came, in microseconds.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Late {
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) most: u64,
}

impl Scripted {
    /// Starts one; with `stamps` it times what comes.
    pub(crate) fn start(programs: &Programs, folder: &Path, stamps: bool) -> anyhow::Result<Self> {
        let mut command = Command::new(programs.beside("bench-broker")?);
        if stamps {
            command.arg("--stamps");
        }
        let mut process = Process::start("the scripted broker", &mut command, &folder.join("bench-broker.log"))?;
        let (figures, url) = process.wait_for("address", Duration::from_secs(20), |process| {
            let output = process.output();
            let (figures, rest) = output.strip_prefix("figures ")?.split_once("\nbroker ")?;
            Some((figures.to_owned(), rest.strip_suffix('\n')?.to_owned()))
        })?;
        Ok(Self { process, url, figures })
    }

    /// Its service URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has counted.
    pub(crate) fn told(&self) -> anyhow::Result<Told> {
        self.call("GET")
    }

    /// Forgets how late messages were; the counts go on.
    pub(crate) fn begin_anew(&self) -> anyhow::Result<()> {
        self.call("POST").map(drop)
    }

    fn call(&self, method: &str) -> anyhow::Result<Told> {
        let text = http::call(method, &self.figures, &[], b"")?;
        serde_json::from_str(&text).context("the scripted broker tells no figures")
    }
}
