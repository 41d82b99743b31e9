#![allow(clippy::unwrap_used)]
use super::*;
use crate::ids::SequenceNumber;
use crate::port::Encryption;
use proptest::prelude::*;

fn raw(data: impl Into<Bytes>) -> RawRecord {
    RawRecord {
        sequence: SequenceNumber::parse("42").unwrap(),
        partition_key: Some("outer".into()),
        data: data.into(),
        arrived_at: None,
        encryption: Encryption::None,
    }
}

fn unpacked(data: impl Into<Bytes>) -> Vec<UserRecord> {
    match deaggregate(&raw(data), None) {
        Deaggregated::UserRecords(records) => records.collect(),
        other => panic!("not taken apart: {other:?}"),
    }
}

fn framed(message: &[u8]) -> Bytes {
    [&MAGIC[..], message, &Md5::digest(message)[..]].concat().into()
}

fn to_pack(partition_key: &str, explicit_hash: Option<u128>, data: &[u8]) -> ToPack {
    ToPack { partition_key: partition_key.into(), explicit_hash, data: Bytes::copy_from_slice(data) }
}

/// Made by the Python package `aws_kinesis_agg` 1.2.3; what is in them as its protobuf classes read it.
#[derive(serde::Deserialize)]
struct Vector {
    name: String,
    aggregate: String,
    records: Vec<VectorRecord>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct VectorRecord {
    partition_key: String,
    explicit_hash_key: Option<String>,
    data: String,
}

fn hex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn aggregates_of_an_independent_producer_are_read() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    assert_eq!(vectors.len(), 6);
    for vector in vectors {
        let expected: Vec<_> = vector
            .records
            .iter()
            .enumerate()
            .map(|(index, record)| UserRecord {
                partition_key: record.partition_key.as_str().into(),
                explicit_hash: record.explicit_hash_key.as_ref().map(|text| text.parse().unwrap()),
                data: hex(&record.data),
                sub: index as u64,
            })
            .collect();
        assert_eq!(unpacked(hex(&vector.aggregate)), expected, "{}", vector.name);
        let again = aggregate(expected.into_iter().map(|record| ToPack {
            partition_key: record.partition_key,
            explicit_hash: record.explicit_hash,
            data: record.data,
        }));
        assert_eq!(again, hex(&vector.aggregate), "{}", vector.name);
    }
}

#[test]
fn data_are_slices_of_the_record_that_came() {
    let packed = aggregate([to_pack("k", None, &[7; 100])]);
    let inside = packed.as_ptr() as usize..packed.as_ptr() as usize + packed.len();
    let records = unpacked(packed.clone());
    assert!(inside.contains(&(records[0].data.as_ptr() as usize)));
    assert!(inside.contains(&(records[0].partition_key.as_ptr() as usize)));
}

#[test]
fn an_aggregate_of_nothing_is_empty() {
    assert!(matches!(deaggregate(&raw(aggregate([])), None), Deaggregated::Empty));
}

