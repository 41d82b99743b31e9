//! One consumer's life: looked up, subscribed, interrupted, subscribed again, with the same number throughout.
//!
//! After every interruption the broker delivers anew what was not acknowledged; what the owner has not taken is cleared by an
//! event before, so that nothing is handed on twice in a row. Permits, chunks and questions start anew; acknowledgements that were
//! not confirmed are sent again.

use super::backoff::Backoff;
use super::chunks::Chunks;
use super::flow::Flow;
use super::producer::State;
use super::questions::{Question, Seek};
use super::read_back::Reading;
use super::subscription::{Start, Subscription, SubscriptionType};
use super::unacked::Unacked;
use super::{ConnectionId, Event, Machine, Now, Settings, Subject, Trouble};
use crate::message::{ConsumerId, DeliveredId, Message};
use crate::topic::TopicName;
use crate::wire::consume::{self, MessageIdData, initial_position};
use crate::wire::messages::{BaseCommand, KeyValue, kind};
use connector_sdk::{ByteString, Error, MessageId};
use std::sync::Arc;
use std::time::Instant;

/// What a consumer's owner is told.
#[derive(Debug)]
pub enum News {
    /// It is subscribed, at first or again.
    Subscribed,
    /// What was delivered and not taken will be delivered again: it is to be thrown away.
    Cleared,
    /// Messages, in order; their cost is to be given back by [`Machine::taken`].
    Delivered(Vec<Message>),
    /// An entry that cannot be handed on; `true`: it was acknowledged as unusable, else it stays unacknowledged.
    Unusable {
        /// Which one.
        id: MessageId,
        /// Why.
        error: Error,
        /// Whether it was acknowledged.
        discarded: bool,
    },
    /// Of a `Failover` subscription: whether this consumer is the one that gets the messages.
    Active(bool),
    /// The topic was terminated and everything in it was delivered.
    EndOfTopic,
    /// The answer to [`Machine::seek`].
    Sought(Result<(), Error>),
    /// The answer to [`Machine::ask_last`]; `None`: the topic holds no message.
    Last(Result<Option<MessageId>, Error>),
    /// The answer to [`Machine::unsubscribe`]; the consumer is gone when it is `Ok`.
    Unsubscribed(Result<(), Error>),
}

pub(super) struct Consumer {
    pub(super) topic: TopicName,
    /// The topic as messages carry it.
    pub(super) topic_text: ByteString,
    pub(super) state: State,
    pub(super) backoff: Backoff,
    pub(super) subscription: Arc<Subscription>,
    /// Where a reader begins or goes on, and what of a batch is not wanted after a seek.
    pub(super) start: Start,
    /// Raised when everything is asked for again; what was sent before bears a lower one.
    pub(super) epoch: u64,
    pub(super) was_open: bool,
    pub(super) flow: Flow,
    pub(super) unacked: Unacked,
    pub(super) chunks: Chunks,
    /// When collected acknowledgements are sent.
    pub(super) acks_due: Option<Instant>,
    pub(super) seek: Option<Seek>,
    /// The broker has done the seek that the next subscription begins by.
    pub(super) sought: bool,
    pub(super) last: Option<Question>,
    pub(super) unsubscribe: Option<Question>,
    pub(super) reading: Option<Box<Reading>>,
}

impl Consumer {
    pub(super) fn new(topic: TopicName, subscription: Arc<Subscription>, settings: &Settings) -> Self {
        Self {
            topic_text: topic.as_str().into(),
            topic,
            state: State::Closed,
            backoff: Backoff::new(settings.backoff_first, settings.backoff_cap),
            start: subscription.start,
            epoch: 0,
            was_open: false,
            flow: Flow::new(subscription.budget),
            unacked: Unacked::default(),
            chunks: Chunks::default(),
            acks_due: None,
            seek: None,
            sought: false,
            last: None,
            unsubscribe: None,
            reading: None,
            subscription,
        }
    }

    /// The connection on which it is open.
    pub(super) fn open_on(&self) -> Option<ConnectionId> {
        match self.state {
            State::Ready(connection) => Some(connection),
            _ => None,
        }
    }

    /// Whether the broker marks its deliveries with the epoch.
    pub(super) fn has_epoch(&self) -> bool {
        matches!(self.subscription.kind, SubscriptionType::Exclusive | SubscriptionType::Failover)
    }
}

impl Machine {
    /// Subscribes to a topic that is not partitioned, or to one partition.
    pub fn subscribe(&mut self, now: Now, topic: TopicName, subscription: Arc<Subscription>) -> ConsumerId {
        let consumer = Consumer::new(topic, subscription, &self.settings);
        self.add_consumer(now, consumer)
    }

    pub(super) fn add_consumer(&mut self, now: Now, consumer: Consumer) -> ConsumerId {
        let id = ConsumerId(self.next_consumer);
        self.next_consumer += 1;
        self.consumers.insert(id, consumer);
        self.ask(now, Subject::Consumer(id));
        id
    }

