//! The source as a process of its own: into the broker (the product's binary) or into nothing (this program's).

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use crate::http;
use crate::load::{Load, Retrieval, STREAM};
use crate::process::{Ended, Process};
use crate::programs::{Broker, Programs};
use crate::scripted::Scripted;

/// How long anything may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the topics are, as the admin API writes it.
pub(crate) const NAMESPACE: &str = "persistent/public/default";

/// Where the records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sink {
    /// Acknowledged at once.
    Null,
    /// A real Pulsar broker.
    Broker,
    /// A broker that only acknowledges.
    Scripted,
}

impl Sink {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Broker => "broker",
            Self::Scripted => "scripted",
        }
    }
}

/// Where a source's records go.
#[derive(Clone, Copy)]
pub(crate) enum Destination<'a> {
    Null,
    Broker(&'a Broker),
    Scripted(&'a Scripted),
}

/// A running source.
pub(crate) struct Source<'a> {
    process: Process,
    page: String,
    topic: Option<(&'a Broker, String)>,
}

impl<'a> Source<'a> {
    /// Starts it as a new application: its lease table, its fan-out consumer and its topic do not exist.
    pub(crate) fn start(
        programs: &'a Programs,
        folder: &Path,
        load: &Load,
        to: Destination<'a>,
        retrieval: Retrieval,
    ) -> anyhow::Result<Self> {
        let program = match to {
            Destination::Null => &programs.bench,
            Destination::Broker(_) | Destination::Scripted(_) => &programs.pulsar_connect,
        };
        Self::start_as(Command::new(program), folder, load, to, retrieval)
    }

    /// The same by another command, which runs the program it would have been.
    pub(crate) fn start_as(
        mut command: Command,
        folder: &Path,
        load: &Load,
        to: Destination<'a>,
        retrieval: Retrieval,
    ) -> anyhow::Result<Self> {
        let topic = format!("bench-{}-{}", std::process::id(), load.id());
        let url = load.url();
        let configs = json!({
            "awsKinesisStreamName": STREAM,
            "awsRegion": "us-east-1",
            "awsEndpoint": url,
            "dynamoEndpoint": url,
            "cloudwatchEndpoint": url,
            "awsCredentialPluginParam": "{\"accessKey\":\"AKIAEXAMPLE\",\"secretKey\":\"test\"}",
            "applicationName": "bench",
            "initialPositionInStream": "TRIM_HORIZON",
            "useEnhancedFanOut": retrieval == Retrieval::FanOut,
        });
        let document = json!({
            "tenant": "public",
            "namespace": "default",
            "name": "bench",
            "archive": "builtin://kinesis",
            "topicName": format!("persistent://public/default/{topic}"),
            "configs": configs,
        });
        let file = folder.join("source.json");
        std::fs::write(&file, document.to_string()).with_context(|| format!("cannot write `{}`", file.display()))?;
        let port = free_port()?;
        let topic = match to {
            Destination::Null => {
                command.arg("null");
                None
            }
            Destination::Broker(broker) => {
                command.args(["sources", "localrun", "--broker-service-url", &broker.service_url]);
                Some((broker, topic))
            }
            Destination::Scripted(scripted) => {
                command.args(["sources", "localrun", "--broker-service-url", scripted.url()]);
                None
            }
        };
        command.arg("--source-config-file").arg(&file).args(["--metrics-port-start", &port.to_string()]);
        // Nothing of the caller's own AWS settings reaches the source.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder);
        let process = Process::start("the source", &mut command, &folder.join("source.log"))?;
        Ok(Self { process, page: format!("http://127.0.0.1:{port}/metrics"), topic })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until the first record is acknowledged; how long that took since the process was started.
    pub(crate) fn first_record(&mut self) -> anyhow::Result<Duration> {
        self.shows("pulsar_source_written_total", 1.0, "first record")?;
        Ok(self.process.started().elapsed())
    }

    /// Waits until the metrics page shows at least `value`.
    pub(crate) fn shows(&mut self, name: &str, value: f64, what: &str) -> anyhow::Result<()> {
        self.shows_within(PATIENCE, name, value, what)
    }

    /// The same with another patience.
    pub(crate) fn shows_within(&mut self, patience: Duration, name: &str, value: f64, what: &str) -> anyhow::Result<()> {
        let page = self.page.clone();
        self.process.wait_for(what, patience, |_| metric(&page, name).is_ok_and(|shown| shown >= value).then_some(()))
    }

    /// Records that were acknowledged so far.
    pub(crate) fn written(&self) -> anyhow::Result<f64> {
        metric(&self.page, "pulsar_source_written_total")
    }

    /// Asks it to end, and removes its topic.
    pub(crate) fn stop(self) -> anyhow::Result<Ended> {
        let ended = self.process.stop(PATIENCE)?;
        if let Some((broker, topic)) = &self.topic {
            remove_topic(broker, topic);
        }
        Ok(ended)
    }
}

/// Removes a topic and all that is in it; what cannot be removed stays, and is told.
pub(crate) fn remove_topic(broker: &Broker, topic: &str) {
    let Some(admin) = &broker.admin_url else { return };
    let url = format!("{admin}/admin/v2/{NAMESPACE}/{topic}?force=true");
    if let Err(error) = http::call("DELETE", &url, &[], b"") {
        eprintln!("bench: the topic `{topic}` stays: {error:#}");
    }
}

/// A number of the metrics page, added up over its labels.
fn metric(page: &str, name: &str) -> anyhow::Result<f64> {
    let text = http::call("GET", page, &[], b"")?;
    sum(&text, name).with_context(|| format!("the metrics page shows no `{name}`"))
}

fn sum(text: &str, name: &str) -> Option<f64> {
    let samples = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let values: Vec<f64> = samples.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// A port nobody listens on now.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_added_up_over_its_labels_and_no_other_name() {
        let page = "# TYPE a_total counter\na_total{instance=\"0\"} 3\na_total{instance=\"1\"} 4\na_total_1min 9\n";
        assert_eq!(sum(page, "a_total"), Some(7.0));
        assert_eq!(sum(page, "b_total"), None);
    }
}
