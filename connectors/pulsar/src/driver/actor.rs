//! The task that owns the machine: takes submissions, routes records, carries out actions, frees room.
//!
//! It never waits for a socket: what it hands to a connection's writer is bounded by the machine, so the receipts are always read.

use super::connections::Connections;
use super::rotation::Rotation;
use super::socket::Dial;
use crate::crypto::CryptoConfig;
use crate::exact::{Exact, Terms, Way};
use crate::machine::{Charge, Event, Machine, Naming, Now, ProducerId, Subject, Trouble};
use crate::policy::{Fate, Policy};
use crate::publisher::{Shared, Submission};
use crate::routing::{HashingScheme, Router};
use crate::schema::Declared;
use crate::topic::TopicName;
use connector_sdk::{Batch, Clock, Error, ErrorKind, Lineages, Record};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Batches taken in one turn, so that the network does not wait long for them.
const TURN: usize = 64;
/// The same trouble is logged again after this long.
const REPEAT_LOG: Duration = Duration::from_secs(30);

/// What the actor is made of.
pub(crate) struct Parts {
    pub(crate) machine: Machine,
    pub(crate) topic: TopicName,
    /// What the topic's producers declare; dead letters have no schema.
    pub(crate) declared: Declared,
    /// Where payloads are encrypted: what new data keys are made by.
    pub(crate) crypto: Option<CryptoConfig>,
    pub(crate) policy: Policy,
    /// With EFFECTIVELY_ONCE.
    pub(crate) exact: Option<Exact>,
    pub(crate) scheme: HashingScheme,
    /// How long round robin stays on a partition.
    pub(crate) window: Option<Duration>,
    pub(crate) dialer: Arc<dyn Dial>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    /// Where round robin begins.
    pub(crate) first: u64,
    pub(crate) stop: CancellationToken,
    pub(crate) submissions: mpsc::Receiver<Submission>,
    pub(crate) started: oneshot::Sender<Result<(), Error>>,
}

/// One topic's way: its partitions once known, a producer for each that was used.
struct Route {
    topic: TopicName,
    declared: Declared,
    id: crate::machine::TopicId,
    partitions: Option<u32>,
    producers: Vec<Option<ProducerId>>,
    router: Router,
    /// Records for a topic whose partitions are not known yet.
    waiting: Vec<(Record, crate::machine::Duty, Charge)>,
}

struct Actor {
    machine: Machine,
    main: Route,
    dead_letters: Option<Route>,
    policy: Policy,
    /// With EFFECTIVELY_ONCE: who sends instead of the main route's producers, and what the source asks through.
    exact: Option<Exact>,
    lineages: Option<Lineages>,
    scheme: HashingScheme,
    window: Option<Duration>,
    first: u64,
    shared: Arc<Shared>,
    clock: Clock,
    connections: Connections,
    rotation: Rotation,
    started: Option<oneshot::Sender<Result<(), Error>>>,
    /// The main topic has grown to this many partitions; used once everything sent by the old number is answered.
    growing: Option<u32>,
    flushes: Vec<Flush>,
    /// What is wrong now, and how many records of the producer were resolved when it was said.
    troubles: HashMap<Subject, (String, u64)>,
    last_log: Option<(Instant, String)>,
    /// Lost records (at most once) that the log has told of.
    lost_said: u64,
    over: bool,
}

/// However the actor ends, nobody waits for room any more.
struct EndOfRoom(Arc<Shared>);

