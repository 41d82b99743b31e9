//! The sink end of a source: one publisher for an instance, shared by all its partitions.
//!
//! [`Publisher::connect`] opens the topic and says what refuses it; after that nothing short of [`Publisher::close`] ends it: what
//! cannot be reached is waited for. Room is reserved first, in records and in bytes; what is submitted then cannot fail, keeps its
//! order, and is resolved through its handle by the broker's receipt.

use crate::auth::{self, Authentication};
use crate::config::{ClientConfig, ProducerConfig};
use crate::crypto::Sealer;
use crate::driver::{Dial, Dialer, actor};
use crate::exact::Exact;
use crate::facts::Facts;
use crate::machine::{Batching, Charge, Machine, Settings};
use crate::policy::Policy;
use crate::schema::SchemaConfig;
use crate::topic::TopicName;
use crate::wire::compression::Compression;
use connector_sdk::{
    Batch, Clock, Error, ErrorKind, Guarantee, Identity, Lineages, OnRecordError, Random, Record, Sink, SinkWatch, Task, WriteRoom,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Batches that may wait for the actor; the real bounds are those in records and bytes.
const WAITING_BATCHES: usize = 256;
/// Records on their way when `producerConfig` does not say.
const DEFAULT_PENDING_RECORDS: usize = 50_000;
/// Of the bytes on their way, the part that is written and not answered: 16 MiB of 64 are a tenth of a second of the fastest broker that
/// `make bench` has met.
const UNANSWERED_PART: usize = 4;
/// For TCP and TLS, below the machine's own deadline for the whole handshake.
const DIAL_DEADLINE: Duration = Duration::from_secs(8);

/// What a publisher is made from.
#[derive(Debug, Clone)]
pub struct PublisherSettings {
    /// The cluster and how to reach it.
    pub client: ClientConfig,
    /// The destination, by full or short name.
    pub topic: String,
    /// The `producerConfig` of the source; absent is not the same as empty.
    pub producer: Option<ProducerConfig>,
    /// What the payloads are.
    pub schema: SchemaConfig,
    /// What is promised.
    pub guarantee: Guarantee,
    /// For [`Guarantee::EffectivelyOnce`].
    pub exactly_once: Option<ExactlyOnce>,
    /// What is done with a record that cannot be stored.
    pub on_record_error: OnRecordError,
    /// For [`OnRecordError::DeadLetter`].
    pub dead_letter_topic: Option<String>,
    /// Bytes on their way to the broker, at most (a larger record goes alone); a quarter of them written and not answered.
    pub max_pending_bytes: usize,
    /// Who we are, for the producer's properties.
    pub identity: Identity,
    /// The wall clock, for publish times.
    pub clock: Clock,
    /// For back-off and for where round robin begins.
    pub random: Random,
}

/// What EFFECTIVELY_ONCE needs beside.
#[derive(Debug, Clone)]
pub struct ExactlyOnce {
    /// Shared with the source.
    pub lineages: Lineages,
    /// Whether to go on, perhaps doubling, where nobody can know what is stored.
    pub accept_duplicates: bool,
}

/// What is handed to the actor.
pub(crate) enum Submission {
    Batch { batch: Batch, charge: Charge },
    Flush(oneshot::Sender<()>),
}

/// What the publisher, its permits and its watchers share.
pub(crate) struct Shared {
    pub(crate) facts: Arc<Facts>,
    records: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    most_records: usize,
    most_bytes: usize,
    waiting: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn free(&self, charge: Charge) {
        self.records.add_permits(charge.records);
        self.bytes.add_permits(charge.bytes);
    }

    /// Whoever waits for room hears that there will be none.
    pub(crate) fn end(&self) {
        self.records.close();
        self.bytes.close();
    }

    /// Whether nothing is reserved, submitted or unresolved.
    fn is_empty(&self) -> bool {
        self.records.available_permits() == self.most_records && self.bytes.available_permits() == self.most_bytes
    }

    pub(crate) fn set_waiting(&self, waiting: Option<String>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }
}

/// A running publisher.
pub struct Publisher {
    shared: Arc<Shared>,
    submissions: mpsc::Sender<Submission>,
    stop: CancellationToken,
    task: Task<()>,
}

/// Room for records; dropping it frees the room.
#[must_use = "a dropped permit frees its room"]
pub struct Permit {
    slot: mpsc::OwnedPermit<Submission>,
    records: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
}

impl Permit {
    /// Takes the duty for the records. Cannot fail; batches are published in the order of their submission, and the batch's
    /// handle is the ticket that each receipt resolves.
    pub fn submit(self, batch: Batch) {
        let charge = Charge { records: self.records.num_permits(), bytes: self.bytes.num_permits() };
        // From here on the room is freed by the records' receipts.
        self.records.forget();
        self.bytes.forget();
        self.slot.send(Submission::Batch { batch, charge });
    }
}

impl Publisher {
    /// Opens the topic (its first partition). Waits for a cluster that cannot be reached, saying in the log for what; cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] or [`ErrorKind::Authentication`], with a hint, for what waiting does not cure: settings that
    /// do not validate, credentials or certificates refused, a topic or namespace that is not there or not allowed.
    pub async fn connect(settings: PublisherSettings) -> Result<Self, Error> {
        let dialer = dialer(&settings.client)?;
        Self::connect_by(settings, Arc::new(dialer)).await
    }

    pub(crate) async fn connect_by(settings: PublisherSettings, dialer: Arc<dyn Dial>) -> Result<Self, Error> {
        let (publisher, started) = Self::start(settings, dialer)?;
        match started.await {
            Ok(Ok(())) => Ok(publisher),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::new(ErrorKind::Closed, "the publisher ended while it was starting")),
        }
    }

    fn start(settings: PublisherSettings, dialer: Arc<dyn Dial>) -> Result<(Self, oneshot::Receiver<Result<(), Error>>), Error> {
        if let Some(problem) = settings.producer.iter().flat_map(|producer| producer.validate(settings.guarantee)).next() {
            return Err(Error::configuration(problem.under("producerConfig").to_string()));
        }
        let declared = settings.schema.declared().map_err(|problem| Error::configuration(problem.to_string()))?;
        let crypto = settings.producer.as_ref().and_then(ProducerConfig::crypto).cloned();
        let chunking = settings.producer.as_ref().is_some_and(ProducerConfig::chunks);
        let service = settings.client.service()?;
        let topic: TopicName = settings.topic.parse().map_err(|error| Error::configuration(format!("{error}")))?;
        let dead_letter_topic = match settings.dead_letter_topic.as_deref() {
            Some(name) => Some(name.parse::<TopicName>().map_err(|error| Error::configuration(format!("{error}")))?),
            None => None,
        };
        let checkpoints_first = settings.guarantee == Guarantee::AtMostOnce;
        let policy = Policy::new(&settings.identity, settings.on_record_error, dead_letter_topic, checkpoints_first, chunking);
        let producer = settings.producer.as_ref();
        let batching = producer.map_or_else(Batching::default, ProducerConfig::batching);

        let mut machine_settings = Settings::new(service.clone());
        machine_settings.listener_name = settings.client.listener_name.clone();
        machine_settings.compression = producer.map_or(Compression::default(), ProducerConfig::compression);
        machine_settings.batching = batching;
        machine_settings.chunking = chunking;
        machine_settings.declared = declared.clone();
        machine_settings.sealer = crypto.as_ref().map(Sealer::new).transpose()?.map(Arc::new);
        machine_settings.resend = !checkpoints_first;
        machine_settings.unanswered_bytes = settings.max_pending_bytes / UNANSWERED_PART;
        machine_settings.producer_properties = properties(&settings.identity);
        let facts = Arc::new(Facts::default());
        let random = fastrand::Rng::with_seed(settings.random.below(u64::MAX));
        let machine = Machine::new(machine_settings, Arc::clone(&facts), random)
            .map_err(|error| Error::transient(format!("setting up compression: {error}")))?;

        let most_records = producer.and_then(ProducerConfig::pending_records).unwrap_or(DEFAULT_PENDING_RECORDS).min(PERMITS);
        let most_bytes = settings.max_pending_bytes.clamp(1, PERMITS);
        let shared = Arc::new(Shared {
            facts,
            records: Arc::new(Semaphore::new(most_records)),
            bytes: Arc::new(Semaphore::new(most_bytes)),
            most_records,
            most_bytes,
            waiting: Mutex::new(Some(format!("the cluster at `{service}`"))),
        });
        let exact = settings.exactly_once.map(|exactly| {
            let hashing = producer.map(|producer| producer.hashing_scheme).unwrap_or_default();
            Exact::new(exactly.lineages, topic.clone(), hashing.name(), exactly.accept_duplicates)
        });
        let (submissions, queue) = mpsc::channel(WAITING_BATCHES);
        let (started, outcome) = oneshot::channel();
        let stop = CancellationToken::new();
        let parts = actor::Parts {
            machine,
            topic,
            declared,
            crypto,
            policy,
            exact,
            scheme: producer.map(|producer| producer.hashing_scheme).unwrap_or_default(),
            window: batching.enabled.then(|| producer.map_or(batching.delay * 10, |producer| producer.round_robin_window())),
            dialer,
            shared: Arc::clone(&shared),
            clock: settings.clock,
            first: settings.random.below(u64::from(u32::MAX)),
            stop: stop.clone(),
            submissions: queue,
            started,
        };
        let task = Task::spawn("pulsar publisher", actor::run(parts));
        Ok((Self { shared, submissions, stop, task }, outcome))
    }

    /// Waits for room for this many records of this many bytes in all ([`Record::cost`]). What exceeds all the room there is
    /// waits until nothing else is on its way, and passes alone. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after [`Publisher::close`].
    pub async fn reserve(&self, records: usize, bytes: usize) -> Result<Permit, Error> {
        let closed = || Error::new(ErrorKind::Closed, "the publisher is closed");
        let take = |wanted: usize, most: usize| u32::try_from(wanted.min(most)).unwrap_or(u32::MAX);
        if self.task.is_finished() {
            return Err(closed());
        }
        let wanted = take(records, self.shared.most_records);
        let records = Arc::clone(&self.shared.records).acquire_many_owned(wanted).await.map_err(|_| closed())?;
        let wanted = take(bytes, self.shared.most_bytes);
        let bytes = Arc::clone(&self.shared.bytes).acquire_many_owned(wanted).await.map_err(|_| closed())?;
        let slot = self.submissions.clone().reserve_owned().await.map_err(|_| closed())?;
        Ok(Permit { slot, records, bytes })
    }

    /// Sends what is collected and waits until everything submitted before is resolved. Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after [`Publisher::close`].
    pub async fn flush(&self) -> Result<(), Error> {
        let closed = || Error::new(ErrorKind::Closed, "the publisher is closed");
        let (done, flushed) = oneshot::channel();
        self.submissions.send(Submission::Flush(done)).await.map_err(|_| closed())?;
        flushed.await.map_err(|_| closed())
    }

    /// Flushes until the deadline, then ends; what is unresolved by then is given back.
    pub async fn close(&mut self, deadline: Instant) {
        if !self.shared.is_empty() {
            // Too late or closed already: what is left is given back below.
            let _flushed = tokio::time::timeout_at(deadline, self.flush()).await;
        }
        self.stop.cancel();
        // A panic of the task is logged by the runtime; its records were given back by their drop.
        let _ended = self.task.join().await;
    }

    /// The publisher's own numbers.
    pub fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.shared.facts)
    }
}