#[test]
fn one_part_outside_the_range_discards_the_whole() {
    let lower = HashRange { start: 0, end: u128::MAX / 2 };
    let (inside, outside) = (Some(5), Some(u128::MAX));
    let both = aggregate([to_pack("a", inside, b"1"), to_pack("b", outside, b"2")]);
    assert!(matches!(deaggregate(&raw(both.clone()), Some(lower)), Deaggregated::Discarded));
    assert_eq!(unpacked(both).len(), 2, "without a range nothing is discarded");
    let one = aggregate([to_pack("a", inside, b"1")]);
    assert!(matches!(deaggregate(&raw(one), Some(lower)), Deaggregated::UserRecords(_)));
    // MD5("a") = 0cc175b9c0f1b6a831c399e269772661, MD5("b") = 92eb5ffee6ae2fec3ad71c777531578f.
    let by_key = aggregate([to_pack("a", None, b"1"), to_pack("b", None, b"2")]);
    assert!(matches!(deaggregate(&raw(by_key), Some(lower)), Deaggregated::Discarded));
    assert_eq!(hash_key("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
}

#[test]
fn what_is_damaged_is_delivered_raw() {
    let whole = aggregate([to_pack("k", Some(7), b"data")]);
    let mut wrong_digest = whole.to_vec();
    *wrong_digest.last_mut().unwrap() ^= 1;
    let cases: [(&str, Bytes); 10] = [
        ("nothing", Bytes::new()),
        ("only the magic", Bytes::from_static(&MAGIC)),
        ("shorter than magic and digest", whole.slice(..19)),
        ("wrong digest", wrong_digest.into()),
        ("another magic", [&[0u8; 4][..], &whole[4..]].concat().into()),
        ("no protobuf", framed(&[0xff, 0xff, 0xff])),
        ("key index out of the table", framed(&[0x0a, 1, b'k', 0x1a, 4, 8, 1, 0x1a, 0])),
        ("no data", framed(&[0x0a, 1, b'k', 0x1a, 2, 8, 0])),
        ("hash index out of the table", framed(&[0x0a, 1, b'k', 0x1a, 6, 8, 0, 16, 0, 0x1a, 0])),
        ("a hash key that is no number", framed(&[0x0a, 1, b'k', 0x12, 1, b'x', 0x1a, 6, 8, 0, 16, 0, 0x1a, 0])),
    ];
    for (name, data) in cases {
        assert!(matches!(deaggregate(&raw(data), None), Deaggregated::Raw), "{name}");
    }
}

#[test]
fn tags_and_unknown_fields_do_not_disturb() {
    // Record 0 with a tag (field 4), and a field 9 of the aggregate.
    let message = [0x0a, 1, b'k', 0x1a, 10, 8, 0, 0x1a, 1, b'd', 0x22, 3, 0x0a, 1, b't', 0x48, 1];
    let records = unpacked(framed(&message));
    assert_eq!((records.len(), &records[0].data[..]), (1, &b"d"[..]));
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        records in prop::collection::vec((".{0,8}", prop::option::of(any::<u128>()), prop::collection::vec(any::<u8>(), 0..50)), 1..40),
    ) {
        let records: Vec<_> = records.iter().map(|(key, hash, data)| to_pack(key, *hash, data)).collect();
        let everything = HashRange { start: 0, end: u128::MAX };
        let Deaggregated::UserRecords(out) = deaggregate(&raw(aggregate(records.clone())), Some(everything)) else {
            return Err(TestCaseError::fail("not taken apart"));
        };
        prop_assert_eq!(out.len(), records.len());
        for (index, (user, packed)) in out.zip(&records).enumerate() {
            prop_assert_eq!(user.sub, index as u64);
            prop_assert_eq!((&user.partition_key, user.explicit_hash, &user.data), (&packed.partition_key, packed.explicit_hash, &packed.data));
        }
    }

    #[test]
    fn a_part_survives_exactly_when_all_fall_inside(keys in prop::collection::vec("[a-z]{1,3}", 1..6), start: u128, end: u128) {
        let range = HashRange { start: start.min(end), end: start.max(end) };
        let packed = aggregate(keys.iter().map(|key| to_pack(key, None, b"x")));
        let all_inside = keys.iter().all(|key| range.contains(hash_key(key)));
        prop_assert_eq!(matches!(deaggregate(&raw(packed), Some(range)), Deaggregated::UserRecords(_)), all_inside);
    }

    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..80), sealed: bool) {
        let data = if sealed { framed(&body) } else { [&MAGIC[..], &body].concat().into() };
        match deaggregate(&raw(data), None) {
            Deaggregated::UserRecords(records) => prop_assert!(records.len() > 0),
            Deaggregated::Raw | Deaggregated::Empty => {}
            Deaggregated::Discarded => prop_assert!(false, "nothing is discarded without a range"),
        }
    }
}
