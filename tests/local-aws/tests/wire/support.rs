//! Clients of the real SDKs for a running [`LocalAws`].

use aws_credential_types::Credentials;
use aws_sdk_kinesis::config::{BehaviorVersion, Region, SharedHttpClient, retry::RetryConfig};
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use aws_smithy_http_client::Builder;
use local_aws::{LocalAws, Options};

pub(crate) fn http_client() -> SharedHttpClient {
    Builder::new().build_http()
}

pub(crate) fn credentials(key: &str) -> Credentials {
    Credentials::new(key, "secret", None, None, "test")
}

/// A Kinesis client that never retries, so that a test sees what was answered.
pub(crate) fn kinesis(local: &LocalAws) -> aws_sdk_kinesis::Client {
    kinesis_as(local, credentials("AKIAEXAMPLE"))
}

pub(crate) fn kinesis_as(local: &LocalAws, credentials: Credentials) -> aws_sdk_kinesis::Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .endpoint_url(local.url())
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
        .http_client(http_client())
        .build();
    aws_sdk_kinesis::Client::from_conf(config)
}

pub(crate) async fn start() -> LocalAws {
    LocalAws::start(Options::default()).await.unwrap()
}

/// Reads a shard from its horizon until an answer is empty or the shard ends.
pub(crate) async fn read_shard(client: &aws_sdk_kinesis::Client, stream: &str, shard: &str) -> Vec<Record> {
    let first = client.get_shard_iterator().stream_name(stream).shard_id(shard).shard_iterator_type(ShardIteratorType::TrimHorizon);
    let mut iterator = first.send().await.unwrap().shard_iterator;
    let mut records = Vec::new();
    while let Some(token) = iterator {
        let answer = client.get_records().shard_iterator(token).send().await.unwrap();
        let empty = answer.records.is_empty();
        records.extend(answer.records);
        iterator = answer.next_shard_iterator.filter(|_| !empty);
    }
    records
}
