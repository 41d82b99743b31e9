//! The network between workers and the broker: frames take time, in order on each connection, and connections end on each side
//! when that side learns of it, or never.
//!
//! What a worker wrote before it died is delivered all the same: those are the zombies that the protocol has to live with.

use crate::broker::{Broker, LinkId, Out};
use crate::life::Life;
use crate::socket::{Inbox, Reader, Writer};
use crate::words;
use crate::world::{World, lock};
use bytes::{BufMut, Bytes, BytesMut};
use connector_pulsar::simulation::{Network, Reader as BoxedReader, Writer as BoxedWriter};
use connector_pulsar::url::HostPort;
use connector_pulsar::wire::frame::{self, Frame};
use connector_pulsar::wire::messages::BaseCommand;
use connector_sdk::Error;
use futures_util::future::BoxFuture;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// A frame's most bytes: nothing here comes near it.
const LARGEST: usize = 16 << 20;
/// A broker gives up a connection of which it hears nothing for so long.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How the network is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// Of a thousand frames, how many take up to a second (and all behind them).
    pub slow_permille: u64,
    /// Of a thousand frames, how many take up to 20 seconds.
    pub stuck_permille: u64,
    /// Of a thousand connections that end, how many the other side hears of only when it asks.
    pub unheard_permille: u64,
}

/// The broker and all connections to it. Clones are the same.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    world: World,
    state: Mutex<State>,
}

struct State {
    broker: Broker,
    links: BTreeMap<LinkId, Link>,
    made: LinkId,
    weather: Weather,
    /// Workers whose connections stand still, and until when.
    held: BTreeMap<String, Instant>,
}

struct Link {
    worker: String,
    life: Life,
    inbox: Arc<Mutex<Inbox>>,
    /// Nothing arrives before what was sent before it.
    to_broker: Instant,
    to_client: Instant,
    /// Nothing more arrives at the broker.
    cut: bool,
    left: bool,
}

impl Cluster {
    /// A cluster in fair weather.
    pub fn new(world: &World, broker: Broker) -> Self {
        let state = State { broker, links: BTreeMap::new(), made: 0, weather: Weather::default(), held: BTreeMap::new() };
        Self(Arc::new(Inner { world: world.clone(), state: Mutex::new(state) }))
    }

    /// Does something to the broker, and what follows from it.
    pub fn broker<T>(&self, act: impl FnOnce(&mut Broker) -> T) -> T {
        let (result, out) = {
            let mut state = lock(&self.0.state);
            let result = act(&mut state.broker);
            (result, state.broker.take_out())
        };
        self.carry_out(out);
        result
    }

    /// How the network is from now on.
    pub fn set_weather(&self, weather: Weather) {
        lock(&self.0.state).weather = weather;
    }

    /// The way to the broker for a worker.
    pub fn network(&self, worker: &str, life: &Life) -> Arc<dyn Network> {
        Arc::new(Way { cluster: self.clone(), worker: worker.to_owned(), life: life.clone() })
    }

    /// A worker's connections stand still for a while: nothing leaves them, nothing arrives.
    pub fn hold(&self, worker: &str, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = lock(&self.0.state);
        let State { links, held, .. } = &mut *state;
        held.insert(worker.to_owned(), until);
        for link in links.values_mut().filter(|link| link.worker == worker) {
            link.to_broker = link.to_broker.max(until);
            link.to_client = link.to_client.max(until);
        }
    }

    /// Whether nothing is on its way on any connection, and nothing stands still.
    pub fn is_quiet(&self) -> bool {
        let (state, now) = (lock(&self.0.state), Instant::now());
        state.links.values().all(|link| link.to_broker <= now && link.to_client <= now && !link.left)
    }

    /// The connections of a worker are cut: `lost`: what is on its way does not arrive; `heard`: the broker learns of it.
    pub fn cut(&self, worker: &str, lost: bool, heard: bool) {
        let links: Vec<LinkId> = {
            let state = lock(&self.0.state);
            state.links.iter().filter(|(_, link)| link.worker == worker && !link.left).map(|(id, _)| *id).collect()
        };
        for id in links {
            self.0.world.note(|| format!("link {id} of {worker} is cut"));
            let inbox = {
                let mut state = lock(&self.0.state);
                let Some(link) = state.links.get_mut(&id) else { continue };
                link.cut |= lost;
                Arc::clone(&link.inbox)
            };
            Inbox::close(&inbox);
            self.part(id, heard);
        }
    }

    /// What a worker still had on its way to the broker is lost: its machine is gone, and its network with it.
    pub fn silence(&self, worker: &str) {
        let mut state = lock(&self.0.state);
        for link in state.links.values_mut().filter(|link| link.worker == worker) {
            link.cut = true;
        }
    }

    /// Takes whole frames off what a client wrote.
    pub(crate) fn written(&self, id: LinkId, unsent: &mut BytesMut) {
        while let Ok(Some(frame)) = frame::decode(unsent, LARGEST) {
            let due = {
                let mut state = lock(&self.0.state);
                let delay = self.delay(state.weather);
                let Some(link) = state.links.get_mut(&id) else { return };
                if !link.life.step(&|| words::command(&frame.command, &frame.entry)) {
                    return;
                }
                let due = link.to_broker.max(Instant::now() + delay);
                link.to_broker = due;
                due
            };
            let cluster = self.clone();
            self.0.world.at(due, move || cluster.arrived(id, frame));
        }
    }

    fn arrived(&self, id: LinkId, frame: Frame) {
        let world = &self.0.world;
        let known = lock(&self.0.state).links.get(&id).filter(|link| !link.cut).map(|link| link.worker.clone());
        let Some(worker) = known else {
            return world.note(|| format!("link {id}: lost {}", words::command(&frame.command, &frame.entry)));
        };
        world.note(|| format!("{worker} -> broker ({id}): {}", words::command(&frame.command, &frame.entry)));
        let millis = world.millis();
        self.broker(|broker| broker.received(millis, id, frame));
    }

