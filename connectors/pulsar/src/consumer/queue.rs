//! What was delivered and not taken: between the actor and whoever receives.
//!
//! Its bound is the byte budget by which the machine grants permits. Taking is one step without an await, so that a receive that
//! is given up has taken nothing.

use crate::message::{ConsumerId, DeliveredId, Message};
use connector_sdk::Error;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

#[derive(Default)]
struct Inner {
    items: VecDeque<Result<Message, (ConsumerId, Error)>>,
    /// Taken since the actor last looked: cost and the newest, by consumer.
    taken: BTreeMap<ConsumerId, (usize, DeliveredId)>,
    taken_cost: usize,
    over: Option<Error>,
}

/// The queue of one consumer's handle.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    filled: Notify,
    drained: Notify,
    /// The actor is told when this much was taken, or all.
    tell_at: usize,
}

impl Queue {
    pub(super) fn new(budget: usize) -> Self {
        Self { inner: Mutex::default(), filled: Notify::new(), drained: Notify::new(), tell_at: budget / 8 }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next message, waiting for one. Cancel-safe.
    pub(super) async fn take(&self) -> Result<Message, Error> {
        loop {
            if let Some(taken) = self.take_now() {
                return taken;
            }
            // A permit that was stored since the look above is found here.
            self.filled.notified().await;
        }
    }

    fn take_now(&self) -> Option<Result<Message, Error>> {
        let mut inner = self.lock();
        let Some(item) = inner.items.pop_front() else {
            let over = inner.over.clone();
            drop(inner);
            if over.is_some() {
                // Whoever else waits shall hear it, too.
                self.filled.notify_one();
            }
            return over.map(Err);
        };
        let more = !inner.items.is_empty() || inner.over.is_some();
        let result = match item {
            Ok(message) => {
                let cost = message.cost();
                let taken = inner.taken.entry(message.id.consumer).or_insert((0, message.id));
                *taken = (taken.0 + cost, message.id);
                inner.taken_cost += cost;
                Ok(message)
            }
            Err((_, error)) => Err(error),
        };
        let tell = inner.items.is_empty() || inner.taken_cost >= self.tell_at;
        drop(inner);
        if more {
            self.filled.notify_one();
        }
        if tell {
            self.drained.notify_one();
        }
        Some(result)
    }

    pub(super) fn put(&self, messages: Vec<Message>) {
        self.lock().items.extend(messages.into_iter().map(Ok));
        self.filled.notify_one();
    }

    pub(super) fn put_error(&self, consumer: ConsumerId, error: Error) {
        self.lock().items.push_back(Err((consumer, error)));
        self.filled.notify_one();
    }

    /// Throws away what was not taken of a consumer.
    pub(super) fn clear(&self, consumer: ConsumerId) {
        let mut inner = self.lock();
        inner.items.retain(|item| match item {
            Ok(message) => message.id.consumer != consumer,
            Err((other, _)) => *other != consumer,
        });
        // Its cost was given back with what was thrown away; where it stands is still to be told.
        if let Some(taken) = inner.taken.get_mut(&consumer) {
            taken.0 = 0;
        }
    }

    /// Waits until something was taken.
    pub(super) async fn drained(&self) {
        self.drained.notified().await;
    }

    /// What was taken since the last call.
    pub(super) fn taken(&self) -> BTreeMap<ConsumerId, (usize, DeliveredId)> {
        let mut inner = self.lock();
        inner.taken_cost = 0;
        std::mem::take(&mut inner.taken)
    }

    /// Nothing more will come, for this reason.
    pub(super) fn end(&self, why: Error) {
        self.lock().over.get_or_insert(why);
        self.filled.notify_one();
    }
}
