//! `bench-broker`: a Pulsar broker that only acknowledges, so that what a producer costs is measured without a broker's own limits.
//!
//! It answers CONNECT, PARTITIONED_METADATA, LOOKUP, PRODUCER, PING and CLOSE_PRODUCER, and a SEND by its receipt as soon as it has
//! read its head; what follows the head is thrown away unread. With `--stamps` it reads entries whole, and tells how long ago each
//! message's payload says it was handed on (its first 16 digits: microseconds since the epoch, by the same machine's clock).
//! It stores nothing, checks nothing and refuses nothing. Not for anything but measurements.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::{Buf as _, Bytes};
use clap::Parser;
use connector_pulsar::wire::frame;
use connector_pulsar::wire::messages::{self as proto, BaseCommand, kind};
use connector_pulsar::wire::unpack::{inflate, open};
use prost::Message as _;
use prost::encoding::{DecodeContext, decode_key, decode_varint, skip_field};
use serde_json::json;

/// What is read from a socket at once.
const BUFFER: usize = 256 * 1024;
/// Digits at the front of a stamped payload.
const STAMP: usize = 16;
/// Width of a step of the histogram, in microseconds.
const STEP: u64 = 10;
/// Steps of the histogram; what took longer counts as the last one.
const STEPS: usize = 500_000;

/// Acknowledges everything, and counts.
#[derive(Debug, Parser)]
#[command(name = "bench-broker", version, about)]
struct Arguments {
    /// Reads the stamps at the front of all payloads.
    #[arg(long)]
    stamps: bool,
}

/// What came so far.
#[derive(Default)]
struct Counts {
    messages: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
    late: Mutex<Histogram>,
}

/// How long ago messages were handed on when they came.
#[derive(Default)]
struct Histogram {
    steps: Vec<u64>,
    count: u64,
    /// Of the longest, in microseconds.
    most: u64,
}

impl Histogram {
    fn add(&mut self, micros: u64) {
        self.steps.resize(STEPS, 0);
        let at = usize::try_from(micros / STEP).unwrap_or(usize::MAX).min(STEPS - 1);
        self.steps[at] += 1;
        self.count += 1;
        self.most = self.most.max(micros);
    }

    /// The upper end of the step in which the smallest `part` of all ends, in microseconds.
    fn quantile(&self, part: f64) -> u64 {
        let wanted = (self.count as f64 * part).ceil();
        let mut seen = 0;
        for (at, count) in self.steps.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                return ((at as u64 + 1) * STEP).min(self.most);
            }
        }
        self.most
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    let figures = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    let address = broker.local_addr()?;
    println!("figures http://{}\nbroker pulsar://{address}", figures.local_addr()?);
    let counts = Counts::default();
    thread::scope(|scope| {
        let counts = &counts;
        scope.spawn(move || {
            for caller in figures.incoming().flatten() {
                // A caller that goes away loses its answer, and nobody else anything.
                if let Err(error) = tell(caller, counts) {
                    eprintln!("bench-broker: figures could not be told: {error}");
                }
            }
        });
        for client in broker.incoming() {
            let client = client.context("the listening socket is gone")?;
            scope.spawn(move || {
                if let Err(error) = (Session { address, stamps: arguments.stamps, counts, producers: 0 }).serve(client) {
                    eprintln!("bench-broker: a client was left: {error:#}");
                }
            });
        }
        Ok(())
    })
}

