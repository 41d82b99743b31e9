//! A connector in this process, from start to exit: instances, signals, the metrics page, and what a person sees meanwhile.
//!
//! Everything a face of the program needs to run a connector, and nothing about where its configuration came from.

mod signals;
mod status_line;
mod watchman;

use crate::config::{InstanceSpec, LocalRunOptions};
use crate::engine::{LocalRun, RunReport};
use crate::metrics::MetricsPage;
use connector_sdk::{Error, ReadySink, Task};
use std::sync::Arc;
use tracing::{error, info, warn};

/// Runs all instances of `spec` until they end or the process is told to stop.
///
/// # Errors
/// When the metrics port cannot be had; what goes wrong with the instances is in the report.
pub async fn run_local(spec: InstanceSpec, sink: Arc<dyn ReadySink>, options: &LocalRunOptions) -> Result<RunReport, Error> {
    for sentence in spec.promise() {
        info!("{sentence}");
    }
    for note in &spec.notes {
        info!("{note}");
    }
    let page = match options.metrics_port_start {
        Some(port) => Some(MetricsPage::bind(port).await?),
        None => None,
    };
    let destination = sink.destination();
    info!(
        connector = %format!("{}/{}/{}", spec.tenant, spec.namespace, spec.name),
        kind = spec.connector.name,
        topic = %spec.topic,
        %destination,
        parallelism = spec.parallelism.get(),
        "starting"
    );
    let running = LocalRun {
        source: Arc::clone(&spec.source),
        sink,
        tenant: spec.tenant.clone(),
        namespace: spec.namespace.clone(),
        name: spec.name.clone(),
        topic: spec.topic.to_string().into(),
        guarantee: spec.guarantee,
        parallelism: spec.parallelism.get(),
        exit_on_error: options.exit_on_error,
        stop_timeout: options.stop_timeout,
    }
    .start();
    let page = page.map(|page| page.serve(running.states.clone(), running.budget.clone()));
    let signals = Task::spawn("signals", signals::watch(running.stop_handle(), options.stop_timeout));
    let watchman = Task::spawn("status", watchman::watch(running.states.clone(), options.terminal));
    let report = running.join().await;
    drop((signals, watchman, page));
    if options.terminal {
        status_line::clear();
    }
    for trouble in &report.stopped.troubles {
        warn!("{trouble}");
    }
    match &report.error {
        Some(error) => error!(hint = error.hint(), "{}", error.message()),
        None => info!("{}", report.summary()),
    }
    Ok(report)
}
