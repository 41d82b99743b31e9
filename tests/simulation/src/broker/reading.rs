//! Reading a topic: SUBSCRIBE, FLOW, GET_LAST_MESSAGE_ID, SEEK, and the messages. Nothing is kept of a subscription that ends.

use super::session::code;
use super::topic::{LinkId, Topic};
use super::{Broker, Out};
use connector_pulsar::wire::consume::{CloseConsumer, Delivery, LastMessageId, MessageIdData, initial_position};
use connector_pulsar::wire::messages::{BaseCommand, kind};
use connector_pulsar::wire::unpack;

/// A consumer with all of a topic for itself.
#[derive(Debug)]
pub(super) struct Consumer {
    topic: String,
    subscription: String,
    /// Where it began.
    start: usize,
    /// The next entry.
    next: usize,
    permits: i64,
}

impl Broker {
    /// The commands of a reader; others are skipped.
    pub(super) fn reading(&mut self, _millis: u64, link: LinkId, command: BaseCommand) {
        match command.kind {
            kind::SUBSCRIBE => {
                let Some(subscribe) = command.subscribe else { return };
                if !self.may_read {
                    return self.refuse(link, subscribe.request_id, code::AUTHORIZATION, "Client is not authorized to subscribe");
                }
                if !self.exists(&subscribe.topic) {
                    return self.refuse(link, subscribe.request_id, code::TOPIC_NOT_FOUND, "Topic not found");
                }
                let topic = self.topic_mut(&subscribe.topic);
                if topic.fenced {
                    return self.refuse(link, subscribe.request_id, code::SERVICE_NOT_READY, "Topic is temporarily unavailable");
                }
                let sought = topic.sought.remove(&subscribe.subscription);
                let start = match &subscribe.start_message_id {
                    _ if sought.is_some() => sought.unwrap_or_default(),
                    Some(id) if subscribe.durable == Some(false) => position(topic, id),
                    _ if subscribe.initial_position == Some(initial_position::EARLIEST) => topic.first,
                    _ => topic.entries.len(),
                };
                let consumer = Consumer { topic: subscribe.topic, subscription: subscribe.subscription, start, next: start, permits: 0 };
                if let Some(session) = self.sessions.get_mut(&link) {
                    session.consumers.insert(subscribe.consumer_id, consumer);
                }
                self.succeed(link, subscribe.request_id);
            }
            kind::FLOW => {
                let Some(flow) = command.flow else { return };
                let consumer = self.sessions.get_mut(&link).and_then(|session| session.consumers.get_mut(&flow.consumer_id));
                let Some(consumer) = consumer else { return };
                consumer.permits += i64::from(flow.message_permits);
                let topic = consumer.topic.clone();
                self.deliver(&topic);
            }
            kind::GET_LAST_MESSAGE_ID => {
                let Some(question) = command.get_last_message_id else { return };
                let consumer = self.sessions.get(&link).and_then(|session| session.consumers.get(&question.consumer_id));
                let Some(topic) = consumer.and_then(|consumer| self.topics.get(&consumer.topic)) else {
                    return self.refuse(link, question.request_id, code::UNKNOWN, "Consumer not found");
                };
                let last = topic.entries.last().map_or((topic.ledger, -1), |entry| entry.id);
                let before = consumer.and_then(|consumer| topic.entries.get(consumer.start.checked_sub(1)?));
                let mark = before.map_or((topic.ledger, -1), |entry| entry.id);
                let answer =
                    LastMessageId { last_message_id: id_data(last), request_id: question.request_id, mark_delete: Some(id_data(mark)) };
                let kind = kind::GET_LAST_MESSAGE_ID_RESPONSE;
                self.say(link, BaseCommand { kind, last_message_id: Some(Box::new(answer)), ..BaseCommand::default() });
            }
            kind::SEEK => {
                let Some(seek) = command.seek else { return };
                let session = self.sessions.get_mut(&link);
                let Some(consumer) = session.and_then(|session| session.consumers.remove(&seek.consumer_id)) else { return };
                let Some(topic) = self.topics.get_mut(&consumer.topic) else { return };
                let place = match (&seek.message_id, seek.message_publish_time) {
                    (Some(id), _) => position(topic, id),
                    (None, Some(time)) => topic.entries.partition_point(|entry| publish_time(&entry.entry) < time).max(topic.first),
                    (None, None) => topic.first,
                };
                topic.sought.insert(consumer.subscription, place);
                let close = CloseConsumer { consumer_id: seek.consumer_id, request_id: -1, ..CloseConsumer::default() };
                self.say(link, BaseCommand { kind: kind::CLOSE_CONSUMER, close_consumer: Some(Box::new(close)), ..BaseCommand::default() });
                self.succeed(link, seek.request_id);
            }
            kind::CLOSE_CONSUMER => {
                let Some(close) = command.close_consumer else { return };
                if let Some(session) = self.sessions.get_mut(&link) {
                    session.consumers.remove(&close.consumer_id);
                }
                self.succeed(link, u64::try_from(close.request_id).unwrap_or_default());
            }
            kind::UNSUBSCRIBE => {
                let Some(unsubscribe) = command.unsubscribe else { return };
                if let Some(session) = self.sessions.get_mut(&link) {
                    session.consumers.remove(&unsubscribe.consumer_id);
                }
                self.succeed(link, unsubscribe.request_id);
            }
            _ => {}
        }
    }

    /// Sends what consumers of a topic may have.
    pub(super) fn deliver(&mut self, name: &str) {
        let Some(topic) = self.topics.get(name) else { return };
        for (link, session) in &mut self.sessions {
            for (consumer_id, consumer) in session.consumers.iter_mut().filter(|(_, consumer)| consumer.topic == name) {
                consumer.next = consumer.next.max(topic.first);
                while consumer.permits > 0
                    && let Some(stored) = topic.entries.get(consumer.next)
                {
                    consumer.next += 1;
                    // Permits count messages: a batch may overshoot.
                    consumer.permits -= messages(&stored.entry);
                    let delivery = Delivery {
                        consumer_id: *consumer_id,
                        message_id: id_data(stored.id),
                        redelivery_count: Some(0),
                        ..Delivery::default()
                    };
                    let command = BaseCommand { kind: kind::MESSAGE, message: Some(Box::new(delivery)), ..BaseCommand::default() };
                    self.out.push(Out::Send(*link, Box::new(command), stored.entry.clone()));
                }
            }
        }
    }
}

/// Where reading begins: behind the message, or with it when a place inside its batch is named.
fn position(topic: &Topic, id: &MessageIdData) -> usize {
    let inclusive = id.batch_index.is_some_and(|index| index >= 0);
    let wanted = (id.ledger_id, id.entry_id);
    let at = topic.entries.partition_point(|entry| if inclusive { entry.id < wanted } else { entry.id <= wanted });
    at.max(topic.first)
}

fn publish_time(entry: &bytes::Bytes) -> u64 {
    unpack::open(entry.clone()).map_or(0, |(metadata, _)| metadata.publish_time)
}

fn messages(entry: &bytes::Bytes) -> i64 {
    unpack::open(entry.clone()).ok().and_then(|(metadata, _)| metadata.num_messages_in_batch).map_or(1, i64::from)
}

fn id_data((ledger_id, entry_id): (i64, i64)) -> MessageIdData {
    MessageIdData { ledger_id, entry_id, partition: Some(-1), ..MessageIdData::default() }
}
