//! The source's settings: what the connector's `configs` come to once they are checked. No network, no secrets in print.

mod moment;
mod resolve;
mod scalars;
mod source_config;

pub use moment::Moment;
pub use resolve::{DEFAULT_APPLICATION_PREFIX, default_application_name};
pub use scalars::{Switch, Whole};
pub use source_config::{InitialPositionInStream, KinesisSourceConfig, TableBilling};

use connector_aws::ValidatedCredentials;
use connector_sdk::OnRecordError;
use std::time::Duration;

/// A checked configuration of the source.
#[derive(Debug)]
pub struct Settings {
    /// The stream's name.
    pub stream: String,
    /// The stream's ARN, where it was given.
    pub stream_arn: Option<String>,
    /// Where the services are.
    pub endpoints: Endpoints,
    /// Who calls them.
    pub credentials: ValidatedCredentials,
    /// The application: lease table, fan-out consumer and CloudWatch namespace.
    pub application: Application,
    /// Where a shard that nobody has read begins.
    pub initial_position: InitialPosition,
    /// How often progress is stored, if it moved.
    pub checkpoint_interval: Duration,
    /// Pause between attempts to store progress.
    pub backoff_time: Duration,
    /// Attempts to store progress before it is left to the next interval.
    pub num_retries: u32,
    /// Records that may wait for the publisher, over all shards of the instance.
    pub receive_queue_size: usize,
    /// The byte budget of the process.
    pub receive_queue_bytes: u64,
    /// How shards are read.
    pub retrieval: RetrievalSettings,
    /// Properties put on each message, in the order given.
    pub properties: Vec<RecordProperty>,
    /// What becomes the message's key.
    pub key_mode: MessageKeyMode,
    /// How leases are kept.
    pub leases: LeaseSettings,
    /// What goes to CloudWatch.
    pub metrics: MetricsSettings,
    /// What is done with a record that cannot be stored.
    pub on_record_error: OnRecordError,
    /// Where dead letters go.
    pub dead_letter_topic: Option<String>,
    /// See [`KinesisSourceConfig::accept_duplicates`].
    pub accept_duplicates: bool,
    /// Sentences to say once at the start.
    pub notes: Vec<String>,
}

/// Where the services are: a region, or an endpoint for each.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    /// The region; signing needs one even where all endpoints are given.
    pub region: Option<String>,
    /// Kinesis.
    pub kinesis: Option<String>,
    /// DynamoDB.
    pub dynamodb: Option<String>,
    /// CloudWatch.
    pub cloudwatch: Option<String>,
}

/// The application's name and whether somebody chose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// The name.
    pub name: String,
    /// Whether it is the default, `pulsar-kinesis-<stream>`: then two connectors on one stream must not share it unnoticed.
    pub is_default: bool,
}

/// Where a shard that nobody has read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitialPosition {
    /// At the application's first moment.
    Latest,
    /// At the oldest record.
    TrimHorizon,
    /// At an instant, in milliseconds since the epoch.
    AtTimestamp(u64),
}

/// How shards are read.
#[derive(Debug, Clone)]
pub struct RetrievalSettings {
    /// Enhanced fan-out, or polling.
    pub enhanced_fan_out: bool,
    /// The fan-out consumer's name.
    pub consumer_name: String,
    /// The consumer's ARN, when one that exists is to be used.
    pub consumer_arn: Option<String>,
    /// Records asked for in one GetRecords call, at most 10,000.
    pub max_records: u32,
    /// Pause between GetRecords calls of a shard that is at its tip.
    pub idle_time_between_reads: Duration,
}

/// A property that can be put on each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordProperty {
    /// `kinesis.arrival.timestamp`, ISO 8601.
    ArrivalTimestamp,
    /// `kinesis.encryption.type`: `NONE` or `KMS`.
    EncryptionType,
    /// `kinesis.partition.key`.
    PartitionKey,
    /// `kinesis.sequence.number`.
    SequenceNumber,
    /// `kinesis.sub.sequence.number`.
    SubSequenceNumber,
    /// `kinesis.shard.id`.
    ShardId,
    /// `kinesis.millis.behind.latest`.
    MillisBehindLatest,
}

impl RecordProperty {
    /// The property's name on the message.
    pub fn name(self) -> &'static str {
        match self {
            Self::ArrivalTimestamp => "kinesis.arrival.timestamp",
            Self::EncryptionType => "kinesis.encryption.type",
            Self::PartitionKey => "kinesis.partition.key",
            Self::SequenceNumber => "kinesis.sequence.number",
            Self::SubSequenceNumber => "kinesis.sub.sequence.number",
            Self::ShardId => "kinesis.shard.id",
            Self::MillisBehindLatest => "kinesis.millis.behind.latest",
        }
    }
}

/// What becomes the message's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageKeyMode {
    /// The record's partition key.
    #[default]
    PartitionKey,
    /// The shard's id.
    ShardId,
}

/// How leases are kept. Names and defaults are the KCL's.
#[derive(Debug, Clone)]
pub struct LeaseSettings {
    /// The table; the application's name unless it was given.
    pub table_name: String,
    /// A worker identifier that was configured; else one is made.
    pub worker_identifier: Option<String>,
    /// A lease that was not renewed for this long is free for others.
    pub failover_time: Duration,
    /// How often the stream's shards are compared with the leases.
    pub shard_sync_interval: Duration,
    /// How often a shard that waits for its parents looks at their leases.
    pub parent_shard_poll_interval: Duration,
    /// The most leases this worker holds.
    pub max_leases_for_worker: u32,
    /// The most leases taken from another worker in one round.
    pub max_leases_to_steal_at_one_time: u32,
    /// Whether leases of finished shards are removed.
    pub cleanup_leases_upon_shard_completion: bool,
    /// Whether the table is read consistently.
    pub consistent_reads: bool,
    /// How a table that has to be created is paid for.
    pub billing_mode: BillingMode,
}

/// How a lease table is paid for when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BillingMode {
    /// By request.
    PayPerRequest,
    /// By capacity.
    Provisioned {
        /// Read capacity units.
        read: u32,
        /// Write capacity units.
        write: u32,
    },
}

/// What goes to CloudWatch.
#[derive(Debug, Clone)]
pub struct MetricsSettings {
    /// How much.
    pub level: MetricsLevel,
    /// How long values are gathered before they are sent.
    pub buffer_time: Duration,
    /// How many datums may wait to be sent.
    pub max_queue_size: usize,
}

/// How much goes to CloudWatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MetricsLevel {
    /// Nothing.
    None,
    /// What an operator watches.
    #[default]
    Summary,
    /// Also each operation's success and time.
    Detailed,
}
