//! Whose table: streams, versions, and two connectors under the default name.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::lease::{PulsarConnect, StartMoment};
use crate::plan::sync::tests::lease;

const FAILOVER: Duration = Duration::from_secs(10);

fn mark(created_at: u64) -> StreamMark {
    StreamMark { arn: "arn:aws:kinesis:eu-west-1:123456789012:stream/orders".into(), created_at }
}

fn attribute(writer: &str, worker: &str) -> PulsarConnect {
    PulsarConnect {
        write: "w".into(),
        writer: writer.into(),
        worker: worker.into(),
        stream: mark(1_000),
        topic: "t".into(),
        start: None,
        caught_up_at: None,
        written_at: None,
        epoch: 0,
        position: None,
        clean: false,
        exact: None,
    }
}

/// A lease owned by a worker of an identity.
fn owned(id: &str, identity: &str, counter: u64) -> Lease {
    let worker = format!("{identity}/0/host");
    Lease { owner: Some(worker.as_str().into()), counter, pulsar_connect: Some(attribute(identity, &worker)), ..lease(id, "7") }
}

fn application() -> Application {
    Application { name: "pulsar-kinesis-orders".to_owned(), is_default: true }
}

#[test]
fn checkpoints_of_another_stream_are_never_applied() {
    let rows = [owned("a", "t/n/c", 1)];
    assert!(check_stream(&rows, &mark(1_000), "x").is_ok());
    let again = check_stream(&rows, &mark(9_000), "x").unwrap_err();
    assert!(again.message().contains("deleted and created again"), "{again}");
    let other = StreamMark { arn: "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks".into(), created_at: 1_000 };
    assert!(check_stream(&rows, &other, "x").unwrap_err().message().contains("stream/orders"));
    assert!(check_stream(&[lease("a", "7")], &other, "x").is_ok(), "a row of Java's alone says nothing");
}

#[test]
fn rows_of_several_streams_and_of_other_versions_stop_and_malformed_ones_do_not() {
    let malformed = RowError::Malformed { key: "a".to_owned(), attribute: "checkpoint", why: "is missing".to_owned() };
    assert!(check_unreadable(std::slice::from_ref(&malformed), "x").is_ok());
    let multi = RowError::MultiStream { key: "1:s:2:shard".to_owned() };
    assert!(check_unreadable(&[malformed, multi], "x").unwrap_err().message().contains("several streams"));
    let version = RowError::UnknownVersion { key: "a".to_owned(), version: 4 };
    assert!(check_unreadable(&[version], "x").unwrap_err().message().contains("version 4"));
}

#[test]
fn an_instant_that_nobody_knows_stops() {
    let rows = [lease("a", "AT_TIMESTAMP")];
    assert!(check_instants(&rows, InitialPosition::Latest, "x").unwrap_err().hint().unwrap().contains("startAtTime"));
    assert!(check_instants(&rows, InitialPosition::AtTimestamp(5), "x").is_ok());
    let known = Lease {
        pulsar_connect: Some(PulsarConnect { start: Some(StartMoment::Timestamp(5)), ..attribute("t/n/c", "w") }),
        ..lease("a", "AT_TIMESTAMP")
    };
    assert!(check_instants(&[known], InitialPosition::Latest, "x").is_ok());
}

#[test]
fn of_two_living_connectors_the_one_with_the_lowest_lease_stays() {
    let start = Instant::now();
    let mut scanner = Scanner::default();
    let first = [owned("a", "t/n/one", 1), owned("b", "t/n/two", 1)];
    scanner.observe(&first, start);
    assert_eq!(rivalry(&first, "t/n/one", &scanner, FAILOVER, start), Rivalry::Undecided);
    let later = start + Duration::from_secs(4);
    let moved = [owned("a", "t/n/one", 2), owned("b", "t/n/two", 2)];
    scanner.observe(&moved, later);
    assert_eq!(rivalry(&moved, "t/n/one", &scanner, FAILOVER, later), Rivalry::OursFirst("t/n/two".to_owned()));
    assert_eq!(rivalry(&moved, "t/n/two", &scanner, FAILOVER, later), Rivalry::TheirsFirst("t/n/one".to_owned()));
    assert!(gives_way(connector_sdk::ErrorKind::Fenced, &application(), "t/n/one").to_string().contains("`t/n/one`"));
}

#[test]
fn a_silent_connector_and_one_whose_rows_java_took_are_no_rivals() {
    let start = Instant::now();
    let mut scanner = Scanner::default();
    let rows = [owned("a", "t/n/other", 1)];
    scanner.observe(&rows, start);
    assert_eq!(rivalry(&rows, "t/n/me", &scanner, FAILOVER, start + FAILOVER), Rivalry::Alone);

    let java = [Lease { owner: Some("java".into()), counter: 2, ..owned("a", "t/n/other", 1) }];
    scanner.observe(&java, start + FAILOVER);
    assert_eq!(rivalry(&java, "t/n/me", &scanner, FAILOVER, start + FAILOVER), Rivalry::Alone);
}

#[test]
fn the_jvm_connectors_table_is_left_behind_only_knowingly() {
    let error = legacy_table_exists(&application());
    assert!(error.message().contains("`pulsar-kinesis`") && error.hint().unwrap().contains("pulsar-kinesis-orders"));
}
