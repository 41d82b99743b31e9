//! The Kinesis source as the engine sees it: connect, next, stop; and the connector's entry in the registry.
//!
//! Connecting checks everything that only the services know, and ends with the first leases taken. It never hands out a record
//! before it is asked, and never keeps a lease after it was stopped.

use crate::aws_api::AwsKinesis;
use crate::config::{KinesisSourceConfig, MetricsLevel, Settings};
use crate::coordinator::{Coordinator, CoordinatorDeps, CoordinatorSettings, CoordinatorStatus, worker_identifier};
use crate::lease::{DynamoDbTable, LeaseListing, LeaseTable, list_leases};
use crate::metrics::{CloudWatchSink, Facts as Measurements, FlushSettings, Flusher};
use crate::port::{RetrievalMode, StreamApi};
use crate::retrieval::{FanOut, FanOutSettings, LateRetrieval, Polling, PollingSettings};
use crate::shard::{Board, Outlet, QueueEnd, ReceiveQueue, Runner, ShardDeps, receive_queue};
use connector_aws::{AwsContext, AwsSettings, Endpoint, ServiceSettings, parse_region};
use connector_sdk::{
    Batch, ConnectorInfo, Error, Facts, Fence, Guarantee, Problem, Source, SourceContext, SourceFactory, SourceSettings, SourceStatus,
    SourceWatch, StopReport,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long the last metrics may take when the stop has used up its time.
const LAST_FLUSH: Duration = Duration::from_millis(500);

/// Makes Kinesis sources.
#[derive(Debug, Clone, Copy, Default)]
pub struct KinesisSourceFactory;

impl SourceFactory for KinesisSourceFactory {
    type Config = KinesisSourceConfig;
    type Validated = Settings;
    type Source = KinesisSource;

    fn info(&self) -> ConnectorInfo {
        ConnectorInfo {
            name: "kinesis",
            description: "Reads a Kinesis stream like the KCL: leases in DynamoDB, enhanced fan-out or polling",
            class_names: &["org.apache.pulsar.io.kinesis.KinesisSource"],
        }
    }

    fn sample(&self) -> Value {
        json!({
            "awsKinesisStreamName": "orders",
            "awsRegion": "eu-west-1",
            "awsCredentialPluginName": "org.apache.pulsar.io.aws.AwsDefaultProviderChainPlugin",
            "applicationName": "orders-to-pulsar",
            "initialPositionInStream": "TRIM_HORIZON",
            "checkpointInterval": 60000,
            "useEnhancedFanOut": true
        })
    }

    fn secrets(&self) -> &'static [&'static str] {
        &["awsCredentialPluginParam"]
    }

    fn validate(&self, config: Self::Config) -> Result<Settings, Vec<Problem>> {
        config.into_settings()
    }

    fn settings(&self, settings: &Settings) -> SourceSettings {
        SourceSettings {
            on_record_error: settings.on_record_error,
            dead_letter_topic: settings.dead_letter_topic.clone(),
            accept_duplicates: settings.accept_duplicates,
            receive_queue_bytes: settings.receive_queue_bytes,
            notes: settings.notes.clone(),
        }
    }

    async fn connect(&self, settings: Arc<Settings>, context: SourceContext) -> Result<KinesisSource, Error> {
        KinesisSource::connect(settings, context).await
    }
}

/// A running Kinesis source.
pub struct KinesisSource {
    queue: ReceiveQueue,
    queue_end: QueueEnd,
    coordinator: Coordinator,
    flusher: Option<Flusher>,
    watch: Arc<Watch>,
    board: Arc<Board>,
    /// Down once nothing more is to be read.
    winding_down: Fence,
    at_most_once: bool,
}

