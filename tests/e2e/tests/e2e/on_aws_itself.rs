//! A short run through the services' own front door: stream, records and reshard by AWS's SDK, credentials by the default chain.
//!
//! It goes against local-aws unless `PULSAR_CONNECT_TEST_AWS=1` is set. Then it goes where the environment points: to real AWS (`AWS_REGION`, a profile
//! or keys), or to another stand-in (`AWS_ENDPOINT_URL`, and `AWS_ENDPOINT_URL_DYNAMODB` where that is a server of its own). There it makes a
//! stream `pulsar-connect-test-...`, two lease tables and a fan-out consumer, and removes them; the caller pays for a few minutes of two shards.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesis::config::Credentials;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamStatus};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bytes::Bytes;
use local_aws::{LocalAws, Options};

use crate::harness::broker;
use crate::harness::kpl::{self, UserRecord};
use crate::harness::oracle::{Sent, Truth};
use crate::harness::source::Setup;
use crate::harness::topic::Topic;
use crate::harness::wait::until;

/// What a real service may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where the services are.
struct Place {
    config: SdkConfig,
    kinesis: aws_sdk_kinesis::Client,
    /// Keeps the stand-in alive; none where the environment points elsewhere.
    _local: Option<LocalAws>,
    endpoint: Option<String>,
    tables: Option<String>,
}

impl Place {
    async fn chosen() -> Self {
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
        let (loader, local, endpoint, tables) = if given("PULSAR_CONNECT_TEST_AWS").is_some_and(|value| value == "1") {
            let endpoint = given("AWS_ENDPOINT_URL");
            let tables = given("AWS_ENDPOINT_URL_DYNAMODB").or_else(|| endpoint.clone());
            (loader, None, endpoint, tables)
        } else {
            let local = LocalAws::start(Options::default()).await.unwrap();
            let url = local.url().to_owned();
            let keys = Credentials::new("AKIAEXAMPLE", "secret", None, None, "test");
            let loader = loader.endpoint_url(&url).region(Region::new("us-east-1")).credentials_provider(keys);
            (loader, Some(local), Some(url.clone()), Some(url))
        };
        let config = loader.load().await;
        Self { kinesis: aws_sdk_kinesis::Client::new(&config), config, _local: local, endpoint, tables }
    }

    fn setup(&self, stream: &str, topic: &Topic, application: &str) -> Setup {
        let region = self.config.region().expect("AWS_REGION or a profile names a region").to_string();
        let mut setup = Setup::bare(stream, topic).config("awsRegion", region).config("applicationName", application);
        if let (Some(endpoint), Some(tables)) = (&self.endpoint, &self.tables) {
            setup = setup
                .config("awsEndpoint", endpoint.clone())
                .config("cloudwatchEndpoint", endpoint.clone())
                .config("dynamoEndpoint", tables.clone());
        }
        if self._local.is_some() {
            return setup.config("awsCredentialPluginParam", "{\"accessKey\":\"AKIAEXAMPLE\",\"secretKey\":\"secret\"}");
        }
        setup.config("awsCredentialPluginName", "org.apache.pulsar.io.aws.AwsDefaultProviderChainPlugin").inherits_environment()
    }