impl Drop for EndOfRoom {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct Flush {
    targets: Vec<(ProducerId, u64)>,
    done: oneshot::Sender<()>,
}

/// Runs until stopped, or until a start that cannot succeed has said so.
pub(crate) async fn run(parts: Parts) {
    let Parts {
        mut machine,
        topic,
        declared,
        crypto,
        policy,
        exact,
        scheme,
        window,
        dialer,
        shared,
        clock,
        first,
        stop,
        mut submissions,
        started,
    } = parts;
    let _end = EndOfRoom(Arc::clone(&shared));
    let now = Now { at: Instant::now().into_std(), wall: clock.millis() };
    let id = machine.resolve(now, topic.clone());
    let router = Router::new(scheme, window, first, now.at);
    let main = Route { topic, declared, id, partitions: None, producers: Vec::new(), router, waiting: Vec::new() };
    let mut actor = Actor {
        machine,
        main,
        dead_letters: None,
        policy,
        lineages: exact.as_ref().map(|exact| exact.lineages().clone()),
        exact,
        scheme,
        window,
        first,
        shared,
        clock,
        connections: Connections::new(dialer),
        rotation: Rotation::new(crypto),
        started: Some(started),
        growing: None,
        flushes: Vec::new(),
        troubles: HashMap::new(),
        last_log: None,
        lost_said: 0,
        over: false,
    };
    actor.settle();
    let timer = tokio::time::sleep_until(Instant::now());
    tokio::pin!(timer);
    while !actor.over {
        let deadline = actor.deadline().map(Instant::from_std);
        if let Some(deadline) = deadline
            && timer.deadline() != deadline
        {
            timer.as_mut().reset(deadline);
        }
        let accepting = actor.accepting();
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            event = actor.connections.happened() => {
                let now = actor.now();
                actor.connections.tell(now, &mut actor.machine, event);
            }
            () = asked(actor.lineages.as_ref()) => actor.asked(),
            submission = submissions.recv(), if accepting => {
                let Some(submission) = submission else { break };
                actor.submitted(submission);
                for _ in 1..TURN {
                    let Ok(submission) = submissions.try_recv() else { break };
                    actor.submitted(submission);
                }
            }
            () = timer.as_mut(), if deadline.is_some() => {}
            sealer = actor.rotation.sealer() => actor.machine.seal_by(sealer),
        }
        actor.settle();
    }
    actor.farewell().await;
}

impl Actor {
    fn now(&self) -> Now {
        Now { at: Instant::now().into_std(), wall: self.clock.millis() }
    }

    fn accepting(&self) -> bool {
        self.main.partitions.is_some() && self.growing.is_none()
    }

    fn submitted(&mut self, submission: Submission) {
        let now = self.now();
        match submission {
            Submission::Batch { batch, charge } => self.batch(now, batch, charge),
            Submission::Flush(done) => {
                self.machine.flush(now);
                let targets = self.unanswered();
                self.flushes.push(Flush { targets, done });
            }
        }
    }

    fn batch(&mut self, now: Now, batch: Batch, mut left: Charge) {
        let Batch { partition, records, mut handle, lineage } = batch;
        self.asked();
        let terms = lineage.as_ref().map(Terms::of);
        let count = records.len();
        for (at, record) in records.into_iter().enumerate() {
            // What a batch above all the room there is was charged is spread from its front.
            let charge = if at + 1 == count { left } else { Charge { records: left.records.min(1), bytes: left.bytes.min(record.cost()) } };
            left.records -= charge.records;
            left.bytes -= charge.bytes;
            let one = handle.split_to(1);
            if one.is_fenced() {
                self.machine.release(charge);
                self.shared.facts.fenced_records.add(1);
                one.give_back();
                continue;
            }
            match (&mut self.exact, terms) {
                (None, _) => {
                    let producer = Self::route(&mut self.machine, &mut self.main, now, &record);
                    self.machine.append(now, producer, record, &partition, one, charge);
                }
                (Some(exact), Some(terms)) => {
                    let way = Way { terms, router: &mut self.main.router, partition: &partition };
                    exact.submit(&mut self.machine, now, way, record, one, charge);
                }
                (Some(_), None) => {
                    self.machine.release(charge);
                    one.fail(Error::new(ErrorKind::Data, "the source does not say by which numbers the record was sent before"));
                }
            }
        }
        // Of a batch without records the room is free at once.
        self.machine.release(left);
    }

    /// The producer for a record, opened on first use.
    fn route(machine: &mut Machine, route: &mut Route, now: Now, record: &Record) -> ProducerId {
        let partitions = route.partitions.unwrap_or(0);
        let at = if partitions == 0 { 0 } else { route.router.route(record, partitions, now.at) };
        let index = usize::try_from(at).unwrap_or(usize::MAX);
        if route.producers.len() <= index {
            route.producers.resize(index + 1, None);
        }
        *route.producers[index].get_or_insert_with(|| {
            let topic = if partitions == 0 { route.topic.clone() } else { route.topic.partition(at) };
            machine.open_declaring(now, topic, Naming::ByBroker, route.declared.clone())
        })
    }

