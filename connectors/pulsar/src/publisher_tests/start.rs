//! The start: what is waited for, what ends it, which way leads to the broker.

use super::*;
use crate::error::code;
use crate::wire::messages::KeyValue;

#[tokio::test(start_paused = true)]
async fn an_unreachable_cluster_is_waited_for_and_said() {
    let cluster = Cluster::new();
    cluster.kill("one");
    let mut client = ClientConfig::new("pulsar://one:6650,two:6650");
    client.listener_name = Some("outside".into());
    let (mut publisher, mut started) = Publisher::start(PublisherSettings { client, ..settings() }, Arc::new(cluster.clone())).unwrap();
    let watch = Sink::watch(&publisher);
    assert!(tokio::time::timeout(Duration::from_secs(90), &mut started).await.is_err());
    let waiting = watch.waiting_for().unwrap();
    assert!(waiting.contains("connection refused"), "{waiting}");
    assert!(publisher.facts().errors.get() > 20, "it keeps trying");
    cluster.start("two");
    tokio::time::timeout(Duration::from_secs(8), &mut started).await.unwrap().unwrap().unwrap();
    assert_eq!(watch.waiting_for(), None);
    publisher.close(Instant::now() + Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn refusals_that_waiting_does_not_cure_end_the_start() {
    let ended = async |change: &dyn Fn(&Cluster)| {
        let cluster = Cluster::new();
        change(&cluster);
        let began = Instant::now();
        let error = connect(&cluster, settings()).await.err().unwrap();
        assert!(began.elapsed() < Duration::from_secs(2));
        error
    };
    let error = ended(&|cluster| cluster.state().token = Some("other")).await;
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.message().contains("`AuthenticationError`: Failed to authenticate token: expired"), "{error}");
    assert!(error.hint().is_some());
    let error = ended(&|cluster| cluster.state().metadata_error = Some((code::TOPIC_NOT_FOUND, "Namespace not found"))).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("`persistent://public/default/orders`"), "{error}");
    assert!(error.hint().unwrap().contains("namespace"), "{error}");
    let error = ended(&|cluster| cluster.state().metadata_error = Some((code::AUTHORIZATION, "no"))).await;
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let demand = (code::METADATA, "Encryption is required in persistent://public/default/orders");
    let error = ended(&|cluster| cluster.state().open_errors = vec![demand]).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.hint().unwrap().contains("name the readers' public keys in `producerConfig.cryptoConfig`"), "{error}");
    let error = ended(&|cluster| cluster.state().open_errors = vec![(code::TOPIC_TERMINATED, "sealed")]).await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test(start_paused = true)]
async fn refusals_that_pass_are_waited_for() {
    let cluster = Cluster::new();
    let busy = [
        (code::SERVICE_NOT_READY, "loading"),
        (code::PRODUCER_BUSY, "busy"),
        (code::BLOCKED_QUOTA, "quota"),
        (code::METADATA, "timed out"),
    ];
    cluster.state().open_errors = busy.to_vec();
    connect(&cluster, settings()).await.unwrap();
    assert_eq!(cluster.state().opened.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_producer_says_who_it_is_and_keeps_its_name() {
    let cluster = Cluster::new();
    let _publisher = connect(&cluster, settings()).await.unwrap();
    cluster.unload(None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let opened = cluster.state().opened.clone();
    let pair = |key: &str, value: &str| KeyValue { key: key.into(), value: value.into() };
    for (at, open) in opened.iter().enumerate() {
        assert_eq!(open.metadata[..3], [pair("application", "pulsar-source"), pair("id", "acme/shop/orders"), pair("instance_id", "2")]);
        assert_eq!((open.epoch, open.user_provided_producer_name), (Some(at as u64), Some(false)));
    }
    let names: Vec<Option<&str>> = opened.iter().map(|open| open.producer_name.as_deref()).collect();
    assert_eq!(names, [None, Some("scripted-1")]);
    assert_eq!(opened[0].producer_id, opened[1].producer_id);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_followed() {
    let cluster = Cluster::new();
    cluster.start("two");
    cluster.state().redirect = Some("pulsar://two:6650");
    connect(&cluster, settings()).await.unwrap();
    assert_eq!(cluster.state().lookups, ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_broker_behind_the_service_url_gets_a_connection_of_its_own() {
    let cluster = Cluster::new();
    cluster.state().proxied_broker = Some("pulsar://10.0.0.7:6650");
    connect(&cluster, settings()).await.unwrap();
    let token = Some("good".to_owned());
    let expected = [("one".to_owned(), None, token.clone()), ("one".to_owned(), Some("10.0.0.7:6650".to_owned()), token)];
    assert_eq!(cluster.state().connects, expected);
}

#[tokio::test(start_paused = true)]
async fn fresh_credentials_are_given_when_the_broker_asks() {
    let cluster = Cluster::new();
    let _publisher = connect(&cluster, settings()).await.unwrap();
    cluster.challenge();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(cluster.state().auth_responses, ["good"]);
}

#[tokio::test(start_paused = true)]
async fn settings_that_do_not_validate_are_refused_without_the_network() {
    let wrong_url = PublisherSettings { client: ClientConfig::new("http://one"), ..settings() };
    assert_eq!(Publisher::connect(wrong_url).await.err().unwrap().kind(), ErrorKind::Configuration);
    let wrong_topic = PublisherSettings { topic: "a b".into(), ..settings() };
    assert!(Publisher::connect(wrong_topic).await.err().unwrap().message().contains("`a b`"));
    let producer = ProducerConfig { batch_builder: Some("BY_DAY".into()), ..ProducerConfig::default() };
    let by_day = PublisherSettings { producer: Some(producer), ..settings() };
    assert!(Publisher::connect(by_day).await.err().unwrap().message().contains("`producerConfig.batchBuilder`"));
}

#[tokio::test]
async fn a_port_of_another_protocol_ends_the_start() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("pulsar://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 16];
        socket.read_exact(&mut request).await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let error = Publisher::connect(PublisherSettings { client: ClientConfig::new(url), ..settings() }).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("does not speak the Pulsar protocol"), "{error}");
    server.await.unwrap();
}
