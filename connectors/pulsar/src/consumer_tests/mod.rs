//! The consumer's handle and actor against a model of a broker in the same process, in paused time: no socket, no luck.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::auth::AuthData;
use crate::driver::Halves;
use crate::error::code;
use crate::machine::consumer_model::Broker;
use crate::machine::{ConnectionId, SubscriptionType};
use crate::url::HostPort;
use crate::wire::frame::{decode, encode};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// The model behind in-memory streams; clones are the same one.
#[derive(Clone, Default)]
struct Cluster {
    broker: Arc<Mutex<Broker>>,
    streams: Arc<Mutex<BTreeMap<u64, Stream>>>,
    next: Arc<Mutex<u64>>,
}

struct Stream {
    outbound: mpsc::UnboundedSender<Bytes>,
    _task: Task<()>,
}

impl Cluster {
    fn broker(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap()
    }

    /// Puts the broker's answers on their streams.
    fn flush(&self) {
        let answers = std::mem::take(&mut self.broker().answers);
        let streams = self.streams.lock().unwrap();
        for (connection, command, entry) in answers {
            let Some(stream) = streams.get(&connection.0) else { continue };
            let frame = encode(&command);
            let mut bytes = BytesMut::from(&frame[..]);
            let total = u32::try_from(frame.len() + entry.len() - 4).unwrap();
            bytes[..4].copy_from_slice(&total.to_be_bytes());
            bytes.extend_from_slice(&entry);
            // A connection that is gone hears nothing.
            let _unheard = stream.outbound.send(bytes.freeze());
        }
    }

    fn store(&self, numbers: &[u64]) {
        self.broker().store(1, "p", numbers, 100);
        self.flush();
    }

    /// Every connection breaks.
    fn kill(&self) {
        let streams = std::mem::take(&mut *self.streams.lock().unwrap());
        for connection in streams.into_keys() {
            self.broker().gone(ConnectionId(connection));
        }
    }

    async fn serve(self, at: u64, stream: DuplexStream, mut outbound: mpsc::UnboundedReceiver<Bytes>) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut buffer = BytesMut::new();
        loop {
            tokio::select! {
                bytes = outbound.recv() => {
                    let Some(bytes) = bytes else { return };
                    if writer.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                read = reader.read_buf(&mut buffer) => {
                    if !matches!(read, Ok(size) if size > 0) {
                        self.broker().gone(ConnectionId(at));
                        return;
                    }
                    while let Some(whole) = take_frame(&mut buffer) {
                        self.broker().handle(ConnectionId(at), &whole);
                    }
                    self.flush();
                }
            }
        }
    }
}

/// The bytes of the next whole frame.
fn take_frame(buffer: &mut BytesMut) -> Option<Bytes> {
    let size = u32::from_be_bytes(*buffer.first_chunk::<4>()?) as usize + 4;
    if buffer.len() < size {
        return None;
    }
    let whole = buffer.split_to(size).freeze();
    assert!(decode(&mut BytesMut::from(&whole[..]), usize::MAX).unwrap().is_some());
    Some(whole)
}

impl Dial for Cluster {
    fn dial<'a>(&'a self, _address: &'a HostPort) -> BoxFuture<'a, Result<Halves, Error>> {
        Box::pin(async move {
            let at = {
                let mut next = self.next.lock().unwrap();
                *next += 1;
                *next
            };
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let (outbound, queue) = mpsc::unbounded_channel();
            let task = Task::spawn("modelled connection", self.clone().serve(at, theirs, queue));
            self.streams.lock().unwrap().insert(at, Stream { outbound, _task: task });
            let (reader, writer) = tokio::io::split(ours);
            Ok(Halves { reader: Box::new(reader), writer: Box::new(writer) })
        })
    }

    fn credentials(&self) -> BoxFuture<'_, Result<AuthData, Error>> {
        Box::pin(async { Ok(AuthData::none()) })
    }
}

fn settings(kind: SubscriptionType) -> ConsumerSettings {
    let subscription = Subscription { kind, start: Start::Earliest, ..Subscription::new("s") };
    ConsumerSettings {
        clock: Clock::from_fn(|| 1_700_000_000_000),
        random: Random::seeded(5),
        ..ConsumerSettings::new(ClientConfig::new("pulsar://broker:6650"), "orders", subscription)
    }
}

