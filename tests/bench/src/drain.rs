//! The load source alone: all shards read as fast as it gives them, by a reader that only counts. What is above this, no source can reach.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::cell::Pace;
use crate::figures::LoadSource;
use crate::http;
use crate::load::{BYTES, Content, Load, Retrieval, STREAM};
use crate::process::cpu_seconds;
use crate::programs::Programs;

/// What is read from a socket at once.
const BUFFER: usize = 256 * 1024;

/// Measures it.
pub(crate) fn measure(programs: &Programs, pace: Pace, retrieval: Retrieval, shards: u32) -> anyhow::Result<LoadSource> {
    let folder = tempfile::tempdir().context("no folder for the run's files can be made")?;
    let load = Load::start(programs, folder.path(), Content::Endless(retrieval), shards)?;
    let url = load.url().to_owned();
    let ids: Vec<String> = (0..shards).map(|shard| format!("shardId-{shard:012}")).collect();
    let consumer = match retrieval {
        Retrieval::FanOut => Some(consumer(&url)?),
        Retrieval::Polling => None,
    };
    let (records, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let readers: Vec<_> = ids
            .iter()
            .map(|shard| {
                let (url, consumer, records, over) = (&url, consumer.as_deref(), &records, &over);
                scope.spawn(move || {
                    let read = match consumer {
                        Some(consumer) => subscribe(url, consumer, shard, records),
                        None => poll(url, shard, records),
                    };
                    // The load source is ended under its readers.
                    if over.load(Ordering::Relaxed) { Ok(()) } else { read.and_then(|()| anyhow::bail!("the answers of `{shard}` ended")) }
                })
            })
            .collect();
        sleep(pace.settle);
        let (began, cpu_before, before) = (Instant::now(), cpu_seconds(load.id()), records.load(Ordering::Relaxed));
        sleep(pace.window);
        let (took, cpu_after, after) = (began.elapsed(), cpu_seconds(load.id()), records.load(Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
        drop(load);
        for reader in readers {
            reader.join().map_err(|_| anyhow::anyhow!("a reader of the load source panicked"))??;
        }
        let count = (after - before) as f64;
        ensure!(count > 0.0, "the load source gave nothing");
        Ok(LoadSource {
            retrieval,
            shards,
            records_per_s: count / took.as_secs_f64(),
            cpu_s_per_million: (cpu_after? - cpu_before?) / count * 1e6,
        })
    })
}

fn headers(target: &str) -> [(&str, &str); 3] {
    [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", target),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0",
        ),
    ]
}

fn ask(url: &str, operation: &str, request: &Value) -> anyhow::Result<Value> {
    let target = format!("Kinesis_20131202.{operation}");
    let answer = http::call("POST", url, &headers(&target), request.to_string().as_bytes())?;
    serde_json::from_str(&answer).with_context(|| format!("the answer of `{operation}` is no JSON"))
}

/// Registers a consumer and gives its ARN.
fn consumer(url: &str) -> anyhow::Result<String> {
    let stream = ask(url, "DescribeStreamSummary", &json!({ "StreamName": STREAM }))?;
    let arn = &stream["StreamDescriptionSummary"]["StreamARN"];
    let registered = ask(url, "RegisterStreamConsumer", &json!({ "StreamARN": arn, "ConsumerName": "counter" }))?;
    registered["Consumer"]["ConsumerARN"].as_str().map(str::to_owned).context("the consumer has no ARN")
}

/// Sends a request on `stream`, which stays open.
fn send(stream: &mut TcpStream, url: &str, operation: &str, request: &Value) -> anyhow::Result<()> {
    let target = format!("Kinesis_20131202.{operation}");
    let (host, path) = http::split(url)?;
    stream.write_all(&http::request("POST", "1.1", host, path, &headers(&target), request.to_string().as_bytes()))?;
    Ok(())
}

