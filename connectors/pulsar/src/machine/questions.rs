//! What is asked of the broker while a consumer is open: seek, the last message's id, unsubscribe.
//!
//! A question survives interruptions: it is asked again until it is answered. A refusal that waiting does not cure ends it.

use super::consumer::{News, message_id_data};
use super::producer::State;
use super::subscription::Start;
use super::{Machine, Now, Subject};
use crate::error::{self, code};
use crate::message::ConsumerId;
use crate::wire::consume;
use crate::wire::messages::{self as proto, BaseCommand, kind};
use connector_sdk::{Error, MessageId};
use std::time::Instant;

/// A question that is to be asked, or is.
#[derive(Debug, Default)]
pub(super) struct Question {
    /// Its request, and when its answer is given up.
    asked: Option<(u64, Instant)>,
}

impl Question {
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    fn is(&self, request: u64) -> bool {
        self.asked.is_some_and(|(mine, _)| mine == request)
    }

    /// It is to be asked anew.
    pub(super) fn again(&mut self) {
        self.asked = None;
    }
}

/// A seek until it is done.
#[derive(Debug)]
pub(super) struct Seek {
    target: Start,
    /// Whether the owner is told of its end.
    told: bool,
    pub(super) question: Question,
    /// The broker has let the consumer go for it.
    pub(super) closed: bool,
}

impl Seek {
    pub(super) fn new(target: Start, told: bool) -> Self {
        Self { target, told, question: Question::default(), closed: false }
    }

    pub(super) fn again(&mut self) {
        self.question.again();
        self.closed = false;
    }
}

