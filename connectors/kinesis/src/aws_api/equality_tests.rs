//! What is read here is what the SDK reads: answers and events, generated with everything that may stand in them, written in JSON and
//! in CBOR in all the ways the two allow, whole and damaged.
#![allow(clippy::unwrap_used)]

use super::answer::{self, Reading, Records};
use crate::ids::SequenceNumber;
use crate::port::{ChildShard, Encryption, RawRecord};
use crate::retrieval::Event;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_sdk_kinesis::types as sdk;
use aws_sdk_kinesis::{Client, Config};
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use minicbor::Encoder;
use minicbor::data::Tag;
use proptest::prelude::*;
use std::fmt;
use std::sync::Arc;

/// What a body says, before it is written.
#[derive(Debug, Clone)]
struct Said {
    records: Vec<SaidRecord>,
    /// Iterator or continuation number.
    next: Option<String>,
    millis_behind: Option<i64>,
    children: Vec<(String, Vec<String>, u128, u128)>,
}

#[derive(Debug, Clone)]
struct SaidRecord {
    sequence: String,
    key: Option<String>,
    data: Vec<u8>,
    arrived_at: Option<u64>,
    kms: Option<bool>,
}

/// How it is written.
#[derive(Debug, Clone, Copy)]
struct Style {
    /// JSON: everything that may be escaped is. CBOR: lengths are left open, texts and payloads come in pieces.
    odd: bool,
    /// Members that nobody knows.
    unknown: bool,
    /// What is absent is said to be null.
    nulls: bool,
}

fn said(next: &'static str) -> impl Strategy<Value = Said> {
    let record = (
        "[1-9][0-9]{0,55}",
        prop::option::weighted(0.9, any::<String>()),
        prop::collection::vec(any::<u8>(), 0..80),
        prop::option::of(0u64..4_000_000_000_000),
        prop::option::of(any::<bool>()),
    )
        .prop_map(|(sequence, key, data, arrived_at, kms)| SaidRecord { sequence, key, data, arrived_at, kms });
    let child = ("shardId-[0-9]{12}", prop::collection::vec("shardId-[0-9]{12}", 0..3), any::<u128>(), any::<u128>());
    (prop::collection::vec(record, 0..12), prop::option::of(next), prop::option::of(0i64..100_000_000), prop::collection::vec(child, 0..3))
        .prop_map(|(records, next, millis_behind, children)| Said { records, next, millis_behind, children })
}

fn style() -> impl Strategy<Value = Style> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(odd, unknown, nulls)| Style { odd, unknown, nulls })
}