impl KinesisSource {
    async fn connect(settings: Arc<Settings>, context: SourceContext) -> Result<Self, Error> {
        let places = Places::of(&settings).map_err(|problem| Error::configuration(problem.to_string()))?;
        let aws = settings.credentials.connect(&places.region).await?;
        let kinesis = Arc::new(AwsKinesis::new(&aws, places.kinesis, &settings.stream, settings.stream_arn.as_deref()));
        let stream = kinesis.describe().await?;
        let worker = worker_identifier(&context.identity, settings.leases.worker_identifier.as_deref(), &context.random);
        let facts = Measurements::new(settings.metrics.level, worker.clone());
        let (queue, queue_end) = receive_queue(settings.receive_queue_size);
        let board = Arc::new(Board::default());
        let winding_down = Fence::new();
        let reading = LateRetrieval::default();
        let shards = ShardDeps::new(
            &settings,
            &context,
            &stream,
            Arc::new(reading.clone()),
            Outlet { queue: queue.clone(), board: Arc::clone(&board), winding_down: winding_down.clone() },
            facts.clone(),
        );
        let deps = CoordinatorDeps {
            stream: Arc::<AwsKinesis>::clone(&kinesis),
            table: lease_table(&aws, places.dynamodb, &settings),
            runner: Arc::new(Runner(Arc::new(shards))),
            identity: context.identity.clone(),
            clock: context.clock.clone(),
            uptime: context.uptime.clone(),
            random: context.random.clone(),
            facts: facts.clone(),
            failures: context.failures.clone(),
        };
        let wishes = CoordinatorSettings {
            worker,
            application: settings.application.clone(),
            initial_position: settings.initial_position,
            leases: settings.leases.clone(),
            topic: context.destination.clone(),
            guarantee: context.guarantee,
        };
        // A fan-out consumer becomes active while the lease table is made ready: both take AWS seconds. The first refusal ends both,
        // and no lease is taken before both are there.
        let retrieval = retrieval(Arc::clone(&kinesis), &settings, &facts, &context);
        let (prepared, retrieval) = tokio::try_join!(Coordinator::prepare(deps, wishes), retrieval)?;
        reading.is(retrieval);
        let coordinator = prepared.begin();
        let flusher = (settings.metrics.level != MetricsLevel::None).then(|| {
            let sink = CloudWatchSink::new(&aws, places.cloudwatch, settings.application.name.clone());
            let flush = FlushSettings { buffer_time: settings.metrics.buffer_time, max_queue_size: settings.metrics.max_queue_size };
            Flusher::start(facts.clone(), Arc::new(sink), flush, context.clock.clone())
        });
        let watch = Arc::new(Watch { board: Arc::clone(&board), facts, coordinator: coordinator.status() });
        let at_most_once = context.guarantee == Guarantee::AtMostOnce;
        Ok(Self { queue, queue_end, coordinator, flusher, watch, board, winding_down, at_most_once })
    }
}

impl Source for KinesisSource {
    async fn next(&mut self) -> Result<Option<Batch>, Error> {
        if self.winding_down.has_fallen() && !self.at_most_once {
            return Ok(None);
        }
        let drained = async {
            self.winding_down.fallen().await;
            self.board.drained().await;
        };
        tokio::select! {
            biased;
            batch = self.queue_end.take() => return Ok(batch),
            error = self.coordinator.run() => return Err(error),
            () = drained => {}
        }
        Ok(self.queue_end.take_now())
    }

    fn wind_down(&mut self) {
        self.winding_down.fall();
        if !self.at_most_once {
            self.queue.close();
            self.queue_end.clear();
        }
    }

    async fn stop(&mut self, deadline: Instant) -> StopReport {
        self.wind_down();
        self.queue.close();
        self.queue_end.clear();
        let ended = self.coordinator.stop(deadline).await;
        // The board counts also what ended in another way than it was asked to.
        let beyond = self.board.beyond_checkpoint();
        let (replayed, lost) = if self.at_most_once { (0, beyond + self.board.lost_records()) } else { (beyond, 0) };
        if let Some(flusher) = self.flusher.take() {
            flusher.stop(deadline.max(Instant::now() + LAST_FLUSH)).await;
        }
        StopReport { replayed, lost, troubles: ended.troubles }
    }

    fn watch(&self) -> Arc<dyn SourceWatch> {
        Arc::<Watch>::clone(&self.watch)
    }
}

