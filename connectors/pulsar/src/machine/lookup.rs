//! Lookups: how many partitions a topic has, and which broker serves one of them.
//!
//! Each asker walks by itself: reach a broker, ask, follow redirects, and after any failure wait a little and begin again.

use super::backoff::Backoff;
use super::connection::Target;
use super::producer::State;
use super::{ConnectionId, Event, Machine, Now, Settings, Subject, TopicId, Trouble};
use crate::error::{self, code};
use crate::topic::TopicName;
use crate::url::{HostPort, ServiceUrl};
use crate::wire::messages::{self as proto, BaseCommand, kind};
use connector_sdk::Error;
use std::time::Instant;

/// As Java's client.
const MAX_REDIRECTS: u32 = 20;

/// One question on its way.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) connection: ConnectionId,
    pub(super) request: Option<u64>,
    /// When the answer is given up.
    pub(super) deadline: Instant,
    authoritative: bool,
    redirects: u32,
}

/// A topic whose partitions are watched.
pub(super) struct Topic {
    name: TopicName,
    state: TopicState,
    partitions: Option<u32>,
    backoff: Backoff,
    look: Look,
}

/// Whether the owner wants to know how many partitions there are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Nobody,
    /// By a question that is still to be asked.
    Wanted,
    /// By the question that is on its way.
    Asked,
}

enum TopicState {
    Asking(Ask),
    Waiting(Instant),
    Settled,
}

impl Topic {
    pub(super) fn new(name: TopicName, settings: &Settings) -> Self {
        let backoff = Backoff::new(settings.backoff_first, settings.backoff_cap);
        Self { name, state: TopicState::Settled, partitions: None, backoff, look: Look::Nobody }
    }

    pub(super) fn connection(&self) -> Option<ConnectionId> {
        match &self.state {
            TopicState::Asking(ask) => Some(ask.connection),
            _ => None,
        }
    }

    fn request(&self) -> Option<u64> {
        match &self.state {
            TopicState::Asking(ask) => ask.request,
            _ => None,
        }
    }
}

impl Machine {
    /// Begins a lookup at the service URL.
    pub(super) fn ask(&mut self, now: Now, subject: Subject) {
        let hosts = &self.settings.service.hosts;
        let host = hosts.get(self.service_at % hosts.len().max(1)).expect("a service URL has at least one host").clone();
        self.ask_at(now, subject, Target::direct(host), false, 0);
    }

    fn ask_at(&mut self, now: Now, subject: Subject, target: Target, authoritative: bool, redirects: u32) {
        let connection = self.reach(now, target);
        let deadline = now.at + self.settings.request_deadline;
        self.wake_at(deadline);
        let ask = Ask { connection, request: None, deadline, authoritative, redirects };
        match subject {
            Subject::Topic(id) => self.topics[id.0].state = TopicState::Asking(ask),
            Subject::Producer(_) | Subject::Consumer(_) => self.set_state(subject, State::Asking(ask)),
        }
        self.proceed(now, subject);
    }

