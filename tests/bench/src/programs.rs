//! Where the measured programs and the broker are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::http;

/// The programs of a run.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The load source.
    pub(crate) local_aws: PathBuf,
    /// The product.
    pub(crate) pulsar_connect: PathBuf,
    /// This program, which is also the source with a null publisher.
    pub(crate) bench: PathBuf,
    /// The broker, where a cell needs one.
    pub(crate) broker: Option<Broker>,
    folder: PathBuf,
}

/// A broker that runs.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) service_url: String,
    /// Topics are removed through it; without it they stay.
    pub(crate) admin_url: Option<String>,
    /// Its process, when it runs on this machine.
    pub(crate) pid: Option<u32>,
}

impl Programs {
    /// The programs beside this one, or in the folder that `PULSAR_CONNECT_BIN` names; the broker by the variables of `tests/rig/with-servers`.
    pub(crate) fn find(with_broker: bool) -> anyhow::Result<Self> {
        let bench = env::current_exe().context("this program has no path")?;
        let beside = bench.parent().map(Path::to_owned).unwrap_or_default();
        let folder = env::var_os("PULSAR_CONNECT_BIN").map_or(beside, PathBuf::from);
        Ok(Self {
            local_aws: find(&folder, "local-aws")?,
            pulsar_connect: find(&folder, "pulsar-connect")?,
            bench,
            broker: with_broker.then(Broker::from_environment).transpose()?,
            folder,
        })
    }

    /// A program that only some cells need.
    ///
    /// # Errors
    /// When it is not built.
    pub(crate) fn beside(&self, name: &str) -> anyhow::Result<PathBuf> {
        find(&self.folder, name)
    }

    /// Java's producer, of the distribution that the broker runs from.
    ///
    /// # Errors
    /// When no distribution is named.
    pub(crate) fn pulsar_perf(&self) -> anyhow::Result<PathBuf> {
        let home = env::var_os("PULSAR_RIG_HOME").filter(|value| !value.is_empty()).context(
            "`PULSAR_RIG_HOME` names no Pulsar distribution, whose `pulsar-perf` is needed: run by `make bench`, or by `tests/rig/with-servers --bench`, or leave Java out by `--only ours --only crate`",
        )?;
        Ok(PathBuf::from(home).join("bin/pulsar-perf"))
    }

    /// The broker.
    ///
    /// # Errors
    /// When none was asked for.
    pub(crate) fn broker(&self) -> anyhow::Result<&Broker> {
        self.broker.as_ref().context("no broker is known")
    }
}

fn find(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    if !path.is_file() {
        bail!(
            "`{}` is missing: build it with `cargo build --release -p pulsar-connect -p local-aws -p bench --bins` and `cargo build --release -p bench-crate-pulsar`",
            path.display()
        );
    }
    Ok(path)
}

impl Broker {
    fn from_environment() -> anyhow::Result<Self> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let service_url = variable("PULSAR_SERVICE_URL")
            .context("`PULSAR_SERVICE_URL` names no broker: run by `make bench`, or by `tests/rig/with-servers --bench`, or leave the broker out by `--only null`")?;
        Ok(Self { service_url, admin_url: variable("PULSAR_ADMIN_URL"), pid: variable("PULSAR_PID").and_then(|text| text.parse().ok()) })
    }

    /// What it says of itself.
    pub(crate) fn version(&self) -> Option<String> {
        let url = format!("{}/admin/v2/brokers/version", self.admin_url.as_ref()?);
        http::call("GET", &url, &[], b"").ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }
}