/// Where the services are.
struct Places {
    region: AwsSettings,
    kinesis: Option<Endpoint>,
    dynamodb: Option<Endpoint>,
    cloudwatch: Option<Endpoint>,
}

impl Places {
    fn of(settings: &Settings) -> Result<Self, Problem> {
        let endpoints = &settings.endpoints;
        let place = |key: &str, address: &Option<String>| address.as_deref().map(|address| Endpoint::parse(key, address)).transpose();
        Ok(Self {
            region: AwsSettings { region: endpoints.region.as_deref().map(|region| parse_region("awsRegion", region)).transpose()? },
            kinesis: place("awsEndpoint", &endpoints.kinesis)?,
            dynamodb: place("dynamoEndpoint", &endpoints.dynamodb)?,
            cloudwatch: place("cloudwatchEndpoint", &endpoints.cloudwatch)?,
        })
    }
}

fn lease_table(aws: &AwsContext, endpoint: Option<Endpoint>, settings: &Settings) -> Arc<dyn LeaseTable> {
    let service = ServiceSettings { endpoint, ..ServiceSettings::default() };
    let client = aws_sdk_dynamodb::Client::new(&aws.service(&service));
    Arc::new(DynamoDbTable::new(client, settings.leases.table_name.clone(), settings.leases.consistent_reads))
}

/// The leases of the source's table, for a person to look at. Reads only, and registers nothing.
///
/// # Errors
/// What the credentials or DynamoDB answer.
pub async fn leases(settings: &Settings) -> Result<LeaseListing, Error> {
    let places = Places::of(settings).map_err(|problem| Error::configuration(problem.to_string()))?;
    let aws = settings.credentials.connect(&places.region).await?;
    let table = lease_table(&aws, places.dynamodb, settings);
    // Who may not look whether it exists may still be allowed to read it.
    if let Ok(false) = table.exists(table.name()).await {
        let message = format!("there is no lease table `{}` yet", table.name());
        let hint = "the source makes it at its first start; else check `applicationName`, `leaseTableName`, the region and the endpoint";
        return Err(Error::configuration(message).with_hint(hint));
    }
    list_leases(&*table).await
}

async fn retrieval(
    kinesis: Arc<AwsKinesis>,
    settings: &Settings,
    facts: &Measurements,
    context: &SourceContext,
) -> Result<Arc<dyn RetrievalMode>, Error> {
    let wanted = &settings.retrieval;
    if wanted.enhanced_fan_out {
        let consumer = kinesis.consumer(&wanted.consumer_name, wanted.consumer_arn.as_deref()).await?;
        return Ok(Arc::new(FanOut::new(Arc::new(consumer), FanOutSettings::default(), facts.clone(), context.random.clone())));
    }
    let polling = PollingSettings { max_records: wanted.max_records, idle_time_between_reads: wanted.idle_time_between_reads };
    Ok(Arc::new(Polling::new(kinesis, polling, facts.clone(), context.random.clone())))
}

/// What can be seen of the source.
struct Watch {
    board: Arc<Board>,
    facts: Measurements,
    coordinator: Arc<CoordinatorStatus>,
}

impl SourceWatch for Watch {
    fn status(&self) -> SourceStatus {
        let views = self.board.views();
        let (losses, _) = self.board.losses();
        let waiting_for = views.iter().find_map(|(_, view)| view.waiting_for.clone());
        SourceStatus {
            partitions_held: self.coordinator.leases_held() as u64,
            millis_behind: views.iter().filter_map(|(_, view)| view.millis_behind).max(),
            beyond_checkpoint: self.board.beyond_checkpoint(),
            parked: views.into_iter().filter_map(|(_, view)| view.parked).collect(),
            waiting_for: self.coordinator.waiting_for().or(waiting_for),
            losses,
            doubles: self.board.doubles(),
        }
    }

    fn facts(&self) -> Facts {
        let mut facts = self.facts.measurements();
        facts.0.push(("kinesis_expired_spans_total", None, self.board.losses().1 as f64));
        facts.0.push(("kinesis_lost_records_total", None, self.board.lost_records() as f64));
        facts
    }
}
