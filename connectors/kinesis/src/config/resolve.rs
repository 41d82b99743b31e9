//! From [`KinesisSourceConfig`] to [`Settings`]: the rules that go across keys. Needs no network, finds every problem at once.

use super::source_config::{InitialPositionInStream, KinesisSourceConfig, TableBilling};
use super::{
    Application, BillingMode, Endpoints, InitialPosition, LeaseSettings, MetricsLevel, MetricsSettings, RecordProperty, RetrievalSettings,
    Settings,
};
use connector_aws::{CredentialsConfig, Endpoint, parse_region};
use connector_sdk::{OnRecordError, Problem};
use md5::{Digest, Md5};

/// What every default application name begins with.
pub const DEFAULT_APPLICATION_PREFIX: &str = "pulsar-kinesis-";
/// Names of streams and fan-out consumers end here; so does a default application name.
const NAME_LIMIT: usize = 128;
/// Names of DynamoDB tables have from 3 to 255 characters.
const TABLE_NAME: std::ops::RangeInclusive<usize> = 3..=255;

impl KinesisSourceConfig {
    /// Checks what needs no network.
    ///
    /// # Errors
    /// Every problem, with paths relative to `configs`.
    pub fn into_settings(self) -> Result<Settings, Vec<Problem>> {
        let mut found = Findings::default();
        let arn = found.take(self.stream_arn()).flatten();
        let stream = found.take(self.stream(arn.as_ref()));
        let endpoints = self.endpoints(arn.as_ref(), &mut found);
        let credentials = CredentialsConfig {
            plugin_name: given(&self.aws_credential_plugin_name).map(str::to_owned),
            plugin_param: self.aws_credential_plugin_param.clone(),
        };
        let credentials = credentials.validate().map_err(|problems| found.problems.extend(problems)).ok();
        let initial_position = found.take(self.initial_position());
        // Without a stream its problem is already noted; the name made from nothing is never used.
        let application = self.application(stream.as_deref().unwrap_or_default());
        let retrieval = self.retrieval(&application, &mut found);
        let leases = self.leases(&application, &mut found);
        let properties = self.properties(&mut found);
        let dead_letter_topic = found.take(self.dead_letter_topic()).flatten();
        self.note_what_means_nothing(&mut found.notes);

        let (Some(stream), Some(credentials), Some(initial_position)) = (stream, credentials, initial_position) else {
            return Err(found.problems);
        };
        if !found.problems.is_empty() {
            return Err(found.problems);
        }
        Ok(Settings {
            stream,
            stream_arn: arn.map(|arn| arn.text),
            endpoints,
            credentials,
            application,
            initial_position,
            checkpoint_interval: self.checkpoint_interval.millis(),
            backoff_time: self.backoff_time.millis(),
            num_retries: self.num_retries.small(),
            receive_queue_size: self.receive_queue_size.count(),
            receive_queue_bytes: self.receive_queue_bytes.get(),
            retrieval,
            properties,
            key_mode: self.message_key_mode,
            leases,
            metrics: MetricsSettings {
                level: self.metrics_level,
                buffer_time: self.metrics_buffer_time_millis.millis(),
                max_queue_size: self.metrics_max_queue_size.count(),
            },
            on_record_error: self.on_record_error,
            dead_letter_topic,
            accept_duplicates: self.accept_duplicates.is_on(),
            notes: found.notes,
        })
    }

    fn stream_arn(&self) -> Result<Option<StreamArn>, Problem> {
        given(&self.stream_arn).map(StreamArn::parse).transpose()
    }

    fn stream(&self, arn: Option<&StreamArn>) -> Result<String, Problem> {
        const PATH: &str = "awsKinesisStreamName";
        let name = match (given(&self.aws_kinesis_stream_name), arn) {
            (Some(name), Some(arn)) if name != arn.stream => {
                return Err(Problem::new(PATH, format!("`{name}` is not the stream of `streamArn`, which is `{}`", arn.stream))
                    .hint("remove one of the two, or make them name the same stream"));
            }
            (Some(name), _) => name,
            (None, Some(arn)) => arn.stream.as_str(),
            // A broken ARN has its own problem.
            (None, None) if given(&self.stream_arn).is_some() => return Ok(String::new()),
            (None, None) => {
                return Err(Problem::new(PATH, "the stream's name is missing").hint("name the Kinesis stream to read, such as `orders`"));
            }
        };
        if name.len() > NAME_LIMIT || !name.bytes().all(is_name_byte) {
            return Err(Problem::new(PATH, format!("`{name}` is not a stream's name")).hint(format!("{NAME_RULE}, at most {NAME_LIMIT}")));
        }
        Ok(name.to_owned())
    }