    /// Does everything that follows from what has just happened.
    fn settle(&mut self) {
        let now = self.now();
        self.machine.tick(now);
        loop {
            if let Some(exact) = &mut self.exact {
                exact.settle(&mut self.machine, now);
            }
            self.machine.pump(now);
            let mut acted = false;
            while let Some(action) = self.machine.next_action() {
                acted = true;
                if let Some(event) = self.connections.act(now, &mut self.machine, action) {
                    self.event(now, event);
                }
            }
            if !acted || self.exact.is_none() {
                break;
            }
        }
        self.recover();
        if let Some(partitions) = self.growing
            && self.main.producers.iter().flatten().all(|id| self.machine.is_quiet(*id))
        {
            // Everything sent by the old number is answered: order per key holds across the switch.
            info!(topic = %self.main.topic, partitions, "the topic has grown");
            self.main.partitions = Some(partitions);
            self.growing = None;
        }
        let machine = &self.machine;
        let idle = self.exact.as_ref().is_none_or(|exact| exact.is_idle(machine));
        let answered = |flush: &Flush| idle && flush.targets.iter().all(|(id, target)| machine.progress(*id).1 >= *target);
        let mut at = 0;
        while at < self.flushes.len() {
            if !answered(&self.flushes[at]) {
                at += 1;
                continue;
            }
            if self.dead_letters.as_ref().is_some_and(|route| !route.waiting.is_empty()) {
                // Letters whose topic is still asked for.
                break;
            }
            let dead_letters = self.unanswered_dead_letters();
            if dead_letters.is_empty() {
                // Whoever asked may have stopped waiting.
                let _unheard = self.flushes.swap_remove(at).done.send(());
            } else {
                // What was refused is answered when its dead letter is.
                self.flushes[at].targets = dead_letters;
                at += 1;
            }
        }
        self.shared.free(self.machine.take_freed());
    }

    fn unanswered(&self) -> Vec<(ProducerId, u64)> {
        let all = self.main.producers.iter().chain(self.dead_letters.iter().flat_map(|route| &route.producers));
        all.flatten().map(|id| (*id, self.machine.progress(*id).0)).collect()
    }

    fn unanswered_dead_letters(&self) -> Vec<(ProducerId, u64)> {
        let all = self.dead_letters.iter().flat_map(|route| &route.producers).flatten();
        all.filter(|id| !self.machine.is_quiet(**id)).map(|id| (*id, self.machine.progress(*id).0)).collect()
    }

    fn event(&mut self, now: Now, event: Event) {
        match event {
            Event::Partitions { topic, partitions } => self.partitions(now, topic, partitions),
            Event::Looked { partitions, .. } => {
                if let Some(exact) = &mut self.exact {
                    exact.looked(partitions);
                }
            }
            Event::Opened { producer } => {
                self.say_losses();
                self.recover();
                if self.is_main(producer)
                    && let Some(started) = self.started.take()
                {
                    // Whoever started may have given up.
                    let _unheard = started.send(Ok(()));
                }
            }
            Event::Admission { .. } | Event::Overtaken { .. } | Event::Unclear { .. } | Event::ReadBack { .. } => {
                self.exact_event(now, event)
            }
            Event::Ended { producer } => {
                self.troubles.remove(&Subject::Producer(producer));
                self.show_waiting();
            }
            Event::Trouble { subject, trouble } => self.trouble(subject, trouble),
            Event::Refused(refused) => {
                let from_dead_letters = !self.is_main(refused.producer);
                let topic = self.machine.topic_of(refused.producer).to_string();
                let (producer, charge) = (refused.producer, refused.charge);
                match self.policy.judge(&topic, *refused, from_dead_letters, &self.shared.facts) {
                    Fate::Decided => self.machine.release(charge),
                    Fate::DeadLetter(letter) => {
                        let (record, duty) = *letter;
                        self.dead_letter(now, record, duty, charge);
                    }
                }
                self.machine.judged(now, producer);
            }
            // A publisher reads nothing.
            Event::Consumer { .. } => {}
        }
    }

