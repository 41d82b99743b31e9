//! Each record stored once: one producer for each lineage and partition of the topic, and what has to be known before it may send.
//!
//! It stands between the publisher's actor and the machine and, like the machine, has no I/O: it is told what happened and calls the
//! machine. Promised: nothing is sent on a partition before it is written down that the name is used there; nothing is sent after an
//! opening before the broker's last number was looked at, and the topic read back wherever more may be stored than is known; a number
//! that was refused and overtaken goes under the late name only, and only after that is written down; a batch never mixes lineages. Never:
//! a decision on when something is written down, which is the source's, or a record passed over in silence.

mod doubt;
mod idle;
mod lane;
mod readings;
mod seal;
mod stored;

use crate::machine::{Account, Charge, Duty, Machine, Naming, Now, ProducerId, Withdrawn};
use crate::routing::Router;
use crate::topic::TopicName;
use connector_sdk::{
    AckHandle, Error, ErrorKind, Lineage, LineageRequest, Lineages, Mistake, PartitionId, Record, ShapeQuestion, TopicShape, planted,
};
use doubt::Doubt;
use lane::{Finding, Lane, Told, Wait, Which};
use readings::{Readings, Why};
use seal::Sealing;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::warn;

/// A producer without work is closed after this long; the broker forgets names only much later.
const IDLE: Duration = Duration::from_secs(60);
/// Between looks at what time alone changes: rights that expire, producers without work.
const LOOK: Duration = Duration::from_millis(500);
/// Where nothing was sent for so long, a reading back may begin at the topic's end as of then.
const ANCHOR: Duration = Duration::from_secs(60);

/// Whose a producer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Lane { line: u64, partition: u32, which: Which },
    Seal { number: u64, place: usize },
}

/// What holds for all records of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    lineage: &'a Arc<Lineage>,
    /// Partitions of the topic; 0: it is not partitioned.
    partitions: u32,
    has_spent: bool,
}

impl<'a> Terms<'a> {
    pub(crate) fn of(lineage: &'a Arc<Lineage>) -> Self {
        Self { lineage, partitions: lineage.partitions(), has_spent: lineage.has_spent() }
    }
}

/// Where a batch's records come from and how they find their partition.
pub(crate) struct Way<'a> {
    pub(crate) terms: Terms<'a>,
    pub(crate) router: &'a mut Router,
    /// The source's partition, to name it in messages.
    pub(crate) partition: &'a PartitionId,
}

/// One lineage at work.
struct Line {
    lineage: Arc<Lineage>,
    lanes: BTreeMap<u32, Lane>,
    doubt: Doubt,
}

/// See the module.
pub(crate) struct Exact {
    lineages: Lineages,
    topic: TopicName,
    /// The hash of keys, by its configured name.
    hashing: &'static str,
    accept_duplicates: bool,
    lines: BTreeMap<u64, Line>,
    seals: BTreeMap<u64, Sealing>,
    next_seal: u64,
    owners: BTreeMap<ProducerId, Owner>,
    readings: Readings,
    next_look: Option<Instant>,
    /// When idle lanes are looked for next.
    next_anchor: Option<Instant>,
    /// Who waits for the topic's shape as of now.
    questions: Vec<ShapeQuestion>,
    /// Whether one of them is new.
    asks: bool,
}

impl Exact {
    pub(crate) fn new(lineages: Lineages, topic: TopicName, hashing: &'static str, accept_duplicates: bool) -> Self {
        Self {
            lineages,
            topic,
            hashing,
            accept_duplicates,
            lines: BTreeMap::new(),
            seals: BTreeMap::new(),
            next_seal: 0,
            owners: BTreeMap::new(),
            readings: Readings::default(),
            next_look: None,
            next_anchor: None,
            questions: Vec::new(),
            asks: false,
        }
    }

    /// What the source asks of the sink comes through here.
    pub(crate) fn lineages(&self) -> &Lineages {
        &self.lineages
    }

    /// Whether this producer is one of a lineage.
    pub(crate) fn owns(&self, producer: ProducerId) -> bool {
        self.owners.contains_key(&producer)
    }

    /// The topic has this many partitions now: the source says when they are used.
    pub(crate) fn partitions(&self, partitions: u32) {
        self.lineages.set_shape(self.shape(partitions));
    }

