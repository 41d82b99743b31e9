//! The comparison judges all other tests: so it is shown each kind of fault once.

use bytes::Bytes;

use crate::harness::kpl::{self, UserRecord};
use crate::harness::oracle::{Sent, Truth};
use crate::harness::topic::Message;

fn sent(shard: u64, number: u64, key: &str) -> Sent {
    let data = Bytes::from(format!("record {number}"));
    Sent { shard: format!("shardId-{shard:012}"), number: format!("{number:056}"), sub: 0, key: key.to_owned(), data, arrived_at: Some(5) }
}

fn arrived(partition: u32, sent: &Sent) -> Message {
    let properties = [
        ("kinesis.sequence.number", sent.number.clone()),
        ("kinesis.sub.sequence.number", sent.sub.to_string()),
        ("kinesis.shard.id", sent.shard.clone()),
        ("kinesis.partition.key", sent.key.clone()),
    ];
    Message {
        partition,
        key: Some(sent.key.clone()),
        key_is_base64: false,
        value: sent.data.to_vec(),
        properties: properties.map(|(name, value)| (name.to_owned(), value)).into(),
        event_time: Some(5),
        publish_time: 6,
        producer: "p".to_owned(),
    }
}

/// Three records of two keys in one shard, and all of them as they should arrive.
fn sound() -> (Truth, Vec<Message>) {
    let records = vec![sent(0, 1, "a"), sent(0, 2, "b"), sent(0, 3, "a")];
    let messages = vec![arrived(0, &records[0]), arrived(1, &records[1]), arrived(0, &records[2])];
    (Truth::new(records), messages)
}

#[test]
fn what_is_sound_passes() {
    let (truth, messages) = sound();
    truth.compare(&messages).assert_exact();
}

#[test]
fn what_is_missing_is_lost() {
    let (truth, mut messages) = sound();
    messages.remove(1);
    assert_eq!(truth.compare(&messages).lost.count, 1);
}

#[test]
fn what_comes_twice_is_doubled_and_still_whole() {
    let (truth, mut messages) = sound();
    messages.push(messages[0].clone());
    let comparison = truth.compare(&messages);
    comparison.assert_whole();
    assert_eq!(comparison.doubled, [6]);
}

#[test]
fn what_comes_in_another_order_or_partition_is_seen() {
    let (truth, mut messages) = sound();
    messages.swap(0, 2);
    assert!(truth.compare(&messages).disorder.count > 0);
    let (truth, mut messages) = sound();
    messages[2].partition = 1;
    assert_eq!(truth.compare(&messages).disorder.count, 1, "a key has one partition");
}

#[test]
fn what_was_changed_is_wrong() {
    let changes: [fn(&mut Message); 6] = [
        |message| message.value[0] ^= 1,
        |message| message.key = Some("c".to_owned()),
        |message| message.key_is_base64 = true,
        |message| message.event_time = None,
        |message| message.properties[2].1 = "shardId-000000000009".to_owned(),
        |message| message.properties[0].1 = "7".to_owned(),
    ];
    for change in changes {
        let (truth, mut messages) = sound();
        change(&mut messages[1]);
        assert_eq!(truth.compare(&messages).wrong.count, 1);
    }
}

/// The layout by hand: one key, one record of one byte.
#[test]
fn an_aggregate_is_laid_out_as_the_kpl_does() {
    let record = UserRecord { partition_key: "k".to_owned(), explicit_hash_key: Some(7), data: Bytes::from_static(b"x") };
    let bytes = kpl::aggregate(&[record]);
    let message = [0x0A, 1, b'k', 0x12, 1, b'7', 0x1A, 7, 0x08, 0, 0x10, 0, 0x1A, 1, b'x'];
    assert_eq!(bytes[..4], [0xF3, 0x89, 0x9A, 0xC2]);
    assert_eq!(bytes[4..bytes.len() - 16], message);
    assert_eq!(bytes.len(), 4 + message.len() + 16);
}

#[test]
fn a_key_may_move_with_all_that_is_later_to_a_partition_that_was_added() {
    let records: Vec<Sent> = (1..=4).map(|number| sent(0, number, "a")).collect();
    let at = |partitions: [u32; 4]| -> Vec<Message> { records.iter().zip(partitions).map(|(one, at)| arrived(at, one)).collect() };
    let truth = || Truth::new(records.clone());
    assert_eq!(truth().compare(&at([0, 0, 2, 2])).disorder.count, 1, "nothing was added");
    truth().of_a_topic_that_grew(1).compare(&at([0, 0, 2, 2])).assert_exact();
    assert_eq!(truth().of_a_topic_that_grew(1).compare(&at([0, 2, 0, 2])).disorder.count, 1, "it went to and fro");
    truth().of_a_topic_that_grew(2).compare(&at([0, 2, 2, 0])).assert_exact();
    let mut early = at([0, 0, 2, 2]);
    early[2].publish_time -= 1;
    assert_eq!(truth().of_a_topic_that_grew(1).compare(&early).disorder.count, 1, "the first copies were still on the way");
    let reversed: Vec<Message> = at([0, 0, 2, 2]).into_iter().rev().collect();
    assert!(truth().of_a_topic_that_grew(1).compare(&reversed).disorder.count > 0);
}

#[test]
fn what_is_late_is_there_and_its_order_is_not_judged() {
    let (truth, mut messages) = sound();
    let mut first = messages.remove(0);
    first.producer = "p-late".to_owned();
    messages.push(first);
    let comparison = truth.compare(&messages);
    comparison.assert_exact();
    assert_eq!(comparison.late, 1);
}
