use crate::support::{Bed, client, read, shard};
use connector_kinesis::port::{FetchError, RetrievalMode, StartAt};
use connector_kinesis::retrieval::Polling;
use connector_sdk::{ByteBudget, Random};
use local_aws::{CutAt, Fault, FaultAction, Options, Service};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[tokio::test]
async fn every_record_comes_bit_for_bit() {
    let bed = Bed::start(2, Options::unlimited()).await;
    bed.put((0..5000).map(|index| index % 700).chain([1 << 20, 0, 1 << 20]));
    let budget = ByteBudget::new(64 << 20);
    for index in 0..2 {
        let count = bed.aws.records(crate::support::STREAM)[index].len();
        let (records, _) = read(&bed.polling(), &shard(index as u64), StartAt::TrimHorizon, &budget.share(), count).await;
        bed.assert_all_of(index, &records);
    }
    assert!(budget.peak() <= 64 << 20);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn answers_of_ten_mebibytes_pass_a_small_budget() {
    let bed = Bed::start(1, Options::unlimited()).await;
    bed.put([1 << 20; 12]);
    let budget = ByteBudget::new(8 << 20);
    let (records, _) = read(&bed.polling(), &shard(0), StartAt::TrimHorizon, &budget.share(), 12).await;
    bed.assert_all_of(0, &records);
    assert!(budget.peak() <= 8 << 20, "peak {}", budget.peak());
}

#[tokio::test]
async fn faults_of_all_kinds_neither_lose_nor_repeat() {
    let bed = Bed::start(1, Options::unlimited()).await;
    bed.put((0..400).map(|index| index * 40));
    let get = |action| Fault::new(Service::Kinesis, action).on("GetRecords");
    let code = |code: &str| FaultAction::Error { code: code.to_owned(), message: None, status: None };
    for (skip, action) in [
        code("ProvisionedThroughputExceededException"),
        code("ExpiredIteratorException"),
        code("InternalFailure"),
        FaultAction::Cut { at: CutAt::Before },
        FaultAction::Cut { at: CutAt::Middle },
        FaultAction::Cut { at: CutAt::After },
        code("ExpiredIteratorException"),
    ]
    .into_iter()
    .enumerate()
    {
        // Each strikes once, one call after the other, with a good one between.
        bed.aws.add_fault(get(action).skipping(skip as u64).times(1));
    }
    bed.aws.add_fault(Fault::error(Service::Kinesis, "LimitExceededException").on("GetShardIterator").times(1));
    let budget = ByteBudget::new(1 << 20);
    let (records, _) = read(&bed.polling(), &shard(0), StartAt::TrimHorizon, &budget.share(), 400).await;
    bed.assert_all_of(0, &records);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_split_shard_ends_with_its_children() {
    let bed = Bed::start(1, Options::unlimited()).await;
    bed.put([100; 50]);
    bed.aws.kinesis(|kinesis| kinesis.split_shard(crate::support::STREAM, local_aws::kinesis::ShardId(0), 1 << 127)).unwrap();
    let share = ByteBudget::new(1 << 20).share();
    let (records, children) = read(&bed.polling(), &shard(0), StartAt::TrimHorizon, &share, usize::MAX).await;
    bed.assert_all_of(0, &records);
    let children = children.unwrap();
    assert_eq!(children.iter().map(|child| child.id.clone()).collect::<Vec<_>>(), [shard(1), shard(2)]);
    assert_eq!(children[0].range.end + 1, children[1].range.start);
    assert_eq!(children[0].parents, [shard(0)]);
}

#[tokio::test]
async fn a_reader_begins_where_it_is_told() {
    let bed = Bed::start(1, Options::unlimited()).await;
    bed.put([10; 20]);
    let share = ByteBudget::new(1 << 20).share();
    let (all, _) = read(&bed.polling(), &shard(0), StartAt::TrimHorizon, &share, 20).await;
    let (at, _) = read(&bed.polling(), &shard(0), StartAt::Sequence(all[5].sequence.clone()), &share, 15).await;
    assert_eq!(at, all[5..]);
    let (after, _) = read(&bed.polling(), &shard(0), StartAt::After(all[5].sequence.clone()), &share, 14).await;
    assert_eq!(after, all[6..]);
    let (since, _) = read(&bed.polling(), &shard(0), StartAt::Timestamp(all[0].arrived_at.unwrap()), &share, 20).await;
    assert_eq!(since, all);
}

#[tokio::test]
async fn a_time_in_the_future_is_told_apart_from_a_wrong_argument() {
    let bed = Bed::start(1, Options::unlimited()).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(3600);
    let share = ByteBudget::new(1 << 20).share();
    let start = StartAt::Timestamp(now.as_millis() as u64);
    let fetched = bed.polling().open(&shard(0), start, share.clone()).fetch().await;
    assert!(matches!(fetched, Err(FetchError::FutureTimestamp)));
}

#[tokio::test]
async fn a_shard_that_does_not_exist_is_gone() {
    let bed = Bed::start(1, Options::unlimited()).await;
    let share = ByteBudget::new(1 << 20).share();
    let fetched = bed.polling().open(&shard(7), StartAt::TrimHorizon, share).fetch().await.unwrap();
    assert!(fetched.end && fetched.children.is_empty());
}

#[tokio::test]
async fn refused_keys_are_told_at_once() {
    let bed = Bed::start(1, Options::unlimited()).await;
    bed.aws.add_fault(Fault::error(Service::Kinesis, "AccessDeniedException").on("GetRecords"));
    let share = ByteBudget::new(1 << 20).share();
    let fetched = bed.polling().open(&shard(0), StartAt::TrimHorizon, share).fetch().await;
    let Err(FetchError::Failed(error)) = fetched else { panic!("it is not retried") };
    assert!(error.kind().ends_a_start());
    assert!(error.message().contains("`kinesis:GetRecords` on stream `orders`"), "{error}");
}

#[tokio::test]
async fn the_services_limits_are_kept_to() {
    // Limits are on: five calls a second and 2 MiB/s.
    let bed = Bed::start(1, Options::default()).await;
    bed.put([20_000; 60]);
    let kinesis = Arc::new(client(&bed.aws, crate::support::STREAM, None).await);
    let settings = connector_kinesis::retrieval::PollingSettings { max_records: 5, idle_time_between_reads: Duration::from_millis(200) };
    let polling = Polling::new(kinesis, settings, crate::support::facts(), Random::seeded(2));
    let share = ByteBudget::new(8 << 20).share();
    let (records, _) = read(&polling, &shard(0), StartAt::TrimHorizon, &share, 60).await;
    bed.assert_all_of(0, &records);
    // Twelve answers of five records: a throttled call would have been one more.
    assert!(bed.aws.requests().by_operation["kinesis.GetRecords"] <= 13);
}
