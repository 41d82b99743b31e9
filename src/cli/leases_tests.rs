use super::*;

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
    assert_eq!(lines[0], "SHARD                 OWNER     CHECKPOINT    PARENTS               AGE  COUNTER  AT TIP  TOPIC");
    assert_eq!(lines[1], "shardId-000000000000  worker-a  SHARD_END     -                     -    7        -       -");
    assert_eq!(lines[2], "shardId-000000000001  -         TRIM_HORIZON  shardId-000000000000  -    7        -       -");
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
