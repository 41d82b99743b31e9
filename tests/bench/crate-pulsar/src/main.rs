//! `bench-crate-pulsar`: the producer of the crate `pulsar`, publishing without end: what the cells `producer/../crate` measure.
//!
//! The same payloads, the same bounds of a batch and the same allocator as `bench-publish`. A payload is copied once a message, because
//! the crate takes nothing but a vector of its own. Receipts are awaited in the order of sending, behind a window, which costs
//! the least of all ways the crate offers.

#![allow(clippy::large_futures, reason = "they are the crate's own; a box for each message would be charged to it")]

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Parser;
use mimalloc::MiMalloc;
use pulsar::compression::{Compression, CompressionLz4};
use pulsar::{ProducerOptions, Pulsar, TokioExecutor};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Messages on their way, at most: as many as `bench-publish` has by default.
const WINDOW: usize = 50_000;

/// Publishes until it is ended.
#[derive(Debug, Parser)]
#[command(name = "bench-crate-pulsar", version, about)]
struct Arguments {
    /// The broker.
    url: String,
    /// Where to.
    topic: String,
    /// A file whose lines are the payloads.
    payloads: PathBuf,
    /// `LZ4` or `NONE`.
    #[arg(long, default_value = "LZ4")]
    compression: String,
    /// Each message is an entry of its own.
    #[arg(long)]
    unbatched: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow!("a TLS provider was chosen before"))?;
    let arguments = Arguments::parse();
    let text = std::fs::read(&arguments.payloads).with_context(|| format!("cannot read `{}`", arguments.payloads.display()))?;
    let payloads: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let compression = match arguments.compression.as_str() {
        "LZ4" => Compression::Lz4(CompressionLz4::default()),
        "NONE" => Compression::None,
        other => anyhow::bail!("`{other}` is neither `LZ4` nor `NONE`"),
    };
    let batch = !arguments.unbatched;
    let options = ProducerOptions {
        batch_size: batch.then_some(1_000),
        batch_byte_size: batch.then_some(131_072),
        batch_timeout: batch.then_some(Duration::from_millis(10)),
        compression: Some(compression),
        block_queue_if_full: true,
        ..ProducerOptions::default()
    };
    let client: Pulsar<TokioExecutor> = Pulsar::builder(arguments.url, TokioExecutor).build().await?;
    let mut producer = client.producer().with_topic(arguments.topic).with_options(options).build().await?;
    let mut receipts = VecDeque::with_capacity(WINDOW);
    for line in payloads.iter().cycle() {
        if receipts.len() == WINDOW
            && let Some(oldest) = receipts.pop_front()
        {
            oldest.await?;
        }
        receipts.push_back(producer.send_non_blocking(line.to_vec()).await?);
    }
    anyhow::bail!("`{}` holds no payload", arguments.payloads.display())
}
