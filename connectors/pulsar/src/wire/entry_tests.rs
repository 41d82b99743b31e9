#![allow(clippy::unwrap_used)]

use super::*;
use crate::wire::frame::decode;
use crate::wire::unpack::unpack;
use connector_sdk::Properties;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn plain(value: &'static [u8]) -> Record {
    Record { value: Bytes::from_static(value), ..Record::default() }
}

const STAMP: Stamp<'static> = Stamp { producer_id: 1, producer_name: "p-1", numbers: Numbers::From(7), publish_time: 1_700_000_000_000 };

#[test]
fn golden_single() {
    let encoded = Encoder::new(Compression::None).unwrap().encode(STAMP, &[plain(b"hello")]);
    let golden = "0000002b0000000808063204080110070e01f3f14bb6000000100a03702d3110071880d095ffbc31480568656c6c6f";
    assert_eq!(encoded.frame[..], hex(golden));
    assert_eq!(encoded.judged_size, 16 + 5);
}

#[test]
fn golden_batch() {
    let encoded = Encoder::new(Compression::None).unwrap().encode(STAMP, &[plain(b"ab"), plain(b"c")]);
    let golden = "000000400000000c0806320808011007180230080e01fcfc192d000000130a03702d3110071880d095ffbc315802c0010800000004180240076162000000041801400863";
    assert_eq!(encoded.frame[..], hex(golden));
    assert_eq!(encoded.entry_size, 19 + 19);
}

#[test]
fn golden_batch_with_the_records_own_numbers() {
    let numbered = |value, sequence| Record { sequence: Some(sequence), ..plain(value) };
    let stamp = Stamp { numbers: Numbers::OfRecords, ..STAMP };
    let encoded = Encoder::new(Compression::None).unwrap().encode(stamp, &[numbered(b"ab", 5 << 24), numbered(b"c", 7 << 24 | 2)]);
    let golden = "00000052000000120806320e08011080808028180230828080380e01b2e870bd000000190a03702d3110808080281880d095ffbc315802c0018280803800000007180240808080286162000000071801408280803863";
    assert_eq!(encoded.frame[..], hex(golden));
    assert_eq!((encoded.sequence, encoded.highest), (5 << 24, 7 << 24 | 2));
}

#[test]
fn a_single_message_bears_the_record_s_own_number() {
    let record = Record { sequence: Some(9 << 24), ..plain(b"alone") };
    let encoded = Encoder::new(Compression::None).unwrap().encode(Stamp { numbers: Numbers::OfRecords, ..STAMP }, &[record]);
    assert_eq!((encoded.sequence, encoded.highest), (9 << 24, 9 << 24));
    let frame = decode(&mut bytes::BytesMut::from(&encoded.frame[..]), 1_000).unwrap().unwrap();
    let send = frame.command.send.unwrap();
    assert_eq!((send.sequence_id, send.highest_sequence_id, send.num_messages), (9 << 24, None, None));
    assert_eq!(unpack(frame.entry).unwrap().metadata.sequence_id, 9 << 24);
}

#[test]
fn the_largest_ids_still_fit_the_one_byte_length_of_the_command() {
    let stamp = Stamp { producer_id: u64::MAX, numbers: Numbers::From(i64::MAX - 2), ..STAMP };
    let encoded = Encoder::new(Compression::None).unwrap().encode(stamp, &[plain(b"a"), plain(b"b")]);
    let frame = decode(&mut bytes::BytesMut::from(&encoded.frame[..]), 1_000).unwrap().unwrap();
    assert_eq!(frame.command.send.unwrap().highest_sequence_id, Some(i64::MAX - 1));
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let text = || prop::option::of("[a-zé日]{0,9}");
    let record = (
        prop::collection::vec(any::<u8>(), 0..300),
        text(),
        prop::option::of(any::<u64>()),
        prop::collection::vec(("[a-z]{1,200}", ".{0,9}"), 0..3),
    );
    let record = record.prop_map(|(value, key, event_time, pairs)| {
        let mut properties = Properties::default();
        for (name, value) in pairs {
            properties.push(name, value);
        }
        Record { value: value.into(), key: key.map(Into::into), event_time, properties, ..Record::default() }
    });
    prop::collection::vec(record, 1..20)
}

proptest! {
    #[test]
    fn every_entry_reads_back_as_its_records(
        records in records(),
        kind in prop::sample::select(vec![Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy]),
        sequence in 0i64..1 << 40,
    ) {
        let encoded = Encoder::new(kind).unwrap().encode(Stamp { numbers: Numbers::From(sequence), ..STAMP }, &records);
        let frame = decode(&mut bytes::BytesMut::from(&encoded.frame[..]), 100_000).unwrap().unwrap();
        let entry = unpack(frame.entry).unwrap();
        prop_assert_eq!(&entry.records, &records);
        let expected: Vec<i64> = (sequence..).take(records.len()).collect();
        prop_assert_eq!(entry.sequences, expected);
        prop_assert_eq!(entry.metadata.num_messages_in_batch.is_some(), records.len() > 1);
        let send = frame.command.send.unwrap();
        prop_assert_eq!(send.sequence_id, sequence);
        prop_assert_eq!(send.num_messages.is_some(), records.len() > 1);
        prop_assert_eq!(entry.metadata.partition_key, records[0].key.clone().map(connector_sdk::ByteString::into_bytes));
    }
}