    fn endpoints(&self, arn: Option<&StreamArn>, found: &mut Findings) -> Endpoints {
        let problems_before = found.problems.len();
        let mut address = |path: &str, text: &Option<String>| {
            let endpoint = given(text).map(|text| Endpoint::parse(path, text)).transpose();
            found.take(endpoint).flatten().map(|endpoint| endpoint.as_str().to_owned())
        };
        let kinesis = address("awsEndpoint", &self.aws_endpoint);
        let dynamodb = address("dynamoEndpoint", &self.dynamo_endpoint);
        let cloudwatch = address("cloudwatchEndpoint", &self.cloudwatch_endpoint);
        let region = given(&self.aws_region).map(|text| parse_region("awsRegion", text)).transpose();
        let mut region = found.take(region).flatten().map(|region| region.to_string());
        let sound = found.problems.len() == problems_before;

        match (&region, arn) {
            (Some(named), Some(arn)) if *named != arn.region => found.problems.push(
                Problem::new("awsRegion", format!("`{named}` is not the region of `streamArn`, which is `{}`", arn.region))
                    .hint("remove one of the two, or make them name the same region"),
            ),
            (None, Some(arn)) => region = Some(arn.region.clone()),
            _ => {}
        }
        if region.is_none() && sound {
            let wants_cloudwatch = self.metrics_level != MetricsLevel::None;
            let missing: Vec<&str> = [
                ("`awsEndpoint`", kinesis.is_none()),
                ("`dynamoEndpoint`", dynamodb.is_none()),
                ("`cloudwatchEndpoint`", cloudwatch.is_none() && wants_cloudwatch),
            ]
            .into_iter()
            .filter_map(|(name, missing)| missing.then_some(name))
            .collect();
            if !missing.is_empty() {
                let cause = "neither a region is given nor all of `awsEndpoint`, `dynamoEndpoint` and `cloudwatchEndpoint`";
                let hint = match missing.len() {
                    3 => "set `awsRegion`, such as `eu-west-1`".to_owned(),
                    _ => format!("set `awsRegion`, such as `eu-west-1`, or also {}", missing.join(" and ")),
                };
                found.problems.push(Problem::new("awsRegion", cause).hint(hint));
            }
        }
        Endpoints { region, kinesis, dynamodb, cloudwatch }
    }

    fn initial_position(&self) -> Result<InitialPosition, Problem> {
        const PATH: &str = "startAtTime";
        const HINT: &str = "write a time such as `2026-01-31T12:00:00Z`, or milliseconds since the epoch";
        let start = self.start_at_time.as_ref().filter(|start| !start.text().trim().is_empty());
        let at = start.map(|start| {
            let problem = || Problem::new(PATH, format!("`{}` is not a time", start.text())).hint(HINT);
            start.millis().ok_or_else(problem)
        });
        match (self.initial_position_in_stream, at.transpose()?) {
            (InitialPositionInStream::Latest, _) => Ok(InitialPosition::Latest),
            (InitialPositionInStream::TrimHorizon, _) => Ok(InitialPosition::TrimHorizon),
            (InitialPositionInStream::AtTimestamp, Some(millis)) => Ok(InitialPosition::AtTimestamp(millis)),
            (InitialPositionInStream::AtTimestamp, None) => {
                Err(Problem::new(PATH, "`initialPositionInStream` is `AT_TIMESTAMP`, but no time is given").hint(HINT))
            }
        }
    }

    fn application(&self, stream: &str) -> Application {
        match given(&self.application_name) {
            Some(name) => Application { name: name.to_owned(), is_default: false },
            None => Application { name: default_application_name(stream), is_default: true },
        }
    }

