//! What becomes of a record that cannot be stored: its partition stops, it is dropped, or it goes to the dead letter topic.
//!
//! Only the culprit is judged. A dead letter that is refused itself stops its partition: two topics do not take it. Where
//! checkpoints pass a record before it is sent (ATMOST_ONCE), nothing can stop at it: what would stop is dropped and counted.

use crate::facts::Facts;
use crate::machine::{Duty, Refused};
use crate::topic::TopicName;
use connector_sdk::{Error, ErrorKind, Identity, OnRecordError, Properties, Record};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use tracing::{error, warn};

/// Bytes of a payload that is too large which its dead letter shows.
const FIRST_BYTES: usize = 1_024;
/// Properties of a record that is too large are carried over up to this many bytes.
const CARRIED_PROPERTIES: usize = 16 * 1_024;

/// The choice, with what it needs.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// The instance, named in each line of the log: partitions of two sources may bear the same name.
    instance: String,
    choice: OnRecordError,
    dead_letter_topic: Option<TopicName>,
    /// Whether a partition can stop at a record: not when its checkpoint has passed the record already.
    stops: bool,
    /// Whether a dead letter is sent whole, however large: in chunks.
    whole: bool,
}

/// What the policy says.
pub(crate) enum Fate {
    /// The handle has been resolved.
    Decided,
    /// To be published instead; its receipt settles the record.
    DeadLetter(Box<(Record, Duty)>),
}

impl Policy {
    /// `checkpoints_first`: whether checkpoints pass a record before it is sent; `chunking`: whether large messages go in chunks.
    pub(crate) fn new(
        instance: &Identity,
        choice: OnRecordError,
        dead_letter_topic: Option<TopicName>,
        checkpoints_first: bool,
        chunking: bool,
    ) -> Self {
        Self { instance: instance.to_string(), choice, dead_letter_topic, stops: !checkpoints_first, whole: chunking }
    }

    pub(crate) fn dead_letter_topic(&self) -> Option<&TopicName> {
        self.dead_letter_topic.as_ref()
    }

    pub(crate) fn judge(&self, topic: &str, refused: Refused, from_dead_letters: bool, facts: &Facts) -> Fate {
        let Refused { record, duty, error, too_large, .. } = refused;
        let instance = &self.instance;
        if from_dead_letters {
            self.refuse_dead_letter(topic, &record, duty, error, facts);
            return Fate::Decided;
        }
        let (partition, label) = (duty.partition.clone(), record.label.to_string());
        match (self.choice, &self.dead_letter_topic) {
            (OnRecordError::DeadLetter, Some(_)) => {
                warn!(instance, %partition, record = label, size = record.value.len(), topic, %error, "record goes to the dead letter topic");
                facts.dead_letters.add(1);
                Fate::DeadLetter(Box::new((dead_letter(topic, &partition, record, &error, too_large && !self.whole), duty)))
            }
            (OnRecordError::Fail | OnRecordError::DeadLetter, _) if self.stops => {
                let size = record.value.len();
                duty.handle.fail(name_record(&label, &partition, size, error));
                Fate::Decided
            }
            _ => {
                warn!(instance, %partition, record = label, size = record.value.len(), topic, %error, "record dropped");
                facts.dropped_records.add(1);
                duty.handle.ack();
                Fate::Decided
            }
        }
    }
}

impl Policy {
    /// The dead letter topic does not take a record, or nothing at all: there is no other place for it.
    pub(crate) fn refuse_dead_letter(&self, topic: &str, record: &Record, duty: Duty, error: Error, facts: &Facts) {
        if duty.handle.is_fenced() {
            // It stands behind one whose partition has just been stopped.
            facts.fenced_records.add(1);
            return duty.handle.give_back();
        }
        let (instance, partition, label) = (&self.instance, &duty.partition, record.label.to_string());
        if !self.stops {
            error!(instance, %partition, record = label, size = record.value.len(), topic, %error, "record dropped: the dead letter topic refuses it");
            facts.dropped_records.add(1);
            return duty.handle.ack();
        }
        error!(instance, %partition, record = label, size = record.value.len(), topic, %error, "the dead letter topic refuses the record");
        let doing = format!("the dead letter topic `{topic}` refuses record `{label}` of `{partition}`");
        duty.handle.fail(of_record(error.context(doing)));
    }
}

fn name_record(label: &str, partition: &str, size: usize, error: Error) -> Error {
    of_record(error.context(format!("record `{label}` of `{partition}` ({size} bytes) cannot be stored")))
}

/// Whatever its kind was, it concerns one record now.
fn of_record(error: Error) -> Error {
    let data = Error::new(ErrorKind::Data, error.message());
    match error.hint() {
        Some(hint) => data.with_hint(hint),
        None => data,
    }
}

/// The message for the dead letter topic: the record with where it came from and why it is there; of one that is too large, its
/// first bytes, size and SHA-256.
fn dead_letter(topic: &str, partition: &str, record: Record, error: &Error, too_large: bool) -> Record {
    let carries = !too_large || record.properties.size() <= CARRIED_PROPERTIES;
    let mut properties = if carries { record.properties } else { Properties::default() };
    properties.push("REAL_TOPIC", topic);
    properties.push("deadLetter.partition", partition);
    properties.push("deadLetter.record", record.label.to_string());
    properties.push("deadLetter.reason", error.message());
    let value = if too_large {
        properties.push("deadLetter.size", record.value.len().to_string());
        properties.push("deadLetter.sha256", sha256(&record.value));
        properties.push("deadLetter.truncated", "true");
        // A copy, so that the large payload is freed.
        bytes::Bytes::copy_from_slice(&record.value[..record.value.len().min(FIRST_BYTES)])
    } else {
        record.value
    };
    let key = record.key.filter(|key| !too_large || key.len() <= CARRIED_PROPERTIES);
    Record { value, key, event_time: record.event_time, properties, sequence: record.sequence, label: record.label }
}

fn sha256(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        write!(hex, "{byte:02x}").expect("a String takes everything");
    }
    hex
}
