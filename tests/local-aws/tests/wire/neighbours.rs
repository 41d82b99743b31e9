//! DynamoDB, CloudWatch and STS beside Kinesis.

use aws_sdk_dynamodb::types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use local_aws::LocalAws;

use serde_json::json;

use crate::raw::{Version, post};
use crate::support::{credentials, http_client, start};

pub(crate) fn dynamodb(local: &LocalAws) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .endpoint_url(local.url())
        .credentials_provider(credentials("AKIAEXAMPLE"))
        .retry_config(aws_sdk_kinesis::config::retry::RetryConfig::disabled())
        .http_client(http_client())
        .build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

fn cloudwatch(local: &LocalAws) -> aws_sdk_cloudwatch::Client {
    let config = aws_sdk_cloudwatch::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .endpoint_url(local.url())
        .credentials_provider(credentials("AKIAEXAMPLE"))
        .retry_config(aws_sdk_kinesis::config::retry::RetryConfig::disabled())
        .http_client(http_client())
        .build();
    aws_sdk_cloudwatch::Client::from_conf(config)
}

pub(crate) fn sts(local: &LocalAws) -> aws_sdk_sts::Client {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .endpoint_url(local.url())
        .credentials_provider(credentials("AKIAEXAMPLE"))
        .retry_config(aws_sdk_kinesis::config::retry::RetryConfig::disabled())
        .http_client(http_client())
        .build();
    aws_sdk_sts::Client::from_conf(config)
}

pub(crate) async fn create_table(client: &aws_sdk_dynamodb::Client) {
    client
        .create_table()
        .table_name("leases")
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(
            AttributeDefinition::builder().attribute_name("leaseKey").attribute_type(ScalarAttributeType::S).build().unwrap(),
        )
        .key_schema(KeySchemaElement::builder().attribute_name("leaseKey").key_type(KeyType::Hash).build().unwrap())
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn leases_are_taken_by_compare_and_set() {
    let local = start().await;
    let client = dynamodb(&local);
    create_table(&client).await;
    let number = |number: i32| AttributeValue::N(number.to_string());
    client
        .put_item()
        .table_name("leases")
        .item("leaseKey", AttributeValue::S("shardId-000000000000".into()))
        .item("leaseCounter", number(0))
        .condition_expression("attribute_not_exists(leaseKey)")
        .send()
        .await
        .unwrap();
    let take = |expected: i32| {
        client
            .update_item()
            .table_name("leases")
            .key("leaseKey", AttributeValue::S("shardId-000000000000".into()))
            .update_expression("SET leaseCounter = :next")
            .condition_expression("leaseCounter = :expected")
            .expression_attribute_values(":next", number(expected + 1))
            .expression_attribute_values(":expected", number(expected))
            .send()
    };
    take(0).await.unwrap();
    let refused = take(0).await.unwrap_err().into_service_error();
    assert!(refused.is_conditional_check_failed_exception(), "{refused:?}");
    let rows = client.scan().table_name("leases").send().await.unwrap().items.unwrap();
    assert_eq!(rows[0]["leaseCounter"], number(1));
    local.shutdown().await;
}

#[tokio::test]
async fn metrics_are_kept_small_or_zipped() {
    use aws_sdk_cloudwatch::primitives::DateTime;
    use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit, StatisticSet};
    let local = start().await;
    let client = cloudwatch(&local);
    let datum = |index: usize| {
        MetricDatum::builder()
            .metric_name(format!("RecordsProcessed{index}"))
            .dimensions(Dimension::builder().name("Operation").value("ProcessTask").build())
            .timestamp(DateTime::from_secs(1_700_000_000))
            .unit(StandardUnit::Count)
            .statistic_values(StatisticSet::builder().sample_count(2.0).sum(7.5).minimum(1.0).maximum(6.5).build())
            .build()
    };
    client.put_metric_data().namespace("app").metric_data(datum(0)).send().await.unwrap();
    client.put_metric_data().namespace("app").set_metric_data(Some((1..500).map(datum).collect())).send().await.unwrap();
    let kept = local.metrics();
    assert_eq!(kept.len(), 500);
    for (index, datum) in kept.iter().enumerate() {
        assert_eq!(datum.name, format!("RecordsProcessed{index}"));
        assert_eq!((datum.namespace.as_str(), datum.unit.as_deref()), ("app", Some("Count")));
        assert_eq!(datum.dimensions["Operation"], "ProcessTask");
        assert_eq!(datum.statistics.unwrap().sum, 7.5);
        assert_eq!(datum.timestamp.as_ref().and_then(serde_json::Value::as_f64), Some(1_700_000_000.0));
    }
    let too_many = client.put_metric_data().namespace("app").set_metric_data(Some((0..1001).map(datum).collect()));
    assert!(too_many.send().await.unwrap_err().into_service_error().is_invalid_parameter_value_exception());
    local.shutdown().await;
}

