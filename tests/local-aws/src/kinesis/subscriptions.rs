//! SubscribeToShard: pushed reading, one subscription at a time for a consumer and a shard.
//!
//! Promises that an event has no continuation number if and only if it names child shards, that it is then the last one, and that the owner learns when to
//! look again. Never waits: [`Kinesis::subscription_next`] says what there is now, or until when there is nothing.

use tokio::sync::watch;

use super::Kinesis;
use super::consumers::{ConsumerName, ConsumerStatus};
use super::error::{ErrorKind, KinesisError};
use super::iterators::StartingPosition;
use super::limits::Bucket;
use super::read::{ChildShard, RecordBatch};
use super::sequence::SequenceNumber;
use super::shard::{READ_BYTES, ShardId};
use super::stream::index_of;
use crate::clock::Millis;

/// A subscription of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(u64);

/// An event to push.
#[derive(Clone, Debug)]
pub struct SubscriptionEvent {
    /// Records in order; may be none.
    pub records: RecordBatch,
    /// Where a next subscription goes on; absent if and only if `child_shards` is not empty.
    pub continuation: Option<SequenceNumber>,
    /// How far the subscription is behind the tip, in milliseconds.
    pub millis_behind_latest: Millis,
    /// The shards that follow a closed one which was pushed to its end.
    pub child_shards: Vec<ChildShard>,
}

/// What a subscription has to do next.
#[derive(Clone, Debug)]
pub enum SubscriptionStep {
    /// Push this.
    Event(SubscriptionEvent),
    /// Nothing before this time, unless the shard changes.
    WaitUntil(Millis),
    /// The stream of events ends in order.
    End,
    /// The stream of events ends with this error.
    Failed(KinesisError),
}

#[derive(Debug)]
pub(super) struct Subscription {
    stream: String,
    incarnation: u64,
    consumer: String,
    consumer_arn: String,
    shard: ShardId,
    position: u64,
    ends_at: Millis,
    last_event_at: Millis,
    bucket: Bucket,
    taken_over: bool,
}

impl Kinesis {
    /// Subscribes a consumer to a shard. The receiver changes whenever the subscription must be looked at.
    ///
    /// # Errors
    /// ResourceInUse within 5 s of the consumer's last subscription to the shard, or for a consumer that is not ACTIVE; otherwise as an iterator.
    pub fn subscribe(
        &mut self,
        consumer_arn: &str,
        shard: ShardId,
        start: &StartingPosition,
    ) -> Result<(SubscriptionId, watch::Receiver<u64>), KinesisError> {
        self.tick();
        let now = self.now();
        let (stream, consumer) = self.find_consumer(&ConsumerName::Arn(consumer_arn))?;
        let status = self.stream_ref(&stream)?.consumers[&consumer].status;
        if status != ConsumerStatus::Active {
            return Err(ErrorKind::ResourceInUse
                .because(format!("Consumer {consumer} of stream {stream} is not ACTIVE, it is {}", status.as_str())));
        }
        let position = self.position(&stream, shard, start)?;
        let pair = (consumer_arn.to_owned(), shard);
        if let Some((at, earlier)) = self.subscribed.get(&pair).copied() {
            if now - at < self.settings.resubscribe_ms {
                return Err(ErrorKind::ResourceInUse.because(format!(
                    "Another active subscription exists for this consumer: {consumer_arn} on {shard}, begun {} ms ago",
                    now - at
                )));
            }
            if let Some(previous) = self.subscriptions.get_mut(&earlier) {
                previous.taken_over = true;
            }
        }
        self.next_subscription += 1;
        let id = SubscriptionId(self.next_subscription);
        self.subscribed.insert(pair, (now, id));
        let found = self.stream_ref(&stream)?;
        let source = found.shard(shard, now)?;
        // Wakes the one that was taken over, if any.
        source.wake();
        let changes = source.watch();
        let subscription = Subscription {
            incarnation: found.incarnation,
            stream,
            consumer,
            consumer_arn: consumer_arn.to_owned(),
            shard,
            position,
            ends_at: now + self.settings.subscription_ms,
            last_event_at: now,
            bucket: Bucket::new(READ_BYTES, now),
            taken_over: false,
        };
        self.subscriptions.insert(id, subscription);
        Ok((id, changes))
    }

    /// What the subscription has to do now.
    pub fn subscription_next(&mut self, id: SubscriptionId) -> SubscriptionStep {
        self.tick();
        let step = self.subscription_step(id);
        let last = match &step {
            SubscriptionStep::Event(event) => event.continuation.is_none(),
            SubscriptionStep::WaitUntil(_) => false,
            SubscriptionStep::End | SubscriptionStep::Failed(_) => true,
        };
        if last {
            self.subscriptions.remove(&id);
        }
        step
    }

    /// Forgets a subscription whose reader is gone; the 5 s rule still counts from its beginning.
    pub fn unsubscribe(&mut self, id: SubscriptionId) {
        self.subscriptions.remove(&id);
    }

    /// How many subscriptions are being pushed.
    #[must_use]
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    fn subscription_step(&mut self, id: SubscriptionId) -> SubscriptionStep {
        let now = self.now();
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return SubscriptionStep::End;
        };
        if subscription.taken_over {
            return SubscriptionStep::Failed(
                ErrorKind::ResourceInUse
                    .because(format!("Another subscription of {} to {} took over", subscription.consumer_arn, subscription.shard)),
            );
        }
        let gone =
            |what: &str, name: &str| SubscriptionStep::Failed(ErrorKind::ResourceNotFound.because(format!("{what} {name} does not exist")));
        let Some(stream) = self.streams.get_mut(&subscription.stream).filter(|stream| stream.incarnation == subscription.incarnation)
        else {
            return gone("Stream", &subscription.stream);
        };
        if stream.consumers.get(&subscription.consumer).is_none_or(|consumer| consumer.arn != subscription.consumer_arn) {
            return gone("Consumer", &subscription.consumer);
        }
        if now >= subscription.ends_at {
            return SubscriptionStep::End;
        }
        let retention = stream.retention;
        let shard = match stream.shard_mut(subscription.shard, now) {
            Ok(shard) => shard,
            Err(error) => return SubscriptionStep::Failed(error),
        };
        subscription.position = subscription.position.max(shard.trim(retention, now) as u64);
        let shard = &stream.shards[index_of(subscription.shard)];
        let empty_at = (subscription.last_event_at + self.settings.empty_event_ms).min(subscription.ends_at);
        let idle = stream.len_of(shard, now) <= subscription.position && shard.is_open();
        if idle && now < empty_at {
            let next = stream.canned.as_ref().map_or(empty_at, |canned| canned.arrives_at(shard.id, subscription.position));
            return SubscriptionStep::WaitUntil(next.clamp(now + 1, empty_at));
        }
        let limited = self.settings.limits.fan_out && stream.canned.is_none();
        if limited && !subscription.bucket.admits(1.0, now) {
            return SubscriptionStep::WaitUntil(subscription.bucket.admits_at(1.0, now).min(subscription.ends_at));
        }
        let page = stream.page(subscription.shard, subscription.position, self.settings.event_records, self.settings.event_bytes, now);
        let continuation = page.children.is_empty().then(|| shard.number(page.next));
        subscription.position = page.next;
        subscription.last_event_at = now;
        subscription.bucket.take(page.bytes as f64, now);
        SubscriptionStep::Event(SubscriptionEvent {
            records: page.records,
            continuation,
            millis_behind_latest: page.millis_behind,
            child_shards: page.children,
        })
    }
}
