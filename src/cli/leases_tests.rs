#![allow(clippy::unwrap_used)]
use super::*;
use connector_kinesis::config::MessageKeyMode;
use connector_kinesis::lease::{ExactView, LastNumber};
use std::collections::BTreeMap;

fn lease(shard: &str, owner: Option<&str>, checkpoint: &str, parents: &[&str]) -> LeaseView {
    LeaseView {
        shard: shard.to_owned(),
        owner: owner.map(str::to_owned),
        checkpoint: checkpoint.to_owned(),
        parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
        children: Vec::new(),
        counter: 7,
        owner_switches: 0,
        hash_range: None,
        ours: None,
    }
}

#[test]
fn columns_are_aligned_and_what_is_absent_is_a_dash() {
    let leases = vec![
        lease("shardId-000000000000", Some("worker-a"), "SHARD_END", &[]),
        lease("shardId-000000000001", None, "TRIM_HORIZON", &["shardId-000000000000"]),
    ];
    let text = table(&LeaseListing { leases, unreadable: vec!["row `x` has no owner".to_owned()] }, 0);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "SHARD                 OWNER     CHECKPOINT    EPOCH  ORDINAL  SENT  PARENTS               AGE  COUNTER  AT TIP  TOPIC"
    );
    assert_eq!(
        lines[1],
        "shardId-000000000000  worker-a  SHARD_END     -      -        -     -                     -    7        -       -"
    );
    assert_eq!(
        lines[2],
        "shardId-000000000001  -         TRIM_HORIZON  -      -        -     shardId-000000000000  -    7        -       -"
    );
    assert_eq!(lines[3], "unreadable: row `x` has no owner");
}

#[test]
fn an_empty_table_says_so() {
    assert!(table(&LeaseListing { leases: Vec::new(), unreadable: Vec::new() }, 0).ends_with("no leases\n"));
}

#[test]
fn ages_are_told_in_the_largest_unit_that_fits() {
    for (millis, text) in [(0, "0 s"), (119_999, "119 s"), (120_000, "2 min"), (7_200_000, "2 h"), (259_200_000, "3 d")] {
        assert_eq!(age(millis), text);
    }
}

#[test]
fn what_was_sent_beyond_a_checkpoint_is_clean_or_in_doubt_and_the_details_are_in_the_json() {
    let exact = |spent| ExactView {
        partitions: 2,
        hashing: "Murmur3_32Hash".to_owned(),
        key_mode: MessageKeyMode::PartitionKey,
        last_numbers: BTreeMap::from([(
            1,
            LastNumber { sequence_id: 7 << 24 | 2, ordinal: 7, index: 2, message: Some("12:3".to_owned()) },
        )]),
        spent,
        uncovered_since: 5_000,
    };
    let ours = |clean, exact| OurView {
        identity: "public/default/orders".to_owned(),
        topic: "persistent://public/default/orders".to_owned(),
        epoch: 4,
        ordinal: Some(7),
        start: None,
        written_at: Some(1_000),
        caught_up_at: None,
        clean,
        exact,
    };
    for (view, text) in [
        (ours(true, Some(exact(0))), "clean"),
        (ours(false, Some(exact(0))), "in doubt"),
        (ours(false, Some(exact(3))), "in doubt, 3 spent"),
        (ours(false, None), "-"),
    ] {
        let lease = LeaseView { ours: Some(view), ..lease("shardId-000000000000", None, "4957/2", &[]) };
        assert_eq!(row(&lease, 3_000)[3..6], ["4", "7", text].map(str::to_owned));
    }
    let lease = LeaseView { ours: Some(ours(false, Some(exact(3)))), ..lease("shardId-000000000000", None, "4957/2", &[]) };
    let json = serde_json::to_value(&lease).unwrap();
    assert_eq!((&json["epoch"], &json["clean"], &json["exact"]["spent"]), (&4.into(), &false.into(), &3.into()));
    let last = &json["exact"]["lastNumbers"]["1"];
    assert_eq!((&last["ordinal"], &last["index"], &last["message"]), (&7.into(), &2.into(), &"12:3".into()));
}
