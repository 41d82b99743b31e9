//! A shard under a lease in memory, with scripted answers and paused time: what is handed on, what is stored, and when.
#![allow(clippy::unwrap_used)]

use super::decode::MessageForm;
use super::{Board, QueueEnd, Runner, ShardDeps, receive_queue};
use crate::config::{InitialPosition, MessageKeyMode, MetricsLevel, RecordProperty};
use crate::coordinator::{RunningShard, ShardEnd, ShardRunner};
use crate::ids::{Checkpoint, HashRange, SequenceNumber, ShardId};
use crate::lease::{Claimant, Fault, HeldLease, Lease, LeaseTable, MemoryTable, OperationKind, StreamMark, Taken, Worker};
use crate::metrics::Facts;
use crate::port::{ChildShard, Encryption, FetchError, Fetched, RawRecord, Retrieval, RetrievalMode, StartAt};
use bytes::Bytes;
use connector_sdk::{Batch, ByteBudget, Clock, Error, ErrorKind, Failures, Fence, Guarantee, Lineages, Share};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

pub(super) const SHARD: &str = "shardId-000000000000";
pub(super) const NOW: u64 = 1_700_000_000_000;

/// One answer of the script: sequence numbers, how far behind, children at the end.
#[derive(Clone)]
pub(super) enum Answer {
    Records(Vec<u64>, u64),
    End(Vec<&'static str>),
    /// The last records and the end in one answer.
    Last(Vec<u64>, Vec<&'static str>),
    Fail,
}

#[derive(Clone, Default)]
pub(super) struct Script {
    pub(super) answers: Arc<Mutex<VecDeque<Answer>>>,
    opened_at: Arc<Mutex<Vec<StartAt>>>,
    rests: Arc<Mutex<u32>>,
    more: Arc<Notify>,
}

struct Scripted {
    script: Script,
    share: Share,
}

impl RetrievalMode for Script {
    fn open(&self, _shard: &ShardId, start: StartAt, share: Share) -> Box<dyn Retrieval> {
        self.opened_at.lock().unwrap().push(start);
        Box::new(Scripted { script: self.clone(), share })
    }
}

fn record(number: u64) -> RawRecord {
    RawRecord {
        sequence: SequenceNumber::parse(number.to_string()).unwrap(),
        partition_key: Some(format!("key-{number}").into()),
        data: Bytes::from(vec![0xff; 100]),
        arrived_at: Some(NOW - 5),
        encryption: Encryption::None,
    }
}

impl Retrieval for Scripted {
    fn fetch(&mut self) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let answer = loop {
                let more = self.script.more.notified();
                if let Some(answer) = self.script.answers.lock().unwrap().pop_front() {
                    break answer;
                }
                more.await;
            };
            let (numbers, millis_behind, children, end) = match answer {
                Answer::Fail => return Err(FetchError::Failed(Error::transient("kinesis is away"))),
                Answer::Records(numbers, behind) => (numbers, behind, Vec::new(), false),
                Answer::Last(numbers, children) => (numbers, 0, children, true),
                Answer::End(children) => (Vec::new(), 0, children, true),
            };
            let records: Vec<RawRecord> = numbers.into_iter().map(record).collect();
            let reservation = self.share.reserve(records.iter().map(RawRecord::cost).sum()).await;
            let range = HashRange { start: 0, end: u128::MAX };
            let children = children.into_iter().map(|id| ChildShard { id: id.into(), parents: vec![SHARD.into()], range }).collect();
            Ok(Fetched { records, millis_behind, children, end, reservation })
        })
    }

    fn rest(&mut self) {
        *self.script.rests.lock().unwrap() += 1;
    }
}

pub(super) struct World {
    pub(super) table: Arc<MemoryTable>,
    pub(super) lease: Arc<HeldLease>,
    pub(super) script: Script,
    pub(super) queue: QueueEnd,
    pub(super) board: Arc<Board>,
    pub(super) budget: ByteBudget,
    pub(super) failures: Arc<Mutex<Vec<String>>>,
    pub(super) winding_down: Fence,
    pub(super) shard: Box<dyn RunningShard>,
}

/// A row that nobody has read.
pub(super) fn row(checkpoint: &str) -> Lease {
    Lease {
        shard: SHARD.into(),
        owner: None,
        counter: 0,
        owner_switches: 0,
        checkpoint: Checkpoint::parse(checkpoint, 0).unwrap(),
        pending: false,
        parents: Vec::new(),
        children: Vec::new(),
        range: Some(HashRange { start: 0, end: u128::MAX }),
        checkpoint_owner: None,
        has_3x_attributes: false,
        pulsar_connect: None,
    }
}

