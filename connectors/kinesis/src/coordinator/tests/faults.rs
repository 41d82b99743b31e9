//! Lost replies at every operation: nothing is lost, nothing goes backwards, nobody reads beyond the failover window.

use super::world::{Setup, Stream, new_table, soon, until};
use crate::lease::{Fault, OperationKind};
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::sleep;

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::LostBefore),
        Just(Fault::LostAfter),
        (1u64..12).prop_map(Fault::Late),
        Just(Fault::Throttled),
        (1u64..15_000).prop_map(|millis| Fault::Slow(Duration::from_millis(millis))),
    ]
}

/// Two workers, a split and a merge, a death and a stop, with faults at these operations.
async fn play(faults: HashMap<u64, Fault>, seed: u64) {
    let (stream, table) = (Stream::with_shards(3), new_table());
    let first_faults = faults.clone();
    // The start is spared: it ends with an error and begins again, which others test.
    table.set_hook(
        move |operation| {
            if operation.kind == OperationKind::Table { None } else { first_faults.get(&operation.number).cloned() }
        },
    );
    let setup = Setup::new(&stream, &table).seeded(seed);
    let mut first = begin(&setup).await;
    let mut second = begin(&setup.seeded(seed + 1)).await;
    until("all run", || stream.running() >= 3).await;
    sleep(Duration::from_secs(15)).await;
    stream.reshard(&["shardId-000000000000"], 2);
    stream.reshard(&["shardId-000000000001", "shardId-000000000002"], 1);
    sleep(Duration::from_secs(5)).await;
    drop(second);
    sleep(Duration::from_secs(5)).await;
    second = begin(&setup.seeded(seed + 2)).await;
    until("the parents are finished", || (0..3).all(|shard| stream.is_finished(&format!("shardId-{shard:012}")))).await;
    until("the children run", || (3..6).all(|shard| stream.is_running(&format!("shardId-{shard:012}")))).await;
    first.stop(soon()).await;
    until("the other has all", || stream.running() >= 3).await;
    second.stop(soon()).await;
    stream.assert_sound();
}

/// Starts as the engine does: again after an error that may pass.
async fn begin(setup: &Setup) -> crate::coordinator::Coordinator {
    loop {
        match setup.start().await {
            Ok((_, coordinator)) => return coordinator,
            Err(error) => {
                assert!(!error.kind().ends_a_start(), "{error}");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn run(faults: HashMap<u64, Fault>, seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play(faults, seed));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn lost_replies_lose_no_record_and_turn_back_no_checkpoint(
        faults in proptest::collection::hash_map(0u64..600, any_fault(), 0..40), seed in 0u64..1_000,
    ) {
        run(faults, seed);
    }
}

#[test]
fn each_single_operation_may_lose_its_reply() {
    for number in 0..160 {
        let fault = if number % 2 == 0 { Fault::LostAfter } else { Fault::Late(3) };
        run(HashMap::from([(number, fault)]), 7);
    }
}
