//! One connection's commands, and what becomes of its producers when it ends.

use super::topic::LinkId;
use super::{Broker, Due, Out, Session};
use connector_pulsar::wire::frame::Frame;
use connector_pulsar::wire::messages::{self as proto, BaseCommand, kind};

/// Codes of `ServerError` that the model answers with.
pub(super) mod code {
    pub(crate) const UNKNOWN: i32 = 0;
    pub(crate) const PERSISTENCE: i32 = 2;
    pub(crate) const AUTHORIZATION: i32 = 4;
    pub(crate) const SERVICE_NOT_READY: i32 = 6;
    pub(crate) const TOPIC_NOT_FOUND: i32 = 11;
    pub(crate) const PRODUCER_BUSY: i32 = 16;
    pub(crate) const NOT_ALLOWED: i32 = 22;
}

impl Broker {
    /// A connection was opened.
    pub fn accepted(&mut self, link: LinkId) {
        self.sessions.insert(link, Session::default());
    }

    /// The broker learns that a connection is gone. What it sent and is being stored goes on.
    pub fn closed(&mut self, link: LinkId) {
        let Some(session) = self.sessions.remove(&link) else { return };
        for (producer, topic) in session.producers {
            if let Some(topic) = self.topics.get_mut(&topic) {
                topic.leave((link, producer), self.millis);
            }
        }
        self.waiting.retain(|waiting| waiting.link != link);
        let (asking, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.old == link);
        self.waiting = waiting;
        let asking: Vec<super::Waiting> = asking;
        for waiting in asking {
            self.open_producer(waiting.link, waiting.open);
        }
    }

    /// The broker ends a connection.
    pub(super) fn hang_up(&mut self, link: LinkId) {
        if self.sessions.contains_key(&link) {
            self.out.push(Out::Close(link));
            self.closed(link);
        }
    }

    /// A frame has arrived; `millis` is the wall clock.
    pub fn received(&mut self, millis: u64, link: LinkId, frame: Frame) {
        if !self.sessions.contains_key(&link) {
            return;
        }
        self.millis = millis;
        self.shows_life(link);
        let Frame { command, entry } = frame;
        match command.kind {
            kind::CONNECT => {
                let flags =
                    proto::FeatureFlags { get_partitioned_metadata_without_auto_creation: Some(true), ..proto::FeatureFlags::default() };
                let connected = proto::Connected {
                    server_version: "model".into(),
                    protocol_version: Some(21),
                    max_message_size: Some(5_242_880),
                    feature_flags: Some(flags),
                };
                self.say(link, BaseCommand { kind: kind::CONNECTED, connected: Some(connected), ..BaseCommand::default() });
            }
            kind::PING => self.say(link, BaseCommand { kind: kind::PONG, pong: Some(proto::Empty {}), ..BaseCommand::default() }),
            kind::PARTITIONED_METADATA => {
                if let Some(question) = command.partition_metadata {
                    self.metadata(link, &question);
                }
            }
            kind::LOOKUP => {
                if let Some(question) = command.lookup {
                    self.lookup(link, &question);
                }
            }
            kind::PRODUCER => {
                if let Some(open) = command.producer {
                    self.open_producer(link, open);
                }
            }
            kind::CLOSE_PRODUCER => {
                if let Some(close) = command.close_producer {
                    self.close_producer(link, &close);
                }
            }
            kind::SEND => {
                if let Some(send) = command.send {
                    self.send(link, &send, entry);
                }
            }
            _ => self.reading(millis, link, command),
        }
    }

    /// What was to be looked at later.
    pub fn due(&mut self, millis: u64, due: Due) {
        match due {
            Due::Stored { topic, number } => self.reached_storage(millis, &topic, number),
            Due::Liveness(old, number) => {
                if self.waiting.iter().any(|waiting| waiting.number == number) {
                    // Silent for too long: it is given up, and the name is free.
                    self.hang_up(old);
                }
            }
            Due::Loaded(topic) => self.loaded(topic),
            Due::RecoveredAgain { topic, load, numbers } => {
                let topic = self.topic_mut(&topic);
                if topic.loads == load {
                    topic.dedup.put_over(numbers);
                }
            }
        }
    }

    /// Whoever asked for a name of this connection is answered: it lives.
    fn shows_life(&mut self, link: LinkId) {
        while let Some(at) = self.waiting.iter().position(|waiting| waiting.old == link) {
            let waiting = self.waiting.remove(at);
            let name = waiting.open.producer_name.unwrap_or_default();
            let text = format!("Producer with name '{name}' is already connected to topic");
            self.refuse(waiting.link, waiting.open.request_id, code::PRODUCER_BUSY, &text);
        }
    }

    fn metadata(&mut self, link: LinkId, question: &proto::PartitionMetadata) {
        let answer = proto::PartitionMetadataResponse {
            partitions: Some(if question.topic == self.name { self.partitions } else { 0 }),
            request_id: question.request_id,
            response: Some(0),
            error: None,
            message: None,
        };
        let kind = kind::PARTITIONED_METADATA_RESPONSE;
        self.say(link, BaseCommand { kind, partition_metadata_response: Some(answer), ..BaseCommand::default() });
    }

    fn lookup(&mut self, link: LinkId, question: &proto::Lookup) {
        let answer = proto::LookupResponse {
            broker_service_url: Some("pulsar://broker:6650".into()),
            response: Some(1),
            request_id: question.request_id,
            authoritative: Some(true),
            proxy_through_service_url: Some(false),
            ..proto::LookupResponse::default()
        };
        self.say(link, BaseCommand { kind: kind::LOOKUP_RESPONSE, lookup_response: Some(answer), ..BaseCommand::default() });
    }

    pub(super) fn refuse(&mut self, link: LinkId, request_id: u64, error: i32, message: &str) {
        let request_id = i64::try_from(request_id).unwrap_or(-1);
        let error = proto::CommandError { request_id, error, message: message.to_owned() };
        self.say(link, BaseCommand { kind: kind::ERROR, error: Some(error), ..BaseCommand::default() });
    }

    pub(super) fn succeed(&mut self, link: LinkId, request_id: u64) {
        let success = proto::Success { request_id };
        self.say(link, BaseCommand { kind: kind::SUCCESS, success: Some(success), ..BaseCommand::default() });
    }
}
