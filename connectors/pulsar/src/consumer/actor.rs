//! The task that owns a consumer's machine: subscribes to partitions as they are known, passes messages on, carries out commands.

use super::dead_letters::DeadLetters;
use super::queue::Queue;
use super::{Command, LastMessage, SeekTo, closed};
use crate::driver::{Connections, Dial};
use crate::machine::{Event, Machine, News, Now, Start, Subject, Subscription, TopicId, Trouble};
use crate::message::ConsumerId;
use crate::topic::TopicName;
use connector_sdk::{Clock, Error, ErrorKind, MessageId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Commands taken in one turn, so that the network does not wait long for them.
const TURN: usize = 256;
/// The same trouble is logged again after this long.
const REPEAT_LOG: Duration = Duration::from_secs(30);

/// What the actor is made of.
pub(super) struct Parts {
    pub(super) machine: Machine,
    pub(super) topics: Vec<TopicName>,
    pub(super) subscription: Subscription,
    /// The topic, and after how many redeliveries.
    pub(super) dead_letters: Option<(TopicName, u32)>,
    pub(super) dialer: Arc<dyn Dial>,
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Clock,
    pub(super) stop: CancellationToken,
    pub(super) inbox: mpsc::Receiver<Command>,
    pub(super) started: oneshot::Sender<Result<(), Error>>,
}

struct Topic {
    name: TopicName,
    id: TopicId,
    partitions: Option<u32>,
    /// One for each partition, or one.
    consumers: Vec<ConsumerId>,
}

/// Waits until what was acknowledged before is confirmed.
struct Flush {
    marks: Vec<(ConsumerId, u64)>,
    done: oneshot::Sender<()>,
}

/// An answer that several consumers give together.
struct Together<T> {
    open: BTreeSet<ConsumerId>,
    answer: Result<T, Error>,
    done: oneshot::Sender<Result<T, Error>>,
}

struct Actor {
    machine: Machine,
    connections: Connections,
    topics: Vec<Topic>,
    subscription: Arc<Subscription>,
    dead_letters: Option<DeadLetters>,
    queue: Arc<Queue>,
    clock: Clock,
    started: Option<oneshot::Sender<Result<(), Error>>>,
    flushes: Vec<Flush>,
    seek: Option<Together<()>>,
    last: Option<Together<Vec<LastMessage>>>,
    unsubscribe: Option<Together<()>>,
    last_log: Option<(Instant, String)>,
    over: Option<Error>,
}

/// However the actor ends, nobody waits for messages any more.
struct EndOfQueue(Arc<Queue>);

impl Drop for EndOfQueue {
    fn drop(&mut self) {
        self.0.end(closed());
    }
}

/// Runs until stopped, unsubscribed, or until a start that cannot succeed has said so.
pub(super) async fn run(parts: Parts) {
    let Parts { mut machine, topics, subscription, dead_letters, dialer, queue, clock, stop, mut inbox, started } = parts;
    let _end = EndOfQueue(Arc::clone(&queue));
    let now = Now { at: Instant::now().into_std(), wall: clock.millis() };
    let resolved = |name: TopicName| Topic { id: machine.resolve(now, name.clone()), name, partitions: None, consumers: Vec::new() };
    let topics = topics.into_iter().map(resolved).collect();
    let dead_letters = dead_letters.map(|(topic, most)| DeadLetters::new(now, topic, subscription.name.clone(), most));
    let mut actor = Actor {
        machine,
        connections: Connections::new(dialer),
        topics,
        subscription: Arc::new(subscription),
        dead_letters,
        queue,
        clock,
        started: Some(started),
        flushes: Vec::new(),
        seek: None,
        last: None,
        unsubscribe: None,
        last_log: None,
        over: None,
    };
    actor.settle();
    let queue = Arc::clone(&actor.queue);
    let timer = tokio::time::sleep_until(Instant::now());
    tokio::pin!(timer);
    while actor.over.is_none() {
        let deadline = actor.machine.deadline().map(Instant::from_std);
        if let Some(deadline) = deadline
            && timer.deadline() != deadline
        {
            timer.as_mut().reset(deadline);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            event = actor.connections.happened() => {
                let now = actor.now();
                actor.connections.tell(now, &mut actor.machine, event);
            }
            command = inbox.recv() => {
                let Some(command) = command else { break };
                actor.command(command);
                for _ in 1..TURN {
                    let Ok(command) = inbox.try_recv() else { break };
                    actor.command(command);
                }
            }
            () = queue.drained() => {}
            () = timer.as_mut(), if deadline.is_some() => {}
        }
        actor.settle();
    }
    if let Some(why) = actor.over.take() {
        actor.queue.end(why);
    }
    let now = actor.now();
    actor.machine.shut_down();
    actor.connections.farewell(now, &mut actor.machine).await;
}

impl Actor {
    fn now(&self) -> Now {
        Now { at: Instant::now().into_std(), wall: self.clock.millis() }
    }

    /// Does everything that follows from what has just happened.
    fn settle(&mut self) {
        let now = self.now();
        for (consumer, (cost, last)) in self.queue.taken() {
            self.machine.taken(now, consumer, cost, last);
        }
        self.machine.tick(now);
        self.machine.pump(now);
        loop {
            while let Some(action) = self.machine.next_action() {
                if let Some(event) = self.connections.act(now, &mut self.machine, action) {
                    self.event(now, event);
                }
            }
            if !self.bury(now) {
                break;
            }
        }
        // Nobody bounds the letters by their charge: they are bounded by what may be unacknowledged.
        let _freed = self.machine.take_freed();
        let machine = &self.machine;
        let confirmed = |flush: &mut Flush| flush.marks.iter().all(|(id, mark)| machine.are_acks_confirmed(*id, *mark));
        for flush in self.flushes.extract_if(.., confirmed) {
            // Whoever asked may have stopped waiting.
            let _unheard = flush.done.send(());
        }
    }

    /// Acknowledges the letters that were stored; the others come again. Whether there were any.
    fn bury(&mut self, now: Now) -> bool {
        let decided = self.dead_letters.as_mut().map(DeadLetters::decided).unwrap_or_default();
        for (id, count, stored) in &decided {
            if *stored {
                self.machine.acknowledge(now, *id, false);
            } else {
                self.machine.negative_acknowledge(now, *id, *count);
            }
        }
        !decided.is_empty()
    }

    fn consumers(&self) -> impl Iterator<Item = ConsumerId> {
        self.topics.iter().flat_map(|topic| topic.consumers.iter().copied())
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Ack { id, cumulative: true } if self.subscription.kind.is_shared() => {
                error!(message = %id, "a shared subscription is acknowledged message by message: nothing was acknowledged");
            }
            Command::Ack { id, cumulative } => self.machine.acknowledge(now, id, cumulative),
            Command::Nack(message) => match &mut self.dead_letters {
                Some(letters) if letters.wants(&message) => {
                    let partition = partition_of(&self.topics, message.id.consumer);
                    warn!(topic = %message.topic, message = %message.id, "message goes to the dead letter topic");
                    letters.send(&mut self.machine, now, partition, *message);
                }
                _ => self.machine.negative_acknowledge(now, message.id, message.redelivery_count),
            },
            Command::Flush(done) => {
                let marks = self.consumers().collect::<Vec<_>>().into_iter().map(|id| (id, self.machine.flush_acks(id))).collect();
                self.flushes.push(Flush { marks, done });
            }
            Command::Seek(_, done) if self.seek.is_some() => refuse(done),
            Command::Seek(to, done) => self.seek(now, to, done),
            Command::Last(done) if self.last.is_some() => refuse(done),
            Command::Last(done) => {
                let open: BTreeSet<ConsumerId> = self.consumers().collect();
                for id in &open {
                    self.machine.ask_last(now, *id);
                }
                self.last = Some(Together { open, answer: Ok(Vec::new()), done });
            }
            Command::Unsubscribe(done) if self.unsubscribe.is_some() => refuse(done),
            Command::Unsubscribe(done) => {
                let open: BTreeSet<ConsumerId> = self.consumers().collect();
                for id in &open {
                    self.machine.unsubscribe(now, *id);
                }
                self.unsubscribe = Some(Together { open, answer: Ok(()), done });
            }
        }
    }

    fn seek(&mut self, now: Now, to: SeekTo, done: oneshot::Sender<Result<(), Error>>) {
        let (open, start): (BTreeSet<ConsumerId>, Start) = match to {
            SeekTo::All(start) => (self.consumers().collect(), start),
            SeekTo::Message(id) => {
                let index = id.batch.map(|batch| batch.index);
                (BTreeSet::from([id.consumer]), Start::Message { id: id.message, index, inclusive: true })
            }
        };
        if open.len() > 1 && matches!(start, Start::Message { .. }) {
            let error = Error::configuration("a message id names a place in one topic or partition, and several are read");
            // Whoever asked may have stopped waiting.
            let _unheard = done.send(Err(error));
            return;
        }
        for id in &open {
            self.machine.seek(now, *id, start);
        }
        self.seek = Some(Together { open, answer: Ok(()), done });
    }

    fn event(&mut self, now: Now, event: Event) {
        match event {
            Event::Partitions { topic, partitions } => self.partitions(now, topic, partitions),
            Event::Consumer { consumer, news } => self.news(consumer, news),
            Event::Trouble { subject, trouble } => self.trouble(subject, trouble),
            Event::Refused(refused) => {
                error!(topic = %self.machine.topic_of(refused.producer), error = %refused.error,
                    "the dead letter topic refuses the message: it will be delivered again");
                self.machine.release(refused.charge);
                refused.duty.handle.give_back();
                self.machine.judged(now, refused.producer);
            }
            // A consumer's own producers are not named, and it reads nothing back.
            _ => {}
        }
    }

    fn partitions(&mut self, now: Now, id: TopicId, partitions: u32) {
        if let Some(letters) = &mut self.dead_letters
            && letters.resolved(&mut self.machine, now, id, partitions)
        {
            return;
        }
        let Some(topic) = self.topics.iter_mut().find(|topic| topic.id == id) else { return };
        let grown = topic.partitions.replace(partitions).is_some();
        let first = if grown { u32::try_from(topic.consumers.len()).unwrap_or(u32::MAX) } else { 0 };
        let names: Vec<TopicName> = match partitions {
            0 => vec![topic.name.clone()],
            _ => (first..partitions).map(|at| topic.name.partition(at)).collect(),
        };
        let mut subscription = Arc::clone(&self.subscription);
        if grown {
            info!(topic = %topic.name, partitions, "the topic has grown");
            // What was published there before it was noticed is to be read, too.
            Arc::make_mut(&mut subscription).start = Start::Earliest;
        }
        for name in names {
            let consumer = self.machine.subscribe(now, name, Arc::clone(&subscription));
            topic.consumers.push(consumer);
        }
        let all: Vec<ConsumerId> = self.consumers().collect();
        let share = self.subscription.budget / all.len().max(1);
        for consumer in all {
            self.machine.set_budget(now, consumer, share);
        }
    }

    fn news(&mut self, consumer: ConsumerId, news: News) {
        match news {
            News::Delivered(messages) => self.queue.put(messages),
            News::Cleared => self.queue.clear(consumer),
            News::Subscribed => {
                self.last_log = None;
                let known = self.topics.iter().all(|topic| topic.partitions.is_some());
                if known
                    && self.consumers().all(|id| self.machine.is_subscribed(id))
                    && let Some(started) = self.started.take()
                {
                    // Whoever started may have given up.
                    let _unheard = started.send(Ok(()));
                }
            }
            News::Unusable { error, discarded: true, .. } => error!(%error, "entry dropped"),
            News::Unusable { error, discarded: false, .. } => self.queue.put_error(consumer, error),
            News::Active(active) => info!(topic = %self.name(consumer), active, "active consumer"),
            News::EndOfTopic => info!(topic = %self.name(consumer), "the topic was terminated, and all of it is read"),
            News::Sought(outcome) => answer(&mut self.seek, consumer, outcome, |(), ()| ()),
            News::Last(outcome) => {
                let topic = self.name(consumer).into();
                let outcome = outcome.map(|id: Option<MessageId>| LastMessage { topic, id });
                answer(&mut self.last, consumer, outcome, |all, one| all.push(one));
            }
            News::Unsubscribed(outcome) => {
                if outcome.is_ok() {
                    for topic in &mut self.topics {
                        topic.consumers.retain(|id| *id != consumer);
                    }
                }
                answer(&mut self.unsubscribe, consumer, outcome, |(), ()| ());
                if self.topics.iter().all(|topic| topic.consumers.is_empty()) {
                    self.over = Some(closed());
                }
            }
        }
    }

    fn name(&self, consumer: ConsumerId) -> String {
        self.machine.topic_of_subject(Subject::Consumer(consumer)).map(ToString::to_string).unwrap_or_default()
    }

    fn trouble(&mut self, subject: Subject, Trouble { error, .. }: Trouble) {
        let of_letters = matches!(subject, Subject::Producer(_));
        if error.kind().ends_a_start()
            && !of_letters
            && let Some(started) = self.started.take()
        {
            // Whoever started may have given up.
            let _unheard = started.send(Err(error));
            self.over = Some(Error::new(ErrorKind::Closed, "the consumer could not be started"));
            return;
        }
        let text = error.to_string();
        let now = Instant::now();
        let said = self.last_log.as_ref().is_some_and(|(at, last)| *last == text && now < *at + REPEAT_LOG);
        if !said {
            let topic = self.machine.topic_of_subject(subject).map(ToString::to_string);
            warn!(topic, %error, "waiting for the broker");
            self.last_log = Some((now, text));
        }
    }
}

