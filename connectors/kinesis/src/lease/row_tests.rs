//! Golden rows as Java's KCL 2.7.3 and 3.5.1 write them, and rows that are none.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn item(json: &str) -> Item {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).unwrap();
    fields.into_iter().map(|(name, value)| (name, attribute_value(&value))).collect()
}

fn attribute_value(value: &serde_json::Value) -> AttributeValue {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    let text = || value.as_str().unwrap().to_owned();
    match kind.as_str() {
        "S" => AttributeValue::S(text()),
        "N" => AttributeValue::N(text()),
        "NULL" => AttributeValue::Null(true),
        "SS" => AttributeValue::Ss(value.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()),
        "M" => AttributeValue::M(HashMap::new()),
        other => panic!("no such type here: {other}"),
    }
}

const NEW_OF_2_7_3: &str = r#"{
    "leaseKey": {"S": "shardId-000000000000"}, "leaseCounter": {"N": "0"}, "ownerSwitchesSinceCheckpoint": {"N": "0"},
    "checkpoint": {"S": "TRIM_HORIZON"}, "checkpointSubSequenceNumber": {"N": "0"},
    "startingHashKey": {"S": "0"}, "endingHashKey": {"S": "85070591730234615865843651857942052863"}}"#;

const SPLIT_PARENT_OF_3_5_1: &str = r#"{
    "leaseKey": {"S": "shardId-000000000000"}, "leaseCounter": {"N": "17"}, "ownerSwitchesSinceCheckpoint": {"N": "0"},
    "checkpoint": {"S": "SHARD_END"}, "checkpointSubSequenceNumber": {"N": "0"}, "entityType": {"S": "LEASE"},
    "leaseOwner": {"S": "w"}, "throughputKBps": {"N": "0.0"},
    "childShardIds": {"SS": ["shardId-000000000003", "shardId-000000000002"]},
    "startingHashKey": {"S": "0"}, "endingHashKey": {"S": "85070591730234615865843651857942052863"}}"#;

const CHILD_OF_3_5_1: &str = r#"{
    "leaseKey": {"S": "shardId-000000000002"}, "leaseCounter": {"N": "0"}, "ownerSwitchesSinceCheckpoint": {"N": "0"},
    "checkpoint": {"S": "TRIM_HORIZON"}, "checkpointSubSequenceNumber": {"N": "0"}, "entityType": {"S": "LEASE"},
    "parentShardId": {"SS": ["shardId-000000000000"]},
    "startingHashKey": {"S": "0"}, "endingHashKey": {"S": "42535295865117307932921825928971026431"}}"#;

#[test]
fn a_new_row_of_kcl_2_7_3_is_read_and_written_alike() {
    let golden = item(NEW_OF_2_7_3);
    let lease = Lease::decode(&golden).unwrap().unwrap();
    assert_eq!(lease.shard, ShardId::from("shardId-000000000000"));
    assert_eq!((lease.owner.clone(), lease.counter, lease.owner_switches), (None, 0, 0));
    assert_eq!(lease.checkpoint, Checkpoint::TrimHorizon);
    assert_eq!(lease.range, Some(HashRange { start: 0, end: u128::MAX / 4 }));
    assert!(!lease.has_3x_attributes);
    assert_eq!(lease.encode(), golden);
}

#[test]
fn a_split_parent_of_kcl_3_5_1_is_read() {
    let lease = Lease::decode(&item(SPLIT_PARENT_OF_3_5_1)).unwrap().unwrap();
    assert!(lease.is_finished() && lease.has_3x_attributes);
    assert_eq!(lease.owner.as_deref(), Some("w"));
    assert_eq!(lease.children, [ShardId::from("shardId-000000000002"), ShardId::from("shardId-000000000003")]);
}

#[test]
fn a_child_of_kcl_3_5_1_differs_from_ours_by_the_entity_type_alone() {
    let mut golden = item(CHILD_OF_3_5_1);
    let lease = Lease::decode(&golden).unwrap().unwrap();
    assert_eq!(lease.parents, [ShardId::from("shardId-000000000000")]);
    golden.remove(ENTITY_TYPE);
    assert_eq!(lease.encode(), golden);
}

