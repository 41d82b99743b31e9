//! The sink: takes the duty for a batch, resolves its handle when the receipt is in, perhaps many batches later.

use crate::{Batch, Clock, Error, Guarantee, Identity, Lineages, OnRecordError, Random};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::time::Instant;

/// Whether a sink has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteRoom {
    /// The next write would not wait.
    Free,
    /// The next write waits for answers.
    Full,
}

/// Takes data out.
pub trait Sink: Send + 'static {
    /// Takes the duty for the batch; waits while there is no room. Durability comes later, by the handle. Cancel-safe: records
    /// not yet taken when the wait is dropped are given back.
    ///
    /// # Errors
    /// What ended the sink as a whole; all its unresolved handles are given back.
    fn write(&mut self, batch: Batch) -> impl Future<Output = Result<(), Error>> + Send;

    /// Sends what is collected and waits until everything taken so far is resolved. Cancel-safe.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn flush(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Flushes until the deadline, then ends; what is unresolved by then is given back.
    fn close(&mut self, deadline: Instant) -> impl Future<Output = ()> + Send;

    /// What can be seen of it while it runs.
    fn watch(&self) -> Arc<dyn SinkWatch>;
}

/// A view of a running sink that can be asked at any time, from anywhere.
pub trait SinkWatch: Send + Sync {
    /// Records taken and not yet resolved.
    fn in_flight(&self) -> u64;

    /// Records stored by the other side, since the start.
    fn written(&self) -> u64;

    /// Whether the next write would wait.
    fn room(&self) -> WriteRoom;

    /// What it is waiting for, when it is not running fully.
    fn waiting_for(&self) -> Option<String>;

    /// Its own measurements, for the metrics page.
    fn facts(&self) -> crate::Facts;
}

/// A [`Sink`] whose type is forgotten.
pub trait DynSink: Send {
    /// See [`Sink::write`].
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<(), Error>>;
    /// See [`Sink::flush`].
    fn flush(&mut self) -> BoxFuture<'_, Result<(), Error>>;
    /// See [`Sink::close`].
    fn close(&mut self, deadline: Instant) -> BoxFuture<'_, ()>;
    /// See [`Sink::watch`].
    fn watch(&self) -> Arc<dyn SinkWatch>;
}

impl<S: Sink> DynSink for S {
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(Sink::write(self, batch))
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(Sink::flush(self))
    }

    fn close(&mut self, deadline: Instant) -> BoxFuture<'_, ()> {
        Box::pin(Sink::close(self, deadline))
    }

    fn watch(&self) -> Arc<dyn SinkWatch> {
        Sink::watch(self)
    }
}

/// Everything a sink gets from the instance it runs in.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// Who it is.
    pub identity: Identity,
    /// What is promised.
    pub guarantee: Guarantee,
    /// What is done with a record that cannot be stored.
    pub on_record_error: OnRecordError,
    /// Where [`OnRecordError::DeadLetter`] puts it.
    pub dead_letter_topic: Option<String>,
    /// With EFFECTIVELY_ONCE: what it shares with the source.
    pub lineages: Lineages,
    /// With EFFECTIVELY_ONCE: whether to go on, perhaps doubling, where nobody can know what is stored.
    pub accept_duplicates: bool,
    /// The wall clock.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
}

/// A sink whose configuration was checked, ready to be opened, again and again.
pub trait ReadySink: Send + Sync {
    /// Opens the sink: reaches the other side, checks what only it knows. Waits for what is unreachable.
    ///
    /// # Errors
    /// Configuration and authentication errors end a start; others are retried by the caller.
    fn connect(&self, context: SinkContext) -> BoxFuture<'_, Result<Box<dyn DynSink>, Error>>;

    /// What it is waiting for while [`ReadySink::connect`] waits, for the status.
    fn destination(&self) -> String;
}