/// Writes it in JSON; `next` is the name of the position.
fn json(said: &Said, next: &str, style: Style) -> Vec<u8> {
    let text = |text: &str| match style.odd {
        true => {
            let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            format!("\"{units}\"")
        }
        false => serde_json::to_string(text).unwrap(),
    };
    let object = |members: Vec<(&str, Option<String>)>| {
        let mut written = Vec::new();
        if style.unknown {
            written.push(r#""Later":{"Records":[1,{"Data":null}],"x":"\"}"}"#.to_owned());
        }
        for (name, value) in members {
            match value {
                Some(value) => written.push(format!("\"{name}\" : {value}")),
                None if style.nulls => written.push(format!("\"{name}\":null")),
                None => {}
            }
        }
        format!("{{{}}}", written.join(if style.odd { "\n ,\t" } else { "," }))
    };
    let list = |items: Vec<String>| format!("[{}]", items.join(","));
    let record = |record: &SaidRecord| {
        object(vec![
            ("SequenceNumber", Some(text(&record.sequence))),
            ("ApproximateArrivalTimestamp", record.arrived_at.map(|at| format!("{}.{:03}", at / 1000, at % 1000))),
            ("Data", Some(text(&base64_simd::STANDARD.encode_to_string(&record.data)))),
            ("PartitionKey", record.key.as_deref().map(text)),
            ("EncryptionType", record.kms.map(|kms| text(if kms { "KMS" } else { "NONE" }))),
        ])
    };
    let child = |(id, parents, start, end): &(String, Vec<String>, u128, u128)| {
        let range = object(vec![("StartingHashKey", Some(text(&start.to_string()))), ("EndingHashKey", Some(text(&end.to_string())))]);
        let parents = list(parents.iter().map(|parent| text(parent)).collect());
        object(vec![("ShardId", Some(text(id))), ("ParentShards", Some(parents)), ("HashKeyRange", Some(range))])
    };
    let children = (!said.children.is_empty()).then(|| list(said.children.iter().map(child).collect()));
    object(vec![
        ("Records", Some(list(said.records.iter().map(record).collect()))),
        (next, said.next.as_deref().map(text)),
        ("MillisBehindLatest", said.millis_behind.map(|millis| millis.to_string())),
        ("ChildShards", children),
    ])
    .into_bytes()
}

/// Writes CBOR in a style.
struct Cbor(Encoder<Vec<u8>>, Style);

impl Cbor {
    fn map(&mut self, members: usize, write: impl FnOnce(&mut Self)) {
        if self.1.odd {
            self.0.begin_map().unwrap()
        } else {
            self.0.map((members + usize::from(self.1.unknown)) as u64).unwrap()
        };
        if self.1.unknown {
            self.0.str("Later").unwrap().begin_map().unwrap().str("Records").unwrap().array(2).unwrap().tag(Tag::new(7)).unwrap();
            self.0.u8(1).unwrap().begin_array().unwrap().f64(1.5).unwrap().null().unwrap().end().unwrap().end().unwrap();
        }
        write(self);
        self.end();
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        if self.1.odd {
            self.0.begin_array().unwrap()
        } else {
            self.0.array(items.len() as u64).unwrap()
        };
        items.iter().for_each(|item| write(self, item));
        self.end();
    }

    fn end(&mut self) {
        if self.1.odd {
            self.0.end().unwrap();
        }
    }

    fn text(&mut self, text: &str) {
        match text.char_indices().nth(3).filter(|_| self.1.odd) {
            Some((middle, _)) => {
                self.0.begin_str().unwrap().str(&text[..middle]).unwrap().str(&text[middle..]).unwrap().end().unwrap();
            }
            None => {
                self.0.str(text).unwrap();
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        match bytes.split_at_checked(3).filter(|_| self.1.odd) {
            Some((first, rest)) => self.0.begin_bytes().unwrap().bytes(first).unwrap().bytes(rest).unwrap().end().unwrap(),
            None => self.0.bytes(bytes).unwrap(),
        };
    }

    /// A member that may be absent, if it is written; the number of members says so too.
    fn optional<T>(&mut self, name: &str, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => {
                self.text(name);
                write(self, value);
            }
            None if self.1.nulls => {
                self.text(name);
                self.0.null().unwrap();
            }
            None => {}
        }
    }

    fn count(&self, present: &[bool]) -> usize {
        present.iter().filter(|present| **present || self.1.nulls).count()
    }
}

fn cbor(said: &Said, next: &str, style: Style) -> Vec<u8> {
    let mut out = Cbor(Encoder::new(Vec::new()), style);
    let present = [true, said.next.is_some(), said.millis_behind.is_some(), !said.children.is_empty()];
    out.map(out.count(&present), |out| {
        out.text("Records");
        out.list(&said.records, |out, record| {
            out.map(2 + out.count(&[record.arrived_at.is_some(), record.key.is_some(), record.kms.is_some()]), |out| {
                out.text("SequenceNumber");
                out.text(&record.sequence);
                out.optional("ApproximateArrivalTimestamp", record.arrived_at, |out, at| {
                    out.0.tag(Tag::new(1)).unwrap().u64(at).unwrap();
                });
                out.text("Data");
                out.bytes(&record.data);
                out.optional("PartitionKey", record.key.as_deref(), |out, key| out.text(key));
                out.optional("EncryptionType", record.kms, |out, kms| out.text(if kms { "KMS" } else { "NONE" }));
            });
        });
        out.optional(next, said.next.as_deref(), |out, next| out.text(next));
        out.optional("MillisBehindLatest", said.millis_behind, |out, millis| {
            out.0.i64(millis).unwrap();
        });
        out.optional("ChildShards", Some(&said.children).filter(|children| !children.is_empty()), |out, children| {
            out.list(children, |out, (id, parents, start, end)| {
                out.map(3, |out| {
                    out.0.str("ShardId").unwrap();
                    out.text(id);
                    out.0.str("ParentShards").unwrap();
                    out.list(parents, |out, parent| out.text(parent));
                    out.0.str("HashKeyRange").unwrap();
                    out.map(2, |out| {
                        out.0.str("StartingHashKey").unwrap();
                        out.text(&start.to_string());
                        out.0.str("EndingHashKey").unwrap();
                        out.text(&end.to_string());
                    });
                });
            });
        });
    });
    out.0.into_writer()
}

/// What a call is answered with: status and body.
pub(super) type Reply = Arc<dyn Fn(&HttpRequest) -> (u16, Vec<u8>) + Send + Sync>;

/// Answers without a network.
#[derive(Clone)]
pub(super) struct Canned(pub(super) Reply);

impl fmt::Debug for Canned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Canned")
    }
}