#[tokio::test]
async fn an_assumed_role_is_recorded_with_its_life() {
    let local = start().await;
    let client = sts(&local);
    let role = client
        .assume_role()
        .role_arn("arn:aws:iam::000000000000:role/reader")
        .role_session_name("one")
        .external_id("x-1")
        .duration_seconds(7);
    let issued = role.send().await.unwrap().credentials.unwrap();
    let kept = &local.assumed()[0];
    assert_eq!(kept.issued_access_key_id, issued.access_key_id);
    assert_eq!(kept.external_id.as_deref(), Some("x-1"));
    assert_eq!(kept.role_session_name, "one");
    assert_eq!(kept.caller_access_key_id, "AKIAEXAMPLE");
    assert_eq!(kept.expires_at - kept.assumed_at, 7_000);
    assert_eq!(issued.expiration.to_millis().unwrap(), kept.expires_at);
    let me = client.get_caller_identity().send().await.unwrap();
    assert_eq!(me.account.as_deref(), Some("000000000000"));
    local.shutdown().await;
}

/// The Java KCL writes leases by `Expected` and `AttributeUpdates`.
#[tokio::test]
async fn legacy_conditions_are_obeyed() {
    let local = start().await;
    create_table(&dynamodb(&local)).await;
    let call = async |operation: &str, body: serde_json::Value| {
        let target = format!("DynamoDB_20120810.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        let (status, _, body) = post(&local, Version::Http1, "/", &headers, body.to_string()).await;
        (status, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
    };
    let absent = json!({ "leaseKey": { "Exists": false } });
    let item = json!({ "leaseKey": { "S": "a" }, "leaseCounter": { "N": "0" }, "leaseOwner": { "S": "w" } });
    let create = json!({ "TableName": "leases", "Item": item, "Expected": absent });
    assert_eq!(call("PutItem", create.clone()).await.0, 200);
    let (status, refused) = call("PutItem", create).await;
    assert_eq!(status, 400);
    assert!(refused["__type"].as_str().unwrap().ends_with("ConditionalCheckFailedException"));
    let renew = json!({
        "TableName": "leases",
        "Key": { "leaseKey": { "S": "a" } },
        "Expected": { "leaseCounter": { "Value": { "N": "0" }, "ComparisonOperator": "EQ" } },
        "AttributeUpdates": {
            "leaseCounter": { "Action": "PUT", "Value": { "N": "1" } },
            "leaseOwner": { "Action": "DELETE" },
            "ownerSwitchesSinceCheckpoint": { "Action": "ADD", "Value": { "N": "1" } }
        }
    });
    assert_eq!(call("UpdateItem", renew.clone()).await.0, 200);
    assert_eq!(call("UpdateItem", renew).await.0, 400);
    let (_, row) = call("GetItem", json!({ "TableName": "leases", "Key": { "leaseKey": { "S": "a" } } })).await;
    assert_eq!(
        row["Item"],
        json!({ "leaseKey": { "S": "a" }, "leaseCounter": { "N": "1" }, "ownerSwitchesSinceCheckpoint": { "N": "1" } })
    );
    let recovery = json!({ "TableName": "leases", "PointInTimeRecoverySpecification": { "PointInTimeRecoveryEnabled": true } });
    assert_eq!(call("UpdateContinuousBackups", recovery).await.0, 200);
    local.shutdown().await;
}

/// Java's SDK writes whole numbers as integers even where fractions are meant.
#[tokio::test]
async fn whole_numbers_in_cbor_are_taken_for_fractions() {
    use ciborium::value::Value;
    let local = start().await;
    let map = |entries: Vec<(&str, Value)>| Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect());
    let statistics = map(vec![("SampleCount", 2.into()), ("Sum", 7.5.into()), ("Minimum", 1.into()), ("Maximum", 6.into())]);
    let timestamp = Value::Tag(1, Box::new(1_700_000_000.into()));
    let datum = map(vec![("MetricName", "Time".into()), ("StatisticValues", statistics), ("Timestamp", timestamp)]);
    let call = map(vec![("Namespace", "app".into()), ("MetricData", Value::Array(vec![datum]))]);
    let mut body = Vec::new();
    ciborium::into_writer(&call, &mut body).unwrap();
    let path = "/service/GraniteServiceVersion20100801/operation/PutMetricData";
    let headers = [("content-type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")];
    assert_eq!(post(&local, Version::Http1, path, &headers, body).await.0, 200);
    let kept = local.metrics()[0].statistics.unwrap();
    assert_eq!((kept.sample_count, kept.sum, kept.maximum), (2.0, 7.5, 6.0));
    local.shutdown().await;
}

/// What Java's SDKs send in the place of CBOR.
#[tokio::test]
async fn metrics_come_by_json_and_by_form_too() {
    let local = start().await;
    let form = "Action=PutMetricData&Version=2010-08-01&Namespace=app&MetricData.member.1.MetricName=Time\
        &MetricData.member.1.Dimensions.member.1.Name=Operation&MetricData.member.1.Dimensions.member.1.Value=Take+Leases\
        &MetricData.member.1.StatisticValues.Sum=4.5&MetricData.member.1.Unit=Milliseconds";
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(post(&local, Version::Http1, "/", &headers, form).await.0, 200);
    let body = r#"{"Namespace":"app","MetricData":[{"MetricName":"Success","Value":1,"Unit":"Count"}]}"#;
    let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "GraniteServiceVersion20100801.PutMetricData")];
    assert_eq!(post(&local, Version::Http1, "/", &headers, body).await.0, 200);
    let kept = local.metrics();
    assert_eq!((kept[0].dimensions["Operation"].as_str(), kept[0].statistics.unwrap().sum), ("Take Leases", 4.5));
    assert_eq!((kept[1].name.as_str(), kept[1].value), ("Success", Some(1.0)));
    local.shutdown().await;
}
