//! Subscriptions by the clock.

use super::*;

const SHARD: ShardId = ShardId(0);

fn consumer(kinesis: &mut Kinesis) -> String {
    kinesis.register_consumer("s", "c").unwrap().arn
}

fn subscribe(kinesis: &mut Kinesis, arn: &str) -> SubscriptionId {
    kinesis.subscribe(arn, SHARD, &StartingPosition::Latest).unwrap().0
}

fn refused(kinesis: &mut Kinesis, arn: &str) -> ErrorKind {
    kinesis.subscribe(arn, SHARD, &StartingPosition::Latest).unwrap_err().kind
}

#[test]
fn a_consumer_must_be_active() {
    let (mut kinesis, clock) = with_stream(KinesisSettings { consumer_ms: 1_000, ..unlimited() }, 1);
    let arn = consumer(&mut kinesis);
    assert_eq!(refused(&mut kinesis, &arn), ErrorKind::ResourceInUse);
    assert_eq!(kinesis.next_due(), Some(START + 1_000));
    clock.advance(1_000).unwrap();
    let subscription = subscribe(&mut kinesis, &arn);
    kinesis.deregister_consumer(&ConsumerName::Arn(&arn)).unwrap();
    clock.advance(1_000).unwrap();
    assert!(
        matches!(kinesis.subscription_next(subscription), SubscriptionStep::Failed(error) if error.kind == ErrorKind::ResourceNotFound)
    );
    assert_eq!(refused(&mut kinesis, &arn), ErrorKind::ResourceNotFound);
}

#[test]
fn a_second_subscription_waits_five_seconds_and_then_takes_over() {
    let (mut kinesis, clock) = with_stream(unlimited(), 1);
    let arn = consumer(&mut kinesis);
    let first = subscribe(&mut kinesis, &arn);
    clock.advance(4_999).unwrap();
    assert_eq!(refused(&mut kinesis, &arn), ErrorKind::ResourceInUse);
    clock.advance(1).unwrap();
    let second = subscribe(&mut kinesis, &arn);
    assert!(matches!(kinesis.subscription_next(first), SubscriptionStep::Failed(error) if error.kind == ErrorKind::ResourceInUse));
    assert!(matches!(kinesis.subscription_next(first), SubscriptionStep::End));
    assert!(matches!(kinesis.subscription_next(second), SubscriptionStep::WaitUntil(_)));
}

#[test]
fn an_idle_subscription_gets_empty_events_and_ends_after_five_minutes() {
    let (mut kinesis, clock) = with_stream(unlimited(), 1);
    let arn = consumer(&mut kinesis);
    let subscription = subscribe(&mut kinesis, &arn);
    let mut events = 0;
    loop {
        match kinesis.subscription_next(subscription) {
            SubscriptionStep::Event(event) => {
                assert!(event.records.is_empty() && event.continuation.is_some() && event.millis_behind_latest == 0);
                events += 1;
            }
            SubscriptionStep::WaitUntil(at) => {
                clock.advance(at - clock.now()).unwrap();
            }
            SubscriptionStep::End => break,
            SubscriptionStep::Failed(error) => panic!("{error}"),
        }
    }
    assert_eq!(clock.now(), START + 300_000);
    // One every 3 s; the last moment is the end itself.
    assert_eq!(events, 99);
}

#[test]
fn two_mebibytes_a_second_are_pushed_to_each_consumer() {
    let settings = KinesisSettings { limits: Limits { fan_out: true, ..Limits::OFF }, ..KinesisSettings::default() };
    let (mut kinesis, clock) = with_stream(settings, 1);
    let arn = consumer(&mut kinesis);
    kinesis.load("s", vec![record("k", 1024 * 1024 - 1); 20]).unwrap();
    let (subscription, _) = kinesis.subscribe(&arn, SHARD, &StartingPosition::TrimHorizon).unwrap();
    let mut pushed = 0;
    while pushed < 20 {
        match kinesis.subscription_next(subscription) {
            SubscriptionStep::Event(event) => pushed += event.records.len(),
            SubscriptionStep::WaitUntil(at) => {
                assert!(at > clock.now());
                clock.advance(at - clock.now()).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    // 20 MiB at 2 MiB/s, of which the first second's worth comes at once and the last event may leave a debt.
    let took = clock.now() - START;
    assert!((8_000..=9_100).contains(&took), "{took} ms");
}

#[test]
fn a_waiting_subscription_is_told_of_puts_and_reshards() {
    let (mut kinesis, _) = with_stream(unlimited(), 1);
    let arn = consumer(&mut kinesis);
    let (subscription, mut changes) = kinesis.subscribe(&arn, SHARD, &StartingPosition::Latest).unwrap();
    changes.mark_unchanged();
    assert!(matches!(kinesis.subscription_next(subscription), SubscriptionStep::WaitUntil(_)));
    kinesis.put_record("s", record("k", 1)).unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert!(matches!(kinesis.subscription_next(subscription), SubscriptionStep::Event(event) if event.records.len() == 1));
    kinesis.split_shard("s", SHARD, 9).unwrap();
    assert!(changes.has_changed().unwrap());
}
