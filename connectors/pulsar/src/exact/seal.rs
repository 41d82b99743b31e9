//! Before a new epoch: producers of the old names are opened on every partition and closed again. Whoever still sends under them is
//! cut off by that, and the broker says how far they came.

use super::{Exact, Owner};
use crate::machine::{Machine, Naming, Now, ProducerId};
use crate::topic::TopicName;
use connector_sdk::{Error, Seal};

/// One request on its way.
pub(super) struct Sealing {
    seal: Option<Seal>,
    producers: Vec<Option<ProducerId>>,
    highest: Option<u64>,
}

impl Sealing {
    pub(super) fn is_abandoned(&self) -> bool {
        self.seal.as_ref().is_none_or(Seal::is_abandoned)
    }
}

impl Exact {
    pub(super) fn begin_seal(&mut self, machine: &mut Machine, now: Now, seal: Seal) {
        let topic: TopicName = match seal.topic.parse() {
            Ok(topic) => topic,
            Err(error) => return seal.answer(Err(Error::configuration(format!("{error}")))),
        };
        let number = self.next_seal;
        self.next_seal += 1;
        let topics: Vec<TopicName> = match seal.partitions {
            0 => vec![topic],
            partitions => (0..partitions).map(|at| topic.partition(at)).collect(),
        };
        let mut producers = Vec::with_capacity(topics.len() * seal.names.len());
        for name in &seal.names {
            for topic in &topics {
                let producer = machine.open(now, topic.clone(), Naming::Given { name: name.clone(), account: None });
                self.owners.insert(producer, Owner::Seal { number, place: producers.len() });
                producers.push(Some(producer));
            }
        }
        self.seals.insert(number, Sealing { seal: Some(seal), producers, highest: None });
        self.look_by(now.at + super::LOOK);
    }

    /// One of the old names is ours on one partition.
    pub(super) fn sealed(&mut self, machine: &mut Machine, now: Now, number: u64, place: usize, producer: ProducerId, last: Option<u64>) {
        self.owners.remove(&producer);
        machine.close(now, producer);
        let Some(sealing) = self.seals.get_mut(&number) else { return };
        sealing.highest = sealing.highest.max(last);
        sealing.producers[place] = None;
        if sealing.producers.iter().all(Option::is_none) {
            let highest = sealing.highest;
            if let Some(seal) = self.seals.remove(&number).and_then(|mut sealing| sealing.seal.take()) {
                seal.answer(Ok(highest));
            }
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn end_seal(&mut self, machine: &mut Machine, now: Now, number: u64) {
        let Some(sealing) = self.seals.remove(&number) else { return };
        for producer in sealing.producers.into_iter().flatten() {
            self.owners.remove(&producer);
            machine.close(now, producer);
        }
    }
}
