//! The source with a null publisher: everything the product does, into a sink that acknowledges at once and keeps nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use connector_pulsar::ClientConfig;
use connector_sdk::{Batch, DynSink, Error, Facts, ReadySink, Sink, SinkContext, SinkWatch, WriteRoom};
use futures_util::future::BoxFuture;
use pulsar_connect::config::{self, LocalRunOptions, SecretsProvider, Surroundings};
use pulsar_connect::telemetry::{self, LogFormat};
use pulsar_connect::{cli, registry, run};
use tokio::time::Instant;

/// What the product's own command is told, as far as it matters here.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A source's whole configuration.
    #[arg(long)]
    source_config_file: PathBuf,
    /// Port of the metrics page.
    #[arg(long)]
    metrics_port_start: u16,
}

/// Runs the source until it is told to stop.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow!("a TLS provider was chosen before"))?;
    let said =
        |problems: Vec<connector_sdk::Problem>| anyhow!(config::report(&arguments.source_config_file.display().to_string(), &problems));
    let connectors = registry::connectors();
    let surroundings = Surroundings { connectors: &connectors, secrets: SecretsProvider::default(), environment: &|_| None };
    let document = config::read(&arguments.source_config_file).map_err(|problem| said(vec![problem]))?;
    let spec = config::resolve(document, surroundings).map_err(said)?;
    let options = LocalRunOptions {
        // The sink is given below: no broker is ever called.
        broker: ClientConfig::new("pulsar://localhost:6650"),
        metrics_port_start: Some(arguments.metrics_port_start),
        stop_timeout: Duration::from_secs(30),
        exit_on_error: true,
        terminal: false,
    };
    telemetry::start(LogFormat::Text)?;
    let report = cli::runtime()?.block_on(run::run_local(spec, Arc::new(Null), &options)).map_err(|error| anyhow!(error.to_string()))?;
    Ok(ExitCode::from(report.exit_code()))
}

struct Null;

impl ReadySink for Null {
    fn connect(&self, _context: SinkContext) -> BoxFuture<'_, Result<Box<dyn DynSink>, Error>> {
        Box::pin(async { Ok(Box::new(NullSink::default()) as Box<dyn DynSink>) })
    }

    fn destination(&self) -> String {
        "nowhere".to_owned()
    }
}

#[derive(Default)]
struct NullSink(Arc<Taken>);

#[derive(Default)]
struct Taken(AtomicU64);

impl Sink for NullSink {
    async fn write(&mut self, batch: Batch) -> Result<(), Error> {
        self.0.0.fetch_add(batch.handle.len(), Ordering::Relaxed);
        batch.handle.ack();
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&mut self, _deadline: Instant) {}

    fn watch(&self) -> Arc<dyn SinkWatch> {
        Arc::<Taken>::clone(&self.0)
    }
}

impl SinkWatch for Taken {
    fn in_flight(&self) -> u64 {
        0
    }

    fn written(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn room(&self) -> WriteRoom {
        WriteRoom::Free
    }

    fn waiting_for(&self) -> Option<String> {
        None
    }

    fn facts(&self) -> Facts {
        Facts::default()
    }
}
