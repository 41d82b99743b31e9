//! Connections: handshake, keep-alive, and the verdict on a silent one.
//!
//! A broker that throttles stops reading, and then a PING stays unanswered as if it were frozen. So a silent connection is only
//! suspect; a second connection is opened to the same broker, and the silent one is given up when that finds no answer either.

use super::consumer::News;
use super::producer::State;
use super::{Action, ConnectionId, Machine, Now, Subject, Trouble};
use crate::auth::AuthData;
use crate::error;
use crate::message::ConsumerId;
use crate::url::HostPort;
use crate::wire::frame::{DEFAULT_MAX_MESSAGE_SIZE, encode};
use crate::wire::messages::{self as proto, BaseCommand, PROTOCOL_VERSION, kind};
use bytes::Bytes;
use connector_sdk::Error;
use std::collections::VecDeque;
use std::time::Instant;

/// Bytes that may wait in a connection's writer: enough to keep it busy, little enough that a lost lease keeps its promise.
const WINDOW_BYTES: usize = 1 << 20;
/// The same in frames; the driver's queue has at least this room.
pub(crate) const WINDOW_FRAMES: usize = 512;

/// What a connection leads to: brokers are told apart by `logical` behind one proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Where TCP goes.
    pub(super) physical: HostPort,
    /// The broker a proxy is asked to connect to.
    pub(super) logical: Option<HostPort>,
}

impl Target {
    pub(super) fn direct(address: HostPort) -> Self {
        Self { physical: address, logical: None }
    }

    fn describe(&self) -> String {
        match &self.logical {
            Some(broker) if *broker != self.physical => format!("`{broker}` through `{}`", self.physical),
            _ => format!("`{}`", self.physical),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Handshaking,
    Ready,
}

pub(super) struct Connection {
    pub(super) target: Target,
    phase: Phase,
    /// While not ready: when it is given up.
    deadline: Instant,
    pub(super) max_message_size: usize,
    /// Whether partitions can be asked for without creating the topic.
    pub(super) asks_without_creating: bool,
    heard: Instant,
    pinged: Option<Instant>,
    /// The connection that asks whether this one's broker is alive.
    probe: Option<ConnectionId>,
    /// The connection this one asks for.
    probes: Option<ConnectionId>,
    /// When the broker was last found alive though this connection is silent.
    vouched: Option<Instant>,
    unwritten_bytes: usize,
    unwritten_frames: usize,
    /// Producers that found no room.
    pub(super) blocked: VecDeque<super::ProducerId>,
}

impl Connection {
    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether another entry may be handed to its writer.
    pub(super) fn has_room(&self) -> bool {
        // Half of the frames is kept for commands, which are not held back.
        self.unwritten_bytes < WINDOW_BYTES && self.unwritten_frames < WINDOW_FRAMES / 2
    }
}

impl Machine {
    /// The connection to `target`, opened when there is none.
    pub(super) fn reach(&mut self, now: Now, target: Target) -> ConnectionId {
        let found = self.connections.iter().find(|(_, connection)| connection.target == target && connection.probes.is_none());
        match found {
            Some((id, _)) => *id,
            None => self.connect(now, target, None),
        }
    }

    fn connect(&mut self, now: Now, target: Target, probes: Option<ConnectionId>) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let patience = if probes.is_some() { self.settings.ping_deadline } else { self.settings.connect_deadline };
        let deadline = now.at + patience;
        self.wake_at(deadline);
        self.actions.push_back(Action::Connect { connection: id, address: target.physical.clone() });
        let connection = Connection {
            target,
            phase: Phase::Connecting,
            deadline,
            max_message_size: DEFAULT_MAX_MESSAGE_SIZE,
            asks_without_creating: false,
            heard: now.at,
            pinged: None,
            probe: None,
            probes,
            vouched: None,
            unwritten_bytes: 0,
            unwritten_frames: 0,
            blocked: VecDeque::new(),
        };
        self.connections.insert(id, connection);
        id
    }

    /// A connection is open (TLS included) and these are the credentials for its handshake.
    pub fn connected(&mut self, now: Now, id: ConnectionId, auth: AuthData) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.phase = Phase::Handshaking;
        connection.heard = now.at;
        let logical = connection.target.logical.as_ref().map(ToString::to_string);
        let connect = proto::Connect {
            client_version: client_version(),
            auth_data: auth.data,
            protocol_version: Some(PROTOCOL_VERSION),
            auth_method_name: Some(auth.method.to_owned()),
            proxy_to_broker_url: logical,
            feature_flags: Some(proto::FeatureFlags {
                supports_auth_refresh: Some(true),
                supports_broker_entry_metadata: None,
                supports_partial_producer: Some(true),
                get_partitioned_metadata_without_auto_creation: Some(true),
            }),
        };
        self.command(id, BaseCommand { kind: kind::CONNECT, connect: Some(connect), ..BaseCommand::default() });
    }

