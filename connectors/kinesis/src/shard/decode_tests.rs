#![allow(clippy::unwrap_used)]
use super::*;
use crate::aggregation::{ToPack, aggregate};

fn raw(sequence: u64, data: impl Into<Bytes>) -> RawRecord {
    RawRecord {
        sequence: SequenceNumber::parse(sequence.to_string()).unwrap(),
        partition_key: Some("aggregate".into()),
        data: data.into(),
        arrived_at: Some(1_700_000_000_120),
        encryption: Encryption::Kms,
    }
}

fn aggregated(keys: &[&str]) -> Bytes {
    let records =
        keys.iter().map(|key| ToPack { partition_key: (*key).into(), explicit_hash: None, data: Bytes::from(key.as_bytes().to_vec()) });
    aggregate(records)
}

fn decoder(covered: Option<(u64, u64)>, ordinal: u64, range: Option<HashRange>) -> Decoder {
    use RecordProperty::{ArrivalTimestamp, EncryptionType, MillisBehindLatest, PartitionKey, ShardId as Shard, SubSequenceNumber};
    let properties =
        vec![ArrivalTimestamp, EncryptionType, PartitionKey, RecordProperty::SequenceNumber, SubSequenceNumber, Shard, MillisBehindLatest];
    let covered = covered.map(|(sequence, sub)| Position { sequence: SequenceNumber::parse(sequence.to_string()).unwrap(), sub });
    Decoder::new("shardId-000000000003".into(), range, MessageForm { properties, key_mode: MessageKeyMode::PartitionKey }, covered, ordinal)
}

fn decode(decoder: &mut Decoder, records: impl IntoIterator<Item = RawRecord>) -> Decoded {
    let mut raws: VecDeque<RawRecord> = records.into_iter().collect();
    let mut items = Decoded::default();
    // In small bites: an aggregate is left half taken apart in between.
    while !raws.is_empty() || decoder.is_in_the_middle() {
        let limit = items.len() + 2;
        decoder.decode(&mut raws, 250, limit, &mut items);
        assert!(items.len() <= limit);
    }
    items
}

fn messages(items: &Decoded) -> Vec<(String, u64)> {
    assert_eq!(items.places.len(), items.messages.len());
    let all = items.places.iter().zip(&items.messages);
    all.filter_map(|(place, message)| Some((place.position.to_string(), message.as_ref()?.sequence?))).collect()
}

#[test]
fn a_message_has_the_chosen_properties_in_order_and_every_byte() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let items = decode(&mut decoder(None, 0, None), [raw(7, every_byte.clone())]);
    let (Some(record), place) = (&items.messages[0], &items.places[0]) else { panic!("a message") };
    assert_eq!(
        (record.value.as_ref(), record.key.as_deref(), record.event_time),
        (every_byte.as_slice(), Some("aggregate"), Some(1_700_000_000_120))
    );
    let properties: Vec<String> = record.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        properties,
        [
            "kinesis.arrival.timestamp=2023-11-14T22:13:20.120Z",
            "kinesis.encryption.type=KMS",
            "kinesis.partition.key=aggregate",
            "kinesis.sequence.number=7",
            "kinesis.sub.sequence.number=0",
            "kinesis.shard.id=shardId-000000000003",
            "kinesis.millis.behind.latest=250",
        ]
    );
    assert_eq!((place.ordinal, record.sequence), (1, Some(1 << 24)));
}

#[test]
fn an_aggregate_half_consumed_goes_on_behind_the_checkpoint_under_the_same_number() {
    let mut decoder = decoder(Some((10, 1)), 39, None);
    let items = decode(&mut decoder, [raw(9, "old"), raw(10, aggregated(&["a", "b", "c", "d"])), raw(11, "next")]);
    assert_eq!(messages(&items), [("10/2".into(), (40 << 24) | 2), ("10/3".into(), (40 << 24) | 3), ("11/0".into(), 41 << 24)]);
}

#[test]
fn what_is_discarded_or_empty_is_settled_as_a_whole_and_keeps_its_number() {
    let elsewhere = HashRange { start: 0, end: 0 };
    let items = decode(&mut decoder(None, 0, Some(elsewhere)), [raw(1, aggregated(&["a", "b"])), raw(2, aggregated(&[])), raw(3, "plain")]);
    let nothing = items.messages.iter().filter(|message| message.is_none()).count();
    assert_eq!((nothing, messages(&items)), (2, vec![("3/0".into(), 3 << 24)]));
}

#[test]
fn the_shard_may_be_the_key() {
    let mut decoder = decoder(None, 0, None);
    decoder.form.key_mode = MessageKeyMode::ShardId;
    let items = decode(&mut decoder, [raw(7, "x")]);
    let Some(record) = &items.messages[0] else { panic!("a message") };
    assert_eq!(record.key.as_deref(), Some("shardId-000000000003"));
}