    fn shape(&self, partitions: u32) -> TopicShape {
        TopicShape { topic: self.topic.as_str().into(), partitions, hashing: self.hashing.into() }
    }

    /// The topic was asked for its partitions because somebody wanted to know.
    pub(crate) fn looked(&mut self, partitions: u32) {
        let shape = self.shape(partitions);
        self.lineages.set_shape(shape.clone());
        for question in self.questions.drain(..) {
            question.answer(shape.clone());
        }
    }

    /// Whether somebody has asked for the topic's shape since the last call that did.
    pub(crate) fn wants_to_know(&mut self) -> bool {
        std::mem::take(&mut self.asks)
    }

    /// When [`Exact::settle`] has to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next_look
    }

    /// Whether nothing is held here; what the machine has is its own affair.
    pub(crate) fn is_idle(&self, machine: &Machine) -> bool {
        self.lines.values().flat_map(|line| line.lanes.values()).all(|lane| lane.held.is_empty())
            && self.owners.keys().all(|id| machine.is_quiet(*id))
    }

    /// What is being waited for that a person should know.
    pub(crate) fn waiting_for(&self) -> Option<String> {
        let (topic, producers) = self.readings.shown()?;
        let of = if producers == 1 { "one producer has".to_owned() } else { format!("{producers} producers have") };
        Some(format!("`{topic}` is read back for what {of} stored in it"))
    }

    /// Takes what the source has asked for since the last time.
    pub(crate) fn requests(&mut self, machine: &mut Machine, now: Now) {
        for request in self.lineages.take_requests() {
            match request {
                LineageRequest::Open(lineage) if lineage.is_over() => {}
                LineageRequest::Open(lineage) => {
                    let doubt = if lineage.is_in_doubt() { Doubt::open(&lineage, now.at) } else { Doubt::None };
                    self.lines.insert(lineage.id(), Line { lineage, lanes: BTreeMap::new(), doubt });
                    self.look_by(now.at);
                }
                LineageRequest::Look(lineage) if lineage.is_over() => self.end_line(machine, now, lineage.id()),
                LineageRequest::Look(lineage) => self.advance_line(machine, now, lineage.id()),
                LineageRequest::Seal(seal) => self.begin_seal(machine, now, seal),
                LineageRequest::AskShape(question) => {
                    self.questions.push(question);
                    self.asks = true;
                }
            }
        }
    }

    /// Takes the duty for a record of a lineage.
    pub(crate) fn submit(&mut self, machine: &mut Machine, now: Now, way: Way<'_>, record: Record, handle: AckHandle, charge: Charge) {
        let Way { terms: Terms { lineage, partitions, has_spent }, router, partition } = way;
        let Some(line) = self.lines.get_mut(&lineage.id()).filter(|_| !handle.is_fenced()) else {
            // Its end was heard of before its last records.
            machine.release(charge);
            return handle.give_back();
        };
        if record.sequence.is_none() {
            machine.release(charge);
            return handle.fail(Error::new(ErrorKind::Data, "the source gives its records no numbers: they cannot be stored exactly once"));
        }
        let at = if partitions == 0 { 0 } else { router.route(&record, partitions, now.at) };
        let lane = line.lanes.entry(at).or_default();
        lane.used = Some(now.at);
        if lane.is_plain() && !has_spent {
            let producer = match lane.main.producer {
                Some(producer) => producer,
                None => self.open(machine, now, lineage, at, Which::Main),
            };
            return machine.append(now, producer, record, partition, handle, charge);
        }
        lane.held.push_back(Withdrawn { record, duty: Duty { partition: partition.clone(), handle }, charge });
        self.advance(machine, now, lineage.id(), at);
    }

    /// Opens a producer of a lane.
    fn open(&mut self, machine: &mut Machine, now: Now, lineage: &Arc<Lineage>, partition: u32, which: Which) -> ProducerId {
        let name = which.name(lineage);
        let account = Account { lineage: Arc::clone(lineage), partition, late: which == Which::Late };
        let topic = self.topic_of(lineage, partition);
        let producer = machine.open(now, topic, Naming::Given { name, account: Some(account) });
        self.owners.insert(producer, Owner::Lane { line: lineage.id(), partition, which });
        if let Some(line) = self.lines.get_mut(&lineage.id()) {
            let door = line.lanes.entry(partition).or_default().door(which);
            (door.producer, door.asked) = (Some(producer), None);
        }
        self.look_by(now.at + LOOK);
        producer
    }

    fn topic_of(&self, lineage: &Lineage, partition: u32) -> TopicName {
        if lineage.partitions() == 0 { self.topic.clone() } else { self.topic.partition(partition) }
    }

    /// A named producer is open, at first or again, and its broker has told the last number.
    pub(crate) fn admission(&mut self, machine: &mut Machine, now: Now, producer: ProducerId, last: Option<u64>, unknown: bool) {
        match self.owners.get(&producer).copied() {
            None => {}
            Some(Owner::Seal { number, place }) => self.sealed(machine, now, number, place, producer, last),
            Some(Owner::Lane { line, partition, which }) => {
                if !self.lines.contains_key(&line) {
                    return;
                }
                let lane = self.lane(line, partition);
                let door = lane.door(which);
                (door.last, door.admitted, door.asked) = (door.last.max(last), None, Some(now.at));
                door.told = Some(Told { last, unknown });
                match lane.wait {
                    // Nothing of it is on its way any more.
                    Wait::Reopened(refused) if which == Which::Main => {
                        lane.main.told = None;
                        self.read_back(machine, now, (line, partition, which), producer, Why::Refused(refused));
                    }
                    _ if lane.is_finding_out() => {}
                    _ => self.look_at(machine, now, (line, partition, which)),
                }
            }
        }
    }

    fn admit(&mut self, machine: &mut Machine, now: Now, number: u64, partition: u32, which: Which) {
        let door = self.lane(number, partition).door(which);
        door.admitted = Some(now.at);
        if let Some(producer) = door.producer {
            machine.admit(now, producer);
        }
        self.look_by(now.at);
    }

    /// An entry was refused and overtaken: its numbers are spent.
    pub(crate) fn overtaken(&mut self, machine: &mut Machine, now: Now, producer: ProducerId, items: Vec<Withdrawn>) {
        let Some(Owner::Lane { line, partition, which }) = self.owners.get(&producer).copied() else { return };
        let Some(lineage) = self.lines.get(&line).map(|line| Arc::clone(&line.lineage)) else { return };
        let rest = machine.withdraw_unwritten(producer);
        let numbers: Vec<u64> = items.iter().filter_map(|item| item.record.sequence).collect();
        let lane = self.lane(line, partition);
        lane.hold(rest);
        lane.hold(items);
        if which == Which::Late {
            // Late records go one by one: nothing can overtake them but a sender that has no right to.
            lane.refusal = Some(late_trouble(&lineage, "something overtook a record"));
        } else {
            warn!(producer = %lineage.name(), numbers = numbers.len(), "entries were refused and overtaken: they are published late, under a name of their own");
            if !planted(Mistake::RefusedGoesAgain) {
                lineage.declare_spent(numbers);
            }
        }
        machine.admit(now, producer);
        self.advance(machine, now, line, partition);
    }

    /// An entry was refused that may be stored all the same.
    pub(crate) fn unclear(&mut self, machine: &mut Machine, now: Now, producer: ProducerId, items: Vec<Withdrawn>) {
        let Some(Owner::Lane { line, partition, which }) = self.owners.get(&producer).copied() else { return };
        let Some(lineage) = self.lines.get(&line).map(|line| Arc::clone(&line.lineage)) else { return };
        let highest = items.iter().filter_map(|item| item.record.sequence).max();
        let rest = machine.withdraw(producer);
        let lane = self.lane(line, partition);
        lane.hold(rest);
        lane.hold(items);
        if which == Which::Late {
            lane.refusal = Some(late_trouble(&lineage, "a record was refused that may be stored"));
            machine.admit(now, producer);
            return self.advance(machine, now, line, partition);
        }
        lane.wait = Wait::Reopened(highest);
        machine.reopen(now, producer);
    }

    fn lane(&mut self, number: u64, partition: u32) -> &mut Lane {
        let line = self.lines.get_mut(&number).expect("whoever asks for a lane has its line");
        line.lanes.entry(partition).or_default()
    }

    fn advance_line(&mut self, machine: &mut Machine, now: Now, number: u64) {
        let Some(line) = self.lines.get(&number) else { return };
        let waiting: Vec<u32> = line.lanes.iter().filter(|(_, lane)| !lane.is_plain()).map(|(partition, _)| *partition).collect();
        for partition in waiting {
            self.advance(machine, now, number, partition);
        }
    }

    /// Lets records of a lane go, as far as nothing has to be waited for.
    fn advance(&mut self, machine: &mut Machine, now: Now, number: u64, partition: u32) {
        let Some(lineage) = self.lines.get(&number).map(|line| Arc::clone(&line.lineage)) else { return };
        loop {
            if !self.lines.contains_key(&number) {
                return;
            }
            let lane = self.lane(number, partition);
            let told = [Which::Main, Which::Late].into_iter().find(|which| lane.door(*which).told.is_some());
            if let Some(which) = told.filter(|_| !lane.is_finding_out()) {
                self.look_at(machine, now, (number, partition, which));
                continue;
            }
            match lane.wait {
                Wait::Nothing => {}
                Wait::ReadBack | Wait::Reopened(_) => return,
                Wait::Declared(version) if !lineage.is_stored(version) => return,
                Wait::Declared(_) => {
                    lane.wait = Wait::Nothing;
                    self.admit(machine, now, number, partition, Which::Main);
                    continue;
                }
                Wait::Quiet(which) => {
                    if lane.door(which).producer.is_some_and(|producer| !machine.is_quiet(producer)) {
                        return;
                    }
                    lane.wait = Wait::Nothing;
                }
            }
            let Some(item) = lane.held.pop_front() else { return };
            if item.duty.handle.is_fenced() {
                machine.release(item.charge);
                item.duty.handle.give_back();
                continue;
            }
            if let Some(refusal) = &lane.refusal {
                let label = item.record.label.to_string();
                let error = refusal.clone().context(format!("record `{label}` of `{}`", item.duty.partition));
                machine.release(item.charge);
                item.duty.handle.fail(error);
                continue;
            }
            let turn = item.record.sequence.unwrap_or(0);
            if lineage.is_spent(turn) {
                // Written down before anything else is sent; and at its turn, behind all that comes before it.
                let main_quiet = lane.main.producer.is_none_or(|producer| machine.is_quiet(producer));
                if lineage.has_to_store() || !main_quiet {
                    lane.held.push_front(item);
                    lane.wait = if main_quiet { Wait::Nothing } else { Wait::Quiet(Which::Main) };
                    return;
                }
                self.publish_late(machine, now, &lineage, partition, item);
                continue;
            }
            match lane.main.found.as_ref().map_or(Finding::Beyond, |found| found.look(turn)) {
                Finding::Stored => {
                    machine.release(item.charge);
                    lineage.receipted(partition, turn, None);
                    item.duty.handle.ack();
                }
                Finding::Missing => {
                    lane.held.push_front(item);
                    lineage.declare_spent([turn]);
                }
                Finding::Beyond => {
                    // Numbers only rise: once all that was found is behind us, it is let go of.
                    lane.main.found.take_if(|found| turn > found.last());
                    let producer = match lane.main.producer {
                        Some(producer) => producer,
                        None => self.open(machine, now, &lineage, partition, Which::Main),
                    };
                    machine.append(now, producer, item.record, &item.duty.partition, item.duty.handle, item.charge);
                }
            }
        }
    }

    /// Publishes a spent record under the late name, alone.
    fn publish_late(&mut self, machine: &mut Machine, now: Now, lineage: &Arc<Lineage>, partition: u32, item: Withdrawn) {
        let lane = self.lane(lineage.id(), partition);
        let turn = item.record.sequence.unwrap_or(0);
        match lane.late.found.as_ref().map_or(Finding::Beyond, |found| found.look(turn)) {
            Finding::Stored => {
                machine.release(item.charge);
                return item.duty.handle.ack();
            }
            // They go one by one, the lowest first: it cannot be, and the broker would take it for stored.
            Finding::Missing => {
                let error = late_trouble(lineage, &format!("record `{}` is not stored, and later ones are", item.record.label));
                machine.release(item.charge);
                return item.duty.handle.fail(error);
            }
            Finding::Beyond => {}
        }
        lane.wait = Wait::Quiet(Which::Late);
        let producer = match lane.late.producer {
            Some(producer) => producer,
            None => self.open(machine, now, lineage, partition, Which::Late),
        };
        machine.append(now, producer, item.record, &item.duty.partition, item.duty.handle, item.charge);
    }

    /// Does what follows from what has happened, and what time alone has changed.
    pub(crate) fn settle(&mut self, machine: &mut Machine, now: Now) {
        let waiting: Vec<(u64, u32)> = self
            .lines
            .iter()
            .flat_map(|(number, line)| {
                line.lanes.iter().filter(|(_, lane)| matches!(lane.wait, Wait::Quiet(_))).map(|(at, _)| (*number, *at))
            })
            .collect();
        for (number, partition) in waiting {
            self.advance(machine, now, number, partition);
        }
        if self.next_look.is_none_or(|look| now.at < look) {
            return;
        }
        self.next_look = None;
        self.look(machine, now);
        if !self.lines.is_empty() || !self.seals.is_empty() {
            self.look_by(now.at + LOOK);
        }
    }

    fn look(&mut self, machine: &mut Machine, now: Now) {
        self.readings.look(machine, now);
        let over: Vec<u64> = self.lines.iter().filter(|(_, line)| line.lineage.is_over()).map(|(number, _)| *number).collect();
        for number in over {
            self.end_line(machine, now, number);
        }
        let abandoned: Vec<u64> = self.seals.iter().filter(|(_, sealing)| sealing.is_abandoned()).map(|(number, _)| *number).collect();
        for number in abandoned {
            self.end_seal(machine, now, number);
        }
        let numbers: Vec<u64> = self.lines.keys().copied().collect();
        for number in numbers {
            self.look_into_doubt(machine, now, number);
        }
        if self.next_anchor.is_none_or(|next| now.at >= next) {
            self.next_anchor = Some(now.at + ANCHOR);
            self.look_for_idle(machine, now);
        }
        for line in self.lines.values_mut() {
            for (partition, lane) in line.lanes.iter_mut().filter(|(_, lane)| lane.held.is_empty()) {
                for door in [&mut lane.main, &mut lane.late] {
                    let covered = |number| line.lineage.covered(*partition).is_some_and(|covered| number <= covered.number);
                    door.found.take_if(|found| covered(found.last()));
                }
            }
        }
        // While doubt is looked into, what was opened for it stays open.
        let settled = self.lines.values_mut().filter(|line| line.doubt == Doubt::None);
        for lane in settled.flat_map(|line| line.lanes.values_mut()) {
            let idle = lane.is_plain() && lane.used.is_none_or(|used| now.at >= used + IDLE);
            for door in [&mut lane.main, &mut lane.late] {
                if let (Some(producer), Some(admitted), true) = (door.producer, door.admitted, idle)
                    && now.at >= admitted + IDLE
                    && machine.is_quiet(producer)
                {
                    door.admitted = None;
                    machine.rest(now, producer);
                }
            }
        }
    }

    /// Nothing more comes of a lineage, or the right to it is lost: its producers are closed before anybody else may take it.
    fn end_line(&mut self, machine: &mut Machine, now: Now, number: u64) {
        let Some(line) = self.lines.remove(&number) else { return };
        self.readings.drop_line(machine, now, number);
        for lane in line.lanes.into_values() {
            for item in lane.held {
                machine.release(item.charge);
                item.duty.handle.give_back();
            }
            for producer in [lane.main.producer, lane.late.producer].into_iter().flatten() {
                self.owners.remove(&producer);
                machine.close(now, producer);
            }
        }
    }

    /// Ends everything: what is held is given back.
    pub(crate) fn shut_down(&mut self, machine: &mut Machine, now: Now) {
        let numbers: Vec<u64> = self.lines.keys().copied().collect();
        for number in numbers {
            self.end_line(machine, now, number);
        }
        self.seals.clear();
    }

    fn look_by(&mut self, at: Instant) {
        self.next_look = Some(self.next_look.map_or(at, |look| look.min(at)));
    }
}

/// What cannot be while one sender has the right to the late name.
fn late_trouble(lineage: &Lineage, what: &str) -> Error {
    let text = format!("{what} of shard `{}` under the name `{}`, where only one sender may be", lineage.partition(), lineage.late_name());
    Error::new(ErrorKind::Data, text)
        .with_hint("look in the topic for who else publishes under that name, end it, and start again: the record is tried once more")
}