    /// Fresh credentials, as [`Action::Authenticate`] asked for.
    pub fn authenticated(&mut self, id: ConnectionId, auth: AuthData) {
        if !self.connections.contains_key(&id) {
            return;
        }
        let response = proto::AuthData { auth_method_name: Some(auth.method.to_owned()), auth_data: auth.data };
        let answer = proto::AuthResponse {
            client_version: Some(client_version()),
            response: Some(response),
            protocol_version: Some(PROTOCOL_VERSION),
        };
        self.command(id, BaseCommand { kind: kind::AUTH_RESPONSE, auth_response: Some(answer), ..BaseCommand::default() });
    }

    /// The writer has put this much on the wire.
    pub fn written(&mut self, now: Now, id: ConnectionId, frames: usize, bytes: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.unwritten_frames = connection.unwritten_frames.saturating_sub(frames);
        connection.unwritten_bytes = connection.unwritten_bytes.saturating_sub(bytes);
        while let Some(connection) = self.connections.get_mut(&id)
            && connection.has_room()
            && let Some(producer) = connection.blocked.pop_front()
        {
            self.producer_mut(producer).blocked = false;
            self.send(now, producer);
        }
    }

    /// A connection could not be opened or was lost.
    pub fn disconnected(&mut self, now: Now, id: ConnectionId, error: Error) {
        self.lose(now, id, error, false);
    }

    /// Drops a connection; everything that used it goes on elsewhere.
    pub(super) fn drop_connection(&mut self, now: Now, id: ConnectionId, error: Error) {
        self.lose(now, id, error, true);
    }

    fn lose(&mut self, now: Now, id: ConnectionId, error: Error, open: bool) {
        let Some(connection) = self.connections.remove(&id) else { return };
        if open {
            self.actions.push_back(Action::Disconnect { connection: id });
        }
        if let Some(asked_for) = connection.probes {
            // The probe got no answer: the silent connection's broker is gone.
            if self.connections.get(&asked_for).is_some_and(|connection| connection.probe == Some(id)) {
                let error = Error::transient(format!("the broker {} does not answer any more", connection.target.describe()));
                self.drop_connection(now, asked_for, error);
            }
            return;
        }
        if let Some(probe) = connection.probe
            && self.connections.remove(&probe).is_some()
        {
            self.actions.push_back(Action::Disconnect { connection: probe });
        }
        if connection.phase == Phase::Ready {
            self.facts.disconnects.add(1);
        } else if connection.target.logical.is_none() {
            // The next lookup tries the next of the service's hosts.
            let hosts = &self.settings.service.hosts;
            if hosts.get(self.service_at % hosts.len()).is_some_and(|host| *host == connection.target.physical) {
                self.service_at = (self.service_at + 1) % hosts.len();
            }
        }
        let trouble = Trouble { error, of_connection: true };
        self.users(id, |machine, subject| machine.abandon(now, subject, trouble.clone()));
    }

    /// Calls `then` for all that wait for or use the connection.
    fn users(&mut self, id: ConnectionId, mut then: impl FnMut(&mut Self, Subject)) {
        for consumer in self.consumers.keys().copied().collect::<Vec<_>>() {
            if self.state(Subject::Consumer(consumer)).and_then(State::connection) == Some(id) {
                then(self, Subject::Consumer(consumer));
            }
        }
        for at in 0..self.topics.len() {
            if self.topics[at].connection() == Some(id) {
                then(self, Subject::Topic(super::TopicId(at)));
            }
        }
        for at in 0..self.producers.len() {
            if self.producers[at].connection() == Some(id) {
                then(self, Subject::Producer(super::ProducerId(at as u64)));
            }
        }
    }

    /// Something has arrived: the broker lives. `false`: the connection is not known.
    pub(super) fn hear(&mut self, now: Now, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        connection.heard = now.at;
        connection.pinged = None;
        connection.vouched = None;
        if let Some(probe) = connection.probe.take()
            && self.connections.remove(&probe).is_some()
        {
            self.actions.push_back(Action::Disconnect { connection: probe });
        }
        true
    }

