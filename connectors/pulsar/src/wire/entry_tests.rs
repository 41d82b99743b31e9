#![allow(clippy::unwrap_used)]

use super::*;
use crate::wire::frame::decode;
use crate::wire::test_reader::TestReader;
use crate::wire::unpack::{open, unpack, unpack_own};
use connector_sdk::Properties;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn plain(value: &'static [u8]) -> Record {
    Record { value: Bytes::from_static(value), ..Record::default() }
}

const STAMP: Stamp<'static> = Stamp {
    producer_id: 1,
    producer_name: "p-1",
    numbers: Numbers::From(7),
    publish_time: 1_700_000_000_000,
    schema_version: None,
    by_key: false,
};

#[test]
fn golden_single() {
    let encoded = Encoder::new(Compression::None).unwrap().encode(STAMP, &[plain(b"hello")]);
    let golden = "0000002b0000000808063204080110070e01f3f14bb6000000100a03702d3110071880d095ffbc31480568656c6c6f";
    assert_eq!(encoded.frames.as_slice()[0][..], hex(golden));
    assert_eq!(encoded.judged_size, 16 + 5);
}

#[test]
fn golden_batch() {
    let encoded = Encoder::new(Compression::None).unwrap().encode(STAMP, &[plain(b"ab"), plain(b"c")]);
    let golden = "000000400000000c0806320808011007180230080e01fcfc192d000000130a03702d3110071880d095ffbc315802c0010800000004180240076162000000041801400863";
    assert_eq!(encoded.frames.as_slice()[0][..], hex(golden));
    assert_eq!(encoded.entry_size, 19 + 19);
}

#[test]
fn golden_batch_with_the_records_own_numbers() {
    let numbered = |value, sequence| Record { sequence: Some(sequence), ..plain(value) };
    let stamp = Stamp { numbers: Numbers::OfRecords, ..STAMP };
    let encoded = Encoder::new(Compression::None).unwrap().encode(stamp, &[numbered(b"ab", 5 << 24), numbered(b"c", 7 << 24 | 2)]);
    let golden = "00000052000000120806320e08011080808028180230828080380e01b2e870bd000000190a03702d3110808080281880d095ffbc315802c0018280803800000007180240808080286162000000071801408280803863";
    assert_eq!(encoded.frames.as_slice()[0][..], hex(golden));
    assert_eq!((encoded.sequence, encoded.highest), (5 << 24, 7 << 24 | 2));
}

#[test]
fn a_single_message_bears_the_record_s_own_number() {
    let record = Record { sequence: Some(9 << 24), ..plain(b"alone") };
    let encoded = Encoder::new(Compression::None).unwrap().encode(Stamp { numbers: Numbers::OfRecords, ..STAMP }, &[record]);
    assert_eq!((encoded.sequence, encoded.highest), (9 << 24, 9 << 24));
    let frame = decode(&mut bytes::BytesMut::from(&encoded.frames.as_slice()[0][..]), 1_000).unwrap().unwrap();
    let send = frame.command.send.unwrap();
    assert_eq!((send.sequence_id, send.highest_sequence_id, send.num_messages), (9 << 24, None, None));
    assert_eq!(unpack(frame.entry).unwrap().metadata.sequence_id, 9 << 24);
}

#[test]
fn the_largest_ids_still_fit_the_one_byte_length_of_the_command() {
    let stamp = Stamp { producer_id: u64::MAX, numbers: Numbers::From(i64::MAX - 2), ..STAMP };
    let encoded = Encoder::new(Compression::None).unwrap().encode(stamp, &[plain(b"a"), plain(b"b")]);
    let frame = decode(&mut bytes::BytesMut::from(&encoded.frames.as_slice()[0][..]), 1_000).unwrap().unwrap();
    assert_eq!(frame.command.send.unwrap().highest_sequence_id, Some(i64::MAX - 1));
}

/// A key that only tests have, and a reader with it.
fn sealer_and_reader() -> (Arc<Sealer>, TestReader) {
    use crate::crypto::test_keys::{P256, P256_PUBLIC};
    use crate::crypto::{CryptoConfig, Decryptor, KeyLocation, KeyReaderConfig};
    use base64::Engine;
    let url =
        |pem: &str| Some(KeyLocation::new(format!("data:application/x-pem-file;base64,{}", base64::prelude::BASE64_STANDARD.encode(pem))));
    let keys = KeyReaderConfig { default_public_key: url(P256_PUBLIC), default_private_key: url(P256), ..KeyReaderConfig::default() };
    let config = CryptoConfig { encryption_keys: Some(vec!["a".into()]), crypto_key_reader_config: Some(keys), ..CryptoConfig::default() };
    let reader = TestReader::with_keys(Decryptor::new(&config).unwrap());
    (Arc::new(Sealer::new(&config).unwrap()), reader)
}

fn whole_frame(bytes: &Bytes) -> crate::wire::frame::Frame {
    decode(&mut bytes::BytesMut::from(&bytes[..]), 1_000_000).unwrap().unwrap()
}