impl HttpConnector for Canned {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (status, body) = (self.0)(&request);
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))))
    }
}

/// A client of the SDK that is answered so.
pub(super) fn client(answers: Canned) -> Client {
    let connector = SharedHttpConnector::new(answers);
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url("http://localhost")
        .allow_no_auth()
        .retry_config(RetryConfig::disabled())
        .http_client(http_client_fn(move |_, _| connector.clone()));
    Client::from_conf(config.build())
}

fn answering(body: Vec<u8>) -> Client {
    client(Canned(Arc::new(move |_| (200, body.clone()))))
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Reads it in pieces that end at these places.
fn read(body: &[u8], cuts: &[prop::sample::Index]) -> Reading {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).chain([0, body.len()]).collect();
    places.sort_unstable();
    let mut reading = Reading::new(Some(body.len()));
    for piece in places.windows(2).filter(|piece| piece[0] < piece[1]) {
        reading.take(&body[piece[0]..piece[1]]);
    }
    reading
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..30)
}

/// What the SDK makes of an answer.
fn records_of_sdk(body: Vec<u8>) -> Option<Records> {
    let answer = wait(async { answering(body).get_records().shard_iterator("A").send().await }).ok()?;
    Some(Records {
        records: raws(answer.records)?,
        next_iterator: answer.next_shard_iterator,
        millis_behind: answer.millis_behind_latest.unwrap_or_default().max(0).unsigned_abs(),
        children: children(answer.child_shards.unwrap_or_default())?,
    })
}

/// What the SDK makes of an event.
fn event_of_sdk(payload: Vec<u8>) -> Option<Event> {
    let mut body = Vec::new();
    for (kind, payload) in [("initial-response", b"{}".to_vec()), ("SubscribeToShardEvent", payload)] {
        let mut message = Message::new(payload);
        for (name, value) in [(":message-type", "event"), (":event-type", kind), (":content-type", "application/json")] {
            message = message.add_header(Header::new(name, HeaderValue::String(value.into())));
        }
        write_message_to(&message, &mut body).unwrap();
    }
    let event = wait(async {
        let mut subscription = answering(body).subscribe_to_shard().consumer_arn("arn").shard_id("s").send().await.ok()?;
        subscription.event_stream.recv().await.ok()?
    })?;
    let sdk::SubscribeToShardEventStream::SubscribeToShardEvent(event) = event else { return None };
    let continuation = match event.continuation_sequence_number.as_str() {
        "" => None,
        number => Some(SequenceNumber::parse(number)?),
    };
    Some(Event {
        records: raws(event.records)?,
        continuation,
        millis_behind: event.millis_behind_latest.max(0).unsigned_abs(),
        children: children(event.child_shards.unwrap_or_default())?,
    })
}

