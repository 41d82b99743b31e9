//! Registered consumers of enhanced fan-out.

use super::error::{ErrorKind, KinesisError};
use super::{Kinesis, StreamStatus};
use crate::clock::Millis;

/// Most consumers of a stream.
const MOST_CONSUMERS: usize = 20;

/// Where a consumer is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerStatus {
    /// Cannot subscribe yet.
    Creating,
    /// Can subscribe.
    Active,
    /// On its way out.
    Deleting,
}

impl ConsumerStatus {
    /// As it stands in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Deleting => "DELETING",
        }
    }
}

/// A registered consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Its name, unique in its stream.
    pub name: String,
    /// Its ARN, which carries its creation time.
    pub arn: String,
    /// When it was registered.
    pub created_at: Millis,
    /// Where it is in its life.
    pub status: ConsumerStatus,
    /// When the state it is passing through ends.
    pub(crate) settles_at: Millis,
}

/// How a caller names a consumer.
#[derive(Clone, Debug)]
pub enum ConsumerName<'a> {
    /// By its ARN.
    Arn(&'a str),
    /// By its stream and its own name.
    Named {
        /// The stream's name.
        stream: &'a str,
        /// The consumer's name.
        consumer: &'a str,
    },
}

impl Kinesis {
    /// Registers a consumer, CREATING at first.
    ///
    /// # Errors
    /// ResourceInUse for a name that is taken, LimitExceeded beyond 20, ResourceNotFound for the stream.
    pub fn register_consumer(&mut self, stream: &str, name: &str) -> Result<Consumer, KinesisError> {
        super::check_name("ConsumerName", name)?;
        let now = self.now();
        let settles_at = now + self.settings.consumer_ms;
        let limited = self.settings.limits.consumers;
        let found = self.stream_mut(stream)?;
        if matches!(found.status, StreamStatus::Creating | StreamStatus::Deleting) {
            return Err(ErrorKind::ResourceInUse.because(format!("Stream {stream} is not ACTIVE, it is {}", found.status.as_str())));
        }
        if found.consumers.contains_key(name) {
            return Err(ErrorKind::ResourceInUse.because(format!("Consumer {name} already exists on stream {stream}")));
        }
        if limited && found.consumers.len() >= MOST_CONSUMERS {
            return Err(ErrorKind::LimitExceeded.because(format!("Stream {stream} has {MOST_CONSUMERS} consumers, which is the most")));
        }
        let consumer = Consumer {
            name: name.to_owned(),
            arn: format!("{}/consumer/{name}:{}", found.arn, now / 1000),
            created_at: now,
            status: ConsumerStatus::Creating,
            settles_at,
        };
        found.consumers.insert(name.to_owned(), consumer.clone());
        self.tick();
        Ok(consumer)
    }

    /// A consumer as it is now.
    ///
    /// # Errors
    /// ResourceNotFound.
    pub fn describe_consumer(&mut self, name: &ConsumerName<'_>) -> Result<(String, Consumer), KinesisError> {
        self.tick();
        let (stream, consumer) = self.find_consumer(name)?;
        let found = self.stream_ref(&stream)?;
        Ok((found.arn.clone(), found.consumers[&consumer].clone()))
    }

    /// All consumers of a stream by name.
    ///
    /// # Errors
    /// ResourceNotFound for the stream.
    pub fn list_consumers(&mut self, stream: &str) -> Result<Vec<Consumer>, KinesisError> {
        self.tick();
        Ok(self.stream_ref(stream)?.consumers.values().cloned().collect())
    }

    /// Deregisters a consumer; its subscriptions end.
    ///
    /// # Errors
    /// ResourceNotFound.
    pub fn deregister_consumer(&mut self, name: &ConsumerName<'_>) -> Result<(), KinesisError> {
        self.tick();
        let (stream, consumer) = self.find_consumer(name)?;
        let settles_at = self.now() + self.settings.consumer_ms;
        let found = self.stream_mut(&stream)?;
        if let Some(leaving) = found.consumers.get_mut(&consumer) {
            leaving.status = ConsumerStatus::Deleting;
            leaving.settles_at = settles_at;
        }
        self.tick();
        Ok(())
    }

    /// The stream's and the consumer's name.
    pub(super) fn find_consumer(&self, name: &ConsumerName<'_>) -> Result<(String, String), KinesisError> {
        let (stream, consumer, arn) = match *name {
            ConsumerName::Named { stream, consumer } => (stream.to_owned(), consumer.to_owned(), None),
            ConsumerName::Arn(arn) => {
                let (stream_arn, rest) = arn
                    .split_once("/consumer/")
                    .ok_or_else(|| ErrorKind::InvalidArgument.because(format!("ConsumerARN {arn} is not the ARN of a consumer")))?;
                let stream = super::name_in_arn(stream_arn)?;
                let consumer = rest.rsplit_once(':').map_or(rest, |(consumer, _)| consumer);
                (stream.to_owned(), consumer.to_owned(), Some(arn))
            }
        };
        let known = self.stream_ref(&stream)?.consumers.get(&consumer).is_some_and(|found| arn.is_none_or(|arn| found.arn == arn));
        if known {
            Ok((stream, consumer))
        } else {
            Err(ErrorKind::ResourceNotFound.because(format!("Consumer {consumer} of stream {stream} does not exist")))
        }
    }
}