    /// Takes the next step of a subject whose connection may be ready now.
    pub(super) fn proceed(&mut self, now: Now, subject: Subject) {
        let ask = match subject {
            Subject::Topic(id) => match &self.topics[id.0].state {
                TopicState::Asking(ask) => ask.clone(),
                _ => return,
            },
            Subject::Producer(_) | Subject::Consumer(_) => match self.state(subject) {
                Some(State::Asking(ask)) => ask.clone(),
                Some(State::Reaching { connection, .. }) => {
                    if self.connections.get(connection).is_some_and(super::Connection::is_ready) {
                        let connection = *connection;
                        self.open_on_broker(now, subject, connection);
                    }
                    return;
                }
                _ => return,
            },
        };
        let Some(connection) = self.connections.get(&ask.connection) else { return };
        if ask.request.is_some() || !connection.is_ready() {
            return;
        }
        let asks_without_creating = connection.asks_without_creating;
        let request_id = self.request(subject);
        let command = match subject {
            Subject::Topic(id) => {
                let topic = &mut self.topics[id.0];
                topic.state = TopicState::Asking(Ask { request: Some(request_id), ..ask });
                if topic.look == Look::Wanted {
                    topic.look = Look::Asked;
                }
                // The first question may create the topic, as Java's does; the later ones must not bring a deleted one back.
                let create = topic.partitions.is_none() || !asks_without_creating;
                let question =
                    proto::PartitionMetadata { topic: topic.name.to_string(), request_id, metadata_auto_creation_enabled: Some(create) };
                BaseCommand { kind: kind::PARTITIONED_METADATA, partition_metadata: Some(question), ..BaseCommand::default() }
            }
            Subject::Producer(_) | Subject::Consumer(_) => {
                let question = proto::Lookup {
                    topic: self.topic_name(subject),
                    request_id,
                    authoritative: Some(ask.authoritative),
                    advertised_listener_name: self.settings.listener_name.clone(),
                };
                self.set_state(subject, State::Asking(Ask { request: Some(request_id), ..ask }));
                BaseCommand { kind: kind::LOOKUP, lookup: Some(question), ..BaseCommand::default() }
            }
        };
        self.command(self.connection_of(subject).expect("a question is asked on a connection"), command);
    }

    /// Whether the subject waits for the answer to this request.
    pub(super) fn awaits(&self, subject: Subject, request: u64) -> bool {
        let mine = match subject {
            Subject::Topic(id) => self.topics[id.0].request(),
            Subject::Producer(_) | Subject::Consumer(_) => self.state(subject).and_then(State::request),
        };
        mine == Some(request)
    }

    fn connection_of(&self, subject: Subject) -> Option<ConnectionId> {
        match subject {
            Subject::Topic(id) => self.topics[id.0].connection(),
            Subject::Producer(_) | Subject::Consumer(_) => self.state(subject).and_then(State::connection),
        }
    }

    /// Where a producer or consumer stands on its way to its broker; nothing for one that is gone.
    pub(super) fn state(&self, subject: Subject) -> Option<&State> {
        match subject {
            Subject::Producer(id) => Some(&self.producer(id).state),
            Subject::Consumer(id) => self.consumers.get(&id).map(|consumer| &consumer.state),
            Subject::Topic(_) => None,
        }
    }

    pub(super) fn set_state(&mut self, subject: Subject, state: State) {
        match subject {
            Subject::Producer(id) => self.producer_mut(id).state = state,
            Subject::Consumer(id) => {
                if let Some(consumer) = self.consumers.get_mut(&id) {
                    consumer.state = state;
                }
            }
            Subject::Topic(_) => {}
        }
    }

    /// The topic that a subject is about; nothing for a consumer that is gone.
    pub fn topic_of_subject(&self, subject: Subject) -> Option<&TopicName> {
        match subject {
            Subject::Producer(id) => Some(&self.producer(id).topic),
            Subject::Topic(id) => Some(&self.topics[id.0].name),
            Subject::Consumer(id) => self.consumers.get(&id).map(|consumer| &consumer.topic),
        }
    }

    /// The name of the topic, for messages.
    pub(super) fn topic_name(&self, subject: Subject) -> String {
        self.topic_of_subject(subject).map(ToString::to_string).unwrap_or_default()
    }

    /// Goes to the broker of a topic; `assigned`: the broker before named it.
    pub(super) fn reach_broker(&mut self, now: Now, subject: Subject, target: Target, assigned: bool) {
        let connection = self.reach(now, target);
        let deadline = now.at + self.settings.request_deadline;
        self.wake_at(deadline);
        self.set_state(subject, State::Reaching { connection, deadline, assigned });
        self.proceed(now, subject);
    }

