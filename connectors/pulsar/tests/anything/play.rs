//! A machine with producers and consumers open, told anything in any order: it never panics, what it does for one event is bounded,
//! and each handle is resolved exactly once.

use crate::checks::checksummed;
use bytes::{BufMut, Bytes, BytesMut};
use connector_pulsar::auth::AuthData;
use connector_pulsar::machine::{
    Account, Action, Charge, ConnectionId, Event, Machine, Naming, News, Now, ProducerId, ReadFrom, Settings, Start, Subscription,
    SubscriptionType, Withdrawn,
};
use connector_pulsar::wire::frame::decode;
use connector_pulsar::{ConsumerId, Facts};
use connector_sdk::{AckHandle, AckSink, Error, Fence, LineageSpec, Lineages, MessageId, Outcome, Record};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Actions of one event, at most: frames of a connection's window, questions of a few producers and consumers.
const MOST_ACTIONS: usize = 4_096;

/// How often each record was resolved.
#[derive(Default)]
struct Resolved(Mutex<Vec<u32>>);

impl AckSink for Resolved {
    fn resolve(&self, numbers: Range<u64>, _outcome: Outcome) {
        let mut times = self.0.lock().expect("nobody panics with it");
        for number in numbers {
            times[usize::try_from(number).expect("numbers are few")] += 1;
        }
    }

    fn is_fenced(&self, _number: u64) -> bool {
        false
    }
}

/// The bytes of a script, taken from its front.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, size: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(size.min(self.0.len()));
        self.0 = rest;
        front
    }
}

struct Play {
    machine: Machine,
    facts: Arc<Facts>,
    at: Instant,
    open: Vec<ConnectionId>,
    connecting: Vec<ConnectionId>,
    producers: Vec<ProducerId>,
    /// Open and waiting for their owner's look.
    gated: Vec<ProducerId>,
    consumers: Vec<ConsumerId>,
    resolved: Arc<Resolved>,
}

/// Plays a script, in which each step is a byte and what it takes; says what was done.
pub(crate) fn play(script: &[u8]) -> Arc<Facts> {
    let mut script = Script(script);
    let mut play = Play::new(script.byte().unwrap_or(0));
    play.settle();
    while play.step(&mut script).is_some() {
        play.settle();
    }
    play.end()
}

/// The bytes of a step that tells a command, with the entry behind it.
pub(crate) fn told(connection: u8, command: &[u8], entry: &[u8]) -> Vec<u8> {
    let mut step = vec![0, connection];
    step.put_u16(u16::try_from(command.len()).expect("commands of scripts are short"));
    step.put_u16(u16::try_from(entry.len()).expect("entries of scripts are short"));
    step.extend_from_slice(command);
    step.extend_from_slice(entry);
    step
}

impl Play {
    fn new(choice: u8) -> Self {
        let mut settings = Settings::new("pulsar://one:6650".parse().expect("a URL"));
        settings.batching.enabled = choice & 1 == 0;
        settings.chunking = choice & 1 == 1;
        settings.batching.max_messages = 5;
        settings.resend = choice & 2 == 0;
        settings.batching.by_key = choice & 4 != 0;
        let facts = Arc::new(Facts::default());
        let machine = Machine::new(settings, Arc::clone(&facts), fastrand::Rng::with_seed(7)).expect("compression is there");
        let mut play = Self {
            machine,
            facts,
            at: Instant::now(),
            open: Vec::new(),
            connecting: Vec::new(),
            producers: Vec::new(),
            gated: Vec::new(),
            consumers: Vec::new(),
            resolved: Arc::default(),
        };
        let now = play.now();
        let topic = |name: &str| name.parse().expect("a topic");
        let lineages = Lineages::default();
        let lineage = lineages.open(LineageSpec {
            partition: "shard".into(),
            name: "name".into(),
            partitions: 0,
            in_doubt: false,
            doubt_from: None,
            covered: [].into(),
            spent: [].into(),
            uncovered_since: 0,
            fence: Fence::new(),
        });
        // The request holds the lineage, and the lineage what holds the request.
        drop(lineages.take_requests());
        let account = Account { lineage, partition: 0, late: false };
        let named = Naming::Given { name: "name".into(), account: Some(account) };
        play.machine.resolve(now, topic("a"));
        play.producers = [Naming::ByBroker, named].map(|naming| play.machine.open(now, topic("a"), naming)).into();
        for (kind, durable, batch_index_acks) in [
            (SubscriptionType::Shared, true, true),
            (SubscriptionType::Exclusive, true, false),
            (SubscriptionType::Exclusive, false, false),
        ] {
            let subscription = Subscription { kind, durable, batch_index_acks, start: Start::Earliest, ..Subscription::new("s") };
            play.consumers.push(play.machine.subscribe(now, topic("a"), Arc::new(subscription)));
        }
        play.machine.read_back(now, topic("a"), ReadFrom::Message(MessageId { ledger: 1, entry: 0 }), ["name".to_owned()]);
        play
    }

