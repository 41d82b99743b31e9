//! How many records of 1 KiB the server gives a second of its own CPU time.
//!
//! The server runs on one thread of its own; the time that counts is that thread's, as the kernel keeps it (Linux only). Records that were put are
//! encoded as they are read; canned ones are copies with new numbers. The reader is plain sockets on another thread.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;

use anyhow::Context as _;
use local_aws::kinesis::{CannedSpec, ShardId, StartingPosition};
use local_aws::{LocalAws, NewRecord, Options};

const RECORDS: usize = 400_000;
const BYTES: usize = 1024;
/// Clock ticks a second in the kernel's accounts.
const TICKS: f64 = 100.0;

fn main() -> anyhow::Result<()> {
    let (started, starts) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let local = LocalAws::start(Options::unlimited()).await?;
            fill(&local)?;
            let thread = std::fs::read_link("/proc/thread-self").context("the kernel's accounts of threads cannot be read")?;
            let thread = std::path::Path::new("/proc").join(thread).join("stat");
            let arns = ["put", "canned"]
                .map(|stream| local.kinesis(|kinesis| kinesis.register_consumer(stream, "c")).map(|consumer| consumer.arn));
            let tokens = ["put", "canned"]
                .map(|stream| local.kinesis(|kinesis| kinesis.get_shard_iterator(stream, ShardId(0), &StartingPosition::TrimHorizon)));
            started.send((local.url().to_owned(), thread, arns, tokens)).ok();
            // Ends as well when the other side is gone.
            drop(stopped.await);
            local.shutdown().await;
            Ok(())
        })
    });
    let Ok((url, thread, arns, tokens)) = starts.recv() else {
        return server.join().map_err(|_| anyhow::anyhow!("the server's thread panicked"))?;
    };
    let address = url.trim_start_matches("http://");
    println!("records of {BYTES} bytes, {RECORDS} of them, one connection, one server thread");
    for (stream, token) in ["put", "canned"].into_iter().zip(tokens) {
        report(&format!("GetRecords, {stream}"), &thread, || poll(address, &token?))?;
    }
    for (stream, arn) in ["put", "canned"].into_iter().zip(arns) {
        report(&format!("SubscribeToShard, {stream}"), &thread, || subscribe(address, &arn?))?;
    }
    drop(stop);
    server.join().map_err(|_| anyhow::anyhow!("the server's thread panicked"))?
}

fn fill(local: &LocalAws) -> anyhow::Result<()> {
    let mut payload = vec![0; BYTES];
    fastrand::Rng::with_seed(1).fill(&mut payload);
    let payload = bytes::Bytes::from(payload);
    local.kinesis(|kinesis| -> anyhow::Result<()> {
        kinesis.create_stream("put", Some(1), BTreeMap::new())?;
        kinesis.load("put", (0..RECORDS).map(|index| NewRecord::new(format!("key-{index}"), payload.clone())))?;
        let total = Some(RECORDS as u64);
        kinesis.create_canned_stream(&CannedSpec {
            stream: "canned".to_owned(),
            shards: 1,
            records_per_answer: 500,
            bytes: BYTES,
            total,
            records_per_second: None,
        })?;
        Ok(())
    })
}

/// Runs a reader and prints what the server's thread spent on it.
fn report(what: &str, thread: &std::path::Path, read: impl FnOnce() -> anyhow::Result<usize>) -> anyhow::Result<()> {
    let (before, began) = (cpu_seconds(thread)?, std::time::Instant::now());
    let records = read()? as f64;
    let (spent, took) = (cpu_seconds(thread)? - before, began.elapsed().as_secs_f64());
    println!("{what:<28} {:>10.0} records/s of CPU {:>10.0} records/s of time", records / spent.max(1.0 / TICKS), records / took);
    Ok(())
}

/// User and system time of the thread.
fn cpu_seconds(stat: &std::path::Path) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(stat)?;
    // The fields after the name, which stands in brackets: the 12th and 13th are the times.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) / TICKS)
}

fn request(operation: &str, address: &str, body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-amz-json-1.1\r\nx-amz-target: Kinesis_20131202.{operation}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads the stream by GetRecords and returns how many records came.
fn poll(address: &str, first: &str) -> anyhow::Result<usize> {
    let mut connection = TcpStream::connect(address)?;
    let (mut token, mut records) = (first.to_owned(), 0);
    let mut answer = Vec::new();
    while records < RECORDS {
        connection.write_all(request("GetRecords", address, &format!("{{\"ShardIterator\":\"{token}\"}}")).as_bytes())?;
        answer.clear();
        read_answer(&mut connection, &mut answer)?;
        records += count(&answer, b"\"PartitionKey\"");
        let tail = String::from_utf8_lossy(&answer[answer.len().saturating_sub(500)..]).into_owned();
        token =
            tail.split("\"NextShardIterator\":\"").nth(1).and_then(|rest| rest.split('"').next()).context("no next iterator")?.to_owned();
    }
    Ok(records)
}

/// Reads one answer with a content length.
fn read_answer(connection: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut piece = vec![0; 1024 * 1024];
    let mut wanted = None;
    loop {
        let read = connection.read(&mut piece)?;
        anyhow::ensure!(read > 0, "the connection ended early");
        answer.extend_from_slice(&piece[..read]);
        if wanted.is_none()
            && let Some(head) = answer.windows(4).take(4096).position(|bytes| bytes == b"\r\n\r\n")
        {
            let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).context("no length")?;
            wanted = Some(head + 4 + length.parse::<usize>()?);
        }
        if wanted == Some(answer.len()) {
            return Ok(());
        }
    }
}

/// Reads the stream by SubscribeToShard and returns how many records came.
fn subscribe(address: &str, arn: &str) -> anyhow::Result<usize> {
    let mut connection = TcpStream::connect(address)?;
    let body = format!(r#"{{"ConsumerARN":"{arn}","ShardId":"shardId-000000000000","StartingPosition":{{"Type":"TRIM_HORIZON"}}}}"#);
    connection.write_all(request("SubscribeToShard", address, &body).as_bytes())?;
    let marker = b"\"PartitionKey\"";
    let mut piece = vec![0; 1024 * 1024];
    let (mut kept, mut records) = (0, 0);
    while records < RECORDS {
        let read = connection.read(&mut piece[kept..])?;
        anyhow::ensure!(read > 0, "the connection ended early, after {records} records");
        let end = kept + read;
        records += count(&piece[..end], marker);
        // A marker may be cut by the end of the piece, but none is kept whole.
        kept = (marker.len() - 1).min(end);
        piece.copy_within(end - kept..end, 0);
    }
    Ok(records)
}

fn count(bytes: &[u8], marker: &[u8]) -> usize {
    // Quotes are rare in base64 text, so looking for the first byte is quick.
    let mut found = 0;
    let mut at = 0;
    while let Some(step) = bytes[at..].iter().position(|byte| *byte == marker[0]) {
        at += step;
        found += usize::from(bytes[at..].starts_with(marker));
        at += 1;
    }
    found
}
