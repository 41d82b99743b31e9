//! A held lease against a table that loses replies, hangs, or is somebody else's by now.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::InitialPosition;
use crate::ids::{Position, SequenceNumber};
use crate::lease::{Fault, LeaseTable, MemoryTable, OperationKind, StreamMark, Taken, Worker};
use crate::port::ChildShard;
use tokio::time::{advance, sleep};

const FAILOVER: Duration = Duration::from_secs(10);
const SHARD: &str = "shardId-000000000000";

fn worker(name: &str) -> Worker {
    Worker {
        id: name.into(),
        writer: "public/default/orders".into(),
        stream: StreamMark { arn: "arn".into(), created_at: 1 },
        topic: "persistent://public/default/orders".into(),
        failover: FAILOVER,
        initial_position: InitialPosition::TrimHorizon,
        write_prefix: name.to_owned(),
        guarantee: Guarantee::AtLeastOnce,
        uptime: connector_sdk::Clock::from_fn(|| 0),
    }
}

fn free(shard: &str) -> Lease {
    crate::plan::sync::tests::lease(shard, "TRIM_HORIZON")
}

async fn held() -> (Arc<MemoryTable>, Arc<HeldLease>) {
    let table = Arc::new(MemoryTable::new("orders"));
    table.put(free(SHARD).encode());
    let lease = take(&table, "me").await;
    (table, lease)
}

async fn take(table: &Arc<MemoryTable>, name: &str) -> Arc<HeldLease> {
    let claimant = Claimant::new(Arc::clone(table) as Arc<dyn LeaseTable>, worker(name));
    let seen = table.lease(SHARD).unwrap();
    match claimant.take(&seen, None, None).await.unwrap() {
        Taken::Held(lease) => lease,
        other => panic!("not held: {other:?}"),
    }
}

fn at(record: u64) -> Progress {
    let sequence = SequenceNumber::parse(record.to_string()).unwrap();
    numbered(sequence, Some(Numbering { epoch: 1, ordinal: record }))
}

fn numbered(sequence: SequenceNumber, numbering: Option<Numbering>) -> Progress {
    Progress { checkpoint: Checkpoint::At(Position { sequence, sub: 0 }), numbering, exact: None, caught_up_at: None, start: None }
}

/// The next update goes wrong like this; those after it do not.
fn next_update(table: &MemoryTable, fault: Fault) {
    let mut fault = Some(fault);
    table.set_hook(move |operation| if operation.kind == OperationKind::Update { fault.take() } else { None });
}