#[test]
fn rows_of_other_kinds_are_no_leases() {
    let leader =
        r#"{"leaseKey": {"S": "Leader"}, "ownerName": {"S": "w"}, "leaseDuration": {"S": "120000"}, "entityType": {"S": "LEADER"}}"#;
    let worker = r#"{"leaseKey": {"S": "w"}, "lut": {"N": "1"}, "sts": {"M": {}}, "entityType": {"S": "WORKER_METRIC_STATS"}}"#;
    assert_eq!(Lease::decode(&item(leader)).unwrap(), None);
    assert_eq!(Lease::decode(&item(worker)).unwrap(), None);
}

#[test]
fn a_malformed_row_is_named_with_its_attribute() {
    for (attribute, value) in [
        ("leaseCounter", r#"{"S": "0"}"#),
        ("leaseCounter", r#"{"N": "1.5"}"#),
        ("checkpoint", r#"{"S": "SOMEWHERE"}"#),
        ("parentShardId", r#"{"S": "shardId-000000000000"}"#),
        ("endingHashKey", r#"{"S": "-1"}"#),
        ("pulsarConnect", r#"{"S": "{}"}"#),
    ] {
        let mut row = item(NEW_OF_2_7_3);
        row.insert(attribute.to_owned(), attribute_value(&serde_json::from_str(value).unwrap()));
        let error = Lease::decode(&row).unwrap_err();
        let why = if attribute == "pulsarConnect" { "missing field `version`" } else { "not in the KCL's form" };
        assert!(error.to_string().contains(&format!("`{attribute}`")) && error.to_string().contains(why), "{error}");
    }
    for attribute in ["leaseCounter", "checkpoint", "startingHashKey"] {
        let mut row = item(NEW_OF_2_7_3);
        row.remove(attribute);
        assert!(Lease::decode(&row).unwrap_err().to_string().contains(attribute));
    }
}

#[test]
fn what_java_reads_as_absent_is_absent() {
    let mut row = item(NEW_OF_2_7_3);
    row.remove(SUB_SEQUENCE);
    row.remove(SWITCHES);
    row.insert(OWNER.to_owned(), AttributeValue::Null(true));
    let lease = Lease::decode(&row).unwrap().unwrap();
    assert_eq!((lease.owner, lease.owner_switches, lease.checkpoint.sub()), (None, 0, 0));
}

#[test]
fn rows_of_several_streams_and_of_other_versions_are_told_apart() {
    let mut row = item(NEW_OF_2_7_3);
    row.insert(LEASE_KEY.to_owned(), AttributeValue::S("123456789012:orders:1700000000:shardId-000000000000".to_owned()));
    assert!(matches!(Lease::decode(&row), Err(RowError::MultiStream { .. })));

    let mut row = item(NEW_OF_2_7_3);
    row.insert(PULSAR_CONNECT.to_owned(), AttributeValue::S(r#"{"version":7}"#.to_owned()));
    assert!(matches!(Lease::decode(&row), Err(RowError::UnknownVersion { version: 7, .. })));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        counter: u64, owner_switches: u64, sub in 0u64..9, digits in "[1-9][0-9]{0,55}", owner in proptest::option::of("[a-z/]{1,9}"),
        ends: Option<(u128, u128)>, parents in 0usize..3,
    ) {
        let lease = Lease {
            shard: "shardId-000000000009".into(),
            owner: owner.map(ByteString::from),
            counter,
            owner_switches,
            checkpoint: Checkpoint::parse(&digits, sub).unwrap(),
            pending: false,
            parents: (0..parents).map(|index| ShardId::from(format!("shardId-00000000000{index}"))).collect(),
            children: Vec::new(),
            range: ends.map(|(one, other)| HashRange { start: one.min(other), end: one.max(other) }),
            checkpoint_owner: None,
            has_3x_attributes: false,
            pulsar_connect: None,
        };
        prop_assert_eq!(Lease::decode(&lease.encode()).unwrap().unwrap(), lease);
    }
}