    fn open_on_broker(&mut self, now: Now, subject: Subject, connection: ConnectionId) {
        let request = self.request(subject);
        let deadline = now.at + self.settings.request_deadline;
        self.wake_at(deadline);
        self.set_state(subject, State::Opening { connection, request, deadline: Some(deadline) });
        match subject {
            Subject::Producer(id) => self.open_producer(connection, request, id),
            Subject::Consumer(id) => self.open_consumer(connection, request, id),
            Subject::Topic(_) => {}
        }
    }

    /// Begins again: at the broker that was assigned, at once after one that was assigned and is not there, or after a delay.
    pub(super) fn begin_again(&mut self, now: Now, subject: Subject, before: &State, assigned: Option<Target>) {
        match (assigned, before) {
            (Some(target), _) => self.reach_broker(now, subject, target, true),
            // The broker that was assigned is not there (yet): ask.
            (None, State::Reaching { assigned: true, .. }) => self.ask(now, subject),
            (None, _) => {
                let Self { producers, consumers, random, .. } = self;
                let backoff = match subject {
                    Subject::Producer(id) => Some(&mut producers[super::index(id)].backoff),
                    Subject::Consumer(id) => consumers.get_mut(&id).map(|consumer| &mut consumer.backoff),
                    Subject::Topic(_) => None,
                };
                let Some(delay) = backoff.map(|backoff| backoff.delay(random)) else { return };
                self.set_state(subject, State::Waiting(now.at + delay));
                self.wake_at(now.at + delay);
            }
        }
    }

    /// Asks, or gives up what has taken too long, on a producer's or consumer's way to its broker.
    pub(super) fn tick_way(&mut self, now: Now, subject: Subject) {
        let Some(state) = self.state(subject) else { return };
        let (deadline, doing) = match state {
            State::Waiting(until) if now.at >= *until => return self.ask(now, subject),
            State::Waiting(until) => {
                let until = *until;
                return self.wake_at(until);
            }
            State::Asking(ask) => (ask.deadline, "looking up the broker of"),
            State::Reaching { deadline, .. } => (*deadline, "reaching the broker of"),
            State::Opening { deadline: Some(deadline), .. } => match subject {
                Subject::Consumer(_) => (*deadline, "subscribing to"),
                Subject::Producer(_) | Subject::Topic(_) => (*deadline, "opening a producer on"),
            },
            State::Closing { deadline, .. } => (*deadline, "closing a producer on"),
            State::Opening { deadline: None, .. } | State::Ready(_) | State::Resting | State::Closed => return,
        };
        if now.at < deadline {
            return self.wake_at(deadline);
        }
        let error = Error::transient(format!("{doing} `{}`: no answer in time", self.topic_name(subject)));
        match (state, subject) {
            // It may have been opened all the same.
            (State::Opening { connection, .. }, Subject::Producer(id)) => {
                let connection = *connection;
                return self.close_and_retry(now, connection, id, error);
            }
            (State::Opening { connection, .. }, Subject::Consumer(id)) => {
                let connection = *connection;
                self.close_consumer_on_wire(connection, id);
            }
            // Whether it is closed is only known once its connection is.
            (State::Closing { connection, .. }, _) => {
                let connection = *connection;
                return self.drop_connection(now, connection, error);
            }
            _ => {}
        }
        self.abandon(now, subject, error);
    }

    /// The subject's attempt failed: say so, wait, begin again.
    pub(super) fn abandon(&mut self, now: Now, subject: Subject, trouble: impl Into<Trouble>) {
        match subject {
            Subject::Producer(id) => self.interrupt(now, id, Some(trouble.into()), None),
            Subject::Consumer(id) => self.interrupt_consumer(now, id, Some(trouble.into()), None),
            Subject::Topic(id) => {
                if let Some(request) = self.topics[id.0].request() {
                    self.requests.remove(&request);
                }
                let topic = &mut self.topics[id.0];
                if topic.look == Look::Asked {
                    topic.look = Look::Wanted;
                }
                let again = match topic.partitions {
                    // Known already: it was only a look whether they have grown.
                    Some(_) if topic.look == Look::Nobody => self.settings.partitions_refresh,
                    _ => topic.backoff.delay(&mut self.random),
                };
                let known = topic.partitions.is_some();
                topic.state = TopicState::Waiting(now.at + again);
                self.wake_at(now.at + again);
                self.facts.errors.add(1);
                if !known {
                    self.event(Event::Trouble { subject, trouble: trouble.into() });
                }
            }
        }
    }

