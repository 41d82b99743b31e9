//! What a configuration guarantees, in the words of a person: shown by `validate` and at the start. The promise page has the details.

use connector_pulsar::topic::TopicName;
use connector_sdk::{Guarantee, OnRecordError, SourceSettings};

/// The sentences, most important first.
pub(super) fn sentences(
    guarantee: Guarantee,
    topic: &TopicName,
    settings: &SourceSettings,
    dead_letter_topic: Option<&TopicName>,
) -> Vec<String> {
    let mut sentences = vec![match guarantee {
        Guarantee::AtLeastOnce => {
            "ATLEAST_ONCE: every record is published, in order per key; after a crash or a lost lease the records since the last checkpoint \
             are published again"
                .to_owned()
        }
        Guarantee::AtMostOnce => {
            "ATMOST_ONCE: no record is published twice; a crash loses what was checkpointed and not yet published, and counts it where it can"
                .to_owned()
        }
        Guarantee::EffectivelyOnce => format!(
            "EFFECTIVELY_ONCE: every record is published once, in order per key, also after a crash, as long as deduplication is on for \
             `{topic}` (checked with the first record; `pulsar-admin namespaces set-deduplication {} --enable`)",
            topic.namespace()
        ),
    }];
    if guarantee == Guarantee::EffectivelyOnce {
        sentences.push(if settings.accept_duplicates {
            "where the broker has forgotten what it stored and the topic cannot be read back, records may be published twice \
             (`acceptDuplicates`)"
                .to_owned()
        } else {
            "after a crash the topic is read back for what is stored (the role needs `consume` too); where the broker has forgotten that \
             and it cannot be read back, the shard stands still and says so"
                .to_owned()
        });
    }
    let checkpoints_first = guarantee == Guarantee::AtMostOnce;
    sentences.push(match (settings.on_record_error, dead_letter_topic) {
        (OnRecordError::DeadLetter, Some(letters)) => {
            let twice = if guarantee == Guarantee::EffectivelyOnce { ", where it may come twice after a crash" } else { "" };
            format!("a record that cannot be stored goes to `{letters}`{twice}")
        }
        (OnRecordError::Fail, _) if !checkpoints_first => {
            "a record that cannot be stored stops its shard there until somebody acts; the other shards go on".to_owned()
        }
        _ => "a record that cannot be stored is dropped, counted and named in the log".to_owned(),
    });
    sentences
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn said(guarantee: Guarantee, on_record_error: OnRecordError, accept_duplicates: bool) -> String {
        let settings =
            SourceSettings { on_record_error, dead_letter_topic: None, accept_duplicates, receive_queue_bytes: 1, notes: Vec::new() };
        let (topic, letters): (TopicName, TopicName) = ("shop/eu/orders".parse().unwrap(), "shop/eu/letters".parse().unwrap());
        sentences(guarantee, &topic, &settings, (on_record_error == OnRecordError::DeadLetter).then_some(&letters)).join("\n")
    }

    #[test]
    fn every_choice_is_said_in_plain_words() {
        let once = said(Guarantee::EffectivelyOnce, OnRecordError::Fail, false);
        assert!(once.contains("published once") && once.contains("set-deduplication shop/eu --enable") && once.contains("stops its shard"));
        assert!(said(Guarantee::EffectivelyOnce, OnRecordError::Fail, true).contains("acceptDuplicates"));
        assert!(said(Guarantee::AtMostOnce, OnRecordError::Fail, false).contains("is dropped"), "the checkpoint has passed it");
        assert!(said(Guarantee::AtLeastOnce, OnRecordError::DeadLetter, false).contains("shop/eu/letters"));
    }
}