    /// The owner has taken messages that were delivered, of this cost in all, `last` being the newest.
    pub fn taken(&mut self, now: Now, id: ConsumerId, cost: usize, last: DeliveredId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.flow.give(cost);
        if !consumer.subscription.durable {
            consumer.start = Start::Message { id: last.message, index: last.batch.map(|batch| batch.index), inclusive: false };
        }
        self.facts.consumed_bytes.add(cost as u64);
        self.grant(now, id);
    }

    /// Changes how many bytes may be delivered and not taken.
    pub fn set_budget(&mut self, now: Now, id: ConsumerId, budget: usize) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.flow.set_budget(budget);
            self.grant(now, id);
        }
    }

    /// Whether a consumer is subscribed now.
    pub fn is_subscribed(&self, id: ConsumerId) -> bool {
        self.consumers.get(&id).is_some_and(|consumer| consumer.open_on().is_some())
    }

    /// Whether a consumer is there and not subscribed.
    pub fn is_waiting(&self, id: ConsumerId) -> bool {
        self.consumers.get(&id).is_some_and(|consumer| consumer.open_on().is_none())
    }

    /// Ends a consumer; what it has not acknowledged goes to others, or comes again.
    pub fn close_consumer(&mut self, id: ConsumerId) {
        self.send_acks(id);
        let Some(consumer) = self.consumers.get(&id) else { return };
        let open = match &consumer.state {
            State::Opening { connection, .. } | State::Ready(connection) => Some(*connection),
            _ => None,
        };
        if let Some(connection) = open {
            self.close_consumer_on_wire(connection, id);
        }
        self.forget_consumer(id);
    }

    pub(super) fn forget_consumer(&mut self, id: ConsumerId) {
        self.consumers.remove(&id);
        self.requests.retain(|_, subject| *subject != Subject::Consumer(id));
    }

    pub(super) fn close_consumer_on_wire(&mut self, connection: ConnectionId, id: ConsumerId) {
        let request_id = i64::try_from(self.next_request).expect("requests are counted from 1");
        // Its answer is of no interest, so it is not entered among the requests.
        self.next_request += 1;
        let close = consume::CloseConsumer { consumer_id: id.0, request_id, ..consume::CloseConsumer::default() };
        let command = BaseCommand { kind: kind::CLOSE_CONSUMER, close_consumer: Some(Box::new(close)), ..BaseCommand::default() };
        self.command(connection, command);
    }

    pub(super) fn open_consumer(&mut self, connection: ConnectionId, request_id: u64, id: ConsumerId) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        let subscription = &*consumer.subscription;
        let properties = subscription.properties.iter();
        let from_earliest = !matches!(consumer.start, Start::Latest);
        let subscribe = consume::Subscribe {
            topic: consumer.topic.to_string(),
            subscription: subscription.name.clone(),
            kind: subscription.kind.number(),
            consumer_id: id.0,
            request_id,
            consumer_name: subscription.consumer_name.clone(),
            priority_level: None,
            durable: Some(subscription.durable),
            start_message_id: (!subscription.durable).then(|| start_message(consumer.start)),
            metadata: properties.map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect(),
            read_compacted: Some(subscription.read_compacted),
            initial_position: Some(if from_earliest { initial_position::EARLIEST } else { initial_position::LATEST }),
            force_topic_creation: Some(subscription.create_topic),
            key_shared: (subscription.kind == SubscriptionType::KeyShared).then_some(consume::KeyShared { mode: 0 }),
            consumer_epoch: consumer.has_epoch().then_some(consumer.epoch),
        };
        let command = BaseCommand { kind: kind::SUBSCRIBE, subscribe: Some(Box::new(subscribe)), ..BaseCommand::default() };
        self.command(connection, command);
    }

    /// SUCCESS has come for a request of a consumer.
    pub(super) fn consumer_success(&mut self, now: Now, id: ConsumerId, request: u64) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        if consumer.state.is_opening(request) {
            self.consumer_opened(now, id);
        } else {
            self.question_done(now, id, request);
        }
    }

    fn consumer_opened(&mut self, now: Now, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let Some(connection) = consumer.state.connection() else { return };
        consumer.state = State::Ready(connection);
        consumer.backoff.reset();
        consumer.flow.reopened();
        consumer.chunks.clear();
        consumer.unacked.reopened();
        if consumer.unacked.due() > 0 {
            consumer.acks_due = Some(now.at);
        }
        if std::mem::replace(&mut consumer.was_open, true) {
            self.facts.resubscribed.add(1);
            self.clear_delivered(id);
        }
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if !std::mem::take(&mut consumer.sought)
            && consumer.seek.is_none()
            && !consumer.subscription.durable
            && let Start::Time(_) = consumer.start
        {
            // A subscription of its own begins anew each time.
            consumer.seek = Some(Seek::new(consumer.start, false));
        }
        if let Some(reading) = &mut consumer.reading {
            reading.resubscribed();
        }
        self.news(id, News::Subscribed);
        self.drive(now, id);
    }

    /// What the owner has not taken is void.
    pub(super) fn clear_delivered(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.flow.give(usize::MAX);
            self.news(id, News::Cleared);
        }
    }

    /// Does what an open consumer has to do: first what was asked of it, then acknowledgements, then permits.
    pub(super) fn drive(&mut self, now: Now, id: ConsumerId) {
        self.ask_questions(now, id);
        if self.consumers.get(&id).and_then(|consumer| consumer.acks_due).is_some_and(|due| due <= now.at) {
            self.send_acks(id);
        }
        self.grant(now, id);
    }

    /// Lets the broker send more, if there is room.
    pub(super) fn grant(&mut self, now: Now, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let Some(connection) = consumer.open_on() else { return };
        if consumer.seek.is_some() || consumer.unsubscribe.is_some() {
            return;
        }
        let most = consumer.subscription.most_unacknowledged.saturating_sub(consumer.unacked.in_hand());
        let granted = match &mut consumer.reading {
            Some(reading) => reading.grant(now, &mut consumer.flow),
            None => consumer.flow.grant(most),
        };
        let watch = consumer.reading.as_ref().and_then(|reading| reading.deadline());
        if let Some(message_permits) = granted {
            let flow = consume::Flow { consumer_id: id.0, message_permits };
            self.command(connection, BaseCommand { kind: kind::FLOW, flow: Some(flow), ..BaseCommand::default() });
        }
        if let Some(at) = watch {
            self.wake_at(at);
        }
    }

    /// The broker lets a consumer go; its connection stays.
    pub(super) fn consumer_closed_by_broker(&mut self, now: Now, connection: ConnectionId, close: &consume::CloseConsumer) {
        let id = ConsumerId(close.consumer_id);
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let served = match consumer.state {
            State::Opening { connection: mine, .. } | State::Ready(mine) => mine == connection,
            _ => false,
        };
        if !served {
            return;
        }
        if let Some(seek) = consumer.seek.as_mut().filter(|seek| seek.question.is_asked()) {
            // A seek begins by this; it goes on with its answer.
            seek.closed = true;
            return;
        }
        let target = self.assigned_target(connection, close.assigned_broker_url.as_deref(), close.assigned_broker_url_tls.as_deref());
        self.interrupt_consumer(now, id, None, target);
    }

    /// The consumer is not subscribed any more: it is subscribed again, at `assigned` at once or after its delay.
    pub(super) fn interrupt_consumer(
        &mut self,
        now: Now,
        id: ConsumerId,
        trouble: Option<Trouble>,
        assigned: Option<super::connection::Target>,
    ) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let before = std::mem::replace(&mut consumer.state, State::Waiting(now.at));
        consumer.sought = false;
        consumer.acks_due = None;
        for question in [consumer.last.as_mut(), consumer.unsubscribe.as_mut()].into_iter().flatten() {
            question.again();
        }
        if let Some(seek) = &mut consumer.seek {
            seek.again();
        }
        self.requests.retain(|_, subject| *subject != Subject::Consumer(id));
        if let Some(trouble) = trouble {
            if let State::Ready(connection) = before {
                // It is we who give it up: the broker must not take the next subscription for this one.
                self.close_consumer_on_wire(connection, id);
            }
            self.facts.errors.add(1);
            let ends = trouble.error.kind().ends_a_start() && !trouble.of_connection;
            if ends && self.consumers.get(&id).is_some_and(|consumer| consumer.reading.is_some()) {
                return self.end_read_back(id, Err(trouble.error));
            }
            self.event(Event::Trouble { subject: Subject::Consumer(id), trouble });
        }
        self.begin_again(now, Subject::Consumer(id), &before, assigned);
    }

    pub(super) fn tick_consumers(&mut self, now: Now) {
        for id in self.consumers.keys().copied().collect::<Vec<_>>() {
            self.tick_way(now, Subject::Consumer(id));
            if self.is_subscribed(id) {
                self.tick_questions(now, id);
                self.tick_acks(now, id);
                self.tick_chunks(now, id);
                self.tick_read_back(now, id);
            }
        }
    }

    pub(super) fn news(&mut self, consumer: ConsumerId, news: News) {
        // Nobody is told of the consumer that reads back: only of its end.
        if self.consumers.get(&consumer).is_some_and(|consumer| consumer.reading.is_none()) {
            self.event(Event::Consumer { consumer, news });
        }
    }
}

/// Where a subscription that is not durable begins. The broker goes on behind the entry, or with it when there is a batch index.
fn start_message(start: Start) -> MessageIdData {
    let (id, batch_index) = match start {
        // By time: it is sought right after.
        Start::Earliest | Start::Time(_) => (MessageId { ledger: -1, entry: -1 }, None),
        Start::Latest => (MessageId { ledger: i64::MAX, entry: i64::MAX }, None),
        Start::Message { id, index, inclusive: true } => (id, Some(index.unwrap_or(0))),
        Start::Message { id, index, inclusive: false } => (id, index),
    };
    MessageIdData { batch_index: batch_index.and_then(|index| i32::try_from(index).ok()), ..message_id_data(id) }
}

pub(super) fn message_id_data(id: MessageId) -> MessageIdData {
    MessageIdData { ledger_id: id.ledger, entry_id: id.entry, ..MessageIdData::default() }
}
