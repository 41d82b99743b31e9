//! Starts and stops: nothing waits that need not, and nobody starts on what is not theirs.

use super::world::{FAILOVER, NOW, Setup, Stream, new_table, soon, until};
use crate::config::InitialPosition;
use crate::ids::{Checkpoint, HashRange};
use crate::lease::{Fault, Item, LeaseTable, OperationKind, StartMoment};
use aws_sdk_dynamodb::types::AttributeValue;
use connector_sdk::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_new_application_runs_its_shards_without_waiting_for_anything() {
    let (stream, table) = (Stream::with_shards(4), new_table());
    let began = Instant::now();
    let (worker, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    while stream.running_under(&worker) < 4 {
        tokio::task::yield_now().await;
        assert_eq!(began.elapsed(), Duration::ZERO, "something slept on the way");
    }
    assert_eq!(coordinator.status().leases_held(), 4);
    coordinator.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_gives_everything_away_and_the_next_start_waits_for_nothing() {
    let (stream, table) = (Stream::with_shards(4), new_table());
    let (_, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    until("records of every shard are out", || (0..4).all(|shard| stream.published(&format!("shardId-{shard:012}")) > 3)).await;
    let summary = coordinator.stop(soon()).await;
    assert_eq!((summary.beyond_checkpoint, summary.given_away, summary.troubles), (0, 4, Vec::new()));
    assert!(table.leases().iter().all(|lease| lease.owner.is_none()));

    let began = Instant::now();
    let (worker, mut again) = Setup::new(&stream, &table).seeded(2).start().await.unwrap();
    while stream.running_under(&worker) < 4 {
        tokio::task::yield_now().await;
        assert_eq!(began.elapsed(), Duration::ZERO, "something slept on the way");
    }
    until("reading goes on", || stream.published("shardId-000000000000") > 8).await;
    again.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_the_same_identity_waits_for_the_failover_time_and_no_longer() {
    for identifier in [None, Some("configured")] {
        let (stream, table) = (Stream::with_shards(2), new_table());
        let setup = Setup { worker_identifier: identifier, ..Setup::new(&stream, &table) };
        let (_, coordinator) = setup.start().await.unwrap();
        until("both run", || stream.running() == 2).await;
        drop(coordinator);
        until("both are gone", || stream.running() == 0).await;
        let began = Instant::now();
        let (_, mut again) = setup.seeded(2).start().await.unwrap();
        until("both run again", || stream.running() == 2).await;
        assert!(began.elapsed() >= FAILOVER && began.elapsed() < FAILOVER + Duration::from_millis(100), "{:?}", began.elapsed());
        again.stop(soon()).await;
        stream.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn latest_is_one_moment_for_all_rows_of_the_application() {
    let (stream, table) = (Stream::with_shards(3), new_table());
    let setup = Setup { initial_position: InitialPosition::Latest, ..Setup::new(&stream, &table) };
    let (_, coordinator) = setup.start().await.unwrap();
    drop(coordinator);
    let rows = table.leases();
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!(row.checkpoint, Checkpoint::Latest);
        assert_eq!(row.pulsar_connect.unwrap().start, Some(StartMoment::Latest(NOW)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_second_and_third_row_keeps_the_moment_of_the_first() {
    let (stream, table) = (Stream::with_shards(3), new_table());
    let setup = Setup { initial_position: InitialPosition::Latest, ..Setup::new(&stream, &table) };
    let (_, coordinator) = setup.start().await.unwrap();
    drop(coordinator);
    // The first start came to two rows, a minute ago.
    let old = NOW - 60_000;
    let half = new_table();
    for mut item in table.items().into_iter().take(2) {
        let text = item["pulsarConnect"].as_s().unwrap().replace(&NOW.to_string(), &old.to_string());
        item.insert("pulsarConnect".to_owned(), AttributeValue::S(text));
        half.put(item);
    }
    let setup = Setup { initial_position: InitialPosition::Latest, ..Setup::new(&stream, &half) };
    let (_, mut coordinator) = setup.seeded(2).start().await.unwrap();
    let third = half.lease("shardId-000000000002").unwrap();
    assert_eq!(third.pulsar_connect.unwrap().start, Some(StartMoment::Latest(old)));
    coordinator.stop(soon()).await;
}

#[tokio::test(start_paused = true)]
async fn a_latest_row_of_javas_gets_the_moment_in_the_take() {
    let (stream, table) = (Stream::with_shards(1), new_table());
    table.put(java_row("shardId-000000000000", "LATEST"));
    let (_, mut coordinator) = Setup { initial_position: InitialPosition::Latest, ..Setup::new(&stream, &table) }.start().await.unwrap();
    until("it runs", || stream.running() == 1).await;
    let row = table.lease("shardId-000000000000").unwrap();
    assert_eq!(row.pulsar_connect.unwrap().start, Some(StartMoment::Latest(NOW)));
    coordinator.stop(soon()).await;
}

#[tokio::test(start_paused = true)]
async fn a_table_of_javas_at_rest_is_continued_at_its_record_and_keeps_what_it_does_not_know() {
    let (stream, table) = (Stream::with_shards(1), new_table());
    stream.seed_progress("shardId-000000000000", 17);
    let mut row = java_row("shardId-000000000000", "17");
    row.insert("leaseOwner".to_owned(), AttributeValue::S("java".to_owned()));
    row.insert("checkpointOwner".to_owned(), AttributeValue::S("java-before".to_owned()));
    row.insert("throughputKBps".to_owned(), AttributeValue::N("0.0".to_owned()));
    row.insert("entityType".to_owned(), AttributeValue::S("LEASE".to_owned()));
    table.put(row);
    let (_, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    until("it goes on", || stream.published("shardId-000000000000") > 20).await;
    coordinator.stop(soon()).await;
    let item = &table.items()[0];
    assert_eq!(item["throughputKBps"], AttributeValue::N("0.0".to_owned()));
    assert_eq!(item["entityType"], AttributeValue::S("LEASE".to_owned()));
    assert!(!item.contains_key("checkpointOwner") && !item.contains_key("leaseOwner"));
    let attribute = table.leases()[0].pulsar_connect.clone().unwrap();
    assert_eq!(attribute.epoch, 1, "Java's checkpoint has no ordinal: a new counting");
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn another_stream_under_the_same_name_stops_the_start() {
    let (stream, table) = (Stream::with_shards(1), new_table());
    let (_, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    coordinator.stop(soon()).await;
    stream.recreate();
    let error = Setup::new(&stream, &table).seeded(2).start().await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("created again"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_malformed_row_costs_one_shard_and_is_named() {
    let (stream, table) = (Stream::with_shards(2), new_table());
    let mut row = java_row("shardId-000000000000", "TRIM_HORIZON");
    row.remove("leaseCounter");
    table.put(row.clone());
    let (worker, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    until("the other one runs", || stream.running_under(&worker) == 1).await;
    assert!(stream.is_running("shardId-000000000001"));
    let errors = coordinator.status().errors();
    assert!(errors[0].error.message().contains("`leaseCounter`"), "{}", errors[0].error);
    coordinator.stop(soon()).await;
    assert_eq!(table.items()[0], row, "it is left as it is");
}

#[tokio::test(start_paused = true)]
async fn the_jvm_connectors_table_stops_a_default_name_and_no_other() {
    let (stream, table) = (Stream::with_shards(1), new_table());
    table.put_side_table("pulsar-kinesis", Vec::new());
    let by_default = Setup { default_application: true, ..Setup::new(&stream, &table) };
    let error = by_default.start().await.map(|_| ()).unwrap_err();
    assert!(error.message().contains("`pulsar-kinesis`"), "{error}");
    let (_, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    coordinator.stop(soon()).await;
    // Now there is a table of the default name: the old one was left behind knowingly.
    let (_, mut coordinator) = by_default.seeded(2).start().await.unwrap();
    coordinator.stop(soon()).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_connectors_under_the_default_name_the_second_gives_way() {
    let (stream, table) = (Stream::with_shards(2), new_table());
    let first = Setup { default_application: true, ..Setup::new(&stream, &table) };
    let (one, mut coordinator) = first.start().await.unwrap();
    until("both run", || stream.running_under(&one) == 2).await;
    let second = Setup { name: "other", ..first.seeded(2) };
    let began = Instant::now();
    let error = second.start().await.map(|_| ()).unwrap_err();
    assert!(began.elapsed() <= FAILOVER + Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("`public/default/orders`"), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("of its own") && hint.contains("the same one on both"), "{hint}");
    assert_eq!(stream.running(), 2, "the first goes on");
    // The same identity may come as often as it likes.
    let (third, mut peer) = first.seeded(3).start().await.unwrap();
    until("they share", || stream.running_under(&third) == 1 && stream.running_under(&one) == 1).await;
    peer.stop(soon()).await;
    coordinator.stop(soon()).await;
    stream.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_live_fleet_of_kcl_3_is_not_joined_and_one_at_rest_is_continued() {
    let migration = |version: &str| -> Item {
        [("key", "Migration3.0"), ("cv", version)].map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned()))).into()
    };
    let (stream, table) = (Stream::with_shards(1), new_table());
    table.put(java_row("shardId-000000000000", "TRIM_HORIZON"));
    table.put_side_table("app-CoordinatorState", vec![migration("CLIENT_VERSION_3X")]);
    let began = Instant::now();
    let (_, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    until("the fleet is known to be at rest", || stream.running() == 1).await;
    assert!(began.elapsed() >= FAILOVER, "it was not watched");

    let mut worker: Item = migration("");
    worker = Item::from([
        ("wid".to_owned(), worker.remove("key").unwrap()),
        ("lut".to_owned(), AttributeValue::N((NOW / 1_000 - 5).to_string())),
    ]);
    table.put_side_table("app-WorkerMetricStats", vec![worker]);
    let error = coordinator.run().await;
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains("KCL 3.x are alive"), "{error}");
    let summary = coordinator.stop(soon()).await;
    assert_eq!(summary.given_away, 1);
    stream.assert_sound();
}

fn java_row(shard: &str, checkpoint: &str) -> Item {
    let range = HashRange { start: 0, end: u128::MAX };
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |number: &str| AttributeValue::N(number.to_owned());
    Item::from([
        ("leaseKey".to_owned(), text(shard)),
        ("leaseCounter".to_owned(), number("5")),
        ("ownerSwitchesSinceCheckpoint".to_owned(), number("0")),
        ("checkpoint".to_owned(), text(checkpoint)),
        ("checkpointSubSequenceNumber".to_owned(), number("0")),
        ("startingHashKey".to_owned(), text(&range.start.to_string())),
        ("endingHashKey".to_owned(), text(&range.end.to_string())),
    ])
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_cannot_reach_the_table_says_what_it_left() {
    let (stream, table) = (Stream::with_shards(1), new_table());
    let (_, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    until("it runs", || stream.running() == 1).await;
    table.set_hook(|_| Some(Fault::LostBefore));
    let began = Instant::now();
    let summary = coordinator.stop(began + Duration::from_secs(4)).await;
    assert!(began.elapsed() <= Duration::from_secs(5));
    assert!(summary.troubles.iter().any(|trouble| trouble.contains("shardId-000000000000")), "{:?}", summary.troubles);
}

#[tokio::test(start_paused = true)]
async fn a_take_that_landed_after_it_was_given_up_is_given_away_at_the_stop() {
    let (stream, table) = (Stream::with_shards(1), new_table());
    let mut takes = 0;
    table.set_hook(move |operation| {
        takes += u64::from(operation.kind == OperationKind::Update);
        // Not there yet when it is looked for, and there at the operation after that.
        (operation.kind == OperationKind::Update && takes == 1).then_some(Fault::Late(1))
    });
    let (worker, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    until("the take failed and landed", || table.leases()[0].owner.as_ref() == Some(&worker)).await;
    assert_eq!(coordinator.status().leases_held(), 0);
    coordinator.stop(soon()).await;
    assert_eq!(table.leases()[0].owner, None);
}

#[tokio::test(start_paused = true)]
async fn two_workers_that_begin_together_mean_the_same_moment_by_latest() {
    let (stream, table) = (Stream::with_shards(2), new_table());
    let setup = Setup { initial_position: InitialPosition::Latest, ..Setup::new(&stream, &table) };
    let (_, coordinator) = setup.start().await.unwrap();
    drop(coordinator);
    // One row was created by another worker, whose first listing was earlier.
    let both = new_table();
    for (index, mut item) in table.items().into_iter().enumerate() {
        let moment = NOW - if index == 0 { 3_000 } else { 0 };
        let text = item["pulsarConnect"].as_s().unwrap().replace(&NOW.to_string(), &moment.to_string());
        item.insert("pulsarConnect".to_owned(), AttributeValue::S(text));
        item.remove("leaseOwner");
        both.put(item);
    }
    let (_, mut coordinator) = Setup { table: Arc::clone(&both) as Arc<dyn LeaseTable>, ..setup }.seeded(2).start().await.unwrap();
    until("both run", || stream.running() == 2).await;
    for row in both.leases() {
        assert_eq!(row.pulsar_connect.unwrap().start, Some(StartMoment::Latest(NOW - 3_000)));
    }
    coordinator.stop(soon()).await;
}

#[tokio::test(start_paused = true)]
async fn another_owner_that_comes_while_running_ends_the_run_as_fenced() {
    let (stream, table) = (Stream::with_shards(2), new_table());
    let first = Setup { default_application: true, ..Setup::new(&stream, &table) };
    let (_, mut coordinator) = first.start().await.unwrap();
    until("both run", || stream.running() == 2).await;
    // Another identity has the lowest lease, and renews it.
    let rival = async {
        loop {
            let mut row = table.lease("shardId-000000000000").unwrap();
            let attribute = row.pulsar_connect.as_mut().unwrap();
            (attribute.writer, attribute.worker) = ("public/default/rival".into(), "rival".into());
            attribute.write = "rival-1".into();
            (row.owner, row.counter) = (Some("rival".into()), row.counter + 1);
            table.put(row.encode());
            tokio::time::sleep(FAILOVER / 3).await;
        }
    };
    let error = tokio::select! {
        error = coordinator.run() => error,
        () = rival => unreachable!("it never ends"),
    };
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains("`public/default/rival`"), "{error}");
    coordinator.stop(soon()).await;
}

#[tokio::test(start_paused = true)]
async fn a_live_fleet_of_kcl_3_ends_the_start() {
    let (stream, table) = (Stream::with_shards(1), new_table());
    table.put(java_row("shardId-000000000000", "TRIM_HORIZON"));
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let migration = Item::from([("key".to_owned(), text("Migration3.0")), ("cv".to_owned(), text("CLIENT_VERSION_3X"))]);
    let fresh = AttributeValue::N((NOW / 1_000 - 5).to_string());
    table.put_side_table("app-CoordinatorState", vec![migration]);
    table.put_side_table("app-WorkerMetricStats", vec![Item::from([("wid".to_owned(), text("java")), ("lut".to_owned(), fresh)])]);
    let error = Setup::new(&stream, &table).start().await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("KCL 3.x are alive") && error.hint().unwrap().contains("another `applicationName`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_take_in_doubt_is_not_undone_where_another_process_of_the_same_name_took_the_lease() {
    let (stream, table) = (Stream::with_shards(1), new_table());
    let mut takes = 0;
    table.set_hook(move |operation| {
        takes += u64::from(operation.kind == OperationKind::Update);
        (operation.kind == OperationKind::Update && takes == 1).then_some(Fault::Late(1))
    });
    let (worker, mut coordinator) = Setup::new(&stream, &table).start().await.unwrap();
    until("the take failed and landed", || table.leases()[0].owner.as_ref() == Some(&worker)).await;
    let mut row = table.leases().remove(0);
    row.pulsar_connect.as_mut().unwrap().write = "twin-1".into();
    table.put(row.encode());
    coordinator.stop(soon()).await;
    assert_eq!(table.leases()[0].owner, Some(worker));
}

#[tokio::test(start_paused = true)]
async fn an_instant_is_judged_by_the_services_clock_however_wrong_the_local_one_is() {
    for (instant, local_clock) in [(NOW + 1_800_000, NOW + 3_600_000), (NOW + 700, NOW + 3_600_000), (NOW - 1, NOW - 3_600_000)] {
        let (stream, table) = (Stream::with_shards(2), new_table());
        stream.run_clock();
        let position = InitialPosition::AtTimestamp(instant);
        let setup = Setup { initial_position: position, local_clock, ..Setup::new(&stream, &table) };
        let began = Instant::now();
        let (_, mut coordinator) = setup.start().await.unwrap();
        let waited = if instant == NOW + 700 { Duration::from_millis(700) } else { Duration::ZERO };
        assert_eq!(began.elapsed(), waited, "{instant}");
        until("both run", || stream.running() == 2).await;
        for row in table.leases() {
            assert_eq!(row.pulsar_connect.unwrap().start, Some(StartMoment::Timestamp(instant)));
        }
        coordinator.stop(soon()).await;
        stream.assert_sound();
    }
}
