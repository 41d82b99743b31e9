//! Fleets of KCL 3.x: at rest they are continued, alive they are not joined.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::plan::sync::tests::lease;
use aws_sdk_dynamodb::types::AttributeValue;

const FAILOVER: Duration = Duration::from_secs(10);
const NOW_MILLIS: u64 = 1_700_000_000_000;

fn row(fields: &[(&str, &str)]) -> Item {
    fields.iter().map(|(name, value)| ((*name).to_owned(), AttributeValue::S((*value).to_owned()))).collect()
}

fn metrics(seconds_ago: u64) -> Item {
    let mut row = row(&[("wid", "w")]);
    row.insert("lut".to_owned(), AttributeValue::N((NOW_MILLIS / 1_000 - seconds_ago).to_string()));
    row
}

fn judge(watch: &mut FleetWatch, rows: &[Item], leases: &[Lease], scanner: &Scanner, now: Instant) -> Verdict {
    watch.judge(&Evidence::read(rows), leases, scanner, FAILOVER, now, NOW_MILLIS)
}

#[test]
fn without_a_migration_row_nothing_is_waited_for() {
    let verdict = judge(&mut FleetWatch::default(), &[], &[], &Scanner::default(), Instant::now());
    assert_eq!(verdict, Verdict::Free);
    for version in ["CLIENT_VERSION_2X", "CLIENT_VERSION_UPGRADE_FROM_2X"] {
        let rows = [row(&[("leaseKey", "Migration3.0"), ("cv", version)])];
        assert_eq!(Evidence::read(&rows).says_2x(), Some(version));
        assert_eq!(judge(&mut FleetWatch::default(), &rows, &[], &Scanner::default(), Instant::now()), Verdict::Free);
    }
}

#[test]
fn a_fleet_at_rest_is_continued_after_one_failover_time() {
    let mut watch = FleetWatch::default();
    let start = Instant::now();
    // A legacy side table's key is `key`.
    let rows = [
        row(&[("key", "Migration3.0"), ("cv", "CLIENT_VERSION_3X")]),
        row(&[("key", "Leader"), ("recordVersionNumber", "r1")]),
        metrics(3_600),
    ];
    assert_eq!(judge(&mut watch, &rows, &[], &Scanner::default(), start), Verdict::Watching);
    assert_eq!(judge(&mut watch, &rows, &[], &Scanner::default(), start + FAILOVER), Verdict::Free);
}

#[test]
fn each_sign_of_life_is_enough() {
    let migration = row(&[("leaseKey", "Migration3.0"), ("cv", "CLIENT_VERSION_3X_WITH_ROLLBACK")]);
    let start = Instant::now();

    let fresh = [migration.clone(), metrics(20)];
    assert_eq!(judge(&mut FleetWatch::default(), &fresh, &[], &Scanner::default(), start), Verdict::Alive);

    let mut watch = FleetWatch::default();
    let leader = |version| [migration.clone(), row(&[("leaseKey", "Leader"), ("recordVersionNumber", version)])];
    assert_eq!(judge(&mut watch, &leader("r1"), &[], &Scanner::default(), start), Verdict::Watching);
    assert_eq!(judge(&mut watch, &leader("r2"), &[], &Scanner::default(), start), Verdict::Alive);

    let owned = |counter| [Lease { owner: Some("java".into()), counter, ..lease("a", "7") }];
    let mut scanner = Scanner::default();
    let mut watch = FleetWatch::default();
    scanner.observe(&owned(1), start);
    assert_eq!(judge(&mut watch, std::slice::from_ref(&migration), &owned(1), &scanner, start), Verdict::Watching);
    let later = start + Duration::from_secs(3);
    scanner.observe(&owned(2), later);
    assert_eq!(judge(&mut watch, &[migration], &owned(2), &scanner, later), Verdict::Alive);
}