    fn exact_event(&mut self, now: Now, event: Event) {
        let Some(exact) = &mut self.exact else { return };
        let machine = &mut self.machine;
        match event {
            Event::Admission { producer, last, unknown } => exact.admission(machine, now, producer, last, unknown),
            Event::Overtaken { producer, items } => exact.overtaken(machine, now, producer, items),
            Event::Unclear { producer, items } => exact.unclear(machine, now, producer, items),
            Event::ReadBack { id, outcome } => exact.read(machine, now, id, outcome),
            _ => {}
        }
        self.show_waiting();
    }

    /// Takes what the source has asked for.
    fn asked(&mut self) {
        let now = self.now();
        if let Some(exact) = &mut self.exact {
            exact.requests(&mut self.machine, now);
            if exact.wants_to_know() {
                self.machine.look(now, self.main.id);
            }
        }
    }

    fn deadline(&self) -> Option<std::time::Instant> {
        let exact = self.exact.as_ref().and_then(Exact::deadline);
        match (self.machine.deadline(), exact) {
            (Some(machine), Some(exact)) => Some(machine.min(exact)),
            (machine, exact) => machine.or(exact),
        }
    }

    fn is_main(&self, producer: ProducerId) -> bool {
        self.main.producers.contains(&Some(producer)) || self.exact.as_ref().is_some_and(|exact| exact.owns(producer))
    }

    fn partitions(&mut self, now: Now, topic: crate::machine::TopicId, partitions: u32) {
        self.troubles.remove(&Subject::Topic(topic));
        self.show_waiting();
        if topic == self.main.id {
            if let Some(exact) = &self.exact {
                exact.partitions(partitions);
            }
            if self.main.partitions.is_some() && self.exact.is_some() {
                // Each lineage goes on by the partitions that its row says.
                self.main.partitions = Some(partitions);
                return;
            }
            if self.main.partitions.is_some() {
                self.growing = Some(partitions);
                self.machine.flush(now);
                return;
            }
            self.main.partitions = Some(partitions);
            // Opened before there is anything to send, so that what refuses us is known at the start.
            let first = if partitions == 0 { self.main.topic.clone() } else { self.main.topic.partition(0) };
            let producer = self.machine.open(now, first, Naming::ByBroker);
            self.main.producers = vec![Some(producer)];
            return;
        }
        if let Some(route) = &mut self.dead_letters {
            route.partitions = Some(partitions);
            for (record, duty, charge) in std::mem::take(&mut route.waiting) {
                let producer = Self::route(&mut self.machine, route, now, &record);
                self.machine.append(now, producer, record, &duty.partition, duty.handle, charge);
            }
            self.machine.pump(now);
        }
    }

    fn dead_letter(&mut self, now: Now, record: Record, duty: crate::machine::Duty, charge: Charge) {
        let Some(topic) = self.policy.dead_letter_topic() else {
            // The policy only answers so when it has a topic.
            self.machine.release(charge);
            return duty.handle.give_back();
        };
        if self.dead_letters.is_none() {
            let id = self.machine.resolve(now, topic.clone());
            let router = Router::new(self.scheme, self.window, self.first, now.at);
            let route = Route {
                topic: topic.clone(),
                declared: Declared::Nothing,
                id,
                partitions: None,
                producers: Vec::new(),
                router,
                waiting: Vec::new(),
            };
            self.dead_letters = Some(route);
        }
        let Some(route) = &mut self.dead_letters else { return };
        if route.partitions.is_none() {
            route.waiting.push((record, duty, charge));
            return;
        }
        let producer = Self::route(&mut self.machine, route, now, &record);
        self.machine.append(now, producer, record, &duty.partition, duty.handle, charge);
        self.machine.flush(now);
    }