impl Machine {
    /// Goes to another place of the topic; [`News::Sought`] tells of its end, what was delivered before is void.
    pub fn seek(&mut self, now: Now, id: ConsumerId, target: Start) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.seek = Some(Seek::new(target, true));
        self.drive(now, id);
    }

    /// Asks for the last message's id; the answer is [`News::Last`].
    pub fn ask_last(&mut self, now: Now, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.last.get_or_insert_default();
        self.drive(now, id);
    }

    /// Removes the subscription from the topic; the answer is [`News::Unsubscribed`].
    pub fn unsubscribe(&mut self, now: Now, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        consumer.unsubscribe.get_or_insert_default();
        self.send_acks(id);
        self.drive(now, id);
    }

    pub(super) fn ask_questions(&mut self, now: Now, id: ConsumerId) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        let Some(connection) = consumer.open_on() else { return };
        let consumer_id = id.0;
        if let Some(seek) = consumer.seek.as_ref().filter(|seek| !seek.question.is_asked()) {
            let target = match seek.target {
                Start::Earliest => (Some(MessageId { ledger: -1, entry: -1 }), None),
                Start::Latest => (Some(MessageId { ledger: i64::MAX, entry: i64::MAX }), None),
                Start::Message { id, .. } => (Some(id), None),
                Start::Time(time) => (None, Some(time)),
            };
            let request_id = self.request(Subject::Consumer(id));
            let (message, message_publish_time) = target;
            let seek = consume::Seek { consumer_id, request_id, message_id: message.map(message_id_data), message_publish_time };
            self.command(connection, BaseCommand { kind: kind::SEEK, seek: Some(Box::new(seek)), ..BaseCommand::default() });
            self.asked(now, id, request_id, |consumer| consumer.seek.as_mut().map(|seek| &mut seek.question));
        }
        // Nothing else is asked meanwhile: the answers would be of before or after.
        let Some(consumer) = self.consumers.get(&id).filter(|consumer| consumer.seek.is_none()) else { return };
        let unsubscribes = consumer.unsubscribe.as_ref().is_some_and(|question| !question.is_asked());
        if consumer.last.as_ref().is_some_and(|question| !question.is_asked()) {
            let request_id = self.request(Subject::Consumer(id));
            let ask = consume::GetLastMessageId { consumer_id, request_id };
            let command = BaseCommand { kind: kind::GET_LAST_MESSAGE_ID, get_last_message_id: Some(ask), ..BaseCommand::default() };
            self.command(connection, command);
            self.asked(now, id, request_id, |consumer| consumer.last.as_mut());
        }
        if unsubscribes {
            let request_id = self.request(Subject::Consumer(id));
            let ask = consume::Unsubscribe { consumer_id, request_id };
            self.command(connection, BaseCommand { kind: kind::UNSUBSCRIBE, unsubscribe: Some(ask), ..BaseCommand::default() });
            self.asked(now, id, request_id, |consumer| consumer.unsubscribe.as_mut());
        }
    }

    fn asked(
        &mut self,
        now: Now,
        id: ConsumerId,
        request: u64,
        question: impl FnOnce(&mut super::consumer::Consumer) -> Option<&mut Question>,
    ) {
        let deadline = now.at + self.settings.request_deadline;
        if let Some(question) = self.consumers.get_mut(&id).and_then(question) {
            question.asked = Some((request, deadline));
        }
        self.wake_at(deadline);
    }

    /// SUCCESS for a question.
    pub(super) fn question_done(&mut self, now: Now, id: ConsumerId, request: u64) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if consumer.unsubscribe.as_ref().is_some_and(|question| question.is(request)) {
            self.news(id, News::Unsubscribed(Ok(())));
            return self.forget_consumer(id);
        }
        let Some(seek) = consumer.seek.take_if(|seek| seek.question.is(request)) else { return };
        consumer.start = seek.target;
        consumer.unacked.clear();
        consumer.acks_due = None;
        consumer.chunks.clear();
        self.clear_delivered(id);
        if seek.told {
            self.news(id, News::Sought(Ok(())));
        }
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if !seek.closed {
            return self.drive(now, id);
        }
        consumer.sought = true;
        // The broker is known: nothing need be looked up.
        let before = std::mem::replace(&mut consumer.state, State::Waiting(now.at));
        let target = before.connection().and_then(|id| self.connections.get(&id)).map(|connection| connection.target.clone());
        self.begin_again(now, Subject::Consumer(id), &before, target);
    }

    /// A refusal of a question.
    pub(super) fn question_refused(&mut self, now: Now, id: ConsumerId, request: u64, refusal: &proto::CommandError) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let of = |doing: &str| error::refused_consumer(refusal.error, &refusal.message, &format!("{doing} `{}`", consumer.topic));
        let lasting = |error: &Error| error.kind().ends_a_start() || refusal.error == code::METADATA;
        if consumer.seek.as_ref().is_some_and(|seek| seek.question.is(request)) {
            let error = of("seeking in");
            if !lasting(&error) {
                return self.interrupt_consumer(now, id, Some(error.into()), None);
            }
            let Some(seek) = consumer.seek.take() else { return };
            if consumer.reading.is_some() {
                return self.end_read_back(id, Err(error));
            }
            self.news(id, News::Sought(Err(error)));
            if seek.closed {
                self.interrupt_consumer(now, id, None, None);
            }
        } else if consumer.last.as_ref().is_some_and(|question| question.is(request)) {
            let error = of("asking for the last message of");
            if !lasting(&error) {
                return self.interrupt_consumer(now, id, Some(error.into()), None);
            }
            consumer.last = None;
            if consumer.reading.is_some() {
                return self.end_read_back(id, Err(error));
            }
            self.news(id, News::Last(Err(error)));
        } else if consumer.unsubscribe.as_ref().is_some_and(|question| question.is(request)) {
            let error = of("unsubscribing from");
            consumer.unsubscribe = None;
            self.news(id, News::Unsubscribed(Err(error)));
            self.drive(now, id);
        }
    }

    pub(super) fn last_message(&mut self, now: Now, answer: &consume::LastMessageId) {
        let Some(Subject::Consumer(id)) = self.requests.remove(&answer.request_id) else { return };
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if consumer.last.take_if(|question| question.is(answer.request_id)).is_none() {
            return;
        }
        let read = |data: &consume::MessageIdData| MessageId { ledger: data.ledger_id, entry: data.entry_id };
        let last = read(&answer.last_message_id);
        if consumer.reading.is_some() {
            return self.read_back_end(now, id, last, answer.mark_delete.as_ref().map(read));
        }
        self.news(id, News::Last(Ok(Some(last).filter(|last| last.entry >= 0))));
    }

    pub(super) fn tick_questions(&mut self, now: Now, id: ConsumerId) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        let seek = consumer.seek.as_ref().map(|seek| &seek.question);
        let questions = [seek, consumer.last.as_ref(), consumer.unsubscribe.as_ref()];
        let Some(deadline) = questions.into_iter().flatten().filter_map(|question| question.asked).map(|(_, at)| at).min() else { return };
        if now.at < deadline {
            return self.wake_at(deadline);
        }
        let error = Error::transient(format!("asking the broker of `{}`: no answer in time", consumer.topic));
        self.interrupt_consumer(now, id, Some(error.into()), None);
    }
}
