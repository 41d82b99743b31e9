//! The connector's `configs` as users write them: every key, its default, its bounds. The comments are the schema's descriptions.
//!
//! Names are those of the Java connector, and the KCL's for what that connector does not offer. Nothing is resolved here; see
//! [`KinesisSourceConfig::into_settings`].

use super::moment::Moment;
use super::scalars::{Switch, Whole};
use super::{MessageKeyMode, MetricsLevel};
use connector_sdk::OnRecordError;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// The configuration of the Kinesis source.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KinesisSourceConfig {
    /// The stream's name. It may be left out where `streamArn` is given.
    pub aws_kinesis_stream_name: Option<String>,
    /// The stream's ARN. Name and region come from it, or must agree with it.
    pub stream_arn: Option<String>,
    /// The AWS region, such as `eu-west-1`. Either it is set, or all of `awsEndpoint`, `dynamoEndpoint` and `cloudwatchEndpoint` are.
    pub aws_region: Option<String>,
    /// Address of Kinesis, such as `http://localhost:4566`, in place of the region's own.
    pub aws_endpoint: Option<String>,
    /// Address of DynamoDB, in place of the region's own.
    pub dynamo_endpoint: Option<String>,
    /// Address of CloudWatch, in place of the region's own.
    pub cloudwatch_endpoint: Option<String>,
    /// Who provides the credentials: blank for static keys in `awsCredentialPluginParam`,
    /// `org.apache.pulsar.io.aws.AwsDefaultProviderChainPlugin` for the environment, profiles, web identity and instance roles, or
    /// `org.apache.pulsar.io.aws.STSAssumeRoleProviderPlugin` for a role.
    pub aws_credential_plugin_name: Option<String>,
    /// What the provider is told, as JSON text: `{"accessKey":"...","secretKey":"..."}` (and `sessionToken`) for static keys,
    /// `{"roleArn":"...","roleSessionName":"..."}` for a role, nothing for the default chain. A secret: it may come from the
    /// `secrets` map under this name and is never printed.
    #[schemars(with = "Option<String>", extend("writeOnly" = true))]
    pub aws_credential_plugin_param: Option<SecretString>,
    /// Where a shard begins that nobody has read under this application name: `LATEST` at the application's first moment,
    /// `TRIM_HORIZON` at the oldest record, `AT_TIMESTAMP` at `startAtTime`.
    pub initial_position_in_stream: InitialPositionInStream,
    /// Where `AT_TIMESTAMP` begins: ISO 8601, or milliseconds since the epoch. A time without an offset is UTC.
    pub start_at_time: Option<Moment>,
    /// Name of the lease table, the fan-out consumer and the CloudWatch namespace; workers of one name share the stream.
    /// Default: `pulsar-kinesis-<stream>`.
    pub application_name: Option<String>,
    /// How often each shard's progress is stored, if it moved, in milliseconds.
    pub checkpoint_interval: Whole<60_000, 1, DAY>,
    /// Pause between attempts to store progress, in milliseconds.
    pub backoff_time: Whole<3_000, 0, HOUR>,
    /// How often storing progress is tried before it is left to the next interval.
    pub num_retries: Whole<3, 1, 1_000>,
    /// How many records may wait for the publisher, over all shards of an instance.
    pub receive_queue_size: Whole<1_000, 1, 10_000_000>,
    /// How many bytes of records the process holds at most, from the service to Pulsar's receipt. One record that is larger still
    /// passes, alone.
    pub receive_queue_bytes: Whole<{ 64 << 20 }, { 1 << 20 }, { 1 << 40 }>,
    /// Whether shards are read by enhanced fan-out (a consumer of its own throughput, registered with the stream) or by polling.
    pub use_enhanced_fan_out: Switch<true>,
    /// Properties put on each message, by commas. There are `kinesis.arrival.timestamp`, `kinesis.encryption.type`,
    /// `kinesis.partition.key`, `kinesis.sequence.number`, `kinesis.sub.sequence.number`, `kinesis.shard.id` and
    /// `kinesis.millis.behind.latest`; blank for none. Default: arrival timestamp, encryption type, partition key, sequence number.
    pub kinesis_record_properties: Option<String>,
    /// What becomes the message's key.
    pub message_key_mode: MessageKeyMode,
    /// Records asked for in one GetRecords call.
    pub max_records: Whole<10_000, 1, 10_000>,
    /// Pause between GetRecords calls of a shard that has nothing more to give, in milliseconds. There is none while it is behind.
    pub idle_time_between_reads_in_millis: Whole<1_000, 200, HOUR>,
    /// Name of the fan-out consumer. Default: the application's name.
    pub consumer_name: Option<String>,
    /// ARN of a fan-out consumer that exists and is to be used; then none is registered.
    pub consumer_arn: Option<String>,
    /// Name of the lease table in DynamoDB. Default: the application's name.
    pub lease_table_name: Option<String>,
    /// Name of this worker in the lease table. Default: tenant, namespace, name, instance, host and a random part.
    pub worker_identifier: Option<String>,
    /// After how many milliseconds without renewal a lease is free for others. All workers of a table need the same value.
    pub failover_time_millis: Whole<10_000, 1_000, HOUR>,
    /// How often the stream's shards are compared with the leases, in milliseconds.
    pub shard_sync_interval_millis: Whole<60_000, 100, DAY>,
    /// How often a shard that waits for its parents looks whether they are finished, in milliseconds.
    pub parent_shard_poll_interval_millis: Whole<10_000, 100, DAY>,
    /// The most leases an instance holds. Default: no limit.
    pub max_leases_for_worker: Whole<2_147_483_647, 1, 2_147_483_647>,
    /// The most leases taken from another worker in one round of balancing.
    pub max_leases_to_steal_at_one_time: Whole<1, 1, 10_000>,
    /// Whether leases of finished shards are removed once their children are under way.
    pub cleanup_leases_upon_shard_completion: Switch<true>,
    /// Whether single leases are read consistently, at twice the read capacity.
    pub consistent_reads: Switch<false>,
    /// How a lease table that has to be created is paid for.
    pub billing_mode: TableBilling,
    /// Read capacity units of a lease table that is created `PROVISIONED`.
    pub initial_lease_table_read_capacity: Whole<10, 1, 40_000>,
    /// Write capacity units of a lease table that is created `PROVISIONED`.
    pub initial_lease_table_write_capacity: Whole<10, 1, 40_000>,
    /// How much goes to CloudWatch.
    pub metrics_level: MetricsLevel,
    /// How long values are gathered before they go to CloudWatch, in milliseconds.
    pub metrics_buffer_time_millis: Whole<10_000, 100, HOUR>,
    /// How many values may wait for CloudWatch; what comes on top is dropped and counted.
    pub metrics_max_queue_size: Whole<10_000, 1, 10_000_000>,
    /// What is done with a record that cannot be stored (too large for the topic, say): `fail` parks its shard at the record,
    /// `drop` counts and skips it, `dead-letter` puts it to `deadLetterTopic`.
    pub on_record_error: OnRecordError,
    /// Where `dead-letter` puts records.
    pub dead_letter_topic: Option<String>,
    /// With `EFFECTIVELY_ONCE`: whether to go on, perhaps publishing records twice, where the broker has forgotten what it stored and the
    /// topic cannot be read back any more. Default: the shard stands still and says so.
    pub accept_duplicates: Switch<false>,
}

/// Where a shard begins that nobody has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InitialPositionInStream {
    /// At the application's first moment.
    #[default]
    Latest,
    /// At the oldest record.
    TrimHorizon,
    /// At `startAtTime`.
    AtTimestamp,
}

/// How a lease table that has to be created is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TableBilling {
    /// By request.
    #[default]
    PayPerRequest,
    /// By capacity.
    Provisioned,
}
