//! A cluster that speaks the wire over in-memory streams and does what a test tells it to.

use crate::auth::AuthData;
use crate::driver::{Dial, Halves};
use crate::error::code;
use crate::url::HostPort;
use crate::wire::frame::{decode, encode};
use crate::wire::messages::{self as proto, BaseCommand, kind};
use crate::wire::schema::{GetSchemaResponse, Schema};
use crate::wire::test_reader::TestReader;
use bytes::{Bytes, BytesMut};
use connector_sdk::{Error, Record, Task};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};

/// An entry as it was stored.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) records: Vec<Record>,
    pub(super) sequences: Vec<i64>,
    pub(super) frame: Bytes,
    pub(super) metadata: proto::MessageMetadata,
}

pub(super) struct State {
    /// Hosts that take connections.
    pub(super) up: BTreeSet<String>,
    pub(super) partitions: BTreeMap<String, u32>,
    pub(super) entries: BTreeMap<String, Vec<Stored>>,
    /// The token that is wanted.
    pub(super) token: Option<&'static str>,
    /// Answer of the metadata request instead of partitions.
    pub(super) metadata_error: Option<(i32, &'static str)>,
    /// Answers of the next PRODUCER requests.
    pub(super) open_errors: Vec<(i32, &'static str)>,
    /// Answer of every SEND, the producer being let go.
    pub(super) send_error: Option<(i32, &'static str)>,
    /// The first lookup answer redirects here.
    pub(super) redirect: Option<&'static str>,
    /// Lookup answers name this broker, to be reached through the service URL.
    pub(super) proxied_broker: Option<&'static str>,
    /// Entries above this are refused, as by a topic's own limit.
    pub(super) topic_limit: Option<usize>,
    pub(super) max_message_size: i32,
    /// Entries are stored, receipts are kept back.
    pub(super) keep_receipts: bool,
    /// Where each CONNECT went: host, `proxy_to_broker_url`, credentials.
    pub(super) connects: Vec<(String, Option<String>, Option<String>)>,
    /// Hosts that were asked for a broker.
    pub(super) lookups: Vec<String>,
    pub(super) opened: Vec<proto::OpenProducer>,
    pub(super) auth_responses: Vec<String>,
    /// What a consumer makes of the entries.
    pub(super) reader: TestReader,
    /// The topics' schema, and its version.
    pub(super) schema: Option<(Schema, &'static [u8])>,
    /// Only this many receipts are still given; the others are never sent.
    pub(super) receipts_left: Option<u32>,
    /// Every SEND, in the order of arrival.
    pub(super) sends: Vec<proto::Send>,
    kept: Vec<(usize, BaseCommand)>,
    connections: Vec<Option<Connection>>,
    names: usize,
    stored: i64,
    /// Whether the highest number of each name is kept, by topic and name.
    pub(super) deduplicates: bool,
    pub(super) highest: BTreeMap<(String, String), i64>,
}

struct Connection {
    host: String,
    outbound: mpsc::UnboundedSender<BaseCommand>,
    producers: BTreeMap<u64, String>,
    names: BTreeMap<u64, String>,
    _task: Task<()>,
}

/// The cluster; clones are the same one.
#[derive(Clone)]
pub(super) struct Cluster {
    state: Arc<Mutex<State>>,
    frozen: Arc<watch::Sender<bool>>,
    credentials: AuthData,
}

impl Cluster {
    pub(super) fn new() -> Self {
        let state = State {
            up: BTreeSet::from(["one".to_owned()]),
            partitions: BTreeMap::new(),
            entries: BTreeMap::new(),
            token: None,
            metadata_error: None,
            open_errors: Vec::new(),
            send_error: None,
            redirect: None,
            proxied_broker: None,
            topic_limit: None,
            max_message_size: 100_000,
            keep_receipts: false,
            connects: Vec::new(),
            lookups: Vec::new(),
            opened: Vec::new(),
            auth_responses: Vec::new(),
            reader: TestReader::default(),
            schema: None,
            receipts_left: None,
            sends: Vec::new(),
            kept: Vec::new(),
            connections: Vec::new(),
            names: 0,
            stored: 0,
            deduplicates: false,
            highest: BTreeMap::new(),
        };
        let credentials = AuthData { method: "token", data: Some(Bytes::from_static(b"good")) };
        Self { state: Arc::new(Mutex::new(state)), frozen: Arc::new(watch::Sender::new(false)), credentials }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// SIGSTOP and SIGCONT: connections open, nothing is read or answered.
    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    /// SIGKILL: the host is gone with all its connections; kept receipts too.
    pub(super) fn kill(&self, host: &str) {
        let mut state = self.state();
        state.up.remove(host);
        state.kept.clear();
        for connection in &mut state.connections {
            connection.take_if(|connection| connection.host == host);
        }
    }

    pub(super) fn start(&self, host: &str) {
        self.state().up.insert(host.to_owned());
    }

    /// Lets every producer go, naming another broker or not.
    pub(super) fn unload(&self, assigned: Option<&str>) {
        let mut state = self.state();
        state.kept.clear();
        for connection in state.connections.iter_mut().flatten() {
            for producer_id in std::mem::take(&mut connection.producers).into_keys() {
                let close = proto::CloseProducer {
                    producer_id,
                    request_id: -1,
                    assigned_broker_url: assigned.map(str::to_owned),
                    assigned_broker_url_tls: None,
                };
                connection.say(BaseCommand { kind: kind::CLOSE_PRODUCER, close_producer: Some(close), ..Default::default() });
            }
        }
    }

    /// The topics live in another cluster from now on, which every producer is told before it is let go.
    pub(super) fn migrate(&self, to: &str) {
        let state = self.state();
        for connection in state.connections.iter().flatten() {
            for producer_id in connection.producers.keys() {
                let moved = proto::TopicMigrated {
                    resource_id: *producer_id,
                    resource_type: 0,
                    broker_service_url: Some(to.to_owned()),
                    broker_service_url_tls: None,
                };
                connection.say(BaseCommand { kind: kind::TOPIC_MIGRATED, topic_migrated: Some(moved), ..Default::default() });
            }
        }
        drop(state);
        self.unload(None);
    }

    /// Asks every connection for fresh credentials.
    pub(super) fn challenge(&self) {
        for connection in self.state().connections.iter().flatten() {
            let challenge =
                proto::AuthData { auth_method_name: Some("token".into()), auth_data: Some(Bytes::from_static(b"PulsarAuthRefresh")) };
            let challenge = proto::AuthChallenge { challenge: Some(challenge) };
            connection.say(BaseCommand { kind: kind::AUTH_CHALLENGE, auth_challenge: Some(challenge), ..Default::default() });
        }
    }

    pub(super) fn release_receipts(&self) {
        let mut state = self.state();
        state.keep_receipts = false;
        for (connection, receipt) in std::mem::take(&mut state.kept) {
            if let Some(Some(connection)) = state.connections.get(connection) {
                connection.say(receipt);
            }
        }
    }

    /// The numbers of the records of a topic, in the order they were stored.
    pub(super) fn numbers(&self, topic: &str) -> Vec<u64> {
        let records = self.records(topic);
        records.iter().map(|record| std::str::from_utf8(&record.value[..8]).unwrap().parse().unwrap()).collect()
    }

    pub(super) fn records(&self, topic: &str) -> Vec<Record> {
        let name = format!("persistent://public/default/{topic}");
        let state = self.state();
        state.entries.get(&name).into_iter().flatten().flat_map(|entry| entry.records.clone()).collect()
    }

    async fn serve(self, at: usize, host: String, stream: DuplexStream, mut outbound: mpsc::UnboundedReceiver<BaseCommand>) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut frozen = self.frozen.subscribe();
        let mut buffer = BytesMut::new();
        loop {
            if frozen.wait_for(|frozen| !frozen).await.is_err() {
                return;
            }
            tokio::select! {
                command = outbound.recv() => {
                    let Some(command) = command else { return };
                    if writer.write_all(&encode(&command)).await.is_err() {
                        return;
                    }
                }
                read = reader.read_buf(&mut buffer) => {
                    if !matches!(read, Ok(size) if size > 0) {
                        self.state().connections[at] = None;
                        return;
                    }
                    loop {
                        let before = buffer.clone();
                        let Some(frame) = decode(&mut buffer, 20_000_000).unwrap() else { break };
                        let bytes = before.freeze().slice(..).split_to(before_len(&frame));
                        self.handle(at, &host, frame.command, frame.entry, bytes);
                    }
                }
                changed = frozen.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn handle(&self, at: usize, host: &str, command: BaseCommand, entry: Bytes, frame: Bytes) {
        let mut state = self.state();
        let state = &mut *state;
        let answer = match command.kind {
            kind::CONNECT => {
                let connect = command.connect.unwrap();
                let token = connect.auth_data.map(|data| String::from_utf8(data.to_vec()).unwrap());
                state.connects.push((host.to_owned(), connect.proxy_to_broker_url, token.clone()));
                if state.token.is_some() && token.as_deref() != state.token {
                    error(-1, code::AUTHENTICATION, "Failed to authenticate token: expired")
                } else {
                    let connected = proto::Connected {
                        server_version: "scripted".into(),
                        protocol_version: Some(21),
                        max_message_size: Some(state.max_message_size),
                        feature_flags: None,
                    };
                    BaseCommand { kind: kind::CONNECTED, connected: Some(connected), ..Default::default() }
                }
            }
            kind::PING => BaseCommand { kind: kind::PONG, pong: Some(proto::Empty {}), ..Default::default() },
            kind::AUTH_RESPONSE => {
                let data = command.auth_response.unwrap().response.unwrap().auth_data.unwrap();
                state.auth_responses.push(String::from_utf8(data.to_vec()).unwrap());
                return;
            }
            kind::PARTITIONED_METADATA => {
                let question = command.partition_metadata.unwrap();
                let refused = state.metadata_error;
                let answer = proto::PartitionMetadataResponse {
                    partitions: Some(state.partitions.get(&question.topic).copied().unwrap_or(0)),
                    request_id: question.request_id,
                    response: Some(i32::from(refused.is_some())),
                    error: refused.map(|(code, _)| code),
                    message: refused.map(|(_, text)| text.to_owned()),
                };
                BaseCommand { kind: kind::PARTITIONED_METADATA_RESPONSE, partition_metadata_response: Some(answer), ..Default::default() }
            }
            kind::LOOKUP => {
                state.lookups.push(host.to_owned());
                let request_id = command.lookup.unwrap().request_id;
                let (response, broker) = match (state.redirect.take(), state.proxied_broker) {
                    (Some(other), _) => (0, other.to_owned()),
                    (None, Some(broker)) => (1, broker.to_owned()),
                    (None, None) => (1, format!("pulsar://{host}:6650")),
                };
                let answer = proto::LookupResponse {
                    broker_service_url: Some(broker),
                    response: Some(response),
                    request_id,
                    authoritative: Some(response == 0),
                    proxy_through_service_url: Some(state.proxied_broker.is_some()),
                    ..Default::default()
                };
                BaseCommand { kind: kind::LOOKUP_RESPONSE, lookup_response: Some(answer), ..Default::default() }
            }
            kind::GET_SCHEMA => {
                let question = command.get_schema.unwrap();
                let known = state.schema.clone();
                let answer = GetSchemaResponse {
                    request_id: question.request_id,
                    error_code: known.is_none().then_some(code::TOPIC_NOT_FOUND),
                    error_message: known.is_none().then(|| "Topic not found or no-schema".to_owned()),
                    schema_version: known.as_ref().map(|(_, version)| Bytes::from_static(version)),
                    schema: known.map(|(schema, _)| schema),
                };
                BaseCommand { kind: kind::GET_SCHEMA_RESPONSE, get_schema_response: Some(answer), ..Default::default() }
            }
            kind::PRODUCER => {
                let open = command.producer.unwrap();
                state.opened.push(open.clone());
                if state.open_errors.is_empty() {
                    state.names += 1;
                    let producer_name = open.producer_name.clone().unwrap_or_else(|| format!("scripted-{}", state.names));
                    let last = state.highest.get(&(open.topic.clone(), producer_name.clone())).copied();
                    if let Some(Some(connection)) = state.connections.get_mut(at) {
                        connection.producers.insert(open.producer_id, open.topic.clone());
                        connection.names.insert(open.producer_id, producer_name.clone());
                    }
                    let success = proto::ProducerSuccess {
                        request_id: open.request_id,
                        producer_name,
                        last_sequence_id: Some(last.unwrap_or(-1)),
                        schema_version: Some(Bytes::from_static(open.schema.as_ref().map_or(&[], |_| &[0, 0, 0, 0, 0, 0, 0, 3]))),
                        ..Default::default()
                    };
                    BaseCommand { kind: kind::PRODUCER_SUCCESS, producer_success: Some(success), ..Default::default() }
                } else {
                    let (code, text) = state.open_errors.remove(0);
                    error(i64::try_from(open.request_id).unwrap(), code, text)
                }
            }
            kind::SEND => {
                let Some(answer) = state.store(at, &command.send.unwrap(), entry, frame) else { return };
                match &mut state.receipts_left {
                    Some(0) => return,
                    Some(left) => *left -= 1,
                    None => {}
                }
                if state.keep_receipts {
                    state.kept.push((at, answer));
                    return;
                }
                answer
            }
            kind::SUBSCRIBE => {
                let request = i64::try_from(command.subscribe.unwrap().request_id).unwrap();
                error(request, code::AUTHORIZATION, "Client is not authorized to subscribe")
            }
            kind::CLOSE_PRODUCER => {
                let close = command.close_producer.unwrap();
                if let Some(Some(connection)) = state.connections.get_mut(at) {
                    connection.producers.remove(&close.producer_id);
                }
                let success = proto::Success { request_id: u64::try_from(close.request_id).unwrap() };
                BaseCommand { kind: kind::SUCCESS, success: Some(success), ..Default::default() }
            }
            _ => return,
        };
        if let Some(Some(connection)) = state.connections.get(at) {
            connection.say(answer);
        }
    }
}

impl State {
    fn store(&mut self, at: usize, send: &proto::Send, entry: Bytes, frame: Bytes) -> Option<BaseCommand> {
        // A SEND that crossed the close of its producer is dropped without a word.
        let connection = self.connections.get(at)?.as_ref()?;
        let topic = connection.producers.get(&send.producer_id)?.clone();
        let name = connection.names.get(&send.producer_id)?.clone();
        let too_large = send.is_chunk.is_none() && self.topic_limit.is_some_and(|limit| entry.len() > limit);
        if let Some((error, text)) = self.send_error.or(too_large.then_some((code::NOT_ALLOWED, "Exceed maximum message size"))) {
            let refusal = proto::SendError {
                producer_id: send.producer_id,
                sequence_id: send.highest_sequence_id.unwrap_or(send.sequence_id),
                error,
                message: text.into(),
            };
            return Some(BaseCommand { kind: kind::SEND_ERROR, send_error: Some(refusal), ..Default::default() });
        }
        self.sends.push(send.clone());
        if self.deduplicates {
            let highest = self.highest.entry((topic.clone(), name)).or_insert(-1);
            if send.sequence_id <= *highest {
                return Some(receipt(send, -1, -1));
            }
            *highest = send.highest_sequence_id.unwrap_or(send.sequence_id);
        }
        if let Some(entry) = self.reader.read(entry).unwrap() {
            let stored = Stored { records: entry.records, sequences: entry.sequences, frame, metadata: entry.metadata };
            self.entries.entry(topic).or_default().push(stored);
        }
        self.stored += 1;
        Some(receipt(send, 7, self.stored))
    }
}

fn receipt(send: &proto::Send, ledger_id: i64, entry_id: i64) -> BaseCommand {
    let receipt = proto::SendReceipt {
        producer_id: send.producer_id,
        sequence_id: send.sequence_id,
        message_id: Some(proto::MessageId { ledger_id, entry_id }),
        highest_sequence_id: Some(send.highest_sequence_id.unwrap_or(-1)),
    };
    BaseCommand { kind: kind::SEND_RECEIPT, send_receipt: Some(receipt), ..Default::default() }
}

impl Connection {
    fn say(&self, command: BaseCommand) {
        // A connection that is gone hears nothing.
        let _unheard = self.outbound.send(command);
    }
}

impl Dial for Cluster {
    fn dial<'a>(&'a self, address: &'a HostPort) -> BoxFuture<'a, Result<Halves, Error>> {
        Box::pin(async move {
            if !self.state().up.contains(&address.host) {
                return Err(Error::transient(format!("connecting to the broker `{address}`: connection refused")));
            }
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let (outbound, queue) = mpsc::unbounded_channel();
            let at = self.state().connections.len();
            let task = Task::spawn("scripted connection", self.clone().serve(at, address.host.clone(), theirs, queue));
            let connection =
                Connection { host: address.host.clone(), outbound, producers: BTreeMap::new(), names: BTreeMap::new(), _task: task };
            self.state().connections.push(Some(connection));
            let (reader, writer) = tokio::io::split(ours);
            Ok(Halves { reader: Box::new(reader), writer: Box::new(writer) })
        })
    }

    fn credentials(&self) -> BoxFuture<'_, Result<AuthData, Error>> {
        Box::pin(async { Ok(self.credentials.clone()) })
    }
}

/// The whole length of a frame.
fn before_len(frame: &crate::wire::frame::Frame) -> usize {
    use prost::Message;
    8 + frame.command.encoded_len() + frame.entry.len()
}

fn error(request_id: i64, error: i32, message: &str) -> BaseCommand {
    let error = proto::CommandError { request_id, error, message: message.to_owned() };
    BaseCommand { kind: kind::ERROR, error: Some(error), ..Default::default() }
}
