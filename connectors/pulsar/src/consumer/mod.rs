//! A consumer of one or more topics: what a sink reads with.
//!
//! [`Consumer::connect`] subscribes to every partition and says what refuses it; after that nothing short of [`Consumer::close`]
//! ends it: what cannot be reached is waited for. Each message is delivered until it is acknowledged, at least once. Memory is
//! bounded by a byte budget as far as the sizes of messages can be foreseen; what came beyond it is counted.

mod actor;
mod dead_letters;
mod queue;

use crate::config::ClientConfig;
use crate::driver::Dial;
use crate::facts::Facts;
use crate::machine::{Batching, Machine, Settings, Start, Subscription};
use crate::message::{DeliveredId, Message};
use crate::publisher::dialer;
use crate::topic::TopicName;
use connector_sdk::{ByteString, Clock, Error, ErrorKind, MessageId, Random, Task};
use queue::Queue;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Commands that may wait for the actor.
const WAITING_COMMANDS: usize = 1_024;

/// When a message is given up and where it goes then. For `Shared` and `Key_Shared` subscriptions: brokers do not count in others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterPolicy {
    /// After this many redeliveries.
    pub max_redeliver_count: u32,
    /// `<topic>-<subscription>-DLQ` when not given.
    pub topic: Option<String>,
}

/// What a consumer is made from.
#[derive(Clone)]
pub struct ConsumerSettings {
    /// The cluster and how to reach it.
    pub client: ClientConfig,
    /// Topics, by full or short names; of partitioned ones all partitions are read, also those added later.
    pub topics: Vec<String>,
    /// Which subscription, from where, and how it acknowledges. Its byte budget is shared by all partitions.
    pub subscription: Subscription,
    /// When a message is given up.
    pub dead_letters: Option<DeadLetterPolicy>,
    /// How often it is looked whether partitions were added.
    pub partitions_refresh: Duration,
    /// The wall clock, for publish times of dead letters.
    pub clock: Clock,
    /// For back-off.
    pub random: Random,
}

impl ConsumerSettings {
    /// One topic, with defaults for the rest.
    pub fn new(client: ClientConfig, topic: impl Into<String>, subscription: Subscription) -> Self {
        Self {
            client,
            topics: vec![topic.into()],
            subscription,
            dead_letters: None,
            partitions_refresh: Duration::from_secs(60),
            clock: Clock::system(),
            random: Random::from_system(),
        }
    }

    /// The topics, if everything fits together.
    fn validate(&self) -> Result<Vec<TopicName>, Error> {
        let subscription = &self.subscription;
        if self.topics.is_empty() {
            return Err(Error::configuration("a consumer needs at least one topic"));
        }
        if subscription.name.is_empty() {
            return Err(Error::configuration("a subscription needs a name"));
        }
        if subscription.durable && !matches!(subscription.start, Start::Earliest | Start::Latest) {
            let error = format!("a durable subscription begins at the earliest or the latest message, not at {}", subscription.start);
            return Err(Error::configuration(error).with_hint("subscribe, then seek"));
        }
        if !subscription.durable && subscription.kind.is_shared() {
            return Err(Error::configuration("a subscription that is not durable cannot be shared"));
        }
        if self.dead_letters.is_some() && !subscription.kind.is_shared() {
            return Err(Error::configuration("a dead letter topic needs a subscription of type `Shared` or `Key_Shared`")
                .with_hint("brokers count redeliveries in these only"));
        }
        if matches!(subscription.start, Start::Message { .. }) && self.topics.len() > 1 {
            return Err(Error::configuration("a message id names a place in one topic, and several topics are given"));
        }
        let mut topics: Vec<TopicName> = Vec::new();
        for name in &self.topics {
            let topic = name.parse().map_err(|error| Error::configuration(format!("{error}")))?;
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        Ok(topics)
    }

    fn dead_letter_topic(&self, topics: &[TopicName]) -> Result<Option<(TopicName, u32)>, Error> {
        let Some(policy) = &self.dead_letters else { return Ok(None) };
        let name = match &policy.topic {
            Some(name) => name.clone(),
            None => format!("{}-{}-DLQ", topics.first().map_or("", TopicName::as_str), self.subscription.name),
        };
        let topic = name.parse().map_err(|error| Error::configuration(format!("the dead letter topic: {error}")))?;
        Ok(Some((topic, policy.max_redeliver_count)))
    }
}

/// What is asked of the actor.
enum Command {
    Ack { id: DeliveredId, cumulative: bool },
    Nack(Box<Message>),
    Flush(oneshot::Sender<()>),
    Seek(SeekTo, oneshot::Sender<Result<(), Error>>),
    Last(oneshot::Sender<Result<Vec<LastMessage>, Error>>),
    Unsubscribe(oneshot::Sender<Result<(), Error>>),
}

/// Where a seek goes.
enum SeekTo {
    /// In every topic and partition.
    All(Start),
    /// To a message, in its own.
    Message(DeliveredId),
}

/// Where a topic or partition ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastMessage {
    /// The topic or partition.
    pub topic: ByteString,
    /// Its last message; `None`: there is none.
    pub id: Option<MessageId>,
}

/// A running consumer.
pub struct Consumer {
    queue: Arc<Queue>,
    commands: mpsc::Sender<Command>,
    facts: Arc<Facts>,
    stop: CancellationToken,
    task: Task<()>,
}

impl Consumer {
    /// Subscribes to every topic and partition. Waits for a cluster that cannot be reached, saying in the log for what; cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] or [`ErrorKind::Authentication`], with a hint, for what waiting does not cure.
    pub async fn connect(settings: ConsumerSettings) -> Result<Self, Error> {
        let dialer = dialer(&settings.client)?;
        Self::connect_by(settings, Arc::new(dialer)).await
    }

