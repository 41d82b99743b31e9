//! Opening and closing producers: who has a name, and for how long.

use super::session::code;
use super::topic::{LinkId, Producer, ProducerKey};
use super::{Broker, Due, LIVENESS, Out, Waiting};
use connector_pulsar::wire::messages::{self as proto, BaseCommand, kind};

impl Broker {
    pub(super) fn open_producer(&mut self, link: LinkId, open: proto::OpenProducer) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        if self.waiting.iter().any(|waiting| waiting.link == link && waiting.open.producer_id == open.producer_id) {
            return self.refuse(link, open.request_id, code::SERVICE_NOT_READY, "Producer is already present on the connection");
        }
        let key = (link, open.producer_id);
        if let Some(topic) = session.producers.get(&open.producer_id) {
            // Open, or still being closed: the broker answers as if it had just opened it.
            let known = self.topics.get(topic).and_then(|topic| topic.producers.get(&key));
            let name = known.map_or_else(String::new, |producer| producer.name.clone());
            return self.opened(link, open.request_id, name, -1);
        }
        if !self.exists(&open.topic) {
            return self.refuse(link, open.request_id, code::TOPIC_NOT_FOUND, "Topic not found");
        }
        let number = self.next_number();
        let topic = self.topic_mut(&open.topic);
        if topic.fenced {
            return self.refuse(link, open.request_id, code::SERVICE_NOT_READY, "Topic is temporarily unavailable");
        }
        let name = open.producer_name.clone().unwrap_or_else(|| format!("model-{number}"));
        let epoch = open.epoch.unwrap_or(0);
        if let Some(old) = topic.of_name(&name) {
            let is_successor = old == key && topic.producers.get(&old).is_some_and(|producer| producer.epoch < epoch);
            if is_successor {
                topic.producers.remove(&old);
            } else if old.0 == link {
                let text = format!("Producer with name '{name}' is already connected to topic");
                return self.refuse(link, open.request_id, code::PRODUCER_BUSY, &text);
            } else {
                return self.ask_for_life(link, open, old);
            }
        }
        let topic = self.topic_mut(&open.topic);
        let last = topic.dedup.last(&name);
        topic.producers.insert(key, Producer { name: name.clone(), epoch, unanswered: 0, closing: None });
        if let Some(session) = self.sessions.get_mut(&link) {
            session.producers.insert(open.producer_id, open.topic);
            session.closed.remove(&open.producer_id);
        }
        self.opened(link, open.request_id, name, last);
    }

    /// Another connection has the name: it has some time to show that it lives.
    fn ask_for_life(&mut self, link: LinkId, open: proto::OpenProducer, old: ProducerKey) {
        let number = self.next_number();
        self.waiting.push(Waiting { number, link, open, old: old.0 });
        self.say(old.0, BaseCommand { kind: kind::PING, ping: Some(proto::Empty {}), ..BaseCommand::default() });
        self.out.push(Out::Later(LIVENESS, Due::Liveness(old.0, number)));
    }

    fn opened(&mut self, link: LinkId, request_id: u64, producer_name: String, last: i64) {
        let success = proto::ProducerSuccess {
            request_id,
            producer_name,
            last_sequence_id: Some(last),
            schema_version: None,
            topic_epoch: None,
            producer_ready: Some(true),
        };
        self.say(link, BaseCommand { kind: kind::PRODUCER_SUCCESS, producer_success: Some(success), ..BaseCommand::default() });
    }

    pub(super) fn close_producer(&mut self, link: LinkId, close: &proto::CloseProducer) {
        let request = u64::try_from(close.request_id).unwrap_or_default();
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.link == link && waiting.open.producer_id == close.producer_id) {
            self.waiting.remove(at);
            return self.succeed(link, request);
        }
        let key = (link, close.producer_id);
        let producer = self.producer_topic(key).cloned().and_then(|topic| self.topics.get_mut(&topic)?.producers.get_mut(&key));
        let Some(producer) = producer else {
            return self.refuse(link, request, code::UNKNOWN, "Producer was not registered on the connection");
        };
        producer.closing = Some(request);
        self.close_if_answered(key);
    }

    /// Ends a producer that is being closed once everything it sent is answered.
    pub(super) fn close_if_answered(&mut self, key: ProducerKey) {
        let Some(topic) = self.producer_topic(key).cloned() else { return };
        let Some(topic) = self.topics.get_mut(&topic) else { return };
        let Some(Producer { unanswered: 0, closing: Some(request), .. }) = topic.producers.get(&key) else { return };
        let request = *request;
        topic.leave(key, self.millis);
        if let Some(session) = self.sessions.get_mut(&key.0) {
            session.producers.remove(&key.1);
            session.closed.insert(key.1);
        }
        self.succeed(key.0, request);
    }

    /// The broker lets a producer go.
    pub(super) fn let_go(&mut self, topic: &str, key: ProducerKey) {
        let Some(topic) = self.topics.get_mut(topic) else { return };
        let Some(producer) = topic.leave(key, self.millis) else { return };
        if let Some(session) = self.sessions.get_mut(&key.0) {
            session.producers.remove(&key.1);
            session.closed.insert(key.1);
        }
        if let Some(request) = producer.closing {
            return self.succeed(key.0, request);
        }
        let close = proto::CloseProducer { producer_id: key.1, request_id: -1, assigned_broker_url: None, assigned_broker_url_tls: None };
        self.say(key.0, BaseCommand { kind: kind::CLOSE_PRODUCER, close_producer: Some(close), ..BaseCommand::default() });
    }
}