    pub(super) fn metadata_answer(&mut self, now: Now, connection: ConnectionId, answer: &proto::PartitionMetadataResponse) {
        let Some(Subject::Topic(id)) = self.requests.remove(&answer.request_id) else { return };
        let topic = &mut self.topics[id.0];
        if !matches!(&topic.state, TopicState::Asking(ask) if ask.request == Some(answer.request_id)) {
            return;
        }
        if answer.response == Some(1) || answer.error.is_some() {
            let code = answer.error.unwrap_or_default();
            let doing = format!("asking for the partitions of `{}`", topic.name);
            let error = error::refused(code, answer.message.as_deref().unwrap_or_default(), &doing);
            self.lookup_failed(now, Subject::Topic(id), connection, code, error);
            return;
        }
        let partitions = answer.partitions.unwrap_or(0);
        topic.backoff.reset();
        let before = topic.partitions;
        if before.is_none_or(|before| partitions > before) {
            topic.partitions = Some(partitions);
            self.event(Event::Partitions { topic: id, partitions });
        }
        let topic = &mut self.topics[id.0];
        let look = topic.look;
        if look == Look::Asked {
            topic.look = Look::Nobody;
            self.event(Event::Looked { topic: id, partitions });
        }
        let topic = &mut self.topics[id.0];
        if look == Look::Wanted {
            // This answer may be older than the wish to know.
            topic.state = TopicState::Waiting(now.at);
            self.wake_at(now.at);
        } else if topic.partitions == Some(0) {
            // A topic without partitions does not grow any.
            topic.state = TopicState::Settled;
        } else {
            let next = now.at + self.settings.partitions_refresh;
            topic.state = TopicState::Waiting(next);
            self.wake_at(next);
        }
    }

    /// Asks for a topic's partitions now; the answer is [`Event::Looked`].
    pub fn look(&mut self, now: Now, id: TopicId) {
        let topic = &mut self.topics[id.0];
        topic.look = Look::Wanted;
        if !matches!(topic.state, TopicState::Asking(_)) {
            self.ask(now, Subject::Topic(id));
        }
    }

    pub(super) fn lookup_answer(&mut self, now: Now, connection: ConnectionId, answer: &proto::LookupResponse) {
        let Some(subject) = self.requests.remove(&answer.request_id) else { return };
        let ask = match self.state(subject) {
            Some(State::Asking(ask)) if ask.request == Some(answer.request_id) => ask.clone(),
            _ => return,
        };
        let doing = format!("looking up the broker of `{}`", self.topic_name(subject));
        let url = if self.settings.service.tls { &answer.broker_service_url_tls } else { &answer.broker_service_url };
        let broker = url.as_deref().filter(|url| !url.is_empty()).map(broker_address);
        match (answer.response, broker) {
            (Some(0), Some(Ok(broker))) if ask.redirects < MAX_REDIRECTS => {
                self.ask_at(now, subject, Target::direct(broker), answer.authoritative.unwrap_or(false), ask.redirects + 1);
            }
            (Some(0), Some(Ok(_))) => {
                let error = Error::transient(format!("{doing}: redirected more than {MAX_REDIRECTS} times"));
                self.abandon(now, subject, error);
            }
            (Some(1), Some(Ok(broker))) => {
                let target = if answer.proxy_through_service_url.unwrap_or(false) {
                    let physical = self.connections.get(&connection).map(|connection| connection.target.physical.clone());
                    Target { physical: physical.unwrap_or_else(|| broker.clone()), logical: Some(broker) }
                } else {
                    Target::direct(broker)
                };
                self.reach_broker(now, subject, target, false);
            }
            (Some(0 | 1), Some(Err(error))) => self.abandon(now, subject, Error::transient(format!("{doing}: {error}"))),
            (Some(0 | 1), None) => {
                let scheme = if self.settings.service.tls { "pulsar+ssl" } else { "pulsar" };
                let error = Error::transient(format!("{doing}: the broker has no `{scheme}` address"))
                    .with_hint("use the other scheme in the service URL, or configure the broker's listener");
                self.abandon(now, subject, error);
            }
            _ => {
                let code = answer.error.unwrap_or_default();
                let error = error::refused(code, answer.message.as_deref().unwrap_or_default(), &doing);
                self.lookup_failed(now, subject, connection, code, error);
            }
        }
    }

