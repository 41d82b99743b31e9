//! Acknowledgements on their way: collected, sent together, confirmed; and what is asked for again.

use super::consumer::message_id_data;
use super::unacked::{AckedEntry, Group};
use super::{Event, Machine, Now, Subject};
use crate::error;
use crate::message::{ConsumerId, DeliveredId};
use crate::wire::consume::{self, MessageIdData, ack_type};
use crate::wire::messages::{BaseCommand, kind};
use connector_sdk::MessageId;
use std::time::Duration;

/// Messages asked for again by one command, at most.
const MOST_REDELIVERED: usize = 1_000;

impl Machine {
    /// A message is done; `cumulative`: so is everything before it. It is sent with others, soon.
    pub fn acknowledge(&mut self, now: Now, message: DeliveredId, cumulative: bool) {
        let Some(consumer) = self.consumers.get_mut(&message.consumer) else { return };
        let subscription = &consumer.subscription;
        if cumulative {
            consumer.unacked.ack_up_to(message, subscription.batch_index_acks);
        } else {
            consumer.unacked.ack(message, subscription.batch_index_acks);
        }
        let due = consumer.unacked.due();
        if due >= subscription.ack_group {
            self.send_acks(message.consumer);
        } else if due > 0 {
            let at = *consumer.acks_due.get_or_insert(now.at + subscription.ack_delay);
            self.wake_at(at);
        }
        // Room for more, if it was they that were too many.
        self.grant(now, message.consumer);
    }

    /// Sends what is collected and gives a mark for [`Machine::are_acks_confirmed`].
    pub fn flush_acks(&mut self, id: ConsumerId) -> u64 {
        self.send_acks(id);
        self.consumers.get(&id).map_or(0, |consumer| consumer.unacked.mark())
    }

    /// Whether the broker has confirmed what was acknowledged before the mark was taken.
    pub fn are_acks_confirmed(&self, id: ConsumerId, mark: u64) -> bool {
        self.consumers.get(&id).is_none_or(|consumer| consumer.unacked.is_confirmed(mark))
    }

    /// A message was not worked off: its entry is asked for again after a delay that doubles with each redelivery.
    pub fn negative_acknowledge(&mut self, now: Now, message: DeliveredId, redelivery_count: u32) {
        let Some(consumer) = self.consumers.get_mut(&message.consumer) else { return };
        let subscription = &consumer.subscription;
        let factor = 1u32.checked_shl(redelivery_count.min(31)).unwrap_or(u32::MAX);
        let delay = subscription.nack_first.checked_mul(factor).unwrap_or(Duration::MAX).min(subscription.nack_cap);
        let at = now.at + delay;
        if consumer.unacked.ask_again(message.message, at) {
            self.facts.nacked.add(1);
            self.wake_at(at);
        }
    }

    pub(super) fn tick_acks(&mut self, now: Now, id: ConsumerId) {
        let Some(consumer) = self.consumers.get(&id) else { return };
        match consumer.acks_due {
            Some(due) if due <= now.at => self.send_acks(id),
            Some(due) => self.wake_at(due),
            None => {}
        }
        let Some(again) = self.consumers.get(&id).and_then(|consumer| consumer.unacked.next_again()) else { return };
        if again > now.at {
            return self.wake_at(again);
        }
        self.ask_again(now, id);
    }

