#![allow(clippy::unwrap_used)]
use super::*;
use crate::metrics::names::{Operation, Unit};

const SECOND: Duration = Duration::from_secs(1);

fn shard_id(number: u32) -> ShardId {
    ShardId::from(format!("shardId-{number:012}"))
}

fn find(datums: &[Datum], metric: Metric) -> Vec<&Datum> {
    datums.iter().filter(|datum| datum.metric == metric).collect()
}

/// Tells one thing of every kind.
fn tell_everything(facts: &Facts) {
    let shard = facts.shard(&shard_id(0));
    shard.processed(10, 1_000, 250);
    shard.handed_on(SECOND, true);
    shard.get_records(SECOND, true);
    shard.get_shard_iterator(SECOND, true);
    shard.expired_iterator();
    shard.throttled();
    shard.resubscribed();
    shard.checkpointed(SECOND, true);
    shard.initialized(SECOND, true);
    shard.shut_down(SECOND, true);
    shard.created_child_lease(SECOND, true);
    shard.looked_at_parents(SECOND, true);
    facts.took_leases(TakeRound { total: 4, workers: 2, needed: 1, ..TakeRound::default() }, SECOND, true);
    facts.renewed_leases(2, 0, SECOND, true);
    for call in [LeaseCall::List, LeaseCall::Take, LeaseCall::Renew, LeaseCall::Create] {
        facts.lease_call(call, SECOND, true);
    }
    facts.synced_shards(SECOND, true);
}

#[test]
fn every_metric_of_the_table_is_put_at_detailed_and_the_table_s_part_at_summary() {
    for level in [MetricsLevel::Summary, MetricsLevel::Detailed] {
        let facts = Facts::new(level, "worker-1");
        tell_everything(&facts);
        let datums = facts.drain(7);
        for metric in Metric::ALL {
            let expected = usize::from(metric.level() <= level);
            assert_eq!(find(&datums, *metric).len(), expected, "{metric:?} at {level:?}");
        }
        assert!(datums.iter().all(|datum| datum.at == 7));
    }
}

#[test]
fn at_level_none_nothing_is_gathered_and_the_totals_still_are() {
    let facts = Facts::new(MetricsLevel::None, "worker-1");
    tell_everything(&facts);
    assert_eq!(facts.drain(0), []);
    let page = facts.measurements().0;
    assert!(page.contains(&("records_processed_total", Some("shardId-000000000000".into()), 10.0)));
    facts.release(&shard_id(0));
    assert!(lock(&facts.0.shards).is_empty());
}

#[test]
fn dimensions_are_the_kcl_s() {
    let facts = Facts::new(MetricsLevel::Detailed, "worker-1");
    tell_everything(&facts);
    for datum in facts.drain(0) {
        let expected = match datum.operation() {
            Operation::ProcessTask => Some(("ShardId", "shardId-000000000000")),
            Operation::TakeLeases | Operation::RenewAllLeases => Some(("WorkerIdentifier", "worker-1")),
            _ => None,
        };
        assert_eq!(datum.dimension.pair(), expected, "{:?}", datum.metric);
    }
}

#[test]
fn values_of_an_interval_are_one_statistic_set_and_the_next_interval_begins_empty() {
    let facts = Facts::new(MetricsLevel::Summary, "worker-1");
    let shard = facts.shard(&shard_id(0));
    shard.processed(10, 1_000, 300);
    shard.processed(0, 0, 0);
    shard.handed_on(Duration::from_micros(1_500), true);
    shard.handed_on(Duration::from_micros(500), false);
    let datums = facts.drain(0);
    let set = |count, sum, minimum, maximum| Statistic { count, sum, minimum, maximum };
    assert_eq!(find(&datums, Metric::RecordsProcessed)[0].statistic, set(2.0, 10.0, 0.0, 10.0));
    assert_eq!(find(&datums, Metric::MillisBehindLatest)[0].statistic, set(2.0, 300.0, 0.0, 300.0));
    assert_eq!(find(&datums, Metric::ProcessTime)[0].statistic, set(2.0, 2.0, 0.5, 1.5));
    assert_eq!(find(&datums, Metric::ProcessSuccess)[0].statistic, set(2.0, 1.0, 0.0, 1.0));
    assert_eq!(Metric::ProcessTime.unit(), Unit::Milliseconds);
    assert_eq!(facts.drain(0), []);
}

#[test]
fn the_application_is_as_far_behind_as_its_shards_together() {
    let facts = Facts::new(MetricsLevel::Summary, "worker-1");
    for (number, behind) in [(0, 100), (1, 900)] {
        facts.shard(&shard_id(number)).processed(1, 1, behind);
    }
    let datums = facts.drain(0);
    let tracker = find(&datums, Metric::TrackerMillisBehindLatest);
    assert_eq!(tracker.len(), 1);
    assert_eq!(tracker[0].statistic, Statistic { count: 2.0, sum: 1_000.0, minimum: 100.0, maximum: 900.0 });
    assert_eq!(tracker[0].dimension, Dimension::Application);
}

#[test]
fn a_released_shard_leaves_the_page_at_once_and_its_last_values_are_put() {
    let facts = Facts::new(MetricsLevel::Summary, "worker-1");
    let shard = facts.shard(&shard_id(0));
    shard.processed(3, 30, 0);
    facts.release(&shard_id(0));
    assert!(facts.measurements().0.iter().all(|(_, shard, _)| shard.is_none()));
    assert_eq!(find(&facts.drain(0), Metric::RecordsProcessed).len(), 1);
    assert!(lock(&facts.0.shards).is_empty());

    // Taken again before the next drain it goes on where it was.
    facts.shard(&shard_id(1)).processed(1, 1, 0);
    facts.release(&shard_id(1));
    facts.shard(&shard_id(1)).processed(2, 1, 0);
    facts.drain(0);
    let page = facts.measurements().0;
    assert!(page.contains(&("records_processed_total", Some("shardId-000000000001".into()), 3.0)));
}

#[test]
fn the_page_has_the_same_facts() {
    let facts = Facts::new(MetricsLevel::Summary, "worker-1");
    let shard = facts.shard(&shard_id(0));
    let id = || Some(ByteString::from("shardId-000000000000"));
    assert!(facts.measurements().0.iter().all(|(name, ..)| *name != "millis_behind_latest"), "nothing is known before an answer");
    shard.processed(10, 1_000, 0);
    shard.processed(5, 500, 42);
    shard.get_records(Duration::from_millis(250), true);
    shard.get_records(Duration::from_millis(250), false);
    shard.throttled();
    facts.renewed_leases(3, 1, SECOND, true);
    facts.renewed_leases(2, 1, SECOND, true);
    facts.took_leases(TakeRound { taken: 2, needed: 4, ..TakeRound::default() }, SECOND, true);
    let page = facts.measurements().0;
    for expected in [
        ("records_processed_total", id(), 15.0),
        ("data_bytes_processed_total", id(), 1_500.0),
        ("millis_behind_latest", id(), 42.0),
        ("get_records_total", id(), 2.0),
        ("get_records_failures_total", id(), 1.0),
        ("get_records_seconds_total", id(), 0.5),
        ("throttled_total", id(), 1.0),
        ("leases_held", None, 2.0),
        ("leases_lost_total", None, 2.0),
        ("leases_taken_total", None, 2.0),
        ("leases_needed", None, 4.0),
    ] {
        assert!(page.contains(&expected), "{expected:?} is not in {page:?}");
    }
    // Taking the values for CloudWatch leaves the page's totals.
    facts.drain(0);
    assert!(facts.measurements().0.contains(&("records_processed_total", id(), 15.0)));
}
