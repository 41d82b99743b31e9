//! A producer alone: ours, the crate `pulsar` or Java's, each a process of its own, into a broker that only acknowledges or a real one.
//!
//! All of them publish the same payloads as fast as they may, with the same bounds of a batch. Messages are counted by the broker, CPU
//! time by the kernel: no client measures itself.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cell::Pace;
use crate::figures::Produced;
use crate::http;
use crate::load::BYTES;
use crate::process::{Process, cpu_seconds};
use crate::programs::{Broker, Programs};
use crate::scripted::Scripted;
use crate::source::{NAMESPACE, remove_topic};

/// Different payloads, more than a window of LZ4 holds.
const PAYLOADS: usize = 1_000;
/// How long a client may take to its first message; Java's needs some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Client {
    /// The product's.
    Ours,
    /// The crate `pulsar`.
    Crate,
    /// Java's, by `pulsar-perf produce`.
    Java,
}

impl Client {
    pub(crate) const ALL: [Self; 3] = [Self::Ours, Self::Crate, Self::Java];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Crate => "crate",
            Self::Java => "java",
        }
    }
}

/// How messages become entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Layout {
    /// Batches, compressed.
    Lz4,
    /// Batches as they are.
    None,
    /// An entry for each message, as it is.
    Unbatched,
}

impl Layout {
    pub(crate) const ALL: [Self; 3] = [Self::Lz4, Self::None, Self::Unbatched];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::None => "none",
            Self::Unbatched => "unbatched",
        }
    }

    fn compression(self) -> &'static str {
        if self == Self::Lz4 { "LZ4" } else { "NONE" }
    }
}

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Target {
    /// The broker that only acknowledges.
    Scripted,
    /// A real Pulsar broker.
    Broker,
}

impl Target {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scripted => "scripted",
            Self::Broker => "broker",
        }
    }
}

/// The broker at the other end.
enum Peer<'a> {
    Scripted(Scripted),
    Broker(&'a Broker),
}

impl Peer<'_> {
    fn url(&self) -> &str {
        match self {
            Self::Scripted(scripted) => scripted.url(),
            Self::Broker(broker) => &broker.service_url,
        }
    }

    fn pid(&self) -> Option<u32> {
        match self {
            Self::Scripted(scripted) => Some(scripted.id()),
            Self::Broker(broker) => broker.pid,
        }
    }

    /// Messages that came.
    fn messages(&self, topic: &str) -> anyhow::Result<f64> {
        match self {
            Self::Scripted(scripted) => Ok(scripted.told()?.messages as f64),
            Self::Broker(broker) => {
                let admin = broker.admin_url.as_ref().context("messages are counted by the broker: `PULSAR_ADMIN_URL` is needed")?;
                let stats = http::call("GET", &format!("{admin}/admin/v2/{NAMESPACE}/{topic}/stats"), &[], b"")?;
                let stats: Value = serde_json::from_str(&stats).context("the topic's statistics are no JSON")?;
                stats["msgInCounter"].as_f64().context("the topic's statistics count no messages")
            }
        }
    }
}

/// What had been done at a moment.
struct Reading {
    at: Instant,
    messages: f64,
    client: f64,
    broker: Option<f64>,
}

impl Reading {
    fn take(process: &Process, peer: &Peer<'_>, topic: &str) -> anyhow::Result<Self> {
        Ok(Self {
            messages: peer.messages(topic)?,
            at: Instant::now(),
            client: cpu_seconds(process.id())?,
            broker: peer.pid().map(cpu_seconds).transpose()?,
        })
    }
}

/// Measures one client.
pub(crate) fn measure(programs: &Programs, pace: Pace, target: Target, layout: Layout, client: Client) -> anyhow::Result<Produced> {
    let folder = tempfile::tempdir().context("no folder for the run's files can be made")?;
    let payloads = payloads(folder.path())?;
    let peer = match target {
        Target::Scripted => Peer::Scripted(Scripted::start(programs, folder.path(), false)?),
        Target::Broker => Peer::Broker(programs.broker()?),
    };
    let topic = format!("bench-{}-{}-{}", std::process::id(), layout.name(), client.name());
    let mut command = command(programs, client, layout, peer.url(), &topic, &payloads, folder.path())?;
    let mut process = Process::start(client.name(), &mut command, &folder.path().join("client.log"))?;
    process.wait_for("message", PATIENCE, |_| peer.messages(&topic).is_ok_and(|messages| messages > 0.0).then_some(()))?;
    sleep(if client == Client::Java { pace.java } else { pace.settle });
    let before = Reading::take(&process, &peer, &topic)?;
    sleep(pace.window);
    let after = Reading::take(&process, &peer, &topic)?;
    drop(process);
    if let Peer::Broker(broker) = &peer {
        remove_topic(broker, &topic);
    }
    let messages = after.messages - before.messages;
    anyhow::ensure!(messages > 0.0, "no message came in {} s", pace.window.as_secs());
    let micros = |after: f64, before: f64| (after - before) / messages * 1e6;
    Ok(Produced {
        target,
        layout,
        client,
        messages_per_s: messages / after.at.duration_since(before.at).as_secs_f64(),
        cpu_us_per_message: micros(after.client, before.client),
        broker_cpu_us_per_message: after.broker.zip(before.broker).map(|(after, before)| micros(after, before)),
    })
}

/// A file of payloads: lines of random letters.
fn payloads(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("payloads");
    let mut random = fastrand::Rng::with_seed(1);
    let mut text = Vec::with_capacity(PAYLOADS * (BYTES + 1));
    for _ in 0..PAYLOADS {
        text.extend((0..BYTES).map(|_| random.alphabetic() as u8));
        text.push(b'\n');
    }
    std::fs::File::create(&path)
        .and_then(|mut file| file.write_all(&text))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}

fn command(
    programs: &Programs,
    client: Client,
    layout: Layout,
    url: &str,
    topic: &str,
    payloads: &Path,
    folder: &Path,
) -> anyhow::Result<Command> {
    let topic = format!("persistent://public/default/{topic}");
    let program = match client {
        Client::Ours => programs.beside("bench-publish")?,
        Client::Crate => programs.beside("bench-crate-pulsar")?,
        Client::Java => {
            let mut command = Command::new(programs.pulsar_perf()?);
            command.args(["produce", "--service-url", url, "--rate", "100000000", "--max-outstanding", "50000"]);
            command.args(["--payload-file".as_ref(), payloads.as_os_str()]);
            command.args(["--compression", layout.compression()]);
            match layout {
                Layout::Unbatched => command.arg("--disable-batching"),
                // The bounds that the other two have by themselves.
                _ => command.args(["--batch-max-bytes", "131072", "--batch-max-messages", "1000", "--batch-time-window", "10"]),
            };
            command.arg(&topic).env("PULSAR_LOG_DIR", folder);
            return Ok(command);
        }
    };
    let mut command = Command::new(program);
    command.args([url, &topic]).arg(payloads).args(["--compression", layout.compression()]);
    if layout == Layout::Unbatched {
        command.arg("--unbatched");
    }
    Ok(command)
}
