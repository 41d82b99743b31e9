//! Enhanced fan-out on the SDK: one subscription, read frame by frame.

use super::answer::Reading;
use super::body::BodyTap;
use super::connections::Place;
use super::consumer::AwsConsumer;
use super::frames::Frames;
use super::wire::{self, Wire};
use super::{answer, cbor, fault, reads};
use crate::ids::ShardId;
use crate::port::StartAt;
use crate::retrieval::{Event, ReadError, Subscription, Subscriptions};
use aws_sdk_kinesis::config::Builder;
use aws_sdk_kinesis::types::StartingPosition;
use aws_smithy_types::event_stream::Header;
use connector_aws::AnsweredAt;
use connector_sdk::Error;
use futures_util::future::BoxFuture;
use serde::Deserialize;

impl Subscriptions for AwsConsumer {
    fn subscribe<'a>(&'a self, shard: &'a ShardId, start: &'a StartAt) -> BoxFuture<'a, Result<Box<dyn Subscription>, ReadError>> {
        Box::pin(self.subscribe_to_shard(shard, start))
    }
}

impl AwsConsumer {
    async fn subscribe_to_shard(&self, shard: &ShardId, start: &StartAt) -> Result<Box<dyn Subscription>, ReadError> {
        let call = self.call("kinesis:SubscribeToShard");
        let (kind, sequence, timestamp) = reads::in_request(start);
        let position = StartingPosition::builder()
            .r#type(kind)
            .set_sequence_number(sequence)
            .set_timestamp(timestamp)
            .build()
            .expect("the type is set");
        let (answered, tap) = (AnsweredAt::new(), BodyTap::new(""));
        let place = self.kinesis.connections.place();
        let arn = self.arn();
        let request = |settings: Option<Builder>| {
            let request = place
                .subscribe_to_shard()
                .consumer_arn(&*arn)
                .shard_id(shard.as_str())
                .starting_position(position.clone())
                .customize()
                .interceptor(answered.clone())
                .interceptor(tap.clone());
            match settings {
                Some(settings) => request.config_override(settings),
                None => request,
            }
        };
        // An instant is asked for in JSON: the SDK counts it in seconds, which CBOR here does not.
        let cbor = self.kinesis.wire.cbor().filter(|_| !matches!(start, StartAt::Timestamp(_)));
        let in_cbor = cbor.is_some();
        let subscribed = match request(cbor).send().await {
            Err(error) if in_cbor && self.kinesis.wire.falls_back(&error) => request(None).send().await,
            subscribed => subscribed,
        };
        if let Err(error) = subscribed {
            return Err(match fault::is_not_found(&error) {
                true => self.not_found("kinesis:SubscribeToShard", &arn, shard).await,
                false => fault::of_start(&call, start, &answered, &error),
            });
        }
        let subject = format!("`kinesis:SubscribeToShard` of consumer `{}` on shard `{shard}`", self.name);
        let Some(body) = tap.take() else {
            return Err(ReadError::Failed(Error::transient(format!("{subject} was answered without a body"))));
        };
        let wire = self.kinesis.wire.clone();
        Ok(Box::new(AwsSubscription { frames: Frames::new(body), arriving: None, subject, wire, _place: place }))
    }
}

/// A subscription that stands, and its place on a connection.
struct AwsSubscription {
    frames: Frames,
    /// The frame that is being read.
    arriving: Option<Arriving>,
    subject: String,
    wire: Wire,
    _place: Place,
}

/// A frame as far as it is there.
struct Arriving {
    headers: Vec<Header>,
    payload: Payload,
}

enum Payload {
    /// Of an event of the shard.
    Event(Reading),
    /// Of anything else: short.
    Other(Vec<u8>),
}

impl Subscription for AwsSubscription {
    fn announced(&mut self) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(async {
            let announced = self.frames.announced().await;
            announced.map(|length| length.map(|length| answer::decoding_cost(length as u64))).map_err(|error| self.failed(error))
        })
    }

    fn event(&mut self) -> BoxFuture<'_, Result<Option<Event>, ReadError>> {
        Box::pin(async {
            let Arriving { headers, payload } = self.whole_frame().await.map_err(|error| self.failed(error))?;
            let payload = match payload {
                Payload::Event(reading) => {
                    return self.wire.read(reading, Reading::event).map(Some).map_err(|error| self.failed(error));
                }
                Payload::Other(payload) => payload,
            };
            match header(&headers, ":message-type") {
                Some("exception") => {
                    let code = header(&headers, ":exception-type").unwrap_or("an exception without a name");
                    Err(fault::of_event(&self.subject, code, &said(&payload)))
                }
                Some("error") => {
                    let code = header(&headers, ":error-code").unwrap_or("an error without a name");
                    Err(fault::of_event(&self.subject, code, header(&headers, ":error-message").unwrap_or("no reason was given")))
                }
                // The answer's own head, and whatever the service adds one day.
                _ => Ok(None),
            }
        })
    }
}

impl AwsSubscription {
    /// Reads the announced frame to its end. Cancel-safe.
    async fn whole_frame(&mut self) -> Result<Arriving, Error> {
        if self.arriving.is_none() {
            let (headers, length) = self.frames.headers().await?;
            let is_event = header(&headers, ":message-type") == Some("event");
            let payload = match header(&headers, ":event-type") {
                Some("SubscribeToShardEvent") if is_event => Payload::Event(Reading::new(Some(length))),
                _ => Payload::Other(Vec::new()),
            };
            self.arriving = Some(Arriving { headers, payload });
        }
        while let Some(piece) = self.frames.piece().await? {
            match &mut self.arriving.as_mut().expect("it was begun above, or before").payload {
                Payload::Event(reading) => reading.take(&piece),
                Payload::Other(payload) => payload.extend_from_slice(&piece),
            }
        }
        Ok(self.arriving.take().expect("it was begun above, or before"))
    }

    fn failed(&self, error: Error) -> ReadError {
        ReadError::Failed(error.context(&self.subject))
    }
}

fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.name().as_str() == name)?;
    header.value().as_string().ok().map(|text| text.as_str())
}

/// The service's own words in an exception.
fn said(payload: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Exception {
        #[serde(alias = "Message")]
        message: Option<String>,
    }
    let message = match wire::is_json(payload) {
        true => serde_json::from_slice(payload).ok().and_then(|exception: Exception| exception.message),
        false => cbor::refusal(payload).and_then(|refusal| refusal.message),
    };
    message.unwrap_or_else(|| "no reason was given".to_owned())
}