#[test]
fn a_batch_by_key_is_named_by_its_highest_number_alone() {
    let numbered = |value, sequence| Record { sequence: Some(sequence), ..plain(value) };
    let stamp = Stamp { numbers: Numbers::OfRecords, by_key: true, ..STAMP };
    let encoded = Encoder::new(Compression::None).unwrap().encode(stamp, &[numbered(b"ab", 3), numbered(b"c", 9)]);
    assert_eq!((encoded.sequence, encoded.highest), (9, 9));
    let frame = whole_frame(&encoded.frames.as_slice()[0]);
    let send = frame.command.send.unwrap();
    assert_eq!((send.sequence_id, send.highest_sequence_id, send.num_messages), (9, Some(9), Some(2)));
    let entry = unpack(frame.entry).unwrap();
    assert_eq!((entry.metadata.sequence_id, entry.metadata.highest_sequence_id), (9, Some(9)));
    assert_eq!(entry.sequences, [3, 9]);
}

#[test]
fn a_schema_s_version_is_in_singles_batches_and_chunks() {
    let version = [0, 0, 0, 0, 0, 0, 0, 2];
    let stamp = Stamp { schema_version: Some(&version), ..STAMP };
    let mut encoder = Encoder::new(Compression::None).unwrap();
    let (single, batch) = (encoder.encode(stamp, &[plain(b"a")]), encoder.encode(stamp, &[plain(b"a"), plain(b"b")]));
    let chunks = encoder.encode_chunks(stamp, &Record { value: vec![7; 500].into(), ..Record::default() }, 200).unwrap();
    for frame in [single, batch, chunks].iter().flat_map(|encoded| encoded.frames.as_slice()) {
        let (metadata, _) = open(whole_frame(frame).entry).unwrap();
        assert_eq!(metadata.schema_version.as_deref(), Some(&version[..]));
    }
}

#[test]
fn a_record_whose_metadata_leave_no_room_is_not_cut_into_chunks() {
    let mut record = Record { value: vec![7; 5_000].into(), ..Record::default() };
    let mut encoder = Encoder::new(Compression::None).unwrap();
    assert!(encoder.encode_chunks(STAMP, &record, 200).is_some());
    // More than 200 chunks.
    assert!(encoder.encode_chunks(STAMP, &record, 60).is_none());
    record.properties.push("long", "x".repeat(300));
    assert!(encoder.encode_chunks(STAMP, &record, 200).is_none());
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
    fn what_is_sealed_or_cut_reads_back_for_its_reader_and_for_this_client(
        records in records(),
        kind in prop::sample::select(vec![Compression::None, Compression::Lz4, Compression::Zstd]),
        sealed: bool,
        extra in 30usize..200,
    ) {
        let (sealer, mut reader) = sealer_and_reader();
        let mut encoder = Encoder::new(kind).unwrap();
        if sealed {
            encoder.seal_by(Arc::clone(&sealer));
        }
        let whole = encoder.encode(STAMP, &records);
        prop_assert_eq!(reader.read(whole_frame(&whole.frames.as_slice()[0]).entry).unwrap().unwrap().records, records.clone());
        prop_assert_eq!(unpack_own(whole.frames.as_slice(), whole.sealer.as_deref()).unwrap().records, records.clone());
        prop_assert_eq!(unpack(whole_frame(&whole.frames.as_slice()[0]).entry).is_ok_and(|entry| entry.records == records), !sealed);

        // A limit that the metadata leave `extra` bytes of, the chunks' own fields included.
        let record = Record { value: vec![records[0].value.clone(); 8].concat().into(), ..records[0].clone() };
        let alone = encoder.encode(STAMP, std::slice::from_ref(&Record { value: Bytes::new(), ..record.clone() }));
        let limit = alone.entry_size + extra;
        let Some(chunks) = encoder.encode_chunks(STAMP, &record, limit) else { return Err(TestCaseError::reject("no room")) };
        prop_assert!(chunks.judged_size <= limit);
        prop_assert_eq!((chunks.sequence, chunks.highest), (7, 7));
        let mut read = None;
        for (id, frame) in chunks.frames.as_slice().iter().enumerate() {
            prop_assert!(read.is_none(), "put together before the last chunk");
            let frame = whole_frame(frame);
            let send = frame.command.send.unwrap();
            prop_assert_eq!((send.is_chunk, send.sequence_id, send.num_messages), (Some(true), 7, None));
            let (metadata, payload) = open(frame.entry.clone()).unwrap();
            prop_assert_eq!(metadata.chunk_id, Some(i32::try_from(id).unwrap()));
            prop_assert!(payload.len() <= chunks.judged_size);
            read = reader.read(frame.entry).unwrap();
        }
        if !record.value.is_empty() {
            prop_assert_eq!(read.unwrap().records, vec![record.clone()]);
            prop_assert_eq!(unpack_own(chunks.frames.as_slice(), chunks.sealer.as_deref()).unwrap().records, vec![record]);
        }
    }

    #[test]
    fn every_entry_reads_back_as_its_records(
        records in records(),
        kind in prop::sample::select(vec![Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy]),
        sequence in 0i64..1 << 40,
    ) {
        let encoded = Encoder::new(kind).unwrap().encode(Stamp { numbers: Numbers::From(sequence), ..STAMP }, &records);
        let frame = decode(&mut bytes::BytesMut::from(&encoded.frames.as_slice()[0][..]), 100_000).unwrap().unwrap();
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