#[tokio::test(start_paused = true)]
async fn a_store_puts_checkpoint_ordinal_and_epoch_in_one_write() {
    let (table, lease) = held().await;
    let before = table.lease(SHARD).unwrap();
    lease.store(Progress { caught_up_at: Some(77), ..at(5) }).await.unwrap();
    let row = table.lease(SHARD).unwrap();
    assert_eq!((row.counter, row.checkpoint.text(), row.owner_switches), (before.counter + 1, "5", 0));
    let attribute = row.pulsar_connect.unwrap();
    let position = attribute.position.unwrap();
    assert_eq!((attribute.epoch, position.ordinal, attribute.caught_up_at), (1, 5, Some(77)));

    lease.store(Progress { numbering: None, ..at(5) }).await.unwrap();
    let attribute = table.lease(SHARD).unwrap().pulsar_connect.unwrap();
    assert_eq!((attribute.epoch, attribute.position.unwrap().ordinal), (1, 5), "an unmoved checkpoint keeps its number");
    lease.store(Progress { numbering: Some(Numbering { epoch: 2, ordinal: 1 }), ..at(6) }).await.unwrap();
    assert_eq!(table.lease(SHARD).unwrap().pulsar_connect.unwrap().epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_reply_is_lost_is_known_by_its_id() {
    let (table, lease) = held().await;
    next_update(&table, Fault::LostAfter);
    lease.store(at(5)).await.unwrap();
    assert_eq!(lease.checkpoint().text(), "5");
    next_update(&table, Fault::LostBefore);
    let failed = lease.store(at(6)).await.unwrap_err();
    assert!(matches!(failed, StoreError::Failed(error) if error.kind() == ErrorKind::Transient));
    assert_eq!(table.lease(SHARD).unwrap().checkpoint.text(), "5");
    lease.store(at(6)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_late_renewal_is_never_taken_for_the_store() {
    let (table, lease) = held().await;
    // The store never arrives; a renewal that was given up before lands instead. Owner and counter are then what the store would
    // have left.
    let (hooked, mut stores) = (Arc::clone(&table), 0);
    table.set_hook(move |operation| {
        stores += u64::from(operation.kind == OperationKind::Update);
        if operation.kind != OperationKind::Update || stores > 1 {
            return None;
        }
        let row = hooked.lease(SHARD).unwrap();
        hooked.put(Lease { counter: row.counter + 1, ..row }.encode());
        Some(Fault::LostBefore)
    });
    assert!(matches!(lease.store(at(9)).await, Err(StoreError::Failed(_))), "nothing was stored");
    assert_eq!(lease.checkpoint(), Checkpoint::TrimHorizon);
    lease.store(at(9)).await.unwrap();
    assert_eq!(table.lease(SHARD).unwrap().checkpoint.text(), "9");
    assert!(!lease.fence().has_fallen());
}

#[tokio::test(start_paused = true)]
async fn a_lease_taken_by_another_is_lost_at_the_next_write_and_stores_nothing() {
    let (table, lease) = held().await;
    lease.store(at(5)).await.unwrap();
    let other = take(&table, "other").await;
    assert_eq!(other.checkpoint().text(), "5");
    assert!(matches!(lease.store(at(6)).await, Err(StoreError::Lost)));
    assert!(lease.fence().has_fallen());
    let row = table.lease(SHARD).unwrap();
    assert_eq!((row.checkpoint.text(), row.owner.as_deref(), row.owner_switches), ("5", Some("other"), 1));
    // What is not ours is not given away.
    lease.give_away().await.unwrap();
    assert_eq!(table.lease(SHARD).unwrap().owner.as_deref(), Some("other"));
    other.renew().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn by_our_own_clock_the_lease_ends_at_the_failover_time_even_while_a_write_hangs() {
    let (table, lease) = held().await;
    advance(FAILOVER - Duration::from_secs(1)).await;
    table.set_hook(|_| Some(Fault::Slow(Duration::from_secs(60))));
    let began = Instant::now();
    assert!(matches!(lease.store(at(5)).await, Err(StoreError::Lost)));
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    assert!(lease.fence().has_fallen());
    assert!(matches!(lease.renew().await, Err(StoreError::Lost)));
}

#[tokio::test(start_paused = true)]
async fn one_request_that_hangs_does_not_cost_the_lease() {
    let (table, lease) = held().await;
    next_update(&table, Fault::Slow(Duration::from_secs(60)));
    assert!(matches!(lease.store(at(5)).await, Err(StoreError::Failed(_))));
    lease.store(at(5)).await.unwrap();
    sleep(FAILOVER / 2).await;
    lease.renew().await.unwrap();
    assert!(lease.valid_until() >= Instant::now() + FAILOVER);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_never_goes_backwards() {
    let (table, lease) = held().await;
    lease.store(at(10)).await.unwrap();
    assert!(matches!(lease.store(at(9)).await, Err(StoreError::Failed(error)) if error.kind() == ErrorKind::Data));
    assert_eq!(table.lease(SHARD).unwrap().checkpoint.text(), "10");
}

#[tokio::test(start_paused = true)]
async fn throttling_is_an_error_and_no_loss() {
    let (table, lease) = held().await;
    next_update(&table, Fault::Throttled);
    assert!(matches!(lease.store(at(5)).await, Err(StoreError::Failed(error)) if matches!(error.kind(), ErrorKind::Throttled(_))));
    assert!(!lease.fence().has_fallen());
}

fn child(id: &str, parents: &[&str]) -> ChildShard {
    ChildShard { id: id.into(), parents: parents.iter().map(|id| ShardId::from(*id)).collect(), range: HashRange { start: 3, end: 9 } }
}

#[tokio::test(start_paused = true)]
async fn the_end_creates_the_children_first_wherever_it_is_broken_off() {
    for broken in 0..8 {
        let (table, lease) = held().await;
        lease.store(at(5)).await.unwrap();
        let first = table.operations();
        table.set_hook(move |operation| (operation.number == first + broken).then_some(Fault::LostAfter));
        let children = [child("shardId-000000000001", &[SHARD]), child("shardId-000000000002", &[SHARD])];
        while let Err(error) = lease.finish(&children).await {
            assert!(matches!(error, StoreError::Failed(_)));
            let row = table.lease(SHARD).unwrap();
            assert!(!row.is_finished() || table.leases().len() == 3);
        }
        let row = table.lease(SHARD).unwrap();
        assert!(row.is_finished() && row.children.len() == 2);
        for id in ["shardId-000000000001", "shardId-000000000002"] {
            let child = table.lease(id).unwrap();
            assert_eq!((child.checkpoint.clone(), child.owner.clone(), child.counter), (Checkpoint::TrimHorizon, None, 0));
            assert_eq!((child.parents.len(), child.range), (1, Some(HashRange { start: 3, end: 9 })));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_child_of_a_merge_waits_for_the_lease_of_the_other_parent_unless_that_is_gone() {
    let (table, lease) = held().await;
    let merged = [child("shardId-000000000002", &[SHARD, "shardId-000000000001"])];
    let failed = lease.finish(&merged).await.unwrap_err();
    assert!(failed.to_string().contains("`shardId-000000000001`"), "{failed}");
    assert!(table.lease("shardId-000000000002").is_none() && !table.lease(SHARD).unwrap().is_finished());

    // A listing that knows the child and not the other parent: it has expired whole.
    lease.claimant.set_listed(["shardId-000000000002"].map(ShardId::from).into());
    lease.finish(&merged).await.unwrap();

    let (table, lease) = held().await;
    table.put(free("shardId-000000000001").encode());
    lease.finish(&merged).await.unwrap();
    assert!(table.lease("shardId-000000000002").is_some());
}

#[tokio::test(start_paused = true)]
async fn children_of_a_start_at_an_instant_begin_at_it() {
    let table = Arc::new(MemoryTable::new("orders"));
    table.put(Lease { checkpoint: Checkpoint::AtTimestamp, ..free(SHARD) }.encode());
    let claimant = Claimant::new(
        Arc::clone(&table) as Arc<dyn LeaseTable>,
        Worker { initial_position: InitialPosition::AtTimestamp(4_000), ..worker("me") },
    );
    let Taken::Held(lease) = claimant.take(&table.lease(SHARD).unwrap(), None, None).await.unwrap() else { panic!("not held") };
    lease.finish(&[child("shardId-000000000001", &[SHARD])]).await.unwrap();
    let row = table.lease("shardId-000000000001").unwrap();
    assert_eq!((row.checkpoint, row.pulsar_connect.unwrap().start), (Checkpoint::AtTimestamp, Some(StartMoment::Timestamp(4_000))));
}

#[tokio::test(start_paused = true)]
async fn a_take_whose_reply_is_lost_is_settled_and_reads_position_and_attribute_from_the_row() {
    let table = Arc::new(MemoryTable::new("orders"));
    table.put(free(SHARD).encode());
    next_update(&table, Fault::LostAfter);
    let lease = take(&table, "me").await;
    lease.renew().await.unwrap();

    // A scan that is older than the row takes nothing.
    let stale = free(SHARD);
    let claimant = Claimant::new(Arc::clone(&table) as Arc<dyn LeaseTable>, worker("other"));
    assert!(matches!(claimant.take(&stale, None, None).await.unwrap(), Taken::Refused));
}

#[tokio::test(start_paused = true)]
async fn a_lease_taken_by_another_process_of_the_same_name_is_lost() {
    let (table, lease) = held().await;
    lease.store(at(5)).await.unwrap();
    let twin = Claimant::new(Arc::clone(&table) as Arc<dyn LeaseTable>, Worker { write_prefix: "twin".to_owned(), ..worker("me") });
    let Taken::Held(taken) = twin.take(&table.lease(SHARD).unwrap(), None, None).await.unwrap() else { panic!("not held") };
    assert!(matches!(lease.renew().await, Err(StoreError::Lost)), "the twin's row was taken for ours");
    assert!(lease.fence().has_fallen());
    taken.store(at(6)).await.unwrap();
    lease.give_away().await.unwrap();
    assert_eq!(table.lease(SHARD).unwrap().owner.as_deref(), Some("me"), "what is the twin's is not given away");
    taken.renew().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_row_whose_counter_moved_is_adopted_as_long_as_the_last_write_with_an_id_is_ours() {
    let (table, lease) = held().await;
    let row = table.lease(SHARD).unwrap();
    table.put(Lease { counter: row.counter + 1, ..row }.encode());
    lease.renew().await.unwrap();
    lease.store(at(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_never_goes_backwards_against_an_adopted_row() {
    let (table, lease) = held().await;
    lease.store(at(5)).await.unwrap();
    let row = table.lease(SHARD).unwrap();
    table.put(Lease { counter: row.counter + 1, checkpoint: at(20).checkpoint, ..row }.encode());
    assert!(matches!(lease.store(at(6)).await, Err(StoreError::Failed(error)) if error.kind() == ErrorKind::Data));
    assert_eq!(table.lease(SHARD).unwrap().checkpoint.text(), "20");
}

#[tokio::test(start_paused = true)]
async fn in_effectively_once_a_lease_is_over_by_the_clock_that_counts_suspended_time() {
    let table = Arc::new(MemoryTable::new("orders"));
    table.put(free(SHARD).encode());
    let uptime = Arc::new(std::sync::atomic::AtomicU64::new(50_000));
    let clock = Arc::clone(&uptime);
    let clock = connector_sdk::Clock::from_fn(move || clock.load(std::sync::atomic::Ordering::Relaxed));
    let worker = Worker { guarantee: Guarantee::EffectivelyOnce, uptime: clock, ..worker("me") };
    let claimant = Claimant::new(Arc::clone(&table) as Arc<dyn LeaseTable>, worker);
    let Taken::Held(lease) = claimant.take(&table.lease(SHARD).unwrap(), None, None).await.unwrap() else { panic!("not held") };
    uptime.store(59_000, std::sync::atomic::Ordering::Relaxed);
    lease.renew().await.unwrap();
    uptime.store(68_999, std::sync::atomic::Ordering::Relaxed);
    assert!(!lease.fence().has_fallen(), "renewed");
    // The machine sleeps: the clock of its timers stands still.
    uptime.store(69_000, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(lease.store(at(5)).await, Err(StoreError::Lost)));
    assert!(lease.fence().has_fallen());
    assert_eq!(table.lease(SHARD).unwrap().checkpoint, Checkpoint::TrimHorizon);
}

#[tokio::test(start_paused = true)]
async fn a_row_is_left_clean_only_by_whoever_says_so() {
    let (table, lease) = held().await;
    let fresh = lease.claimant.new_attribute(None);
    assert!(fresh.clean, "a row that is created");
    assert!(!table.lease(SHARD).unwrap().pulsar_connect.unwrap().clean, "a row of the KCL's, taken");
    lease.store(at(5)).await.unwrap();
    lease.give_away().await.unwrap();
    assert!(!table.lease(SHARD).unwrap().pulsar_connect.unwrap().clean);
    let lease = take(&table, "next").await;
    assert!(!lease.begin_sending());
    lease.leave_clean();
    lease.store(at(6)).await.unwrap();
    assert!(!table.lease(SHARD).unwrap().pulsar_connect.unwrap().clean, "not as long as it is held");
    next_update(&table, Fault::LostAfter);
    lease.give_away().await.unwrap();
    let row = table.lease(SHARD).unwrap();
    let attribute = row.pulsar_connect.unwrap();
    assert_eq!((attribute.clean, attribute.position.unwrap().ordinal, row.owner), (true, 6, None));
    // Nobody has run it: what was found is left.
    let lease = take(&table, "third").await;
    assert!(!table.lease(SHARD).unwrap().pulsar_connect.unwrap().clean);
    lease.give_away().await.unwrap();
    assert!(table.lease(SHARD).unwrap().pulsar_connect.unwrap().clean);
    let lease = take(&table, "fourth").await;
    assert!(lease.begin_sending() && !lease.begin_sending(), "once asked, it may have sent");
}
