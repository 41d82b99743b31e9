//! SubscribeToShard on the wire: the machine's events as frames, as soon as there are any.
//!
//! Never polls: it sleeps until the shard changes or until the moment the machine named. Dropping the body ends the subscription.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::sync::watch;

use super::account::Account;
use super::body::{Reply, ReplyBody};
use super::kinesis_describe::child_shard;
use crate::clock::Millis;
use crate::faults::FaultAction;
use crate::kinesis::{KinesisError, SubscriptionEvent, SubscriptionId, SubscriptionStep};
use crate::wire::eventstream::frame;
use crate::wire::records::{cbor_head, cbor_text, write_records};
use crate::wire::value::{Format, list, map};

/// A subscription and what is to go wrong with it.
struct Push {
    account: Arc<Account>,
    id: SubscriptionId,
    changes: watch::Receiver<u64>,
    format: Format,
    faults: Vec<FaultAction>,
    events: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Running,
    Broken,
    Over,
}

impl Drop for Push {
    fn drop(&mut self) {
        self.account.kinesis().unsubscribe(self.id);
    }
}

/// The answer that carries the subscription's events.
pub(super) fn reply(
    account: &Arc<Account>,
    format: Format,
    id: SubscriptionId,
    changes: watch::Receiver<u64>,
    faults: &[FaultAction],
) -> Reply {
    let push = Push { account: Arc::clone(account), id, changes, format, faults: faults.to_vec(), events: 0, state: State::Starting };
    let frames = futures_util::stream::unfold(push, |mut push| async move {
        let next = push.next_frame().await?;
        Some((next.map(Frame::data), push))
    });
    let body = ReplyBody::Stream(StreamBody::new(frames).boxed_unsync());
    Reply { status: 200, content_type: "application/vnd.amazon.eventstream", protocol: None, body }
}

impl Push {
    async fn next_frame(&mut self) -> Option<io::Result<Bytes>> {
        match self.state {
            State::Starting => {
                self.state = State::Running;
                return Some(Ok(self.initial_response()));
            }
            State::Running => {}
            State::Broken => {
                self.state = State::Over;
                return Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
            }
            State::Over => return None,
        }
        loop {
            if self.is_frozen() {
                self.account.stop.cancelled().await;
                return None;
            }
            // Marked as seen before looking, so that a change while looking is not slept through.
            self.changes.mark_unchanged();
            let step = self.account.kinesis().subscription_next(self.id);
            match step {
                SubscriptionStep::Event(event) => return Some(Ok(self.event(&event))),
                SubscriptionStep::WaitUntil(at) => {
                    if !self.wait(at).await {
                        return None;
                    }
                }
                SubscriptionStep::End => return None,
                SubscriptionStep::Failed(error) => {
                    self.state = State::Over;
                    return Some(Ok(self.exception(&error)));
                }
            }
        }
    }

    /// Sleeps until there may be something to do; false when the server stops.
    async fn wait(&mut self, until: Millis) -> bool {
        tokio::select! {
            () = self.account.stop.cancelled() => false,
            () = self.account.clock.sleep_until(until) => true,
            // The sender goes with its stream; the next look says so.
            _ = self.changes.changed() => true,
        }
    }

    fn is_frozen(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault, FaultAction::Freeze { after_events } if *after_events <= self.events))
    }

    fn initial_response(&self) -> Bytes {
        let headers = [(":message-type", "event"), (":event-type", "initial-response"), (":content-type", self.format.content_type())];
        frame(&headers, |out| out.extend_from_slice(&self.format.write(&map([])))).into()
    }

    fn exception(&self, error: &KinesisError) -> Bytes {
        let headers =
            [(":message-type", "exception"), (":exception-type", error.kind.code()), (":content-type", self.format.content_type())];
        let body = map([("__type", error.kind.code().into()), ("message", error.message.as_str().into())]);
        frame(&headers, |out| out.extend_from_slice(&self.format.write(&body))).into()
    }

    fn event(&mut self, event: &SubscriptionEvent) -> Bytes {
        let headers = [(":message-type", "event"), (":event-type", "SubscribeToShardEvent"), (":content-type", self.format.content_type())];
        let mut bytes = frame(&headers, |out| write_event(self.format, event, out));
        self.events += 1;
        for fault in &self.faults {
            match fault {
                FaultAction::Truncate { after_events } if self.events > *after_events => {
                    bytes.truncate(bytes.len() / 2);
                    self.state = State::Broken;
                }
                FaultAction::WrongCrc { after_events } if self.events > *after_events => {
                    if let Some(last) = bytes.last_mut() {
                        *last ^= 0xff;
                    }
                }
                _ => {}
            }
        }
        bytes.into()
    }
}

/// Writes the payload of an event: everything but the records is small.
fn write_event(format: Format, event: &SubscriptionEvent, out: &mut Vec<u8>) {
    let children = list(event.child_shards.iter().map(child_shard));
    match format {
        Format::Json => {
            out.extend_from_slice(b"{\"Records\":");
            write_records(format, &event.records, out);
            if let Some(number) = &event.continuation {
                out.extend_from_slice(b",\"ContinuationSequenceNumber\":\"");
                out.extend_from_slice(number.as_bytes());
                out.push(b'"');
            }
            out.extend_from_slice(format!(",\"MillisBehindLatest\":{}", event.millis_behind_latest).as_bytes());
            if !event.child_shards.is_empty() {
                out.extend_from_slice(b",\"ChildShards\":");
                out.extend_from_slice(&format.write(&children));
            }
            out.push(b'}');
        }
        Format::Cbor => {
            let optional = u64::from(event.continuation.is_some()) + u64::from(!event.child_shards.is_empty());
            cbor_head(5, 2 + optional, out);
            cbor_text("Records", out);
            write_records(format, &event.records, out);
            if let Some(number) = &event.continuation {
                cbor_text("ContinuationSequenceNumber", out);
                cbor_text(number.as_str(), out);
            }
            cbor_text("MillisBehindLatest", out);
            cbor_head(0, event.millis_behind_latest.unsigned_abs(), out);
            if !event.child_shards.is_empty() {
                cbor_text("ChildShards", out);
                out.extend_from_slice(&format.write(&children));
            }
        }
    }
}