/// The way to the cluster that the settings describe.
pub(crate) fn dialer(client: &ClientConfig) -> Result<Dialer, Error> {
    if let Some(problem) = client.validate().into_iter().next() {
        return Err(Error::configuration(problem.to_string()));
    }
    let auth: Arc<dyn Authentication> = auth::from_plugin(client.auth_plugin.as_deref(), client.auth_params())
        .map_err(|problem| Error::configuration(problem.to_string()))?;
    Ok(Dialer {
        tls: client.service()?.tls,
        trust_file: client.tls_trust_certs_file_path.clone().map(Into::into),
        insecure: client.tls_allow_insecure_connection,
        verify_hostname: client.tls_hostname_verification_enable,
        auth,
        deadline: DIAL_DEADLINE,
    })
}

/// More than this many permits a semaphore is not asked for at once.
const PERMITS: usize = u32::MAX as usize >> 1;

impl Sink for Publisher {
    async fn write(&mut self, batch: Batch) -> Result<(), Error> {
        let bytes = batch.records.iter().map(Record::cost).sum();
        let permit = self.reserve(batch.records.len(), bytes).await?;
        permit.submit(batch);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Self::flush(self).await
    }

    async fn close(&mut self, deadline: Instant) {
        Self::close(self, deadline).await;
    }

    fn watch(&self) -> Arc<dyn SinkWatch> {
        let shared: Arc<dyn SinkWatch> = Arc::<Shared>::clone(&self.shared);
        shared
    }
}

impl SinkWatch for Shared {
    fn in_flight(&self) -> u64 {
        self.facts.in_flight_records.get()
    }

    fn written(&self) -> u64 {
        self.facts.stored_records.get()
    }

    fn room(&self) -> WriteRoom {
        let full = self.records.available_permits() == 0 || self.bytes.available_permits() < self.most_bytes / 64;
        if full { WriteRoom::Full } else { WriteRoom::Free }
    }

    fn waiting_for(&self) -> Option<String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn facts(&self) -> connector_sdk::Facts {
        self.facts.export()
    }
}

fn properties(identity: &Identity) -> Vec<(String, String)> {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| String::new(), |name| name.trim().to_owned());
    vec![
        ("application".to_owned(), "pulsar-source".to_owned()),
        ("id".to_owned(), identity.full_name()),
        ("instance_id".to_owned(), identity.instance.to_string()),
        ("instance_hostname".to_owned(), hostname),
    ]
}

#[cfg(test)]
#[path = "publisher_tests/mod.rs"]
mod tests;