    fn lookup_failed(&mut self, now: Now, subject: Subject, connection: ConnectionId, code: i32, error: Error) {
        // A broker that is not ready is left for another of the service's hosts, unless it serves producers.
        let serves = |state: &State| matches!(state, State::Ready(mine) if *mine == connection);
        let serving = self.producers.iter().any(|producer| serves(&producer.state))
            || self.consumers.values().any(|consumer| serves(&consumer.state));
        if code == code::SERVICE_NOT_READY && self.settings.service.hosts.len() > 1 {
            self.service_at = (self.service_at + 1) % self.settings.service.hosts.len();
        }
        self.abandon(now, subject, error.clone());
        if code == code::SERVICE_NOT_READY && !serving {
            self.drop_connection(now, connection, error);
        }
    }

    pub(super) fn tick_topics(&mut self, now: Now) {
        for at in 0..self.topics.len() {
            let id = TopicId(at);
            match &self.topics[at].state {
                TopicState::Waiting(until) if now.at >= *until => self.ask(now, Subject::Topic(id)),
                TopicState::Waiting(until) => {
                    let until = *until;
                    self.wake_at(until);
                }
                TopicState::Asking(ask) if now.at >= ask.deadline => {
                    let doing = format!("asking for the partitions of `{}`: no answer in time", self.topics[at].name);
                    self.abandon(now, Subject::Topic(id), Error::transient(doing));
                }
                TopicState::Asking(ask) => {
                    let deadline = ask.deadline;
                    self.wake_at(deadline);
                }
                TopicState::Settled => {}
            }
        }
    }

    pub(super) fn topic_migrated(&mut self, moved: &proto::TopicMigrated) {
        let url = if self.settings.service.tls { &moved.broker_service_url_tls } else { &moved.broker_service_url };
        let service = url.as_deref().and_then(|url| url.parse::<ServiceUrl>().ok());
        if let (0, Some(service)) = (moved.resource_type, service)
            && service.tls == self.settings.service.tls
        {
            // The cluster says that it has moved: from now on lookups go to the other one.
            self.settings.service = service;
            self.service_at = 0;
        }
    }

    /// The target for the broker that the one before has named, by its two addresses.
    pub(super) fn assigned_target(&self, before: ConnectionId, url: Option<&str>, url_tls: Option<&str>) -> Option<Target> {
        let url = if self.settings.service.tls { url_tls } else { url };
        let broker = broker_address(url.filter(|url| !url.is_empty())?).ok()?;
        let before = self.connections.get(&before)?;
        match &before.target.logical {
            Some(_) => Some(Target { physical: before.target.physical.clone(), logical: Some(broker) }),
            None => Some(Target::direct(broker)),
        }
    }
}

fn broker_address(url: &str) -> Result<HostPort, String> {
    let url: ServiceUrl = url.parse().map_err(|error| format!("{error}"))?;
    url.hosts.into_iter().next().ok_or_else(|| "an address without a host".to_owned())
}