/// Answers one HTTP call: the figures, or after POST the histogram begun anew.
fn tell(caller: TcpStream, counts: &Counts) -> io::Result<()> {
    let mut reader = BufReader::new(caller);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut late = counts.late.lock().unwrap_or_else(PoisonError::into_inner);
    if line.starts_with("POST") {
        *late = Histogram::default();
    }
    let body = json!({
        "messages": counts.messages.load(Ordering::Relaxed),
        "entries": counts.entries.load(Ordering::Relaxed),
        "bytes": counts.bytes.load(Ordering::Relaxed),
        "late": { "count": late.count, "p50": late.quantile(0.5), "p99": late.quantile(0.99), "most": late.most },
    });
    drop(late);
    // Read to the end of the head, so that closing does not reset the connection under the answer.
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let body = body.to_string();
    reader.into_inner().write_all(format!("HTTP/1.0 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())
}

/// One client's connection.
struct Session<'a> {
    address: SocketAddr,
    stamps: bool,
    counts: &'a Counts,
    producers: u64,
}

impl Session<'_> {
    fn serve(&mut self, mut client: TcpStream) -> anyhow::Result<()> {
        client.set_nodelay(true)?;
        let mut buffer = vec![0; BUFFER];
        let mut answers = Vec::new();
        // What is read and not used; and what of an entry is still to come and thrown away.
        let (mut filled, mut skip) = (0, 0);
        loop {
            let read = client.read(&mut buffer[filled..])?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
            let mut at = 0;
            loop {
                let skipped = skip.min(filled - at);
                at += skipped;
                skip -= skipped;
                let Some((head, rest)) = buffer[at..filled].split_first_chunk::<8>() else { break };
                let [a, b, c, d, e, f, g, h] = *head;
                let (total, size) = (u32::from_be_bytes([a, b, c, d]) as usize, u32::from_be_bytes([e, f, g, h]) as usize);
                anyhow::ensure!(total >= 4 + size, "it sends what is no frame");
                let wanted = if self.stamps { total - 4 } else { size };
                if rest.len() < wanted {
                    if buffer.len() < 8 + wanted {
                        buffer.resize(8 + wanted, 0);
                    }
                    break;
                }
                let command = BaseCommand::decode(&rest[..size]).context("it sends a command that does not parse")?;
                self.command(command, &rest[size..wanted], total, &mut answers)?;
                at += 8 + wanted;
                skip = total - 4 - wanted;
            }
            buffer.copy_within(at..filled, 0);
            filled -= at;
            client.write_all(&answers)?;
            answers.clear();
        }
    }

    fn command(&mut self, command: BaseCommand, entry: &[u8], total: usize, answers: &mut Vec<u8>) -> anyhow::Result<()> {
        let answer = if let Some(send) = command.send {
            let entries = self.counts.entries.fetch_add(1, Ordering::Relaxed);
            self.counts.messages.fetch_add(u64::try_from(send.num_messages.unwrap_or(1)).unwrap_or(1), Ordering::Relaxed);
            self.counts.bytes.fetch_add(total as u64, Ordering::Relaxed);
            if self.stamps {
                self.time(entry)?;
            }
            let message_id = Some(proto::MessageId { ledger_id: 1, entry_id: i64::try_from(entries).unwrap_or(i64::MAX) });
            let proto::Send { producer_id, sequence_id, highest_sequence_id, .. } = send;
            let receipt = proto::SendReceipt { producer_id, sequence_id, message_id, highest_sequence_id };
            frame::encode(&BaseCommand { kind: kind::SEND_RECEIPT, send_receipt: Some(receipt), ..BaseCommand::default() })
        } else if command.connect.is_some() {
            let connected = proto::Connected {
                server_version: "bench-broker".to_owned(),
                protocol_version: Some(proto::PROTOCOL_VERSION),
                max_message_size: Some(5_242_880),
                feature_flags: None,
            };
            frame::encode(&BaseCommand { kind: kind::CONNECTED, connected: Some(connected), ..BaseCommand::default() })
        } else if let Some(asked) = command.partition_metadata {
            let response = proto::PartitionMetadataResponse {
                partitions: Some(0),
                request_id: asked.request_id,
                response: Some(0),
                error: None,
                message: None,
            };
            let kind = kind::PARTITIONED_METADATA_RESPONSE;
            frame::encode(&BaseCommand { kind, partition_metadata_response: Some(response), ..BaseCommand::default() })
        } else if let Some(asked) = command.lookup {
            let response = proto::LookupResponse {
                broker_service_url: Some(format!("pulsar://{}", self.address)),
                response: Some(1),
                request_id: asked.request_id,
                authoritative: Some(true),
                ..proto::LookupResponse::default()
            };
            frame::encode(&BaseCommand { kind: kind::LOOKUP_RESPONSE, lookup_response: Some(response), ..BaseCommand::default() })
        } else if let Some(open) = command.producer {
            self.producers += 1;
            let name = open.producer_name.unwrap_or_else(|| format!("bench-{}", self.producers));
            let success = proto::ProducerSuccess {
                request_id: open.request_id,
                producer_name: name,
                last_sequence_id: Some(-1),
                // Java's client reads it, whether it is said to be optional or not.
                schema_version: Some(Bytes::new()),
                ..proto::ProducerSuccess::default()
            };
            frame::encode(&BaseCommand { kind: kind::PRODUCER_SUCCESS, producer_success: Some(success), ..BaseCommand::default() })
        } else if let Some(close) = command.close_producer {
            let success = proto::Success { request_id: u64::try_from(close.request_id).unwrap_or_default() };
            frame::encode(&BaseCommand { kind: kind::SUCCESS, success: Some(success), ..BaseCommand::default() })
        } else if command.ping.is_some() {
            frame::encode(&BaseCommand { kind: kind::PONG, pong: Some(proto::Empty {}), ..BaseCommand::default() })
        } else {
            return Ok(());
        };
        answers.extend_from_slice(&answer);
        Ok(())
    }

    /// Notes how long ago the messages of an entry that has just come were handed on.
    fn time(&self, entry: &[u8]) -> anyhow::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        let now = u64::try_from(now)?;
        let (metadata, payload) = open(Bytes::copy_from_slice(entry)).context("an entry does not parse")?;
        let mut payload = inflate(&metadata, payload).context("a payload does not open")?;
        let mut late = self.counts.late.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = metadata.num_messages_in_batch else {
            late.add(now.saturating_sub(stamp(&payload)?));
            return Ok(());
        };
        for _ in 0..count {
            let size = payload.try_get_u32().context("a batch is cut off")? as usize;
            anyhow::ensure!(size <= payload.len(), "a batch is cut off");
            let value = payload_size(payload.split_to(size)).context("a message's metadata do not parse")?;
            anyhow::ensure!(value <= payload.len(), "a batch is cut off");
            late.add(now.saturating_sub(stamp(&payload[..value])?));
            payload.advance(value);
        }
        anyhow::ensure!(payload.is_empty(), "bytes are left behind a batch");
        Ok(())
    }
}