    fn retrieval(&self, application: &Application, found: &mut Findings) -> RetrievalSettings {
        let consumer_arn = given(&self.consumer_arn).map(str::to_owned);
        if let Some(arn) = &consumer_arn
            && !is_consumer_arn(arn)
        {
            found.problems.push(
                Problem::new("consumerArn", format!("`{arn}` is not the ARN of a stream's consumer"))
                    .hint("write it like `arn:aws:kinesis:eu-west-1:123456789012:stream/orders/consumer/pulsar:1700000000`"),
            );
        }
        let (path, consumer_name) = match given(&self.consumer_name) {
            Some(name) => ("consumerName", name),
            None => ("applicationName", application.name.as_str()),
        };
        let is_used = self.use_enhanced_fan_out.is_on() && consumer_arn.is_none();
        if is_used && (consumer_name.len() > NAME_LIMIT || !consumer_name.bytes().all(is_name_byte)) {
            found.problems.push(
                Problem::new(path, format!("`{consumer_name}` cannot be the name of a fan-out consumer"))
                    .hint(format!("{NAME_RULE}, at most {NAME_LIMIT}; or set `consumerName` apart from `applicationName`")),
            );
        }
        RetrievalSettings {
            enhanced_fan_out: self.use_enhanced_fan_out.is_on(),
            consumer_name: consumer_name.to_owned(),
            consumer_arn,
            max_records: self.max_records.small(),
            idle_time_between_reads: self.idle_time_between_reads_in_millis.millis(),
        }
    }

    fn leases(&self, application: &Application, found: &mut Findings) -> LeaseSettings {
        let (path, table_name) = match given(&self.lease_table_name) {
            Some(name) => ("leaseTableName", name),
            None => ("applicationName", application.name.as_str()),
        };
        let already_noted = found.problems.iter().any(|problem| problem.path == path);
        if !already_noted && (!TABLE_NAME.contains(&table_name.len()) || !table_name.bytes().all(is_name_byte)) {
            let (least, most) = (TABLE_NAME.start(), TABLE_NAME.end());
            found.problems.push(
                Problem::new(path, format!("`{table_name}` cannot be the name of a DynamoDB table"))
                    .hint(format!("{NAME_RULE}, from {least} to {most}; or set `leaseTableName` apart from `applicationName`")),
            );
        }
        LeaseSettings {
            table_name: table_name.to_owned(),
            worker_identifier: given(&self.worker_identifier).map(str::to_owned),
            failover_time: self.failover_time_millis.millis(),
            shard_sync_interval: self.shard_sync_interval_millis.millis(),
            parent_shard_poll_interval: self.parent_shard_poll_interval_millis.millis(),
            max_leases_for_worker: self.max_leases_for_worker.small(),
            max_leases_to_steal_at_one_time: self.max_leases_to_steal_at_one_time.small(),
            cleanup_leases_upon_shard_completion: self.cleanup_leases_upon_shard_completion.is_on(),
            consistent_reads: self.consistent_reads.is_on(),
            billing_mode: match self.billing_mode {
                TableBilling::PayPerRequest => BillingMode::PayPerRequest,
                TableBilling::Provisioned => BillingMode::Provisioned {
                    read: self.initial_lease_table_read_capacity.small(),
                    write: self.initial_lease_table_write_capacity.small(),
                },
            },
        }
    }