    fn ask_again(&mut self, now: Now, id: ConsumerId) {
        // What is acknowledged must be known to the broker before it is asked to deliver the rest.
        self.send_acks(id);
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let Some(connection) = consumer.open_on() else { return };
        if consumer.seek.is_some() {
            return;
        }
        let shared = consumer.subscription.kind.is_shared();
        loop {
            let Some(consumer) = self.consumers.get_mut(&id) else { return };
            let ids = consumer.unacked.take_again(now.at, MOST_REDELIVERED);
            if ids.is_empty() {
                break;
            }
            self.facts.redelivery_requests.add(1);
            if shared {
                let message_ids = ids.into_iter().map(message_id_data).collect();
                self.redeliver(connection, consume::Redeliver { consumer_id: id.0, message_ids, consumer_epoch: None });
                continue;
            }
            // Brokers keep the order of such subscriptions: they deliver everything again.
            consumer.epoch += 1;
            let epoch = consumer.epoch;
            consumer.unacked.all_again();
            consumer.chunks.clear();
            self.redeliver(connection, consume::Redeliver { consumer_id: id.0, message_ids: Vec::new(), consumer_epoch: Some(epoch) });
            self.clear_delivered(id);
        }
        if let Some(next) = self.consumers.get(&id).and_then(|consumer| consumer.unacked.next_again()) {
            self.wake_at(next);
        }
        self.grant(now, id);
    }

    fn redeliver(&mut self, connection: super::ConnectionId, redeliver: consume::Redeliver) {
        let kind = kind::REDELIVER_UNACKNOWLEDGED_MESSAGES;
        self.command(connection, BaseCommand { kind, redeliver: Some(Box::new(redeliver)), ..BaseCommand::default() });
    }

    /// Sends everything that is collected, if the consumer is open.
    pub(super) fn send_acks(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let Some(connection) = consumer.open_on() else { return };
        if consumer.seek.as_ref().is_some_and(|seek| seek.question.is_asked()) {
            return;
        }
        consumer.acks_due = None;
        while let Some(consumer) = self.consumers.get_mut(&id) {
            let request_id = self.next_request;
            let Some(group) = consumer.unacked.next_group(request_id, consumer.subscription.ack_group.max(1)) else { break };
            self.next_request += 1;
            self.requests.insert(request_id, Subject::Consumer(id));
            let (kind, entries) = match group {
                Group::Individual(entries) => (ack_type::INDIVIDUAL, entries),
                Group::Cumulative(entry) => (ack_type::CUMULATIVE, vec![entry]),
            };
            self.facts.acks.add(1);
            let message_id = entries.into_iter().map(acked).collect();
            let ack = consume::Ack { consumer_id: id.0, kind, message_id, validation_error: None, request_id: Some(request_id) };
            self.command(connection, BaseCommand { kind: kind::ACK, ack: Some(Box::new(ack)), ..BaseCommand::default() });
        }
    }

    /// Acknowledges an entry that is damaged, saying how.
    pub(super) fn ack_damaged(&mut self, id: ConsumerId, message: MessageId, validation_error: i32) {
        let Some(connection) = self.consumers.get(&id).and_then(super::consumer::Consumer::open_on) else { return };
        let ack = consume::Ack {
            consumer_id: id.0,
            kind: ack_type::INDIVIDUAL,
            message_id: vec![message_id_data(message)],
            validation_error: Some(validation_error),
            request_id: None,
        };
        self.command(connection, BaseCommand { kind: kind::ACK, ack: Some(Box::new(ack)), ..BaseCommand::default() });
    }

    pub(super) fn ack_answer(&mut self, now: Now, answer: &consume::AckResponse) {
        let Some(request) = answer.request_id else { return };
        let Some(Subject::Consumer(id)) = self.requests.remove(&request) else { return };
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let Some(code) = answer.error else {
            return consumer.unacked.confirmed(request);
        };
        consumer.unacked.refused(request);
        // Not at once: what the broker refuses now it will refuse then.
        let at = now.at + self.settings.backoff_cap;
        consumer.acks_due = Some(at);
        let doing = format!("acknowledging messages of `{}`", consumer.topic);
        let error = error::refused_consumer(code, answer.message.as_deref().unwrap_or_default(), &doing);
        self.facts.errors.add(1);
        self.event(Event::Trouble { subject: Subject::Consumer(id), trouble: error.into() });
        self.wake_at(at);
    }
}

fn acked(entry: AckedEntry) -> MessageIdData {
    MessageIdData { ack_set: entry.set, ..message_id_data(entry.id) }
}
