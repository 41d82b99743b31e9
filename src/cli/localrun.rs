//! `pulsar-connect sources localrun`: gathers what the flags and the file say, and hands over.

use super::broker_flags::BrokerFlags;
use super::source_flags::SourceFlags;
use crate::config::{self, InstanceSpec, LocalRunOptions, SecretsProvider, Surroundings};
use crate::telemetry::{self, LogFormat};
use crate::{registry, run};
use clap::{ArgAction, Args};
use connector_sdk::Problem;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: SourceFlags,
    #[command(flatten)]
    broker: BrokerFlags,
    #[command(flatten)]
    running: RunFlags,
}

#[derive(Args)]
#[command(next_help_heading = "How it runs")]
struct RunFlags {
    /// Class name of the secrets provider: ClearTextSecretsProvider or EnvironmentBasedSecretsProvider
    #[arg(long, value_name = "CLASS", aliases = ["secretsProviderClassName", "secretsProviderClassname"])]
    secrets_provider_classname: Option<String>,
    /// The secrets provider's configuration, a JSON object; neither provider needs one
    #[arg(long, value_name = "JSON", alias = "secretsProviderConfig")]
    secrets_provider_config: Option<String>,
    /// Port of the metrics page [default: none is served]
    #[arg(long, value_name = "PORT", alias = "metricsPortStart")]
    metrics_port_start: Option<u16>,
    /// Sources keep no state there; means nothing here
    #[arg(long, value_name = "URL", alias = "stateStorageServiceUrl")]
    state_storage_service_url: Option<String>,
    /// End at the first failure instead of trying again
    #[arg(long, value_name = "BOOL", alias = "exitOnError", action = ArgAction::Set, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    exit_on_error: bool,
    /// How long a stop may take, in seconds
    #[arg(long, value_name = "SECONDS", alias = "stopTimeout", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    stop_timeout: u64,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", alias = "logFormat", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

pub(super) fn run(arguments: Arguments) -> u8 {
    let (spec, options) = match prepare(&arguments) {
        Ok(prepared) => prepared,
        Err(problems) => return super::complain(&config::report(&arguments.source.origin(), &problems), super::WRONG_CONFIGURATION),
    };
    if let Err(error) = telemetry::start(arguments.running.log_format) {
        return super::complain(&format!("pulsar-connect: `RUST_LOG` cannot be read: {error}\n"), super::WRONG_CONFIGURATION);
    }
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return super::complain(&format!("pulsar-connect: threads cannot be started: {error}\n"), super::FAILED),
    };
    let sink = registry::publisher(&spec, options.broker.clone());
    match runtime.block_on(run::run_local(spec, sink, &options)) {
        // What ended it is in the log already, beside what led to it.
        Ok(report) => report.exit_code(),
        Err(error) => super::complain(&super::failure(&error), super::FAILED),
    }
}

fn prepare(arguments: &Arguments) -> Result<(InstanceSpec, LocalRunOptions), Vec<Problem>> {
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    let running = &arguments.running;
    let broker = arguments.broker.client().map_err(|found| problems.extend(found)).ok();
    let class = running.secrets_provider_classname.as_deref().unwrap_or_default();
    let secrets = SecretsProvider::named("--secrets-provider-classname", class).map_err(|found| problems.push(found));
    if let Some(text) = &running.secrets_provider_config {
        match config::read_flag("--secrets-provider-config", text) {
            Ok(settings) if settings.is_empty() => {}
            Ok(_) => notes.push("`--secrets-provider-config` means nothing here: neither secrets provider has settings".to_owned()),
            Err(problem) => problems.push(problem),
        }
    }
    if running.state_storage_service_url.is_some() {
        notes.push("`--state-storage-service-url` means nothing here: sources keep no state there".to_owned());
    }
    let connectors = registry::connectors();
    let surroundings = Surroundings { connectors: &connectors, secrets: secrets.unwrap_or_default(), environment: &super::environment };
    let spec = arguments.source.document().and_then(|document| config::resolve(document, surroundings));
    let spec = spec.map_err(|found| problems.extend(found)).ok();
    match (spec, broker) {
        (Some(mut spec), Some(broker)) if problems.is_empty() => {
            spec.notes.extend(notes);
            let options = LocalRunOptions {
                broker,
                metrics_port_start: running.metrics_port_start,
                stop_timeout: Duration::from_secs(running.stop_timeout),
                exit_on_error: running.exit_on_error,
                terminal: running.log_format == LogFormat::Text && stderr().is_terminal(),
            };
            Ok((spec, options))
        }
        _ => Err(problems),
    }
}