    /// At most once: what was on its way when a connection broke is counted, and said once.
    fn say_losses(&mut self) {
        let lost = self.shared.facts.lost_records.get();
        if lost > self.lost_said {
            warn!(topic = %self.main.topic, records = lost - self.lost_said,
                "records whose receipt did not come are not sent again with ATMOST_ONCE: they may be lost");
            self.lost_said = lost;
        }
    }

    fn trouble(&mut self, subject: Subject, trouble: Trouble) {
        let Trouble { error, of_connection } = trouble;
        self.say_losses();
        if self.started.is_some() && error.kind().ends_a_start() {
            if let Some(started) = self.started.take() {
                // Whoever started may have given up.
                let _unheard = started.send(Err(error));
            }
            self.over = true;
            return;
        }
        let text = error.to_string();
        let now = Instant::now();
        let said = self.last_log.as_ref().is_some_and(|(at, last)| *last == text && now < *at + REPEAT_LOG);
        if !said {
            warn!(topic = %self.machine.topic_of_subject(subject).unwrap_or(&self.main.topic), %error, "waiting for the broker");
            self.last_log = Some((now, text.clone()));
        }
        let resolved = if let Subject::Producer(id) = subject { self.machine.progress(id).1 } else { 0 };
        self.troubles.insert(subject, (text, resolved));
        self.show_waiting();
        let of_dead_letters = match subject {
            Subject::Topic(id) => id != self.main.id,
            Subject::Producer(id) => !self.is_main(id),
            Subject::Consumer(_) => false,
        };
        if of_dead_letters && !of_connection && error.kind().ends_a_start() {
            self.refuse_dead_letters(subject, &error);
        }
    }

    /// The dead letter topic itself was refused, which waiting does not cure: what waits for it has no place to go. It is asked
    /// for again all the same, for the letters of other partitions.
    fn refuse_dead_letters(&mut self, subject: Subject, error: &Error) {
        match subject {
            // The records come back as refused, each by itself.
            Subject::Producer(id) => self.machine.refuse_all(id, error),
            Subject::Consumer(_) => {}
            Subject::Topic(_) => {
                let Some(route) = &mut self.dead_letters else { return };
                for (record, duty, charge) in std::mem::take(&mut route.waiting) {
                    self.policy.refuse_dead_letter(route.topic.as_str(), &record, duty, error.clone(), &self.shared.facts);
                    self.machine.release(charge);
                }
            }
        }
    }

    /// Forgets the trouble of producers that are open and store again. Open alone is not enough while records wait: a topic may
    /// open each time and refuse what is sent.
    fn recover(&mut self) {
        if self.troubles.is_empty() {
            return;
        }
        let (machine, before) = (&self.machine, self.troubles.len());
        self.troubles.retain(|subject, (_, then)| {
            let id = match *subject {
                Subject::Producer(id) => id,
                Subject::Topic(_) => return true,
                Subject::Consumer(id) => return machine.is_waiting(id),
            };
            let (accepted, resolved) = machine.progress(id);
            let again = machine.is_open(id) && (resolved > *then || resolved == accepted);
            if again {
                info!(topic = %machine.topic_of(id), "the topic is open again");
            }
            !again
        });
        if self.troubles.len() < before {
            self.last_log = None;
            self.show_waiting();
        }
    }

    fn show_waiting(&self) {
        let reading = self.exact.as_ref().and_then(Exact::waiting_for);
        self.shared.set_waiting(self.troubles.values().map(|(text, _)| text).min().cloned().or(reading));
    }

    /// Closes producers, lets the writers finish for a moment, gives back what is unresolved.
    async fn farewell(mut self) {
        let now = self.now();
        if let Some(exact) = &mut self.exact {
            exact.shut_down(&mut self.machine, now);
        }
        self.machine.shut_down();
        self.say_losses();
        let now = self.now();
        self.shared.free(self.machine.take_freed());
        self.connections.farewell(now, &mut self.machine).await;
        self.rotation.end().await;
    }
}

/// Waits until the source asks for something that concerns its lineages; for ever where there are none.
async fn asked(lineages: Option<&Lineages>) {
    match lineages {
        Some(lineages) => lineages.asked().await,
        None => std::future::pending().await,
    }
}
