//! A stream on the simulator, and a reader that goes to the end of its shards.

use bytes::Bytes;
use connector_aws::{AwsContext, AwsSettings, CredentialsConfig, Endpoint};
use connector_kinesis::aws_api::AwsKinesis;
use connector_kinesis::config::MetricsLevel;
use connector_kinesis::ids::ShardId;
use connector_kinesis::metrics::Facts;
use connector_kinesis::port::{ChildShard, FetchError, RawRecord, RetrievalMode, StartAt};
use connector_kinesis::retrieval::{FanOut, FanOutSettings, Polling, PollingSettings};
use connector_sdk::{Random, Share};
use local_aws::{LocalAws, NewRecord, Options};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

pub(crate) const STREAM: &str = "orders";
/// Longest time a test may take to read what it wants.
const PATIENCE: Duration = Duration::from_secs(60);

/// The simulator with one stream, and a client of it.
pub(crate) struct Bed {
    pub(crate) aws: LocalAws,
    pub(crate) kinesis: Arc<AwsKinesis>,
}

impl Bed {
    pub(crate) async fn start(shards: u32, options: Options) -> Self {
        let aws = LocalAws::start(options).await.unwrap();
        aws.kinesis(|kinesis| kinesis.create_stream(STREAM, Some(shards), BTreeMap::new())).unwrap();
        let kinesis = Arc::new(client(&aws, STREAM, None).await);
        Self { aws, kinesis }
    }

    /// Puts records of these sizes, spread over the shards by their keys.
    pub(crate) fn put(&self, sizes: impl IntoIterator<Item = usize>) {
        let mut random = fastrand::Rng::with_seed(7);
        let mut data = |size| Bytes::from(std::iter::repeat_with(|| random.u8(..)).take(size).collect::<Vec<_>>());
        let records: Vec<_> =
            sizes.into_iter().enumerate().map(|(index, size)| NewRecord::new(format!("key-{index}"), data(size))).collect();
        self.aws.kinesis(|kinesis| kinesis.load(STREAM, records)).unwrap();
    }

    pub(crate) fn polling(&self) -> Polling {
        let settings = PollingSettings { max_records: 10_000, idle_time_between_reads: Duration::from_millis(200) };
        Polling::new(Arc::<AwsKinesis>::clone(&self.kinesis), settings, facts(), Random::seeded(1))
    }

    pub(crate) async fn fan_out(&self, settings: FanOutSettings) -> FanOut {
        let consumer = self.kinesis.consumer("reader", None).await.unwrap();
        FanOut::new(Arc::new(consumer), settings, facts(), Random::seeded(1))
    }

    /// Asserts that `read` is what was put to the shard, bit for bit.
    pub(crate) fn assert_all_of(&self, shard: usize, read: &[RawRecord]) {
        let put = &self.aws.records(STREAM)[shard];
        assert_eq!(read.len(), put.len(), "records of shard {shard}");
        for (read, put) in read.iter().zip(put) {
            assert_eq!(read.sequence.as_str(), put.sequence_number.to_string());
            assert!(
                read.data == put.data
                    && read.partition_key.as_deref() == Some(&*put.partition_key)
                    && read.arrived_at == u64::try_from(put.arrived_at).ok()
            );
        }
    }
}

pub(crate) async fn context() -> AwsContext {
    let config =
        CredentialsConfig { plugin_name: None, plugin_param: Some(r#"{"accessKey":"AKIAEXAMPLE","secretKey":"test"}"#.to_owned().into()) };
    config.validate().unwrap().connect(&AwsSettings::default()).await.unwrap()
}

pub(crate) async fn client(aws: &LocalAws, stream: &str, arn: Option<&str>) -> AwsKinesis {
    let endpoint = Endpoint::parse("awsEndpoint", aws.url()).unwrap();
    AwsKinesis::new(&context().await, Some(endpoint), stream, arn)
}

pub(crate) fn facts() -> Facts {
    Facts::new(MetricsLevel::None, "worker")
}

pub(crate) fn shard(index: u64) -> ShardId {
    format!("shardId-{index:012}").into()
}

/// Reads until there are `count` records, or the shard has ended.
pub(crate) async fn read(
    mode: &dyn RetrievalMode,
    shard: &ShardId,
    start: StartAt,
    share: &Share,
    count: usize,
) -> (Vec<RawRecord>, Option<Vec<ChildShard>>) {
    let reading = async {
        let mut records: Vec<RawRecord> = Vec::new();
        let mut retrieval = mode.open(shard, start.clone(), share.clone());
        while records.len() < count {
            match retrieval.fetch().await {
                Ok(mut fetched) => {
                    records.append(&mut fetched.records);
                    if fetched.end {
                        return (records, Some(fetched.children));
                    }
                }
                Err(FetchError::FutureTimestamp) => panic!("the start is not in the future"),
                Err(FetchError::Failed(error)) => {
                    assert!(!error.kind().ends_a_start(), "{error}");
                    let again = records.last().map_or_else(|| start.clone(), |last| StartAt::After(last.sequence.clone()));
                    retrieval = mode.open(shard, again, share.clone());
                }
            }
        }
        (records, None)
    };
    timeout(PATIENCE, reading).await.expect("the records are read in time")
}