    /// A command has arrived; one with an entry behind it goes to [`Machine::delivered`]. Commands this client does not know are
    /// skipped.
    pub fn received(&mut self, now: Now, id: ConnectionId, command: BaseCommand) {
        if !self.hear(now, id) {
            return;
        }
        match command.kind {
            kind::SEND_RECEIPT => {
                if let Some(receipt) = command.send_receipt {
                    self.receipt(now, id, &receipt);
                }
            }
            kind::PING => self.command(id, BaseCommand { kind: kind::PONG, pong: Some(proto::Empty {}), ..BaseCommand::default() }),
            kind::CONNECTED => {
                if let Some(connected) = command.connected {
                    self.handshake_done(now, id, &connected);
                }
            }
            kind::AUTH_CHALLENGE => self.actions.push_back(Action::Authenticate { connection: id }),
            kind::SEND_ERROR => {
                if let Some(refusal) = command.send_error {
                    self.send_error(now, id, &refusal);
                }
            }
            kind::ERROR => {
                if let Some(refusal) = command.error {
                    self.error_answer(now, id, &refusal);
                }
            }
            kind::PARTITIONED_METADATA_RESPONSE => {
                if let Some(answer) = command.partition_metadata_response {
                    self.metadata_answer(now, id, &answer);
                }
            }
            kind::LOOKUP_RESPONSE => {
                if let Some(answer) = command.lookup_response {
                    self.lookup_answer(now, id, &answer);
                }
            }
            kind::PRODUCER_SUCCESS => {
                if let Some(answer) = command.producer_success {
                    self.producer_opened(now, id, answer);
                }
            }
            kind::SUCCESS => {
                if let Some(success) = command.success {
                    self.success(now, id, success.request_id);
                }
            }
            kind::GET_SCHEMA_RESPONSE => {
                if let Some(answer) = command.get_schema_response {
                    self.schema_answer(now, id, answer);
                }
            }
            kind::CLOSE_PRODUCER => {
                if let Some(close) = command.close_producer {
                    self.producer_closed_by_broker(now, id, &close);
                }
            }
            kind::ACK_RESPONSE => {
                if let Some(answer) = command.ack_response {
                    self.ack_answer(now, &answer);
                }
            }
            kind::GET_LAST_MESSAGE_ID_RESPONSE => {
                if let Some(answer) = command.last_message_id {
                    self.last_message(now, &answer);
                }
            }
            kind::CLOSE_CONSUMER => {
                if let Some(close) = command.close_consumer {
                    self.consumer_closed_by_broker(now, id, &close);
                }
            }
            kind::ACTIVE_CONSUMER_CHANGE => {
                if let Some(change) = command.active_consumer_change {
                    self.news(ConsumerId(change.consumer_id), News::Active(change.is_active.unwrap_or(false)));
                }
            }
            kind::REACHED_END_OF_TOPIC => {
                if let Some(end) = command.reached_end_of_topic {
                    self.news(ConsumerId(end.consumer_id), News::EndOfTopic);
                }
            }
            kind::TOPIC_MIGRATED => {
                if let Some(moved) = command.topic_migrated {
                    self.topic_migrated(&moved);
                }
            }
            _ => {}
        }
    }