async fn world(guarantee: Guarantee, checkpoint: &str, answers: Vec<Answer>) -> World {
    let table = Arc::new(MemoryTable::new("orders"));
    table.create(&row(checkpoint)).await.unwrap();
    let claimant = claimant(&table, "w", guarantee, Clock::from_fn(|| 0));
    let Taken::Held(lease) = claimant.take(&row(checkpoint), None, None).await.unwrap() else { panic!("the lease is free") };
    run(table, lease, Lineages::default(), Clock::from_fn(|| NOW), answers)
}

/// A process that takes leases; its name tells its writes from those of others.
pub(super) fn claimant(table: &Arc<MemoryTable>, name: &str, guarantee: Guarantee, uptime: Clock) -> Arc<Claimant> {
    let worker = Worker {
        id: "worker".into(),
        writer: "public/default/orders".into(),
        stream: StreamMark { arn: "arn".into(), created_at: 1 },
        topic: "persistent://public/default/orders".into(),
        failover: Duration::from_secs(10),
        initial_position: InitialPosition::TrimHorizon,
        write_prefix: name.to_owned(),
        guarantee,
        uptime,
    };
    Claimant::new(Arc::<MemoryTable>::clone(table), worker)
}

/// Runs the shard of a lease.
pub(super) fn run(table: Arc<MemoryTable>, lease: Arc<HeldLease>, lineages: Lineages, clock: Clock, answers: Vec<Answer>) -> World {
    let script = Script::default();
    script.answers.lock().unwrap().extend(answers);
    let (queue_in, queue) = receive_queue(1_000);
    let (failures, winding_down) = (Arc::new(Mutex::new(Vec::new())), Fence::new());
    let told = Arc::clone(&failures);
    let (board, budget) = (Arc::new(Board::default()), ByteBudget::new(1 << 20));
    let deps = ShardDeps {
        retrieval: Arc::new(script.clone()),
        queue: queue_in,
        board: Arc::clone(&board),
        facts: Facts::new(MetricsLevel::None, "worker"),
        failures: Failures::to(move |error| told.lock().unwrap().push(error.to_string())),
        winding_down: winding_down.clone(),
        budget: budget.clone(),
        clock,
        guarantee: lease.guarantee(),
        lineages,
        form: MessageForm { properties: vec![RecordProperty::SequenceNumber], key_mode: MessageKeyMode::PartitionKey },
        initial_position: InitialPosition::TrimHorizon,
        checkpoint_interval: Duration::from_secs(5),
        backoff_time: Duration::from_secs(1),
        num_retries: 3,
        stream: "orders".into(),
        retention_hours: 24,
    };
    let shard = Runner(Arc::new(deps)).start(Arc::clone(&lease));
    World { table, lease, script, queue, board, budget, failures, winding_down, shard }
}

impl World {
    /// The next batch within a second of paused time.
    pub(super) async fn batch(&mut self) -> Option<Batch> {
        tokio::time::timeout(Duration::from_secs(1), self.queue.take()).await.ok().flatten()
    }

    pub(super) fn stored(&self) -> String {
        self.table.lease(SHARD).unwrap().checkpoint.text().to_owned()
    }

    pub(super) async fn stop(mut self) -> (u64, Self) {
        let stopped = self.shard.stop(Instant::now() + Duration::from_secs(5)).await;
        (stopped.beyond_checkpoint, self)
    }

    /// One more answer, to a retrieval that has come to the end of its script.
    pub(super) fn resume(&self, answer: Answer) {
        self.script.answers.lock().unwrap().push_back(answer);
        self.script.more.notify_one();
    }

    /// Keeps the lease alive for a while.
    pub(super) async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            sleep(Duration::from_secs(1)).await;
            self.lease.renew().await.unwrap();
        }
    }
}