/// Reads an answer's head; its lines in lower case.
fn head(reader: &mut impl BufRead) -> anyhow::Result<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "the connection ended");
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line.to_ascii_lowercase());
    }
    ensure!(head.starts_with("http/1.1 200"), "the load source refused: {head}");
    Ok(head)
}

fn poll(url: &str, shard: &str, records: &AtomicU64) -> anyhow::Result<()> {
    let start = json!({ "StreamName": STREAM, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON" });
    let mut iterator = ask(url, "GetShardIterator", &start)?["ShardIterator"].as_str().context("there is no iterator")?.to_owned();
    let mut stream = TcpStream::connect(http::split(url)?.0)?;
    let mut reader = BufReader::with_capacity(BUFFER, stream.try_clone()?);
    let count = Retrieval::Polling.records_per_answer();
    let mut body = Vec::new();
    loop {
        send(&mut stream, url, "GetRecords", &json!({ "ShardIterator": iterator }))?;
        let head = head(&mut reader)?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("an answer has no length")?;
        body.resize(length.trim().parse()?, 0);
        reader.read_exact(&mut body)?;
        ensure!(body.len() > count * BYTES, "an answer holds less than {count} records");
        records.fetch_add(count as u64, Ordering::Relaxed);
        // Searching 10 MiB for it would cost more than all the rest; whatever else an answer holds beside its records is short.
        iterator = ["end", "start"]
            .into_iter()
            .find_map(|place| {
                let part = if place == "end" { &body[body.len() - 1_000..] } else { &body[..1_000] };
                let text = String::from_utf8_lossy(part);
                text.split_once("\"NextShardIterator\":\"")?.1.split_once('"').map(|(iterator, _)| iterator.to_owned())
            })
            .context("an answer names no next iterator")?;
    }
}

fn subscribe(url: &str, consumer: &str, shard: &str, records: &AtomicU64) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(http::split(url)?.0)?;
    let start = json!({ "ConsumerARN": consumer, "ShardId": shard, "StartingPosition": { "Type": "TRIM_HORIZON" } });
    send(&mut stream, url, "SubscribeToShard", &start)?;
    let mut reader = BufReader::with_capacity(BUFFER, stream);
    head(&mut reader)?;
    let mut events = Dechunked { inner: reader, left: 0 };
    let count = Retrieval::FanOut.records_per_answer();
    loop {
        // An event begins with the length of the whole of it.
        let mut length = [0; 4];
        events.read_exact(&mut length)?;
        let rest = u64::from(u32::from_be_bytes(length)).saturating_sub(4);
        ensure!(io::copy(&mut events.by_ref().take(rest), &mut io::sink())? == rest, "an event is cut short");
        if rest > (count * BYTES) as u64 {
            records.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}

/// The body of an answer in chunks, without their heads.
struct Dechunked<R> {
    inner: R,
    /// Bytes left in the chunk.
    left: usize,
}

impl<R: BufRead> Read for Dechunked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let mut line = String::new();
            // Before every chunk but the first stands the line end of the one before.
            while line.trim().is_empty() {
                line.clear();
                if self.inner.read_line(&mut line)? == 0 {
                    return Ok(0);
                }
            }
            let size = line.trim().split(';').next().unwrap_or_default();
            self.left = usize::from_str_radix(size, 16).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a chunk has no length"))?;
            if self.left == 0 {
                return Ok(0);
            }
        }
        let most = self.left.min(out.len());
        let read = self.inner.read(&mut out[..most])?;
        self.left -= read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn chunks_are_joined_wherever_they_are_cut() {
        let wire = b"3\r\nabc\r\n5;x=1\r\ndefgh\r\n0\r\n\r\n";
        for capacity in 1..wire.len() {
            let mut text = String::new();
            Dechunked { inner: BufReader::with_capacity(capacity, &wire[..]), left: 0 }.read_to_string(&mut text).unwrap();
            assert_eq!(text, "abcdefgh");
        }
    }
}
