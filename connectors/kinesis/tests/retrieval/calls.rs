use crate::support::{Bed, STREAM, client};
use connector_kinesis::port::{ShardFilter, StreamApi};
use connector_sdk::ErrorKind;
use local_aws::{Fault, KinesisSettings, Limits, Options, Service};
use std::time::{SystemTime, UNIX_EPOCH};

#[tokio::test]
async fn a_stream_is_described_by_name_and_by_arn() {
    let bed = Bed::start(2, Options::unlimited()).await;
    let described = bed.kinesis.describe().await.unwrap();
    assert_eq!((described.name.as_ref() as &str, described.retention_hours), (STREAM, 24));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let answered_at = described.answered_at.unwrap();
    assert!(answered_at % 1000 == 0 && answered_at <= now && answered_at + 60_000 > now, "whole seconds, rounded down");
    assert!(described.created_at.abs_diff(now) < 60_000);
    let by_arn = client(&bed.aws, STREAM, Some(&described.arn)).await.describe().await.unwrap();
    assert_eq!((by_arn.arn, by_arn.created_at), (described.arn, described.created_at));
}

#[tokio::test]
async fn all_pages_of_a_listing_are_read_and_the_filters_tile() {
    let kinesis = KinesisSettings { limits: Limits::OFF, list_shards_page: 3, ..KinesisSettings::default() };
    let bed = Bed::start(8, Options { kinesis, ..Options::default() }).await;
    bed.aws.kinesis(|kinesis| kinesis.split_shard(STREAM, local_aws::kinesis::ShardId(0), 1 << 120)).unwrap();
    let all = bed.kinesis.list_shards(ShardFilter::All).await.unwrap();
    assert_eq!(all.shards.len(), 10);
    assert!(all.answered_at.is_some());
    assert!(all.shards[0].closed && all.shards[8].parent == Some(all.shards[0].id.clone()) && all.shards[8].adjacent_parent.is_none());
    for filter in [ShardFilter::AtLatest, ShardFilter::AtTrimHorizon] {
        let mut shards = bed.kinesis.list_shards(filter).await.unwrap().shards;
        shards.sort_by_key(|shard| shard.range.start);
        assert!(filter == ShardFilter::AtTrimHorizon || shards.iter().all(|shard| !shard.closed));
        assert_eq!((shards[0].range.start, shards[shards.len() - 1].range.end), (0, u128::MAX));
        assert!(shards.windows(2).all(|pair| pair[0].range.end + 1 == pair[1].range.start));
    }
    let created_at = bed.kinesis.describe().await.unwrap().created_at;
    assert!(!bed.kinesis.list_shards(ShardFilter::AtTimestamp(created_at)).await.unwrap().shards.is_empty());
}

#[tokio::test]
async fn a_stream_that_does_not_exist_is_named() {
    let bed = Bed::start(1, Options::unlimited()).await;
    let error = client(&bed.aws, "nowhere", None).await.describe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("`kinesis:DescribeStreamSummary` on stream `nowhere`"), "{error}");
}

#[tokio::test]
async fn a_consumer_is_registered_once_and_waited_for() {
    let kinesis = KinesisSettings { limits: Limits::OFF, consumer_ms: 300, ..KinesisSettings::default() };
    let bed = Bed::start(1, Options { kinesis, ..Options::default() }).await;
    // Two workers begin at the same moment.
    let (one, other) = tokio::join!(bed.kinesis.consumer("reader", None), bed.kinesis.consumer("reader", None));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.arn(), other.arn());
    let again = bed.kinesis.consumer("reader", None).await.unwrap();
    assert_eq!(again.arn(), one.arn());
    let by_arn = bed.kinesis.consumer("reader", Some(&one.arn())).await.unwrap();
    assert_eq!(by_arn.arn(), one.arn());
    assert!(bed.aws.requests().by_operation["kinesis.RegisterStreamConsumer"] <= 2);
}

#[tokio::test]
async fn a_consumer_that_is_refused_is_named_with_the_action() {
    let bed = Bed::start(1, Options::unlimited()).await;
    bed.aws.add_fault(Fault::error(Service::Kinesis, "AccessDeniedException").on("RegisterStreamConsumer"));
    let Err(error) = bed.kinesis.consumer("reader", None).await else { panic!("it is refused") };
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let said = error.to_string();
    assert!(said.contains("kinesis:RegisterStreamConsumer") && said.contains("`reader`"), "{said}");
    bed.aws.clear_faults();
    bed.aws.add_fault(Fault::error(Service::Kinesis, "LimitExceededException").on("RegisterStreamConsumer"));
    let Err(error) = bed.kinesis.consumer("reader", None).await else { panic!("there are too many") };
    assert!(error.hint().unwrap().contains("20 fan-out consumers"), "{error}");
}
