//! Reads a topic and prints each message as one JSON object: `consume URL TOPIC [SUBSCRIPTION]`.
//!
//! From the environment: `TYPE` (`exclusive`, `shared`, `failover`, `key-shared`), `FROM` (`earliest`, `latest`, `time:MILLISECONDS`,
//! `id:LEDGER:ENTRY`; a time, an id, or no subscription makes a reader that acknowledges nothing), `COUNT` (ends after this many), `IDLE_MS` (ends after this
//! long without a message, 5000 when not given), `NACK` (every n-th message is negatively acknowledged at its first delivery),
//! `MAX_REDELIVER` (with a dead letter topic), `QUIET` (prints the numbers alone), `AUTH_PLUGIN`, `AUTH_PARAMS`, `TRUST_FILE`.

use connector_pulsar::{
    ClientConfig, Consumer, ConsumerSettings, DeadLetterPolicy, Message, MessageId, Start, Subscription, SubscriptionType,
};
use serde_json::json;
use std::time::{Duration, Instant};

fn number(name: &str) -> Result<Option<u64>, Box<dyn std::error::Error>> {
    Ok(std::env::var(name).ok().map(|text| text.parse()).transpose()?)
}

fn print(message: &Message) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let properties: serde_json::Map<String, serde_json::Value> =
        message.properties.iter().map(|(name, value)| (name.to_string(), json!(value.to_string()))).collect();
    let shown = json!({
        "id": message.id.to_string(),
        "topic": message.topic.to_string(),
        "key": message.key.as_deref().map(text),
        "orderingKey": message.ordering_key.as_deref().map(text),
        "producer": message.producer_name.to_string(),
        "sequence": message.sequence_id,
        "publishTime": message.publish_time,
        "eventTime": message.event_time,
        "redelivered": message.redelivery_count,
        "properties": properties,
        "size": message.payload.len(),
        "payload": text(&message.payload[..message.payload.len().min(200)]),
    });
    println!("{shown}");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (url, topic) = (args.next().ok_or("no service URL")?, args.next().ok_or("no topic")?);
    let name = args.next();
    let mut client = ClientConfig::new(url);
    client.auth_plugin = std::env::var("AUTH_PLUGIN").ok();
    client.auth_params = std::env::var("AUTH_PARAMS").ok().map(Into::into);
    client.tls_trust_certs_file_path = std::env::var("TRUST_FILE").ok();
    let from = std::env::var("FROM").unwrap_or_else(|_| "earliest".to_owned());
    let start = match from.split(':').collect::<Vec<_>>().as_slice() {
        ["time", time] => Start::Time(time.parse()?),
        ["id", ledger, entry] => {
            let id = MessageId { ledger: ledger.parse()?, entry: entry.parse()? };
            Start::Message { id, index: None, inclusive: true }
        }
        ["latest"] => Start::Latest,
        ["earliest"] => Start::Earliest,
        _ => return Err(format!("`FROM={from}` is not a place").into()),
    };
    let kind = match std::env::var("TYPE").as_deref() {
        Ok("shared") => SubscriptionType::Shared,
        Ok("failover") => SubscriptionType::Failover,
        Ok("key-shared") => SubscriptionType::KeyShared,
        _ => SubscriptionType::Exclusive,
    };
    let durable = name.is_some() && matches!(start, Start::Earliest | Start::Latest);
    let subscription =
        Subscription { kind, durable, start, ..Subscription::new(name.unwrap_or_else(|| format!("reader-{}", std::process::id()))) };
    let mut settings = ConsumerSettings::new(client, topic, subscription);
    let most = number("MAX_REDELIVER")?.map(u32::try_from).transpose()?;
    settings.dead_letters = most.map(|max_redeliver_count| DeadLetterPolicy { max_redeliver_count, topic: None });
    let count = number("COUNT")?.unwrap_or(u64::MAX);
    let idle = Duration::from_millis(number("IDLE_MS")?.unwrap_or(5_000));
    let (nack, quiet) = (number("NACK")?, std::env::var("QUIET").is_ok());

    let mut consumer = Consumer::connect(settings).await.map_err(|error| {
        eprintln!("{error}");
        format!("{:?}", error.kind())
    })?;
    let (began, mut received, mut bytes) = (Instant::now(), 0u64, 0);
    let mut last = began;
    while received < count {
        let Ok(message) = tokio::time::timeout(idle, consumer.receive()).await else { break };
        let message = message?;
        last = Instant::now();
        received += 1;
        bytes += message.payload.len();
        if !quiet {
            print(&message);
        }
        if !durable {
            continue;
        }
        if nack.is_some_and(|every| received.is_multiple_of(every.max(1)) && (message.redelivery_count == 0 || most.is_some())) {
            consumer.nack(message).await?;
        } else {
            consumer.ack(message.id).await?;
        }
    }
    let took = last - began;
    eprintln!("{received} messages, {bytes} bytes in {took:?}, {:.0} messages/s", received as f64 / took.as_secs_f64().max(1e-9));
    for end in consumer.last_message_ids().await? {
        eprintln!("{} ends at {}", end.topic, end.id.map_or("nothing".to_owned(), |id| id.to_string()));
    }
    consumer.close(tokio::time::Instant::now() + Duration::from_secs(5)).await;
    for (name, _, value) in consumer.facts().export().0 {
        if value > 0.0 {
            eprintln!("{name} {value}");
        }
    }
    Ok(())
}
