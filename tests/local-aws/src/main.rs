//! `local-aws`: the stand-ins as a process of their own.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use local_aws::{KinesisSettings, Limits, LocalAws, Options};
use tokio::signal::unix::{SignalKind, signal};

/// Kinesis, DynamoDB, CloudWatch and STS on one port, in memory, for trials and tests.
#[derive(Debug, Parser)]
#[command(name = "local-aws", version, about)]
struct Arguments {
    /// Port to listen on; 0 takes any that is free.
    #[arg(long, default_value_t = 4566)]
    port: u16,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Region in ARNs.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Switches every limit of rate and size off.
    #[arg(long)]
    no_limits: bool,
    /// Life of a SubscribeToShard in seconds.
    #[arg(long, default_value_t = 300)]
    subscription_seconds: u32,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Creates streams at the start, as in `orders:4` for four shards; may be given several times.
    #[arg(long = "create-stream", value_name = "NAME:SHARDS")]
    streams: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter =
        tracing_subscriber::EnvFilter::builder().with_default_directive(tracing::level_filters::LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local-aws: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    // Before anything is printed, so that whoever reads the output may stop us at once.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let kinesis = KinesisSettings {
        region: arguments.region,
        seed: arguments.seed,
        limits: if arguments.no_limits { Limits::OFF } else { Limits::ON },
        subscription_ms: i64::from(arguments.subscription_seconds) * 1000,
        ..KinesisSettings::default()
    };
    let local = LocalAws::start(Options { host: arguments.host, port: arguments.port, kinesis, ..Options::default() }).await?;
    for stream in &arguments.streams {
        create(&local, stream)?;
    }
    println!("local-aws listens on {}", local.url());
    println!("  kinesis, dynamodb, cloudwatch and sts answer there; nothing is kept on disk");
    println!("  export AWS_ENDPOINT_URL={} AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1", local.url());
    println!("  control: POST {0}/_control, GET {0}/_control/records?stream=NAME", local.url());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    println!("local-aws stops");
    local.shutdown().await;
    Ok(())
}

/// Creates a stream of `NAME:SHARDS`.
fn create(local: &LocalAws, stream: &str) -> anyhow::Result<()> {
    let (name, shards) = stream.split_once(':').unwrap_or((stream, "1"));
    let shards: u32 = shards.parse().with_context(|| format!("cannot read the number of shards in `{stream}`; write it as `{name}:4`"))?;
    local
        .kinesis(|kinesis| kinesis.create_stream(name, Some(shards), std::collections::BTreeMap::new()))
        .with_context(|| format!("cannot create the stream `{name}`"))
}