    fn now(&self) -> Now {
        Now { at: self.at, wall: 1_700_000_000_000 }
    }

    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        let (step, choice) = (script.byte()?, script.byte()?);
        let now = self.now();
        let producer = self.producers[usize::from(choice) % self.producers.len()];
        let consumer = self.consumers[usize::from(choice) % self.consumers.len()];
        match step % 16 {
            0..=5 => {
                let size = |bytes: &[u8]| bytes.iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
                let (command, entry) = (size(script.bytes(2)), size(script.bytes(2)));
                let (command, entry) = (script.bytes(command), script.bytes(entry));
                let connection = *self.open.get(usize::from(choice) % self.open.len().max(1))?;
                let mut frame = BytesMut::new();
                frame.put_u32(u32::try_from(4 + command.len()).expect("it is short"));
                frame.put_u32(u32::try_from(command.len()).expect("it is short"));
                frame.put_slice(command);
                let Ok(Some(frame)) = decode(&mut frame, usize::MAX) else { return Some(()) };
                match frame.command.message {
                    Some(delivery) => {
                        let entry = if step % 2 == 0 { checksummed(entry) } else { Bytes::copy_from_slice(entry) };
                        self.machine.delivered(now, connection, &delivery, entry);
                    }
                    None => self.machine.received(now, connection, frame.command),
                }
            }
            6 => {
                for connection in std::mem::take(&mut self.connecting) {
                    self.open.push(connection);
                    self.machine.connected(now, connection, AuthData::none());
                }
            }
            7 => {
                if let Some(connection) = self.open.get(usize::from(choice) % self.open.len().max(1)).copied() {
                    self.open.retain(|open| *open != connection);
                    self.machine.disconnected(now, connection, Error::transient("lost"));
                }
            }
            8 => {
                self.at += Duration::from_millis(u64::from(choice) * 50);
                let now = self.now();
                self.machine.tick(now);
            }
            9 | 10 => self.append(producer, usize::from(choice)),
            11 => {
                for producer in std::mem::take(&mut self.gated) {
                    self.machine.admit(now, producer);
                }
            }
            12 => self.machine.reopen(now, producer),
            13 => {
                let items = self.machine.withdraw(producer);
                self.put_away(items);
            }
            14 => self.machine.rest(now, producer),
            15 => match choice % 4 {
                0 => self.machine.seek(now, consumer, Start::Time(3)),
                1 => self.machine.seek(now, consumer, Start::Earliest),
                2 => self.machine.ask_last(now, consumer),
                _ => drop(self.machine.flush_acks(consumer)),
            },
            _ => {}
        }
        Some(())
    }

    fn append(&mut self, producer: ProducerId, size: usize) {
        let number = {
            let mut times = self.resolved.0.lock().expect("nobody panics with it");
            times.push(0);
            times.len() as u64 - 1
        };
        let handle = AckHandle::new(Arc::<Resolved>::clone(&self.resolved), number..number + 1);
        let record = Record { value: vec![7; size].into(), sequence: Some(number), ..Record::default() };
        let now = self.now();
        self.machine.append(now, producer, record, &"shard".into(), handle, Charge { records: 1, bytes: size });
    }

    fn put_away(&mut self, items: Vec<Withdrawn>) {
        for item in items {
            item.duty.handle.give_back();
            self.machine.release(item.charge);
        }
    }

    /// Does what the machine asks for.
    fn settle(&mut self) {
        let now = self.now();
        self.machine.pump(now);
        let mut actions = 0;
        while let Some(action) = self.machine.next_action() {
            actions += 1;
            assert!(actions < MOST_ACTIONS, "one event has made {actions} actions");
            match action {
                Action::Connect { connection, .. } => self.connecting.push(connection),
                Action::Disconnect { connection } => {
                    self.open.retain(|open| *open != connection);
                    self.connecting.retain(|open| *open != connection);
                }
                Action::Write { connection, bytes } => {
                    assert!(self.open.contains(&connection), "it writes to a connection that is not open");
                    self.machine.written(now, connection, 1, bytes.len());
                }
                Action::Authenticate { connection } => self.machine.authenticated(connection, AuthData::none()),
                Action::Event(event) => self.event(now, event),
            }
        }
    }

    fn event(&mut self, now: Now, event: Event) {
        match event {
            Event::Admission { producer, .. } => self.gated.push(producer),
            Event::Overtaken { items, .. } | Event::Unclear { items, .. } => self.put_away(items),
            Event::Refused(refused) => {
                refused.duty.handle.ack();
                self.machine.release(refused.charge);
                self.machine.judged(now, refused.producer);
            }
            Event::Consumer { consumer, news: News::Delivered(messages) } => {
                let Some(last) = messages.last().map(|message| message.id) else { return };
                for message in &messages {
                    match message.redelivery_count {
                        0 => self.machine.acknowledge(now, message.id, false),
                        _ => self.machine.negative_acknowledge(now, message.id, message.redelivery_count),
                    }
                }
                let cost = messages.iter().map(|message| message.payload.len() + 256).sum();
                self.machine.taken(now, consumer, cost, last);
            }
            _ => {}
        }
    }

    fn end(mut self) -> Arc<Facts> {
        self.machine.shut_down();
        let times = self.resolved.0.lock().expect("nobody panics with it");
        assert!(times.iter().all(|times| *times == 1), "records were resolved {times:?} times");
        drop(times);
        self.facts
    }
}