pub(super) fn numbers(batch: &Batch) -> Vec<String> {
    batch.records.iter().map(|record| record.label.position.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn only_the_settled_prefix_is_stored_and_at_the_interval() {
    let mut world = world(Guarantee::AtLeastOnce, "TRIM_HORIZON", vec![Answer::Records(vec![1, 2, 3, 4], 0)]).await;
    let Batch { mut handle, .. } = world.batch().await.unwrap();
    let (first, second) = (handle.split_to(1), handle.split_to(1));
    handle.ack();
    world.pass(6).await;
    assert_eq!(world.stored(), "TRIM_HORIZON", "records 1 and 2 are not settled");
    first.ack();
    world.pass(6).await;
    assert_eq!(world.stored(), "1");
    second.ack();
    world.pass(6).await;
    assert_eq!(world.stored(), "4");
    assert_eq!(world.budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_stores_exactly_what_was_settled() {
    let mut world = world(Guarantee::AtLeastOnce, "TRIM_HORIZON", vec![Answer::Records(vec![1, 2, 3], 0)]).await;
    let Batch { mut handle, .. } = world.batch().await.unwrap();
    handle.split_to(2).ack();
    handle.give_back();
    let (beyond, world) = world.stop().await;
    assert_eq!((world.stored().as_str(), beyond), ("2", 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_at_the_deadline_is_counted_as_replayed() {
    let mut world = world(Guarantee::AtLeastOnce, "TRIM_HORIZON", vec![Answer::Records(vec![1, 2, 3], 0)]).await;
    let Batch { mut handle, .. } = world.batch().await.unwrap();
    let first = handle.split_to(1);
    handle.ack();
    let (beyond, world) = world.stop().await;
    assert_eq!((world.stored().as_str(), beyond), ("TRIM_HORIZON", 3), "one unknown, two settled behind it");
    assert!(first.is_fenced(), "what was not written by then is not written any more");
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn a_restart_reads_at_the_checkpointed_record_and_drops_what_it_covers() {
    let mut world = world(Guarantee::AtLeastOnce, "2", vec![Answer::Records(vec![2, 3], 0)]).await;
    let batch = world.batch().await.unwrap();
    assert_eq!(numbers(&batch), ["3"]);
    assert_eq!(*world.script.opened_at.lock().unwrap(), [StartAt::Sequence(SequenceNumber::parse("2").unwrap())]);
    batch.handle.ack();
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_stored_parks_the_shard_and_holds_no_bytes() {
    let answers = vec![Answer::Records(vec![1, 2, 3], 50), Answer::Records(vec![4, 5], 0)];
    let mut world = world(Guarantee::AtLeastOnce, "TRIM_HORIZON", answers).await;
    let Batch { mut handle, .. } = world.batch().await.unwrap();
    handle.split_to(1).ack();
    handle.split_to(1).fail(Error::new(ErrorKind::Data, "too large"));
    sleep(Duration::from_millis(10)).await;
    assert!(handle.is_fenced(), "what stands behind the record is not written");
    handle.give_back();
    world.pass(30).await;
    assert!(world.batch().await.is_none(), "what was fetched behind the record is dropped");
    assert_eq!((world.stored().as_str(), world.budget.used()), ("1", 0));
    let parked = world.board.views()[0].1.parked.clone().unwrap();
    assert_eq!((parked.record.as_str(), parked.reason.as_str()), ("2/0", "too large"));
    assert!(world.shard.ended().now_or_never().is_none(), "the shard stays, and so does its lease");
    assert!(!world.lease.fence().has_fallen());
}

#[tokio::test(start_paused = true)]
async fn a_shard_ends_only_when_its_last_record_is_settled() {
    let answers = vec![Answer::Records(vec![1, 2], 0), Answer::End(vec!["shardId-000000000001", "shardId-000000000002"])];
    let mut world = world(Guarantee::AtLeastOnce, "TRIM_HORIZON", answers).await;
    let batch = world.batch().await.unwrap();
    world.pass(3).await;
    assert!(world.table.lease("shardId-000000000001").is_none(), "no child while a record is on its way");
    batch.handle.ack();
    assert!(matches!(world.shard.ended().await, ShardEnd::Finished));
    assert_eq!(world.stored(), "SHARD_END");
    let child = world.table.lease("shardId-000000000002").unwrap();
    assert_eq!((child.checkpoint, child.parents), (Checkpoint::TrimHorizon, vec![SHARD.into()]));
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_cuts_out_what_was_not_handed_over() {
    let answers = vec![Answer::Records(vec![1, 2], 0), Answer::Records(vec![3], 0)];
    let mut world = world(Guarantee::AtLeastOnce, "TRIM_HORIZON", answers).await;
    let batch = world.batch().await.unwrap();
    sleep(Duration::from_millis(10)).await;
    world.lease.fence().fall();
    assert!(matches!(world.shard.ended().await, ShardEnd::LeaseLost));
    assert!(batch.handle.is_fenced());
    assert!(world.batch().await.is_none(), "record 3 waited in the queue");
    batch.handle.ack();
    assert_eq!(world.stored(), "TRIM_HORIZON", "nothing is stored after the loss");
    assert_eq!(world.board.beyond_checkpoint(), 0, "what comes again comes from the new owner, not from a stop of this one");
    assert_eq!(world.budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn at_most_once_hands_on_only_what_a_stored_checkpoint_covers() {
    let mut world = world(Guarantee::AtMostOnce, "TRIM_HORIZON", vec![Answer::Records(vec![1, 2, 3], 0)]).await;
    let refuse = Arc::new(Mutex::new(true));
    let refusing = Arc::clone(&refuse);
    // The shard has not run yet: on this one thread it first runs at the next wait.
    world
        .table
        .set_hook(move |operation| (operation.kind == OperationKind::Update && *refusing.lock().unwrap()).then_some(Fault::Throttled));
    assert!(world.batch().await.is_none(), "no checkpoint is stored yet");
    *refuse.lock().unwrap() = false;
    sleep(Duration::from_secs(2)).await;
    let batch = world.batch().await.unwrap();
    assert_eq!(world.stored(), "3");
    assert_eq!(batch.records.len(), 3);
    batch.handle.ack();
}

#[tokio::test(start_paused = true)]
async fn at_most_once_counts_what_may_be_lost_at_a_stop() {
    let mut world = world(Guarantee::AtMostOnce, "TRIM_HORIZON", vec![Answer::Records(vec![1, 2, 3], 0)]).await;
    let Batch { mut handle, .. } = world.batch().await.unwrap();
    assert_eq!(world.stored(), "3");
    handle.split_to(1).ack();
    handle.give_back();
    let (lost, world) = world.stop().await;
    assert_eq!((lost, world.stored().as_str()), (2, "3"));
}

#[tokio::test(start_paused = true)]
async fn reading_that_failed_goes_on_behind_the_last_record_and_is_told() {
    let answers = vec![Answer::Records(vec![1, 2], 0), Answer::Fail, Answer::Records(vec![3], 0)];
    let mut world = world(Guarantee::AtLeastOnce, "TRIM_HORIZON", answers).await;
    let first = world.batch().await.unwrap();
    let second = world.batch().await;
    assert!(second.is_none(), "not before a pause");
    world.pass(2).await;
    assert_eq!(numbers(&world.batch().await.unwrap()), ["3"]);
    let opened = world.script.opened_at.lock().unwrap().clone();
    assert_eq!(opened, [StartAt::TrimHorizon, StartAt::After(SequenceNumber::parse("2").unwrap())], "nothing is read twice");
    assert_eq!(world.failures.lock().unwrap().len(), 1);
    first.handle.ack();
}

#[tokio::test(start_paused = true)]
async fn winding_down_hands_on_what_is_covered_and_drops_what_comes_again() {
    for (guarantee, expected) in [(Guarantee::AtLeastOnce, 1_000), (Guarantee::AtMostOnce, 2_500)] {
        let many: Vec<u64> = (1..=2_500).collect();
        let mut world = world(guarantee, "TRIM_HORIZON", vec![Answer::Records(many, 0)]).await;
        let first = world.batch().await.unwrap();
        world.winding_down.fall();
        // In ATLEAST_ONCE what waits in the queue already comes out here; the source clears it.
        let mut seen = first.records.len();
        let mut batches = vec![first];
        while let Some(batch) = world.batch().await {
            seen += batch.records.len();
            batches.push(batch);
        }
        tokio::time::timeout(Duration::from_secs(1), world.board.drained()).await.unwrap();
        assert!(seen >= expected && (guarantee == Guarantee::AtLeastOnce || seen == expected), "{guarantee:?}: {seen}");
        batches.into_iter().for_each(|batch| batch.handle.ack());
        let (beyond, _) = world.stop().await;
        assert_eq!(beyond, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_does_not_stand_unread_while_the_publisher_is_blocked() {
    let many: Vec<u64> = (1..=2_500).collect();
    let mut world = world(Guarantee::AtLeastOnce, "TRIM_HORIZON", vec![Answer::Records(many, 0), Answer::Records(vec![2_501], 0)]).await;
    world.pass(3).await;
    assert_eq!(*world.script.rests.lock().unwrap(), 0);
    world.pass(9).await;
    assert_eq!(*world.script.rests.lock().unwrap(), 1, "once, however long it lasts");
    let mut seen = 0;
    while let Some(batch) = world.batch().await {
        seen += batch.records.len();
        batch.handle.ack();
    }
    assert_eq!(seen, 2_501, "reading goes on where it rested");
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_last_answer_was_dropped_at_a_stop_is_not_ended() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
        let many: Vec<u64> = (1..=12_500).collect();
        let mut world = world(guarantee, "TRIM_HORIZON", vec![Answer::Last(many, vec!["shardId-000000000001"])]).await;
        let first = world.batch().await.unwrap();
        world.winding_down.fall();
        first.handle.ack();
        while let Some(batch) = world.batch().await {
            batch.handle.ack();
        }
        world.pass(6).await;
        assert_ne!(world.stored(), "SHARD_END", "{guarantee:?}: what was not handed on comes with the next run");
        assert!(world.table.lease("shardId-000000000001").is_none());
        assert!(world.shard.ended().now_or_never().is_none());
        let (_, world) = world.stop().await;
        let row = world.table.lease(SHARD).unwrap().pulsar_connect.unwrap();
        assert_eq!(row.caught_up_at, None, "the tip was seen and not reached");
    }
}
