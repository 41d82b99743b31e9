//! What is learnt from a service at the start: one screen that names the call or the field, the cause and the remedy; exit code 3; soon.

use std::time::{Duration, Instant};

use local_aws::{AccessRules, ControlRequest, Denied, Service};
use serde_json::json;

use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;
use crate::harness::{broker, http};

/// Lines of a terminal.
const SCREEN: usize = 24;
/// 10 s from the service's answer, and a start on a busy machine.
const SOON: Duration = Duration::from_secs(20);

async fn is_told(setup: Setup, words: &[&str]) {
    let began = Instant::now();
    let (code, log) = setup.start().await.ends(Duration::from_secs(60)).await;
    assert_eq!(code, 3, "{log}");
    for word in words {
        assert!(log.contains(word), "`{word}` is not in:\n{log}");
    }
    assert!(log.lines().count() <= SCREEN, "more than a screen:\n{log}");
    assert!(!log.contains("panicked") && !log.contains("{ "), "no message for people:\n{log}");
    assert!(began.elapsed() < SOON, "it took {} s", began.elapsed().as_secs());
}

async fn prepared() -> (Stream, Topic) {
    (Stream::start(1).await, Topic::new(broker::shared().await, "refused"))
}

fn deny(stream: &Stream, service: Service, operation: &str) {
    let denied = vec![Denied { service, operation: Some(operation.to_owned()) }];
    stream.local.set_access(AccessRules { denied, ..AccessRules::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_does_not_exist() {
    let (stream, topic) = prepared().await;
    let setup = Setup::new(&stream, &topic).config("awsKinesisStreamName", "no-such-stream");
    is_told(setup, &["no-such-stream", "kinesis:DescribeStream", "ResourceNotFoundException", "create the stream"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_permission_on_the_stream() {
    for operation in ["DescribeStreamSummary", "ListShards"] {
        let (stream, topic) = prepared().await;
        deny(&stream, Service::Kinesis, operation);
        let action = format!("kinesis:{operation}");
        is_told(Setup::new(&stream, &topic), &[&stream.name, &action, "AccessDeniedException", "allow"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_permission_on_the_table() {
    for operation in ["DescribeTable", "CreateTable", "Scan", "PutItem"] {
        let (stream, topic) = prepared().await;
        deny(&stream, Service::DynamoDb, operation);
        let action = format!("dynamodb:{operation}");
        is_told(Setup::new(&stream, &topic), &[&stream.application(), &action, "AccessDeniedException", "allow"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_permission_on_the_consumer() {
    for operation in ["DescribeStreamConsumer", "RegisterStreamConsumer"] {
        let (stream, topic) = prepared().await;
        deny(&stream, Service::Kinesis, operation);
        let action = format!("kinesis:{operation}");
        is_told(Setup::new(&stream, &topic), &[&stream.application(), &action, "AccessDeniedException", "allow"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_keys() {
    let (stream, topic) = prepared().await;
    stream.local.set_access(AccessRules { only: Some(vec!["AKIAOTHER".to_owned()]), ..AccessRules::default() });
    is_told(Setup::new(&stream, &topic), &["kinesis:", "UnrecognizedClientException", "check the access key"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_keys() {
    let (stream, topic) = prepared().await;
    let refused = [("AKIAEXAMPLE".to_owned(), "ExpiredTokenException".to_owned())].into();
    stream.local.set_access(AccessRules { refused, ..AccessRules::default() });
    is_told(Setup::new(&stream, &topic), &["kinesis:", "ExpiredTokenException", "new credentials"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_be_assumed() {
    let (stream, topic) = prepared().await;
    deny(&stream, Service::Sts, "AssumeRole");
    let role = json!({
        "roleArn": "arn:aws:iam::000000000000:role/reader", "roleSessionName": "orders", "region": "us-east-1", "endpoint": stream.local.url(),
        "accessKey": "AKIABASE", "secretKey": "secret",
    });
    let setup = Setup::new(&stream, &topic)
        .config("awsCredentialPluginName", "org.apache.pulsar.io.kinesis.STSAssumeRoleProviderPlugin")
        .config("awsCredentialPluginParam", role.to_string());
    is_told(setup, &["sts:AssumeRole", "arn:aws:iam::000000000000:role/reader", "AccessDenied", "trust policy"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_keys_at_all() {
    let (stream, topic) = prepared().await;
    let setup = Setup::new(&stream, &topic)
        .config("awsCredentialPluginName", "org.apache.pulsar.io.aws.AwsDefaultProviderChainPlugin")
        .config("awsCredentialPluginParam", serde_json::Value::Null);
    is_told(setup, &["found no AWS credentials", "AWS_ACCESS_KEY_ID"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_another_schema() {
    let (stream, topic) = prepared().await;
    let table = json!({
        "TableName": "customers", "BillingMode": "PAY_PER_REQUEST", "KeySchema": [{ "AttributeName": "customer", "KeyType": "HASH" }],
        "AttributeDefinitions": [{ "AttributeName": "customer", "AttributeType": "S" }],
    });
    http::dynamodb(stream.local.url(), "CreateTable", &table).await.unwrap();
    let setup = Setup::new(&stream, &topic).config("leaseTableName", "customers");
    is_told(setup, &["customers", "no lease table", "leaseKey", "leaseTableName"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_stream_under_the_same_name() {
    let (stream, topic) = prepared().await;
    stream.put_numbered(0, 10, 10);
    let setup = Setup::new(&stream, &topic);
    let source = setup.start().await;
    let follower = topic.follow().await;
    follower.at_least(10, Duration::from_secs(60)).await;
    source.stop().await;
    stream.local.kinesis(|kinesis| kinesis.delete_stream(&stream.name, true)).unwrap();
    // Creation times are compared by the second.
    let deleted = Instant::now();
    crate::harness::wait::until_true("another second", Duration::from_secs(5), async || deleted.elapsed() > Duration::from_millis(1_100))
        .await;
    stream.local.kinesis(|kinesis| kinesis.create_stream(&stream.name, Some(1), std::collections::BTreeMap::new())).unwrap();
    is_told(setup, &[&stream.name, &stream.application(), "applicationName"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_and_a_topic_that_do_not_exist() {
    let (stream, _) = prepared().await;
    let broker = broker::shared().await;
    let nowhere = |name: String| Topic { name, ..Topic::new(broker, "x") };
    for name in ["persistent://public/no-such-namespace/orders", "persistent://no-such-tenant/default/orders"] {
        is_told(Setup::new(&stream, &nowhere(name.to_owned())), &[name, "create the tenant and the namespace"]).await;
    }
    // A namespace in which topics have to be made by hand.
    let namespace = crate::harness::unique("public/closed");
    broker.administer("PUT", &format!("namespaces/{namespace}"), "").await;
    broker.administer("POST", &format!("namespaces/{namespace}/autoTopicCreation"), "{\"allowAutoTopicCreation\":false}").await;
    let topic = nowhere(format!("persistent://{namespace}/orders"));
    is_told(Setup::new(&stream, &topic), &[&topic.name, "create the topic"]).await;
}

const TOKEN_PLUGIN: &str = "org.apache.pulsar.client.impl.auth.AuthenticationToken";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulsar_that_refuses_the_token() {
    let stream = Stream::start(1).await;
    let broker = broker::secured().await;
    let topic = Topic::new(broker, "token");
    let with = |token: &str| {
        Setup::new(&stream, &topic).flag("--client-auth-plugin", TOKEN_PLUGIN).flag("--client-auth-params", &format!("token:{token}"))
    };
    let right = broker.token("admin").await;
    let (claims, _) = right.rsplit_once('.').unwrap();
    let forged = format!("{claims}.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    is_told(with(&forged), &["AuthenticationError", "check the client authentication plugin"]).await;
    is_told(Setup::new(&stream, &topic), &["AuthenticationError", "client authentication"]).await;
    // A role that is known and may not produce.
    let stranger = broker.token("stranger").await;
    is_told(with(&stranger), &[&topic.name, "AuthorizationError", "grant the role `produce`"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_trusted() {
    let stream = Stream::start(1).await;
    let broker = broker::secured().await;
    let topic = Topic::new(broker, "certificate");
    let token = format!("token:{}", broker.token("admin").await);
    let over_tls = || {
        let setup = Setup::new(&stream, &topic).broker_url(&broker.variables["PULSAR_TLS_URL"]);
        setup.flag("--client-auth-plugin", TOKEN_PLUGIN).flag("--client-auth-params", &token)
    };
    is_told(over_tls(), &["the broker's certificate has an issuer that is not trusted", "--tls-trust-cert-path"]).await;

    // And with the authority that signed it, and the right token, records flow.
    stream.put_numbered(0, 100, 10);
    let source = over_tls().flag("--tls-trust-cert-path", &broker.variables["PULSAR_TLS_CA"]).start().await;
    let follower = topic.clone().with_token(&broker.token("admin").await).follow().await;
    follower.at_least(100, Duration::from_secs(60)).await;
    source.stop().await;
    stream.truth().compare(&follower.messages()).assert_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_in_a_policy_passes() {
    let (stream, topic) = prepared().await;
    let mut source = Setup::new(&stream, &topic).start().await;
    let feed = stream.feed(200, 20);
    let follower = topic.follow().await;
    follower.at_least(400, Duration::from_secs(60)).await;
    let services = [Service::Kinesis, Service::DynamoDb, Service::CloudWatch];
    let denied = services.map(|service| Denied { service, operation: None }).into();
    let access = Some(AccessRules { denied, ..AccessRules::default() });
    stream.local.control(ControlRequest { access, ..ControlRequest::default() }).unwrap();
    source.says(&["AccessDeniedException"], Duration::from_secs(60)).await;
    // Longer than a lease lives.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(source.runs());
    stream.local.set_access(AccessRules::default());
    let put = feed.stop().await;
    follower.different(put, Duration::from_secs(120)).await;
    drop(follower);
    source.stop().await;
    stream.truth().compare(&topic.read_all().await).assert_whole();
}