/// The stamp at the front of a payload.
fn stamp(payload: &[u8]) -> anyhow::Result<u64> {
    let digits = payload.get(..STAMP).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).context("a payload has no stamp")
}

/// `payload_size` of a `SingleMessageMetadata`, its third field; nothing else of it is looked at, so that reading the stamps takes as
/// little as can be from what is measured on the same machine.
fn payload_size(mut metadata: Bytes) -> anyhow::Result<usize> {
    while metadata.has_remaining() {
        let (tag, wire_type) = decode_key(&mut metadata)?;
        if tag == 3 {
            return Ok(usize::try_from(decode_varint(&mut metadata)?)?);
        }
        skip_field(wire_type, tag, &mut metadata, DecodeContext::default())?;
    }
    anyhow::bail!("it says no size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_end_of_its_step_and_never_above_the_longest() {
        let mut late = Histogram::default();
        (1..=100).for_each(|number| late.add(number * 100 + 1));
        assert_eq!((late.quantile(0.5), late.quantile(0.99), late.quantile(1.0)), (5_010, 9_910, 10_001));
        assert_eq!(Histogram::default().quantile(0.99), 0);
    }

    #[test]
    fn the_size_of_a_payload_is_found_among_all_that_a_message_says() {
        let property = |name: &str| proto::KeyValue { key: name.to_owned(), value: "v".repeat(200) };
        let single = proto::SingleMessageMetadata {
            properties: vec![property("a"), property("b")],
            partition_key: Some("key".into()),
            payload_size: 1_024,
            event_time: Some(7),
            sequence_id: Some(1 << 40),
            ..proto::SingleMessageMetadata::default()
        };
        assert_eq!(payload_size(single.encode_to_vec().into()).ok(), Some(1_024));
        assert!(payload_size(Bytes::new()).is_err());
    }

    #[test]
    fn what_is_longer_than_the_histogram_still_counts() {
        let mut late = Histogram::default();
        late.add(u64::MAX);
        assert_eq!((late.count, late.most), (1, u64::MAX));
    }
}