    fn handshake_done(&mut self, now: Now, id: ConnectionId, connected: &proto::Connected) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.phase != Phase::Handshaking {
            return;
        }
        if let Some(asked_for) = connection.probes {
            // The broker lives, it only does not read from the other connection: leave that in peace for a while.
            self.connections.remove(&id);
            self.actions.push_back(Action::Disconnect { connection: id });
            if let Some(silent) = self.connections.get_mut(&asked_for) {
                silent.probe = None;
                silent.vouched = Some(now.at);
                self.facts.throttled.add(1);
                self.wake_at(now.at + self.settings.ping_interval);
            }
            return;
        }
        connection.phase = Phase::Ready;
        if let Some(size) = connected.max_message_size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0) {
            connection.max_message_size = size;
        }
        connection.asks_without_creating =
            connected.feature_flags.as_ref().and_then(|flags| flags.get_partitioned_metadata_without_auto_creation).unwrap_or(false);
        self.facts.connections.add(1);
        self.wake_at(now.at + self.settings.ping_interval);
        self.users(id, |machine, subject| machine.proceed(now, subject));
    }

    fn error_answer(&mut self, now: Now, id: ConnectionId, refusal: &proto::CommandError) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.phase != Phase::Ready {
            if connection.probes.is_some() {
                // A refusal is an answer too: the broker lives.
                self.handshake_done(now, id, &proto::Connected::default());
                return;
            }
            let doing = format!("connecting to the broker {}", connection.target.describe());
            self.drop_connection(now, id, error::refused(refusal.error, &refusal.message, &doing));
            return;
        }
        let Ok(request) = u64::try_from(refusal.request_id) else { return };
        let Some(subject) = self.requests.remove(&request) else { return };
        match subject {
            Subject::Consumer(consumer) => self.consumer_refused(now, consumer, request, refusal),
            Subject::Producer(producer) if self.producer(producer).state.is_opening(request) => {
                let error = self.producer(producer).opening_refused(refusal.error, &refusal.message);
                self.interrupt(now, producer, Some(error.into()), None);
            }
            Subject::Producer(producer) if self.producer(producer).state.is_closing(request) => {
                self.requests.insert(request, subject);
                self.close_answered(now, id, request);
            }
            // Lookups have answers of their own; a broker that refuses one like this is asked again.
            _ if self.awaits(subject, request) => {
                let doing = format!("looking up the broker of `{}`", self.topic_name(subject));
                self.abandon(now, subject, error::refused(refusal.error, &refusal.message, &doing));
            }
            _ => {}
        }
    }

    fn success(&mut self, now: Now, id: ConnectionId, request: u64) {
        match self.requests.get(&request) {
            Some(Subject::Producer(_)) => self.close_answered(now, id, request),
            Some(Subject::Consumer(consumer)) => {
                let consumer = *consumer;
                self.requests.remove(&request);
                self.consumer_success(now, consumer, request);
            }
            Some(Subject::Topic(_)) | None => {}
        }
    }

    fn consumer_refused(&mut self, now: Now, id: ConsumerId, request: u64, refusal: &proto::CommandError) {
        let subject = Subject::Consumer(id);
        match self.state(subject) {
            Some(state) if state.is_opening(request) => {
                let doing = format!("subscribing to `{}`", self.topic_name(subject));
                let error = error::refused_consumer(refusal.error, &refusal.message, &doing);
                // A topic that takes no more consumers: who waits for the reading must not wait for that.
                let is_reading = self.consumers.get(&id).is_some_and(|consumer| consumer.reading.is_some());
                if is_reading && refusal.error == error::code::CONSUMER_BUSY {
                    return self.end_read_back(id, Err(error));
                }
                self.abandon(now, subject, error);
            }
            Some(state) if state.request() == Some(request) => {
                let doing = format!("looking up the broker of `{}`", self.topic_name(subject));
                self.abandon(now, subject, error::refused_consumer(refusal.error, &refusal.message, &doing));
            }
            _ => self.question_refused(now, id, request, refusal),
        }
    }

    pub(super) fn tick_connections(&mut self, now: Now) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.tick_connection(now, id);
        }
    }

    fn tick_connection(&mut self, now: Now, id: ConnectionId) {
        let (interval, patience) = (self.settings.ping_interval, self.settings.ping_deadline);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.phase != Phase::Ready {
            let deadline = connection.deadline;
            if now.at < deadline {
                self.wake_at(deadline);
            } else {
                let error = Error::transient(format!("connecting to the broker {}: no answer in time", connection.target.describe()))
                    .with_hint("check the service URL, its port and whether it speaks TLS");
                self.drop_connection(now, id, error);
            }
            return;
        }
        let due = match (connection.pinged, connection.vouched, connection.probe) {
            (_, _, Some(_)) => return,
            (Some(_), Some(vouched), None) => vouched + interval,
            (Some(pinged), None, None) => pinged + patience,
            (None, _, None) => connection.heard + interval,
        };
        if now.at < due {
            self.wake_at(due);
        } else if connection.pinged.is_none() {
            connection.pinged = Some(now.at);
            self.command(id, BaseCommand { kind: kind::PING, ping: Some(proto::Empty {}), ..BaseCommand::default() });
            self.wake_at(now.at + patience);
        } else {
            let target = connection.target.clone();
            let probe = self.connect(now, target, Some(id));
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.probe = Some(probe);
            }
        }
    }

    /// Puts a command on a connection, whatever its room: commands are few and small.
    pub(super) fn command(&mut self, id: ConnectionId, command: BaseCommand) {
        self.write(id, encode(&command));
    }

    pub(super) fn write(&mut self, id: ConnectionId, bytes: Bytes) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.unwritten_bytes += bytes.len();
            connection.unwritten_frames += 1;
            self.actions.push_back(Action::Write { connection: id, bytes });
        }
    }
}

fn client_version() -> String {
    concat!("pulsar-connect-", env!("CARGO_PKG_VERSION")).to_owned()
}