fn raws(records: Vec<sdk::Record>) -> Option<Vec<RawRecord>> {
    let raw = |record: sdk::Record| {
        Some(RawRecord {
            sequence: SequenceNumber::parse(record.sequence_number)?,
            partition_key: record.partition_key.map(Into::into),
            data: record.data.into_inner().into(),
            arrived_at: record.approximate_arrival_timestamp.and_then(|at| answer::whole(at.as_secs_f64() * 1000.0)),
            encryption: if record.encryption_type == Some(sdk::EncryptionType::Kms) { Encryption::Kms } else { Encryption::None },
        })
    };
    records.into_iter().map(raw).collect()
}

fn children(children: Vec<sdk::ChildShard>) -> Option<Vec<ChildShard>> {
    let child = |child: sdk::ChildShard| {
        let keys = child.hash_key_range?;
        Some(ChildShard {
            id: child.shard_id.into(),
            parents: child.parent_shards.into_iter().map(Into::into).collect(),
            range: answer::range(&keys.starting_hash_key, &keys.ending_hash_key).ok()?,
        })
    };
    children.into_iter().map(child).collect()
}

proptest! {
    #[test]
    fn an_answer_is_read_as_the_sdk_reads_it(said in said("[A-Za-z0-9+/=]{1,60}"), style in style(), cuts in cuts()) {
        let (in_json, in_cbor) = (json(&said, "NextShardIterator", style), cbor(&said, "NextShardIterator", style));
        let sdk = records_of_sdk(in_json.clone()).unwrap();
        prop_assert_eq!(sdk.records.len(), said.records.len());
        prop_assert_eq!(&read(&in_json, &cuts).records().unwrap(), &sdk);
        prop_assert_eq!(&read(&in_cbor, &cuts).records().unwrap(), &sdk);
    }

    #[test]
    fn an_event_is_read_as_the_sdk_reads_it(said in said("[1-9][0-9]{0,55}"), style in style(), cuts in cuts()) {
        let (in_json, in_cbor) = (json(&said, "ContinuationSequenceNumber", style), cbor(&said, "ContinuationSequenceNumber", style));
        // The SDK insists on members that are absent at the end of a shard.
        let sdk = event_of_sdk(in_json.clone());
        let ours = read(&in_json, &cuts).event().unwrap();
        prop_assert_eq!(&read(&in_cbor, &cuts).event().unwrap(), &ours);
        prop_assert!(sdk.is_some() || said.next.is_none() || said.millis_behind.is_none());
        if let Some(sdk) = sdk {
            prop_assert_eq!(&sdk, &ours);
        }
    }

    #[test]
    fn a_cut_body_is_an_error(said in said("[1-9][0-9]{0,55}"), style in style(), cut: prop::sample::Index, cuts in cuts()) {
        for body in [json(&said, "NextShardIterator", style), cbor(&said, "NextShardIterator", style)] {
            let cut = &body[..cut.index(body.len())];
            prop_assert!(read(cut, &cuts).records().is_err() && read(cut, &cuts).event().is_err());
        }
    }

    #[test]
    fn a_damaged_body_is_an_error_or_what_the_sdk_reads(
        said in said("[1-9][0-9]{0,55}"),
        style in style(),
        cuts in cuts(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
    ) {
        let damaged = |mut body: Vec<u8>| {
            for (place, bit) in &damage {
                let place = place.index(body.len());
                body[place] ^= 1 << bit;
            }
            body
        };
        let in_json = damaged(json(&said, "NextShardIterator", style));
        if let Ok(ours) = read(&in_json, &cuts).records() {
            prop_assert_eq!(records_of_sdk(in_json), Some(ours));
        }
        // Of CBOR the SDK reads another dialect: what is asked here is that nothing panics and nothing is made up.
        let in_cbor = damaged(cbor(&said, "NextShardIterator", style));
        if let Ok(ours) = read(&in_cbor, &cuts).records() {
            prop_assert!(ours.records.iter().map(|record| record.data.len() + record.partition_key.as_ref().map_or(0, |key| key.len())).sum::<usize>() <= in_cbor.len());
        }
    }

    #[test]
    fn noise_is_never_a_panic(noise in prop::collection::vec(any::<u8>(), 0..200), cuts in cuts()) {
        drop((read(&noise, &cuts).records(), read(&noise, &cuts).event(), super::cbor::refusal(&noise)));
    }
}