    async fn connect_by(settings: ConsumerSettings, dialer: Arc<dyn Dial>) -> Result<Self, Error> {
        let topics = settings.validate()?;
        let dead_letters = settings.dead_letter_topic(&topics)?;
        let mut machine_settings = Settings::new(settings.client.service()?);
        machine_settings.listener_name = settings.client.listener_name.clone();
        machine_settings.partitions_refresh = settings.partitions_refresh;
        // What the machine produces is dead letters.
        machine_settings.batching = Batching { enabled: false, ..Batching::default() };
        let facts = Arc::new(Facts::default());
        let random = fastrand::Rng::with_seed(settings.random.below(u64::MAX));
        let machine = Machine::new(machine_settings, Arc::clone(&facts), random)
            .map_err(|error| Error::transient(format!("setting up compression: {error}")))?;
        let queue = Arc::new(Queue::new(settings.subscription.budget));
        let (commands, inbox) = mpsc::channel(WAITING_COMMANDS);
        let (started, outcome) = oneshot::channel();
        let stop = CancellationToken::new();
        let parts = actor::Parts {
            machine,
            topics,
            subscription: settings.subscription,
            dead_letters,
            dialer,
            queue: Arc::clone(&queue),
            clock: settings.clock,
            stop: stop.clone(),
            inbox,
            started,
        };
        let task = Task::spawn("pulsar consumer", actor::run(parts));
        let consumer = Self { queue, commands, facts, stop, task };
        match outcome.await {
            Ok(Ok(())) => Ok(consumer),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::new(ErrorKind::Closed, "the consumer ended while it was starting")),
        }
    }

    /// The next message. Cancel-safe: one that is given up has taken nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after [`Consumer::close`] and [`Consumer::unsubscribe`]; [`ErrorKind::Configuration`], once for each,
    /// for a message that cannot be decrypted and may neither be discarded nor handed on.
    pub async fn receive(&self) -> Result<Message, Error> {
        self.queue.take().await
    }

    /// A message is done. Sent with others, soon; [`Consumer::flush`] waits for the broker's word.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after [`Consumer::close`].
    pub async fn ack(&self, id: DeliveredId) -> Result<(), Error> {
        self.tell(Command::Ack { id, cumulative: false }).await
    }

    /// A message and all before it of its topic or partition are done. For `Exclusive` and `Failover` subscriptions.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after [`Consumer::close`].
    pub async fn ack_up_to(&self, id: DeliveredId) -> Result<(), Error> {
        self.tell(Command::Ack { id, cumulative: true }).await
    }

    /// A message was not worked off: it comes again after a delay that doubles with each redelivery (in `Exclusive` and `Failover`
    /// subscriptions with everything else that is not acknowledged), or goes to the dead letter topic.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after [`Consumer::close`].
    pub async fn nack(&self, message: Message) -> Result<(), Error> {
        self.tell(Command::Nack(Box::new(message))).await
    }

    /// Waits until the broker has confirmed what was acknowledged before (of a batch that it takes whole only: once all of it was).
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after [`Consumer::close`].
    pub async fn flush(&self) -> Result<(), Error> {
        let (done, flushed) = oneshot::channel();
        self.tell(Command::Flush(done)).await?;
        flushed.await.map_err(|_| closed())
    }

    /// Goes to another place in every topic and partition; a message id only when there is but one. What was delivered before is
    /// void, and not to be acknowledged any more.
    ///
    /// # Errors
    /// What the broker refuses, and [`ErrorKind::Closed`] after [`Consumer::close`].
    pub async fn seek(&self, start: Start) -> Result<(), Error> {
        let (done, sought) = oneshot::channel();
        self.tell(Command::Seek(SeekTo::All(start), done)).await?;
        sought.await.map_err(|_| closed())?
    }

    /// Goes to a message of one topic or partition: it comes next.
    ///
    /// # Errors
    /// As [`Consumer::seek`].
    pub async fn seek_to(&self, id: DeliveredId) -> Result<(), Error> {
        let (done, sought) = oneshot::channel();
        self.tell(Command::Seek(SeekTo::Message(id), done)).await?;
        sought.await.map_err(|_| closed())?
    }

    /// The last message of every topic and partition, as of now.
    ///
    /// # Errors
    /// What the broker refuses, and [`ErrorKind::Closed`] after [`Consumer::close`].
    pub async fn last_message_ids(&self) -> Result<Vec<LastMessage>, Error> {
        let (done, last) = oneshot::channel();
        self.tell(Command::Last(done)).await?;
        last.await.map_err(|_| closed())?
    }

    /// Removes the subscription from every topic, and ends.
    ///
    /// # Errors
    /// What the broker refuses (other consumers may be connected): then the consumer goes on where it was refused.
    pub async fn unsubscribe(&self) -> Result<(), Error> {
        let (done, gone) = oneshot::channel();
        self.tell(Command::Unsubscribe(done)).await?;
        gone.await.map_err(|_| closed())?
    }

    /// Waits until the deadline for what was acknowledged to be confirmed, then ends. What was not acknowledged comes again.
    pub async fn close(&mut self, deadline: Instant) {
        // Too late: the broker delivers again what it has not heard of.
        let _flushed = tokio::time::timeout_at(deadline, self.flush()).await;
        self.stop.cancel();
        // A panic of the task is logged by the runtime.
        let _ended = self.task.join().await;
    }

    /// The consumer's own numbers.
    pub fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts)
    }

    async fn tell(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| closed())
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the consumer is closed")
}

#[cfg(test)]
#[path = "../consumer_tests/mod.rs"]
mod tests;