/// One question of a kind at a time.
fn refuse<T>(done: oneshot::Sender<Result<T, Error>>) {
    // Whoever asked may have stopped waiting.
    let _unheard = done.send(Err(Error::transient("the same was asked before and is not answered yet")));
}

/// One consumer's part of an answer; the whole is given when it is the last.
fn answer<T, U>(together: &mut Option<Together<T>>, consumer: ConsumerId, part: Result<U, Error>, add: impl FnOnce(&mut T, U)) {
    let Some(asked) = together else { return };
    asked.open.remove(&consumer);
    match (part, &mut asked.answer) {
        (Ok(part), Ok(all)) => add(all, part),
        (Err(error), all @ Ok(_)) => *all = Err(error),
        (_, Err(_)) => {}
    }
    if asked.open.is_empty()
        && let Some(asked) = together.take()
    {
        // Whoever asked may have stopped waiting.
        let _unheard = asked.done.send(asked.answer);
    }
}

/// Which partition a consumer reads.
fn partition_of(topics: &[Topic], consumer: ConsumerId) -> Option<u32> {
    let topic = topics.iter().find(|topic| topic.consumers.contains(&consumer))?;
    let at = topic.consumers.iter().position(|id| *id == consumer)?;
    u32::try_from(at).ok().filter(|_| topic.partitions.unwrap_or(0) > 0)
}
