//! The I/O half of every machine: opens, feeds and ends its connections, and tells it what happened on them.
//!
//! It owns each connection's task and joins them all; it never waits for a socket, and it keeps nothing of the protocol.

use super::connection::{self, Happened};
use super::socket::Dial;
use crate::machine::{Action, ConnectionId, Event, Machine, Now, WINDOW_FRAMES};
use crate::wire::frame::Frame;
use bytes::Bytes;
use connector_sdk::Error;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// Network events that may wait.
const EVENTS: usize = 1_024;
/// Events told in one turn, so that whoever owns the machine comes to its other duties.
const TURN: usize = 64;
/// How long closing connections may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// The connections of one machine.
pub(crate) struct Connections {
    dialer: Arc<dyn Dial>,
    happened: mpsc::Sender<Happened>,
    events: mpsc::Receiver<Happened>,
    open: BTreeMap<ConnectionId, Open>,
    tasks: JoinSet<()>,
}

struct Open {
    /// In words.
    address: String,
    /// Takes what is to be written.
    outbound: mpsc::Sender<Bytes>,
    task: AbortHandle,
}

impl Connections {
    pub(crate) fn new(dialer: Arc<dyn Dial>) -> Self {
        let (happened, events) = mpsc::channel(EVENTS);
        Self { dialer, happened, events, open: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Waits until something has happened on the network. Cancel-safe; [`Connections::tell`] is to follow.
    pub(crate) async fn happened(&mut self) -> Happened {
        loop {
            tokio::select! {
                biased;
                event = self.events.recv() => return event.expect("the channel's sender is held beside its receiver"),
                // Tasks that are over are let go of.
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
            }
        }
    }

    /// Tells the machine what has happened, and what else has meanwhile.
    pub(crate) fn tell(&mut self, now: Now, machine: &mut Machine, event: Happened) {
        self.tell_one(now, machine, event);
        for _ in 1..TURN {
            let Ok(event) = self.events.try_recv() else { break };
            self.tell_one(now, machine, event);
        }
    }

    fn tell_one(&mut self, now: Now, machine: &mut Machine, event: Happened) {
        match event {
            Happened::Connected { id, auth } => machine.connected(now, id, auth),
            Happened::Received { id, frames } => {
                for Frame { command, entry } in frames {
                    match command.message {
                        Some(delivery) => machine.delivered(now, id, &delivery, entry),
                        None => machine.received(now, id, command),
                    }
                }
            }
            Happened::Written { id, frames, bytes } => machine.written(now, id, frames, bytes),
            Happened::Credentials { id, auth } => machine.authenticated(id, auth),
            Happened::Lost { id, error } => {
                self.open.remove(&id);
                machine.disconnected(now, id, error);
            }
        }
    }

    /// Carries out what the machine wants of the network; what it wants of its owner is handed on.
    pub(crate) fn act(&mut self, now: Now, machine: &mut Machine, action: Action) -> Option<Event> {
        match action {
            Action::Connect { connection, address } => {
                let (outbound, queue) = mpsc::channel(WINDOW_FRAMES);
                let spoken = address.to_string();
                let work = connection::run(connection, address, Arc::clone(&self.dialer), self.happened.clone(), queue);
                let task = self.tasks.spawn(work);
                self.open.insert(connection, Open { address: spoken, outbound, task });
            }
            Action::Disconnect { connection } => {
                if let Some(open) = self.open.remove(&connection) {
                    open.task.abort();
                }
            }
            Action::Write { connection, bytes } => {
                let open = self.open.get(&connection)?;
                if open.outbound.try_send(bytes).is_err() {
                    // Its queue may be full of answers to a broker that does not read them.
                    open.task.abort();
                    let text =
                        format!("the connection to the broker {} ended, or takes nothing more, while it was written to", open.address);
                    self.open.remove(&connection);
                    let error = Error::transient(text);
                    machine.disconnected(now, connection, error);
                }
            }
            Action::Authenticate { connection } => {
                let (dialer, happened) = (Arc::clone(&self.dialer), self.happened.clone());
                self.tasks.spawn(async move {
                    let event = match dialer.credentials().await {
                        Ok(auth) => Happened::Credentials { id: connection, auth },
                        Err(error) => Happened::Lost { id: connection, error },
                    };
                    // The machine's owner may be gone: then nobody needs the credentials.
                    let _unheard = happened.send(event).await;
                });
            }
            Action::Event(event) => return Some(event),
        }
        None
    }

    /// Carries out the last writes of a machine that was shut down, lets the writers finish for a moment, ends everything.
    pub(crate) async fn farewell(mut self, now: Now, machine: &mut Machine) {
        while let Some(action) = machine.next_action() {
            if matches!(action, Action::Write { .. } | Action::Disconnect { .. }) {
                self.act(now, machine, action);
            }
        }
        // Without their senders the writers end when they have written everything.
        self.open.clear();
        let ended = tokio::time::timeout(FAREWELL, async { while self.tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}