    async fn active(&self, stream: &str) {
        until("the stream to be active", PATIENCE, async || {
            let answer = self.kinesis.describe_stream_summary().stream_name(stream).send().await.map_err(|error| error.to_string())?;
            let status = answer.stream_description_summary.map(|summary| summary.stream_status);
            if status == Some(StreamStatus::Active) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    }

    /// Puts records by the service's own call, some of them aggregates; what it says about each goes into `sent`.
    async fn put(&self, stream: &str, first: usize, count: usize, sent: &mut Vec<Sent>) {
        let mut waiting: Vec<(String, Vec<UserRecord>)> = Vec::new();
        for index in first..first + count {
            let key = format!("customer-{}", index % 50);
            let mut bytes = format!("record {index} ").into_bytes();
            bytes.extend((0..index % 300).map(|_| fastrand::u8(..)));
            let parts = if index % 10 == 0 { 3 } else { 1 };
            let part = |part: u8| UserRecord {
                partition_key: key.clone(),
                explicit_hash_key: None,
                data: [bytes.as_slice(), &[part]].concat().into(),
            };
            waiting.push((key.clone(), (0..parts).map(part).collect()));
        }
        while !waiting.is_empty() {
            let batch: Vec<_> = waiting.drain(..waiting.len().min(200)).collect();
            let entry = |(key, parts): &(String, Vec<UserRecord>)| {
                let data: Bytes = if parts.len() > 1 { kpl::aggregate(parts) } else { parts[0].data.clone() };
                PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(data)).build().unwrap()
            };
            let answer =
                self.kinesis.put_records().stream_name(stream).set_records(Some(batch.iter().map(entry).collect())).send().await.unwrap();
            for (put, told) in batch.into_iter().zip(answer.records) {
                let (Some(shard), Some(number)) = (told.shard_id, told.sequence_number) else {
                    // Throttled: once more.
                    waiting.push(put);
                    continue;
                };
                sent.extend(put.1.into_iter().enumerate().map(|(sub, part)| Sent {
                    shard: shard.clone(),
                    number: number.clone(),
                    sub,
                    key: put.0.clone(),
                    data: part.data,
                    arrived_at: None,
                }));
            }
        }
    }

    async fn remove(&self, stream: &str, tables: &[&str]) {
        self.kinesis.delete_stream().stream_name(stream).enforce_consumer_deletion(true).send().await.unwrap();
        let dynamodb = aws_sdk_dynamodb::config::Builder::from(&self.config);
        let dynamodb = match &self.tables {
            Some(endpoint) => dynamodb.endpoint_url(endpoint),
            None => dynamodb,
        };
        let dynamodb = aws_sdk_dynamodb::Client::from_conf(dynamodb.build());
        for table in tables {
            dynamodb.delete_table().table_name(*table).send().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_run() {
    let place = Place::chosen().await;
    let stream = crate::harness::unique("pulsar-connect-test");
    let names = [format!("{stream}-fan-out"), format!("{stream}-polling")];
    place.kinesis.create_stream().stream_name(&stream).shard_count(2).send().await.unwrap();
    place.active(&stream).await;
    let broker = broker::shared().await;
    let topics = [Topic::partitioned(broker, "aws-fan-out", 2).await, Topic::new(broker, "aws-polling")];
    let mut sent = Vec::new();
    place.put(&stream, 0, 1_000, &mut sent).await;
    let setups = [place.setup(&stream, &topics[0], &names[0]), place.setup(&stream, &topics[1], &names[1]).polling()];
    let followers = [topics[0].follow().await, topics[1].follow().await];

    // A first run that is killed, a reshard, records before and behind it, a second run.
    let first = [setups[0].start().await, setups[1].start().await];
    for follower in &followers {
        follower.at_least(100, PATIENCE).await;
    }
    for source in first {
        source.kill_nine().await;
    }
    let answer = place.kinesis.list_shards().stream_name(&stream).send().await.unwrap();
    let shards: BTreeMap<String, _> = answer.shards.unwrap().into_iter().map(|shard| (shard.shard_id.clone(), shard)).collect();
    let range = shards.values().next().unwrap().hash_key_range.as_ref().unwrap();
    let (start, end): (u128, u128) = (range.starting_hash_key.parse().unwrap(), range.ending_hash_key.parse().unwrap());
    let parent = shards.keys().next().unwrap();
    let split = place
        .kinesis
        .split_shard()
        .stream_name(&stream)
        .shard_to_split(parent)
        .new_starting_hash_key((start + (end - start) / 2).to_string());
    split.send().await.unwrap();
    place.active(&stream).await;
    place.put(&stream, 1_000, 500, &mut sent).await;
    let second = [setups[0].start().await, setups[1].start().await];
    for follower in &followers {
        follower.different(sent.len(), PATIENCE).await;
    }
    for source in second {
        source.stop().await;
    }
    place.remove(&stream, &[&names[0], &names[1]]).await;

    let truth = Truth::new(sent);
    for topic in topics {
        truth.compare(&topic.read_all().await).assert_whole();
    }
}
