//! A spawned task with a name and an owner: dropped, it ends; joined, it gives its result or says who panicked.

use crate::{Error, ErrorKind};
use tokio::task::JoinHandle;
use tracing::Instrument;

/// A running task that ends when it is dropped. There are no detached tasks.
#[must_use = "a dropped task is ended"]
#[derive(Debug)]
pub struct Task<T> {
    name: String,
    handle: JoinHandle<T>,
}

impl<T: Send + 'static> Task<T> {
    /// Spawns `work` on the current runtime; what it logs carries the span it was spawned in.
    pub fn spawn(name: impl Into<String>, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { name: name.into(), handle: tokio::spawn(work.in_current_span()) }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has ended by itself.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits for its end. Cancel-safe: it goes on when the wait is dropped, as long as the task itself is kept.
    ///
    /// # Errors
    /// [`ErrorKind::Transient`] when it panicked or was ended.
    pub async fn join(&mut self) -> Result<T, Error> {
        (&mut self.handle).await.map_err(|error| {
            let how = if error.is_panic() { "panicked" } else { "was ended" };
            Error::new(ErrorKind::Transient, format!("task `{}` {how}", self.name))
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}