async fn connect(cluster: &Cluster, settings: ConsumerSettings) -> Result<Consumer, Error> {
    Consumer::connect_by(settings, Arc::new(cluster.clone())).await
}

fn number(message: &Message) -> u64 {
    std::str::from_utf8(&message.payload).unwrap().parse().unwrap()
}

async fn receive(consumer: &Consumer) -> u64 {
    number(&consumer.receive().await.unwrap())
}

async fn is_silent(consumer: &Consumer) -> bool {
    tokio::time::timeout(Duration::from_millis(500), consumer.receive()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn messages_are_received_acknowledged_and_confirmed() {
    let cluster = Cluster::default();
    let mut consumer = connect(&cluster, settings(SubscriptionType::Exclusive)).await.unwrap();
    cluster.store(&[0, 1, 2]);
    cluster.store(&[3]);
    for expected in 0..4 {
        let message = consumer.receive().await.unwrap();
        assert_eq!(number(&message), expected);
        consumer.ack(message.id).await.unwrap();
    }
    consumer.flush().await.unwrap();
    assert_eq!(cluster.broker().cursors["s"].acked.len(), 2);
    assert_eq!(consumer.facts().received_messages.get(), 4);
    consumer.close(Instant::now() + Duration::from_secs(1)).await;
    assert_eq!(consumer.receive().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(consumer.ack(DELIVERED).await.unwrap_err().kind(), ErrorKind::Closed);
}

const DELIVERED: DeliveredId =
    DeliveredId { consumer: crate::message::ConsumerId(0), message: MessageId { ledger: 1, entry: 0 }, batch: None };

#[tokio::test(start_paused = true)]
async fn a_receive_that_is_given_up_has_taken_nothing() {
    let cluster = Cluster::default();
    let consumer = connect(&cluster, settings(SubscriptionType::Exclusive)).await.unwrap();
    for _ in 0..3 {
        assert!(is_silent(&consumer).await);
    }
    cluster.store(&[7, 8]);
    assert_eq!(receive(&consumer).await, 7);
    let (first, second) = tokio::join!(tokio::time::timeout(Duration::from_secs(1), consumer.receive()), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.store(&[9]);
    });
    let ((), first) = (second, first.unwrap().unwrap());
    assert_eq!(number(&first), 8);
    assert_eq!(receive(&consumer).await, 9);
}

#[tokio::test(start_paused = true)]
async fn after_a_broken_connection_what_was_not_acknowledged_comes_again() {
    let cluster = Cluster::default();
    let consumer = connect(&cluster, settings(SubscriptionType::Exclusive)).await.unwrap();
    for number in 0..4 {
        cluster.store(&[number]);
    }
    let first = consumer.receive().await.unwrap();
    consumer.ack(first.id).await.unwrap();
    consumer.flush().await.unwrap();
    assert_eq!(receive(&consumer).await, 1);
    cluster.kill();
    tokio::time::sleep(Duration::from_secs(5)).await;
    for expected in 1..4 {
        assert_eq!(receive(&consumer).await, expected);
    }
    assert!(is_silent(&consumer).await);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_again_and_again_becomes_a_dead_letter() {
    let cluster = Cluster::default();
    let dead_letters = Some(DeadLetterPolicy { max_redeliver_count: 2, topic: None });
    let consumer = connect(&cluster, ConsumerSettings { dead_letters, ..settings(SubscriptionType::Shared) }).await.unwrap();
    cluster.store(&[5]);
    for count in 0..=2 {
        let message = consumer.receive().await.unwrap();
        assert_eq!(message.redelivery_count, count);
        assert!(cluster.broker().published.is_empty());
        consumer.nack(message).await.unwrap();
    }
    assert!(is_silent(&consumer).await);
    let (topic, letter) = cluster.broker().published[0].clone();
    assert_eq!(topic, "persistent://public/default/orders-s-DLQ");
    assert_eq!(&letter.value[..], b"00000005");
    let properties: Vec<(String, String)> = letter.properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let expected = [
        ("REAL_TOPIC", "persistent://public/default/orders"),
        ("REAL_SUBSCRIPTION", "s"),
        ("ORIGIN_MESSAGE_ID", "1:0:-1"),
        ("ORIGIN_MESSAGE_IDY_TIME", "1:0:-1"),
    ];
    assert_eq!(properties, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(cluster.broker().cursors["s"].acked.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_partition_is_read_and_those_that_come_later_from_their_beginning() {
    let cluster = Cluster::default();
    cluster.broker().partitions = 2;
    let mut settings = settings(SubscriptionType::Failover);
    settings.subscription.start = Start::Latest;
    let consumer = connect(&cluster, settings).await.unwrap();
    let topics = |cluster: &Cluster| {
        let subscribes = cluster.broker().subscribes.clone();
        let of = |topic: &str| topic.rsplit_once('-').unwrap().1.parse::<u32>().unwrap();
        subscribes.iter().map(|subscribe| (of(&subscribe.topic), subscribe.initial_position.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(topics(&cluster), [(0, 0), (1, 0)]);
    cluster.broker().partitions = 3;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(topics(&cluster), [(0, 0), (1, 0), (2, 1)]);
    // The model has one log for all: each partition delivers it, the new one from its beginning.
    cluster.store(&[1]);
    for _ in 0..3 {
        assert_eq!(receive(&consumer).await, 1);
    }
    let mut last = consumer.last_message_ids().await.unwrap();
    last.sort_by(|a, b| a.topic.cmp(&b.topic));
    assert_eq!(
        last[2],
        LastMessage { topic: "persistent://public/default/orders-partition-2".into(), id: Some(MessageId { ledger: 1, entry: 0 }) }
    );
}

#[tokio::test(start_paused = true)]
async fn a_seek_goes_back_and_unsubscribing_ends_the_consumer() {
    let cluster = Cluster::default();
    let consumer = connect(&cluster, settings(SubscriptionType::Exclusive)).await.unwrap();
    for number in 0..3 {
        cluster.store(&[number]);
    }
    let first = consumer.receive().await.unwrap();
    let second = consumer.receive().await.unwrap();
    consumer.ack_up_to(second.id).await.unwrap();
    consumer.flush().await.unwrap();
    consumer.seek_to(first.id).await.unwrap();
    for expected in 0..3 {
        assert_eq!(receive(&consumer).await, expected);
    }
    consumer.seek(Start::Earliest).await.unwrap();
    assert_eq!(receive(&consumer).await, 0);
    consumer.unsubscribe().await.unwrap();
    assert!(cluster.broker().cursors.is_empty());
    while let Ok(message) = consumer.receive().await {
        assert!(number(&message) > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_cannot_succeed_says_why_and_one_that_may_waits() {
    let cluster = Cluster::default();
    cluster.broker().forbidden = true;
    let error = connect(&cluster, settings(SubscriptionType::Exclusive)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.to_string().contains("subscribing to `persistent://public/default/orders`"), "{error}");
    let cluster = Cluster::default();
    cluster.broker().refusals = vec![(code::CONSUMER_BUSY, "Exclusive consumer is already connected"); 4];
    connect(&cluster, settings(SubscriptionType::Exclusive)).await.unwrap();
    assert_eq!(cluster.broker().subscribes.len(), 5);
}

#[tokio::test]
async fn settings_that_do_not_fit_together_are_refused_without_the_network() {
    let exclusive = || settings(SubscriptionType::Exclusive);
    let dead_letters = Some(DeadLetterPolicy { max_redeliver_count: 2, topic: None });
    let time = Subscription { start: Start::Time(1), ..Subscription::new("s") };
    let shared_reader = Subscription { durable: false, kind: SubscriptionType::Shared, ..Subscription::new("s") };
    for (settings, said) in [
        (ConsumerSettings { topics: vec![], ..exclusive() }, "at least one topic"),
        (ConsumerSettings { topics: vec!["a b".into()], ..exclusive() }, "`a b` is not a topic name"),
        (ConsumerSettings { dead_letters, ..exclusive() }, "needs a subscription of type `Shared`"),
        (ConsumerSettings { subscription: time, ..exclusive() }, "not at publish time 1"),
        (ConsumerSettings { subscription: shared_reader, ..exclusive() }, "cannot be shared"),
        (ConsumerSettings { subscription: Subscription::new(""), ..exclusive() }, "needs a name"),
    ] {
        let error = Consumer::connect(settings).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(said), "{error}");
    }
}