    /// The client's end is gone.
    pub(crate) fn left(&self, id: LinkId) {
        let heard = {
            let mut state = lock(&self.0.state);
            let unheard = state.weather.unheard_permille;
            let Some(link) = state.links.get_mut(&id) else { return };
            if std::mem::replace(&mut link.left, true) {
                return;
            }
            !self.0.world.permille(unheard)
        };
        self.part(id, heard);
    }

    /// The broker learns that a connection is over: behind what is on its way, or when it has heard nothing for long.
    fn part(&self, id: LinkId, heard: bool) {
        let due = {
            let mut state = lock(&self.0.state);
            let Some(link) = state.links.get_mut(&id) else { return };
            link.left = true;
            let now = Instant::now();
            link.to_broker.max(now) + if heard { self.0.world.millis_between(0, 5) } else { KEEP_ALIVE }
        };
        let cluster = self.clone();
        self.0.world.at(due, move || {
            if lock(&cluster.0.state).links.remove(&id).is_some() {
                cluster.0.world.note(|| format!("the broker hears that link {id} is gone"));
                cluster.broker(|broker| broker.closed(id));
            }
        });
    }

    fn delay(&self, weather: Weather) -> Duration {
        let world = &self.0.world;
        let roll = world.below(1_000);
        if roll < weather.stuck_permille {
            world.millis_between(1_000, 20_000)
        } else if roll < weather.stuck_permille + weather.slow_permille {
            world.millis_between(10, 1_000)
        } else {
            world.millis_between(0, 2)
        }
    }

    fn carry_out(&self, out: Vec<Out>) {
        for out in out {
            match out {
                Out::Send(id, command, entry) => self.answer(id, *command, entry),
                Out::Close(id) => self.hang_up(id),
                Out::Later(delay, due) => {
                    let cluster = self.clone();
                    self.0.world.after(delay, move || {
                        let millis = cluster.0.world.millis();
                        cluster.broker(|broker| broker.due(millis, due));
                    });
                }
            }
        }
    }

    fn answer(&self, id: LinkId, command: BaseCommand, entry: Bytes) {
        let due = {
            let mut state = lock(&self.0.state);
            let delay = self.delay(state.weather);
            let Some(link) = state.links.get_mut(&id) else { return };
            let due = link.to_client.max(Instant::now() + delay);
            link.to_client = due;
            due
        };
        let cluster = self.clone();
        self.0.world.at(due, move || {
            let link =
                lock(&cluster.0.state).links.get(&id).filter(|link| !link.left).map(|link| (link.worker.clone(), Arc::clone(&link.inbox)));
            if let Some((worker, inbox)) = link {
                cluster.0.world.note(|| format!("broker -> {worker} ({id}): {}", words::command(&command, &entry)));
                Inbox::put(&inbox, &whole(&command, &entry));
            }
        });
    }

    /// The broker has ended a connection: nothing more arrives there; the client learns of it behind what was sent to it.
    fn hang_up(&self, id: LinkId) {
        let Some(link) = lock(&self.0.state).links.remove(&id) else { return };
        let cluster = self.clone();
        self.0.world.at(link.to_client.max(Instant::now()), move || {
            cluster.0.world.note(|| format!("link {id} of {} was closed by the broker", link.worker));
            Inbox::close(&link.inbox);
        });
    }

    fn open(&self, worker: &str, life: &Life) -> Result<(BoxedReader, BoxedWriter), Error> {
        let mut state = lock(&self.0.state);
        if !state.broker.is_up() {
            return Err(Error::transient("connecting to the broker: connection refused"));
        }
        state.made += 1;
        let id = state.made;
        let now = Instant::now();
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let link = Link {
            worker: worker.to_owned(),
            life: life.clone(),
            inbox: Arc::clone(&inbox),
            to_broker: now,
            to_client: now,
            cut: false,
            left: false,
        };
        state.links.insert(id, link);
        state.broker.accepted(id);
        self.0.world.note(|| format!("link {id} of {worker} is open"));
        let writer = Writer { cluster: self.clone(), link: id, inbox: Arc::clone(&inbox), unsent: BytesMut::new() };
        Ok((Box::new(Reader(inbox)), Box::new(writer)))
    }
}

struct Way {
    cluster: Cluster,
    worker: String,
    life: Life,
}

impl Network for Way {
    fn connect<'a>(&'a self, _address: &'a HostPort) -> BoxFuture<'a, Result<(BoxedReader, BoxedWriter), Error>> {
        Box::pin(async move {
            let (held, delay) = {
                let state = lock(&self.cluster.0.state);
                (state.held.get(&self.worker).copied(), self.cluster.delay(state.weather))
            };
            tokio::time::sleep_until(held.unwrap_or_else(Instant::now).max(Instant::now() + delay)).await;
            self.life.proceed().await;
            self.cluster.open(&self.worker, &self.life)
        })
    }
}

/// A command with the entry behind it, as a frame.
fn whole(command: &BaseCommand, entry: &Bytes) -> Bytes {
    if entry.is_empty() {
        return frame::encode(command);
    }
    let size = command.encoded_len();
    let mut bytes = BytesMut::with_capacity(8 + size + entry.len());
    let length = |size: usize| u32::try_from(size).expect("frames of a simulation are small");
    bytes.put_u32(length(4 + size + entry.len()));
    bytes.put_u32(length(size));
    command.encode(&mut bytes).expect("a BytesMut grows as needed");
    bytes.put_slice(entry);
    bytes.freeze()
}