    fn properties(&self, found: &mut Findings) -> Vec<RecordProperty> {
        use RecordProperty::{
            ArrivalTimestamp, EncryptionType, MillisBehindLatest, PartitionKey, SequenceNumber, ShardId, SubSequenceNumber,
        };
        const ALL: [RecordProperty; 7] =
            [ArrivalTimestamp, EncryptionType, PartitionKey, SequenceNumber, SubSequenceNumber, ShardId, MillisBehindLatest];
        let Some(names) = &self.kinesis_record_properties else {
            return vec![ArrivalTimestamp, EncryptionType, PartitionKey, SequenceNumber];
        };
        let mut chosen = Vec::new();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match ALL.into_iter().find(|property| property.name() == name) {
                Some(property) if chosen.contains(&property) => {}
                Some(property) => chosen.push(property),
                None => {
                    let known: Vec<String> = ALL.iter().map(|property| format!("`{}`", property.name())).collect();
                    found.problems.push(
                        Problem::new("kinesisRecordProperties", format!("`{name}` is not a property of a Kinesis record"))
                            .hint(format!("there are {}", known.join(", "))),
                    );
                }
            }
        }
        chosen
    }

    fn dead_letter_topic(&self) -> Result<Option<String>, Problem> {
        let topic = given(&self.dead_letter_topic);
        match (self.on_record_error, topic) {
            (OnRecordError::DeadLetter, None) => {
                Err(Problem::new("deadLetterTopic", "`onRecordError` is `dead-letter`, but no topic is given")
                    .hint("set `deadLetterTopic`, such as `persistent://public/default/orders-dead`"))
            }
            (OnRecordError::DeadLetter, Some(topic)) => Ok(Some(topic.to_owned())),
            (_, Some(_)) => Err(Problem::new("deadLetterTopic", "a topic is given, but `onRecordError` does not send anything there")
                .hint("set `onRecordError` to `dead-letter`, or remove `deadLetterTopic`")),
            (_, None) => Ok(None),
        }
    }

    /// Keys that are taken because they do no harm, and that mean nothing beside the others.
    fn note_what_means_nothing(&self, notes: &mut Vec<String>) {
        let mut note = |means_nothing: bool, key: &str, why: &str| {
            if means_nothing {
                notes.push(format!("`configs.{key}` means nothing here: {why}"));
            }
        };
        let is_timed = self.initial_position_in_stream == InitialPositionInStream::AtTimestamp;
        let is_provisioned = self.billing_mode == TableBilling::Provisioned;
        let fans_out = self.use_enhanced_fan_out.is_on();
        note(!is_timed && self.start_at_time.is_some(), "startAtTime", "`initialPositionInStream` is not `AT_TIMESTAMP`");
        note(
            !is_provisioned && !self.initial_lease_table_read_capacity.is_default(),
            "initialLeaseTableReadCapacity",
            "`billingMode` is not `PROVISIONED`",
        );
        note(
            !is_provisioned && !self.initial_lease_table_write_capacity.is_default(),
            "initialLeaseTableWriteCapacity",
            "`billingMode` is not `PROVISIONED`",
        );
        note(!fans_out && given(&self.consumer_name).is_some(), "consumerName", "`useEnhancedFanOut` is off");
        note(!fans_out && given(&self.consumer_arn).is_some(), "consumerArn", "`useEnhancedFanOut` is off");
        note(fans_out && !self.max_records.is_default(), "maxRecords", "`useEnhancedFanOut` is on, and then the service decides");
        note(
            fans_out && !self.idle_time_between_reads_in_millis.is_default(),
            "idleTimeBetweenReadsInMillis",
            "`useEnhancedFanOut` is on, and then the service pushes",
        );
    }
}

/// `pulsar-kinesis-<stream>`, at most 128 characters: a longer one is cut and ends in a hash of the whole, so that streams whose
/// names begin alike keep apart.
pub fn default_application_name(stream: &str) -> String {
    let name = format!("{DEFAULT_APPLICATION_PREFIX}{stream}");
    if name.len() <= NAME_LIMIT {
        return name;
    }
    let hash: String = Md5::digest(stream.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = name.chars().take(NAME_LIMIT - 1 - hash.len()).collect();
    format!("{kept}-{hash}")
}

/// The parts of a stream's ARN.
struct StreamArn {
    text: String,
    region: String,
    stream: String,
}

impl StreamArn {
    fn parse(text: &str) -> Result<Self, Problem> {
        let problem = || {
            Problem::new("streamArn", format!("`{text}` is not the ARN of a Kinesis stream"))
                .hint("write it like `arn:aws:kinesis:eu-west-1:123456789012:stream/orders`")
        };
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "kinesis", region, account, resource] = parts.as_slice() else { return Err(problem()) };
        let stream = resource.strip_prefix("stream/").ok_or_else(problem)?;
        let is_sound = partition.starts_with("aws")
            && parse_region("streamArn", region).is_ok()
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && !stream.is_empty()
            && stream.len() <= NAME_LIMIT
            && stream.bytes().all(is_name_byte);
        if !is_sound {
            return Err(problem());
        }
        Ok(Self { text: text.to_owned(), region: (*region).to_owned(), stream: stream.to_owned() })
    }
}

fn is_consumer_arn(text: &str) -> bool {
    text.starts_with("arn:aws")
        && text.split(':').nth(2) == Some("kinesis")
        && text.split_once(":stream/").is_some_and(|(_, stream)| stream.contains("/consumer/"))
}

const NAME_RULE: &str = "letters, digits, `_`, `-` and `.` only";

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// The text of a key that was given; blank counts as absent, as in the Java connector.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

/// What a check found so far.
#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
    notes: Vec<String>,
}

impl Findings {
    fn take<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
