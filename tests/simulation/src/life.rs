//! Whether a worker still lives, and what ends it: an order, or the step at which it is to die.

use crate::world::{World, lock};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Shared by everything that a worker does. Clones are the same.
#[derive(Clone)]
pub struct Life(Arc<Inner>);

struct Inner {
    name: String,
    world: World,
    state: Mutex<State>,
    died: Notify,
}

#[derive(Default)]
struct State {
    dead: bool,
    steps: u64,
    /// The step behind which nothing more happens.
    last_step: Option<u64>,
    held_until: Option<Instant>,
}

impl Life {
    /// A worker that lives.
    pub fn new(world: &World, name: &str) -> Self {
        let inner = Inner { name: name.to_owned(), world: world.clone(), state: Mutex::default(), died: Notify::new() };
        Self(Arc::new(inner))
    }

    /// One more thing that others can see is about to happen. False: it does not, the worker is dead.
    pub fn step(&self, what: &dyn Fn() -> String) -> bool {
        let mut state = lock(&self.0.state);
        if state.dead {
            return false;
        }
        if state.last_step.is_some_and(|last| state.steps >= last) {
            state.dead = true;
            drop(state);
            self.0.world.note(|| format!("{} dies before: {}", self.0.name, what()));
            self.0.died.notify_waiters();
            return false;
        }
        state.steps += 1;
        true
    }

    /// The worker dies when it has done this many more steps.
    pub fn die_after(&self, steps: u64) {
        let mut state = lock(&self.0.state);
        state.last_step = Some(state.steps + steps);
    }

    /// The worker is dead from now on.
    pub fn end(&self) {
        lock(&self.0.state).dead = true;
        self.0.died.notify_waiters();
    }

    /// Whether it is dead.
    pub fn is_over(&self) -> bool {
        lock(&self.0.state).dead
    }

    /// Waits until it dies.
    pub async fn died(&self) {
        loop {
            let died = self.0.died.notified();
            tokio::pin!(died);
            died.as_mut().enable();
            if self.is_over() {
                return;
            }
            died.await;
        }
    }

    /// What it asks of others stands still for so long.
    pub fn hold(&self, pause: Duration) {
        lock(&self.0.state).held_until = Some(Instant::now() + pause);
    }

    /// Waits while it is held; for ever once it is dead.
    pub async fn proceed(&self) {
        loop {
            let held = {
                let state = lock(&self.0.state);
                if state.dead { None } else { Some(state.held_until) }
            };
            match held {
                None => std::future::pending().await,
                Some(Some(until)) if until > Instant::now() => sleep_until(until).await,
                Some(_) => return,
            }
        }
    }
}
