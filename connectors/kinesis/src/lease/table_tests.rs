//! Both tables do the same: the one in memory, and DynamoDB's behind HTTP.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::ids::Checkpoint;
use crate::lease::{Change, DynamoDbTable, LEASE_KEY, MemoryTable, OwnerChange};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode as Billing, KeySchemaElement, KeyType, ScalarAttributeType,
};
use connector_aws::{AwsSettings, CredentialsConfig, Endpoint, ServiceSettings};
use connector_sdk::ErrorKind;
use local_aws::{AccessRules, CutAt, Denied, Fault, FaultAction, LocalAws, Options, Service};

const TABLE: &str = "pulsar-kinesis-orders";

async fn client(aws: &LocalAws) -> Client {
    let config =
        CredentialsConfig { plugin_name: None, plugin_param: Some(r#"{"accessKey":"AKIAEXAMPLE","secretKey":"test"}"#.to_owned().into()) };
    let context = config.validate().unwrap().connect(&AwsSettings::default()).await.unwrap();
    let endpoint = Some(Endpoint::parse("dynamoEndpoint", aws.url()).unwrap());
    Client::new(&context.service(&ServiceSettings { endpoint, ..ServiceSettings::default() }))
}

async fn dynamodb() -> (LocalAws, Client, DynamoDbTable) {
    let aws = LocalAws::start(Options::unlimited()).await.unwrap();
    let client = client(&aws).await;
    let table = DynamoDbTable::new(client.clone(), TABLE, true);
    (aws, client, table)
}

fn lease(shard: &str) -> Lease {
    Lease { parents: vec!["shardId-000000000009".into()], ..crate::plan::sync::tests::lease(shard, "TRIM_HORIZON") }
}

fn update(shard: &str, counter: u64, owner: Option<&str>, change: Change) -> Update {
    Update { shard: shard.into(), counter, owner: owner.map(Into::into), change }
}

fn take(worker: &str, from_another: bool) -> Change {
    Change { owner: OwnerChange::Take { worker: worker.into(), from_another }, ..Change::default() }
}

fn applied(written: Written) -> Lease {
    match written {
        Written::Applied(row) => *row,
        other => panic!("not written: {other:?}"),
    }
}

/// What any lease table does.
async fn keeps_the_contract(table: &dyn LeaseTable) {
    assert!(!table.exists(TABLE).await.unwrap());
    assert_eq!(table.ensure(BillingMode::PayPerRequest).await.unwrap(), Ensured::Created);
    assert_eq!(table.ensure(BillingMode::PayPerRequest).await.unwrap(), Ensured::Existed);
    assert!(table.exists(TABLE).await.unwrap());
    assert!(table.scan().await.unwrap().is_empty());
    assert!(table.side_rows("pulsar-kinesis-orders-CoordinatorState").await.unwrap().is_none());

    let row = lease("a");
    assert!(matches!(table.create(&row).await.unwrap(), Created::New));
    assert!(matches!(table.create(&Lease { counter: 7, ..row.clone() }).await.unwrap(), Created::Existed));
    assert_eq!(table.get(&row.shard).await.unwrap(), Some(row.clone()));
    assert_eq!(table.get(&"absent".into()).await.unwrap(), None);

    let taken = applied(table.update(&update("a", 0, None, take("one", false))).await.unwrap());
    assert_eq!((taken.counter, taken.owner.as_deref(), taken.owner_switches), (1, Some("one"), 0));
    let refused = table.update(&update("a", 0, None, take("two", true))).await.unwrap();
    assert!(matches!(refused, Written::Refused(Some(row)) if *row == taken));
    let taken = applied(table.update(&update("a", 1, None, take("two", true))).await.unwrap());
    assert_eq!((taken.owner.as_deref(), taken.owner_switches), (Some("two"), 1));
    let refused = table.update(&update("a", 2, Some("one"), Change::default())).await.unwrap();
    assert!(matches!(refused, Written::Refused(_)), "not its owner");
    assert!(matches!(table.update(&update("absent", 0, None, Change::default())).await.unwrap(), Written::Refused(None)));

    let checkpoint =
        Change { checkpoint: Checkpoint::parse("49590338271490256608559692538361571095921575989136588898", 3), ..Change::default() };
    let stored = applied(table.update(&update("a", 2, Some("two"), checkpoint)).await.unwrap());
    assert_eq!((stored.checkpoint.sub(), stored.owner_switches, stored.counter), (3, 0, 3));
    assert_eq!(stored.parents, row.parents);

    assert!(!table.delete(&stored).await.unwrap(), "an unfinished lease is not removed");
    assert!(table.put_children(&row.shard, &["b".into(), "c".into()]).await.unwrap());
    assert!(!table.put_children(&"absent".into(), &["b".into()]).await.unwrap());
    let end = Change { checkpoint: Some(Checkpoint::ShardEnd), owner: OwnerChange::Clear, ..Change::default() };
    let ended = applied(table.update(&update("a", 3, Some("two"), end)).await.unwrap());
    assert_eq!((ended.owner.clone(), ended.children.len()), (None, 2));
    assert!(!table.delete(&Lease { counter: 3, ..ended.clone() }).await.unwrap(), "it changed since");
    assert!(table.delete(&ended).await.unwrap());
    assert!(table.scan().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_table_in_memory_keeps_the_contract() {
    keeps_the_contract(&MemoryTable::new(TABLE)).await;
}

#[tokio::test]
async fn dynamodb_keeps_the_contract() {
    let (_aws, _client, table) = dynamodb().await;
    keeps_the_contract(&table).await;
}

#[tokio::test]
async fn provisioned_capacity_is_asked_for() {
    let (_aws, client, table) = dynamodb().await;
    table.ensure(BillingMode::Provisioned { read: 3, write: 4 }).await.unwrap();
    let described = client.describe_table().table_name(TABLE).send().await.unwrap().table.unwrap();
    let throughput = described.provisioned_throughput.unwrap();
    assert_eq!((throughput.read_capacity_units, throughput.write_capacity_units), (Some(3), Some(4)));
}

#[tokio::test]
async fn many_pages_are_scanned_and_rows_of_other_kinds_told_apart() {
    let (_aws, client, table) = dynamodb().await;
    table.ensure(BillingMode::PayPerRequest).await.unwrap();
    // Each row near 300 KB: four fill a page of 1 MB.
    for index in 0..9 {
        let mut item = lease(&format!("shard-{index}")).encode();
        item.insert("pendingCheckpointState".to_owned(), AttributeValue::S("x".repeat(300_000)));
        client.put_item().table_name(TABLE).set_item(Some(item)).send().await.unwrap();
    }
    let text = |text: &str| AttributeValue::S(text.to_owned());
    client.put_item().table_name(TABLE).item(LEASE_KEY, text("Leader")).item("entityType", text("LEADER")).send().await.unwrap();
    client.put_item().table_name(TABLE).item(LEASE_KEY, text("broken")).item("checkpoint", text("LATEST")).send().await.unwrap();
    let rows = table.scan().await.unwrap();
    let count = |kind: fn(&TableRow) -> bool| rows.iter().filter(|row| kind(row)).count();
    assert_eq!(count(|row| matches!(row, TableRow::Lease(_))), 9);
    assert_eq!(count(|row| matches!(row, TableRow::Other(_))), 1);
    assert_eq!(count(|row| matches!(row, TableRow::Unreadable(RowError::Malformed { attribute: "leaseCounter", .. }))), 1);
}

#[tokio::test]
async fn what_is_not_ours_survives_every_write() {
    let (_aws, client, table) = dynamodb().await;
    table.ensure(BillingMode::PayPerRequest).await.unwrap();
    let mut item = lease("a").encode();
    item.insert("throughputKBps".to_owned(), AttributeValue::N("12.5".to_owned()));
    item.insert("checkpointOwner".to_owned(), AttributeValue::S("java".to_owned()));
    item.insert("futureThing".to_owned(), AttributeValue::L(vec![AttributeValue::Bool(true)]));
    client.put_item().table_name(TABLE).set_item(Some(item)).send().await.unwrap();
    applied(table.update(&update("a", 0, None, take("one", false))).await.unwrap());
    let checkpoint = Change { checkpoint: Checkpoint::parse("5", 0), ..Change::default() };
    applied(table.update(&update("a", 1, Some("one"), checkpoint)).await.unwrap());
    let item = client.get_item().table_name(TABLE).key(LEASE_KEY, AttributeValue::S("a".to_owned())).send().await.unwrap().item.unwrap();
    assert_eq!(item["throughputKBps"], AttributeValue::N("12.5".to_owned()));
    assert_eq!(item["futureThing"], AttributeValue::L(vec![AttributeValue::Bool(true)]));
    assert!(!item.contains_key("checkpointOwner"), "a take removes it");
}

#[tokio::test]
async fn a_table_of_another_key_is_refused_by_name() {
    let (_aws, client, table) = dynamodb().await;
    let key = |name: &str, kind: KeyType| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    let attribute =
        |name: &str| AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build().unwrap();
    let request = client.create_table().table_name(TABLE).billing_mode(Billing::PayPerRequest);
    let request = request.key_schema(key(LEASE_KEY, KeyType::Hash)).key_schema(key("when", KeyType::Range));
    request.attribute_definitions(attribute(LEASE_KEY)).attribute_definitions(attribute("when")).send().await.unwrap();
    let error = table.ensure(BillingMode::PayPerRequest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("`leaseKey` (HASH) and `when` (RANGE)"), "{error}");
}

#[tokio::test]
async fn a_lost_reply_is_told_from_a_refusal_and_from_throttling() {
    let (aws, _client, table) = dynamodb().await;
    table.ensure(BillingMode::PayPerRequest).await.unwrap();
    table.create(&lease("a")).await.unwrap();
    let cut = |at| Fault::new(Service::DynamoDb, FaultAction::Cut { at }).on("UpdateItem").times(1);

    aws.add_fault(cut(CutAt::After));
    assert!(matches!(table.update(&update("a", 0, None, take("one", false))).await.unwrap(), Written::Unknown(_)));
    assert_eq!(table.get(&"a".into()).await.unwrap().unwrap().counter, 1, "it was written");
    aws.add_fault(cut(CutAt::Before));
    assert!(matches!(table.update(&update("a", 1, None, take("two", true))).await.unwrap(), Written::Unknown(_)));
    assert_eq!(table.get(&"a".into()).await.unwrap().unwrap().counter, 1, "it was not");
    aws.add_fault(Fault::error(Service::DynamoDb, "ProvisionedThroughputExceededException").on("UpdateItem").times(1));
    let error = table.update(&update("a", 1, None, take("two", true))).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Throttled(_)), "{error}");
}

#[tokio::test]
async fn a_missing_permission_names_the_action_and_the_table() {
    let (aws, _client, table) = dynamodb().await;
    table.ensure(BillingMode::PayPerRequest).await.unwrap();
    for operation in ["Scan", "UpdateItem", "DescribeTable"] {
        aws.set_access(AccessRules {
            denied: vec![Denied { service: Service::DynamoDb, operation: Some(operation.to_owned()) }],
            ..AccessRules::default()
        });
        let error = match operation {
            "Scan" => table.scan().await.map(|_| ()).unwrap_err(),
            "UpdateItem" => table.update(&update("a", 0, None, Change::default())).await.map(|_| ()).unwrap_err(),
            _ => table.ensure(BillingMode::PayPerRequest).await.map(|_| ()).unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(error.message().contains(&format!("`dynamodb:{operation}` on table `{TABLE}`")), "{error}");
    }
}

#[tokio::test]
async fn leases_are_listed_for_a_person() {
    let (_aws, _client, table) = dynamodb().await;
    table.ensure(BillingMode::PayPerRequest).await.unwrap();
    table.create(&lease("b")).await.unwrap();
    table.create(&lease("a")).await.unwrap();
    let listing = crate::lease::list_leases(&table).await.unwrap();
    let shards: Vec<&str> = listing.leases.iter().map(|lease| lease.shard.as_str()).collect();
    assert_eq!(shards, ["a", "b"]);
    let json = serde_json::to_value(&listing).unwrap();
    assert_eq!(json["leases"][0]["checkpoint"], "TRIM_HORIZON");
    assert_eq!(json["leases"][0]["parents"][0], "shardId-000000000009");
}

#[tokio::test]
async fn a_write_that_is_answered_with_an_unreadable_row_is_of_unknown_outcome() {
    let (_aws, client, table) = dynamodb().await;
    table.ensure(BillingMode::PayPerRequest).await.unwrap();
    let mut item = lease("a").encode();
    item.insert("checkpoint".to_owned(), AttributeValue::N("5".to_owned()));
    client.put_item().table_name(TABLE).set_item(Some(item)).send().await.unwrap();
    let written = table.update(&update("a", 0, None, take("one", false))).await.unwrap();
    assert!(matches!(written, Written::Unknown(_)), "{written:?}");
    assert_eq!(table.get(&"a".into()).await.unwrap_err().kind(), ErrorKind::Data, "the read that follows says why");
}
