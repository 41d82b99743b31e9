//! Messages that were given up after too many redeliveries: published to another topic, then acknowledged.
//!
//! A letter is acknowledged only for its receipt; one that cannot be stored is delivered again later.

use crate::machine::{Charge, Machine, Naming, Now, ProducerId, TopicId};
use crate::message::{DeliveredId, Message};
use crate::routing::{HashingScheme, Router};
use crate::topic::TopicName;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use connector_sdk::{AckHandle, AckSink, ByteString, Outcome, Record};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// What became of letters.
#[derive(Default)]
struct Fates(Mutex<Vec<(u64, bool)>>);

impl AckSink for Fates {
    fn resolve(&self, numbers: Range<u64>, outcome: Outcome) {
        let stored = matches!(outcome, Outcome::Settled);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers.map(|number| (number, stored)));
    }

    fn is_fenced(&self, _number: u64) -> bool {
        false
    }
}

/// The way to the dead letter topic.
pub(super) struct DeadLetters {
    topic: TopicName,
    subscription: String,
    most: u32,
    id: Option<TopicId>,
    partitions: Option<u32>,
    producers: HashMap<u32, ProducerId>,
    router: Router,
    waiting: Vec<(u64, Record)>,
    fates: Arc<Fates>,
    /// Letters on their way.
    sent: HashMap<u64, (DeliveredId, u32)>,
    next: u64,
}

impl DeadLetters {
    pub(super) fn new(now: Now, topic: TopicName, subscription: String, most: u32) -> Self {
        Self {
            topic,
            subscription,
            most,
            id: None,
            partitions: None,
            producers: HashMap::new(),
            router: Router::new(HashingScheme::JavaString, None, 0, now.at),
            waiting: Vec::new(),
            fates: Arc::default(),
            sent: HashMap::new(),
            next: 0,
        }
    }

    /// Whether a message that was not worked off is given up.
    pub(super) fn wants(&self, message: &Message) -> bool {
        message.redelivery_count >= self.most
    }

    /// Sends a message to the dead letter topic.
    pub(super) fn send(&mut self, machine: &mut Machine, now: Now, partition: Option<u32>, message: Message) {
        let number = self.next;
        self.next += 1;
        self.sent.insert(number, (message.id, message.redelivery_count));
        let record = letter(message, partition, &self.subscription);
        if self.id.is_none() {
            self.id = Some(machine.resolve(now, self.topic.clone()));
        }
        self.waiting.push((number, record));
        self.pass_on(machine, now);
    }

    /// The number of a topic's partitions is known; `false`: it is another topic.
    pub(super) fn resolved(&mut self, machine: &mut Machine, now: Now, topic: TopicId, partitions: u32) -> bool {
        if self.id != Some(topic) {
            return false;
        }
        self.partitions = Some(partitions);
        self.pass_on(machine, now);
        true
    }

    fn pass_on(&mut self, machine: &mut Machine, now: Now) {
        let Some(partitions) = self.partitions else { return };
        for (number, record) in std::mem::take(&mut self.waiting) {
            let at = if partitions == 0 { 0 } else { self.router.route(&record, partitions, now.at) };
            let topic = if partitions == 0 { self.topic.clone() } else { self.topic.partition(at) };
            let producer = *self.producers.entry(at).or_insert_with(|| machine.open(now, topic, Naming::ByBroker));
            let charge = Charge { records: 1, bytes: record.cost() };
            let handle = AckHandle::new(Arc::<Fates>::clone(&self.fates), number..number + 1);
            machine.append(now, producer, record, &ByteString::from_static("dead letters"), handle, charge);
        }
        machine.pump(now);
    }

    /// Letters whose fate is known: stored or not.
    pub(super) fn decided(&mut self) -> Vec<(DeliveredId, u32, bool)> {
        let fates = std::mem::take(&mut *self.fates.0.lock().unwrap_or_else(PoisonError::into_inner));
        fates.into_iter().filter_map(|(number, stored)| self.sent.remove(&number).map(|(id, count)| (id, count, stored))).collect()
    }
}

/// The message with where it came from; what an earlier stop wrote there is kept.
fn letter(message: Message, partition: Option<u32>, subscription: &str) -> Record {
    let partition = partition.map_or(-1, i64::from);
    let origin = match message.id.batch {
        Some(batch) => format!("{}:{partition}:{}", message.id.message, batch.index),
        None => format!("{}:{partition}", message.id.message),
    };
    let origin = ByteString::from(origin);
    let own = [
        ("REAL_TOPIC", message.topic.clone()),
        ("REAL_SUBSCRIPTION", subscription.into()),
        ("ORIGIN_MESSAGE_ID", origin.clone()),
        // Misspelt so in the Java client, whose users read it.
        ("ORIGIN_MESSAGE_IDY_TIME", origin),
    ];
    let mut properties = message.properties.clone();
    properties.extend(own.into_iter().filter(|(name, _)| !message.properties.iter().any(|(there, _)| there == *name)));
    let key = message.key.map(|key| match ByteString::try_from(key.clone()) {
        Ok(text) if !message.binary_key => text,
        _ => STANDARD.encode(key).into(),
    });
    Record { value: message.payload, key, event_time: message.event_time, properties, ..Record::default() }
}
