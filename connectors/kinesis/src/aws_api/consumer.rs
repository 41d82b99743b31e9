//! The fan-out consumer: found or registered, and waited for until it is active.

use super::AwsKinesis;
use super::fault::is_not_found;
use aws_sdk_kinesis::types::ConsumerStatus;
use connector_aws::{Call, service_code};
use connector_sdk::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The first pause while the consumer is not active yet; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a registration may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// An active consumer, through which shards are subscribed to.
pub struct AwsConsumer {
    pub(super) kinesis: AwsKinesis,
    /// Another one when it had to be registered again.
    arn: Mutex<Arc<str>>,
    /// The ARN that was configured: such a consumer is never registered by us.
    pub(super) given: Option<String>,
    pub(super) name: String,
    /// One at a time looks what became of it.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl AwsConsumer {
    /// Its ARN at this moment.
    pub fn arn(&self) -> Arc<str> {
        Arc::clone(&self.current())
    }

    pub(super) fn set_arn(&self, arn: String) {
        *self.current() = arn.into();
    }

    fn current(&self) -> MutexGuard<'_, Arc<str>> {
        self.arn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of this consumer, as messages name it.
    pub(super) fn call<'a>(&'a self, action: &'a str) -> Call<'a> {
        Call::new(action, "fan-out consumer", &self.name, &self.kinesis.stream.region)
    }
}

impl AwsKinesis {
    /// The consumer `name`, registered when it is not there; or the one with `arn`, which must be there. Returns once it is active.
    ///
    /// # Errors
    /// Names the consumer, the stream and the call. Transient when it does not become active in two minutes, or when two workers
    /// register and remove it at once.
    pub async fn consumer(&self, name: &str, arn: Option<&str>) -> Result<AwsConsumer, Error> {
        let active = self.active_consumer(name, arn).await?;
        Ok(AwsConsumer {
            kinesis: self.clone(),
            arn: Mutex::new(active.into()),
            given: arn.map(str::to_owned),
            name: name.to_owned(),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    /// The ARN of the consumer, once it is active: see [`AwsKinesis::consumer`].
    pub(super) async fn active_consumer(&self, name: &str, arn: Option<&str>) -> Result<String, Error> {
        let shown = arn.unwrap_or(name);
        let stream_arn = match (arn, &self.stream.arn) {
            (Some(_), _) => None,
            (None, Some(stream)) => Some(stream.clone()),
            (None, None) => Some(self.describe_summary().await?.arn.to_string()),
        };
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let state = match self.describe_consumer(shown, stream_arn.as_deref(), arn).await? {
                Some(state) => state,
                None => match &stream_arn {
                    Some(stream) => match self.register(name, stream).await? {
                        Some(state) => state,
                        // Somebody else was quicker: it is there now.
                        None => Found { arn: None, status: ConsumerStatus::Creating },
                    },
                    None => {
                        return Err(Error::configuration(format!("the fan-out consumer `{shown}` does not exist"))
                            .with_hint("correct the consumer's ARN, or leave it out: a consumer is then registered by its name"));
                    }
                },
            };
            if let (Some(arn), ConsumerStatus::Active) = (state.arn, state.status) {
                return Ok(arn);
            }
            if Instant::now() >= deadline {
                return Err(Error::transient(format!(
                    "the fan-out consumer `{shown}` of stream `{}` has not become active within {} s",
                    self.stream.name,
                    PATIENCE.as_secs()
                )));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn describe_consumer(&self, shown: &str, stream: Option<&str>, arn: Option<&str>) -> Result<Option<Found>, Error> {
        let call = Call::new("kinesis:DescribeStreamConsumer", "fan-out consumer", shown, &self.stream.region);
        let request = match (stream, arn) {
            (Some(stream), _) => self.client.describe_stream_consumer().stream_arn(stream).consumer_name(shown),
            (None, arn) => self.client.describe_stream_consumer().set_consumer_arn(arn.map(str::to_owned)),
        };
        match request.send().await {
            Ok(answer) => {
                Ok(answer.consumer_description.map(|found| Found { arn: Some(found.consumer_arn), status: found.consumer_status }))
            }
            Err(error) if service_code(&error) == Some("ResourceNotFoundException") => Ok(None),
            Err(error) => Err(call.failed(&error)),
        }
    }

    /// Registers it; none when it is there already.
    async fn register(&self, name: &str, stream: &str) -> Result<Option<Found>, Error> {
        let call = Call::new("kinesis:RegisterStreamConsumer", "fan-out consumer", name, &self.stream.region);
        match self.client.register_stream_consumer().stream_arn(stream).consumer_name(name).send().await {
            Ok(answer) => Ok(answer.consumer.map(|made| Found { arn: Some(made.consumer_arn), status: made.consumer_status })),
            Err(error) => match service_code(&error) {
                Some("ResourceInUseException") => Ok(None),
                // What is to have a consumer is not there.
                _ if is_not_found(&error) => Err(self.stream.call("kinesis:RegisterStreamConsumer").failed(&error)),
                Some("LimitExceededException") => {
                    let failed = call.failed(&error);
                    let kind = ErrorKind::Throttled(None);
                    Err(Error::new(kind, failed.message().to_owned()).with_hint(
                        "a stream has at most 20 fan-out consumers: remove one that is not used, set `useEnhancedFanOut` to false, or wait",
                    ))
                }
                _ => Err(call.failed(&error)),
            },
        }
    }
}

struct Found {
    arn: Option<String>,
    status: ConsumerStatus,
}
