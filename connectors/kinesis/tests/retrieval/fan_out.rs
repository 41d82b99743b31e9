use crate::support::{Bed, STREAM, facts, read, shard};
use connector_kinesis::port::{FetchError, Retrieval, RetrievalMode, StartAt};
use connector_kinesis::retrieval::{FanOut, FanOutSettings};
use connector_sdk::{ByteBudget, Error, ErrorKind, Random};
use local_aws::kinesis::ConsumerName;
use local_aws::{CutAt, Fault, FaultAction, KinesisSettings, Limits, Options, Service};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Subscriptions that may be renewed at once, so that tests need not wait for the service's five seconds.
fn quick() -> Options {
    let kinesis = KinesisSettings { limits: Limits::OFF, resubscribe_ms: 0, empty_event_ms: 200, ..KinesisSettings::default() };
    Options { kinesis, ..Options::default() }
}

#[tokio::test]
async fn every_record_comes_bit_for_bit() {
    let bed = Bed::start(2, quick()).await;
    bed.put((0..5000).map(|index| index % 700).chain([1 << 20, 0, 1 << 20]));
    let fan_out = bed.fan_out(FanOutSettings::default()).await;
    let budget = ByteBudget::new(64 << 20);
    for index in 0..2 {
        let count = bed.aws.records(STREAM)[index].len();
        let (records, _) = read(&fan_out, &shard(index as u64), StartAt::TrimHorizon, &budget.share(), count).await;
        bed.assert_all_of(index, &records);
    }
    assert!(budget.peak() <= 64 << 20);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn subscriptions_that_break_in_every_way_neither_lose_nor_repeat() {
    let bed = Bed::start(1, quick()).await;
    bed.aws.kinesis(|kinesis| {
        kinesis.settings_mut().event_records = 20;
        kinesis.settings_mut().subscription_ms = 1500;
    });
    bed.put((0..600).map(|index| index * 20));
    let subscribe = |action| Fault::new(Service::Kinesis, action).on("SubscribeToShard");
    let code = |code: &str| FaultAction::Error { code: code.to_owned(), message: None, status: None };
    let actions = [
        code("ResourceInUseException"),
        FaultAction::Truncate { after_events: 2 },
        FaultAction::WrongCrc { after_events: 3 },
        FaultAction::Cut { at: CutAt::Before },
        FaultAction::Cut { at: CutAt::Middle },
        FaultAction::Freeze { after_events: 1 },
        code("LimitExceededException"),
        FaultAction::Cut { at: CutAt::After },
        code("InternalFailure"),
    ];
    for (skip, action) in actions.into_iter().enumerate() {
        bed.aws.add_fault(subscribe(action).skipping(skip as u64).times(1));
    }
    let settings = FanOutSettings { silence: Duration::from_secs(1), ..FanOutSettings::default() };
    let fan_out = bed.fan_out(settings).await;
    let budget = ByteBudget::new(16 << 20);
    let (records, _) = read(&fan_out, &shard(0), StartAt::TrimHorizon, &budget.share(), 600).await;
    bed.assert_all_of(0, &records);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_split_while_subscribed_ends_the_shard_with_its_children() {
    let bed = Bed::start(1, quick()).await;
    bed.put([100; 50]);
    let fan_out = bed.fan_out(FanOutSettings::default()).await;
    let share = ByteBudget::new(1 << 20).share();
    let mut retrieval = fan_out.open(&shard(0), StartAt::TrimHorizon, share);
    let mut records = Vec::new();
    while records.len() < 50 {
        records.append(&mut retrieval.fetch().await.unwrap().records);
    }
    bed.put([200; 30]);
    bed.aws.kinesis(|kinesis| kinesis.split_shard(STREAM, local_aws::kinesis::ShardId(0), 1 << 127)).unwrap();
    let ending = async {
        loop {
            let mut fetched = retrieval.fetch().await.unwrap();
            records.append(&mut fetched.records);
            if fetched.end {
                return fetched.children;
            }
        }
    };
    let children = timeout(Duration::from_secs(10), ending).await.expect("the shard ends");
    bed.assert_all_of(0, &records);
    assert_eq!(children.iter().map(|child| child.id.clone()).collect::<Vec<_>>(), [shard(1), shard(2)]);
}

#[tokio::test]
async fn large_records_pass_a_small_budget_and_a_full_one_stops_the_reading() {
    let bed = Bed::start(1, quick()).await;
    bed.put([1 << 20; 12]);
    let settings = FanOutSettings { unread: Duration::from_millis(300), ..FanOutSettings::default() };
    let fan_out = bed.fan_out(settings).await;
    let budget = ByteBudget::new(8 << 20);
    let share = budget.share();
    let mut retrieval = fan_out.open(&shard(0), StartAt::TrimHorizon, share);
    // Nobody gives anything back: the reading stops within the budget.
    let mut held = Vec::new();
    while let Ok(fetched) = timeout(Duration::from_secs(2), retrieval.fetch()).await {
        held.push(fetched.unwrap());
    }
    assert!((3..8).contains(&held.len()), "{} answers held", held.len());
    assert!(budget.peak() <= 8 << 20, "peak {}", budget.peak());
    let mut records: Vec<_> = held.drain(..).flat_map(|fetched| fetched.records).collect();
    while records.len() < 12 {
        records.append(&mut timeout(Duration::from_secs(20), retrieval.fetch()).await.expect("it goes on").unwrap().records);
    }
    bed.assert_all_of(0, &records);
    assert!(bed.aws.requests().by_operation["kinesis.SubscribeToShard"] >= 2, "the unread subscription was given up");
}

#[tokio::test]
async fn a_shard_that_does_not_exist_is_gone() {
    let bed = Bed::start(1, quick()).await;
    let fan_out = bed.fan_out(FanOutSettings::default()).await;
    let share = ByteBudget::new(1 << 20).share();
    let fetched = fan_out.open(&shard(7), StartAt::TrimHorizon, share).fetch().await.unwrap();
    assert!(fetched.end && fetched.children.is_empty());
}

#[tokio::test]
async fn sixteen_shards_are_read_at_once() {
    let bed = Bed::start(16, quick()).await;
    bed.put([3000; 3200]);
    let fan_out = bed.fan_out(FanOutSettings::default()).await;
    let budget = ByteBudget::new(16 << 20);
    let counts: Vec<_> = bed.aws.records(STREAM).iter().map(Vec::len).collect();
    let shares: Vec<_> = counts.iter().map(|_| budget.share()).collect();
    let reads = counts.iter().zip(&shares).enumerate().map(|(index, (count, share))| {
        let fan_out = &fan_out;
        async move { read(fan_out, &shard(index as u64), StartAt::TrimHorizon, share, *count).await.0 }
    });
    for (index, records) in futures_util::future::join_all(reads).await.into_iter().enumerate() {
        bed.assert_all_of(index, &records);
    }
    assert!(budget.peak() <= 16 << 20);
}

fn by_name(consumer: &'static str) -> ConsumerName<'static> {
    ConsumerName::Named { stream: STREAM, consumer }
}

#[tokio::test]
async fn a_consumer_that_is_deregistered_while_records_flow_is_registered_again_and_ends_no_shard() {
    let bed = Bed::start(2, quick()).await;
    let fan_out = bed.fan_out(FanOutSettings::default()).await;
    let budget = ByteBudget::new(16 << 20);
    let mut readers: Vec<_> = (0..2).map(|index| fan_out.open(&shard(index), StartAt::TrimHorizon, budget.share())).collect();
    let mut read = [Vec::new(), Vec::new()];
    for round in 1..=3 {
        bed.put([100; 40]);
        for (index, reader) in readers.iter_mut().enumerate() {
            let reading = async {
                while read[index].len() < bed.aws.records(STREAM)[index].len() {
                    let mut fetched = reader.fetch().await.unwrap();
                    assert!(!fetched.end, "shard {index} was ended in round {round}");
                    read[index].append(&mut fetched.records);
                }
            };
            timeout(Duration::from_secs(20), reading).await.expect("reading goes on");
        }
        bed.aws.kinesis(|kinesis| kinesis.deregister_consumer(&by_name("reader"))).unwrap();
        // An ARN tells apart what was registered in different seconds.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    for (index, records) in read.iter().enumerate() {
        bed.assert_all_of(index, records);
    }
}

#[tokio::test]
async fn a_consumer_that_was_given_by_its_arn_and_is_gone_is_a_configuration_error() {
    let bed = Bed::start(1, quick()).await;
    let arn = bed.kinesis.consumer("reader", None).await.unwrap().arn();
    let consumer = bed.kinesis.consumer("reader", Some(&arn)).await.unwrap();
    let fan_out = FanOut::new(Arc::new(consumer), FanOutSettings::default(), facts(), Random::seeded(1));
    bed.aws.kinesis(|kinesis| kinesis.deregister_consumer(&by_name("reader"))).unwrap();
    let error = failure(&fan_out).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains(&*arn), "{error}");
}

#[tokio::test]
async fn a_stream_that_is_deleted_is_named_and_ends_no_shard() {
    let bed = Bed::start(1, quick()).await;
    let (fan_out, polling) = (bed.fan_out(FanOutSettings::default()).await, bed.polling());
    let share = ByteBudget::new(1 << 20).share();
    let (mut subscribed, mut polled) =
        (fan_out.open(&shard(0), StartAt::TrimHorizon, share.clone()), polling.open(&shard(0), StartAt::TrimHorizon, share));
    for reader in [&mut subscribed, &mut polled] {
        assert!(!reader.fetch().await.unwrap().end);
    }
    bed.aws.kinesis(|kinesis| kinesis.delete_stream(STREAM, true)).unwrap();
    for (mode, reader) in [("fan-out", &mut subscribed), ("polling", &mut polled)] {
        let error = failed(&mut **reader).await;
        assert_eq!(error.kind(), ErrorKind::Configuration, "{mode}: {error}");
        assert!(error.message().contains("stream `orders`"), "{mode}: {error}");
    }
    assert_eq!(failure(&bed.polling()).await.kind(), ErrorKind::Configuration, "no iterator is given either");
}

#[tokio::test]
async fn a_shard_that_is_listed_no_more_has_ended() {
    let bed = Bed::start(1, quick()).await;
    let share = ByteBudget::new(1 << 20).share();
    let (fan_out, polling) = (bed.fan_out(FanOutSettings::default()).await, bed.polling());
    for mode in [&fan_out as &dyn RetrievalMode, &polling] {
        let mut reader = mode.open(&shard(7), StartAt::TrimHorizon, share.clone());
        assert!(timeout(Duration::from_secs(10), reader.fetch()).await.expect("it is answered").unwrap().end);
    }
}

/// What reading the first shard fails with.
async fn failure(mode: &dyn RetrievalMode) -> Error {
    let mut reader = mode.open(&shard(0), StartAt::TrimHorizon, ByteBudget::new(1 << 20).share());
    failed(&mut *reader).await
}

async fn failed(reader: &mut dyn Retrieval) -> Error {
    let reading = async {
        loop {
            match reader.fetch().await {
                Ok(fetched) => assert!(!fetched.end, "the shard was ended"),
                Err(FetchError::Failed(error)) => return error,
                Err(FetchError::FutureTimestamp) => panic!("the start is not in the future"),
            }
        }
    };
    timeout(Duration::from_secs(20), reading).await.expect("it is told")
}
