//! Log lines on the standard error: text for people, JSON for collectors. `RUST_LOG` says which, by default `info` and above
//! without the internals of the AWS clients.

use clap::ValueEnum;
use std::io::{IsTerminal, stderr};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::SubscriberBuilder;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// One line of text each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

/// What is logged unless `RUST_LOG` says otherwise. The AWS clients and HTTP speak of each retry, which the connectors sum up.
const USUAL: &str = "info,aws_config=warn,aws_credential_types=warn,aws_runtime=warn,aws_sdk_cloudwatch=warn,aws_sdk_dynamodb=warn,\
                     aws_sdk_kinesis=warn,aws_sdk_sts=warn,aws_smithy_http_client=warn,aws_smithy_runtime=warn,\
                     aws_smithy_runtime_api=warn,h2=warn,hyper=warn,hyper_util=warn,rustls=warn";

/// Starts logging for the whole process. Called once; a second call changes nothing.
///
/// # Errors
/// When `RUST_LOG` cannot be read.
pub fn start(format: LogFormat) -> Result<(), ParseError> {
    let filter = match std::env::var("RUST_LOG").ok().filter(|directives| !directives.trim().is_empty()) {
        Some(directives) => EnvFilter::builder().parse(directives)?,
        None => EnvFilter::new(USUAL),
    };
    let lines: SubscriberBuilder<_, _, EnvFilter, _> =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal());
    match format {
        LogFormat::Text => drop(lines.with_target(false).try_init()),
        LogFormat::Json => drop(lines.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()),
    }
    Ok(())
}
