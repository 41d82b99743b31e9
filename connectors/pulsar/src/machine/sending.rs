//! From packs to entries to the wire: what goes next, what must go alone, what is cut out before it goes.

use super::entry::{Entry, Pack};
use super::producer::State;
use super::{Event, Machine, Now, ProducerId, Refused};
use crate::wire::entry::{Numbers, Stamp};
use connector_sdk::{Error, ErrorKind};

/// What a producer does next.
enum Next {
    /// Nothing for now.
    Wait,
    /// Writes the first pending entry that is not on the wire.
    Write,
    /// Encodes the first queued pack.
    Encode,
}

impl Machine {
    /// Sends what a producer may send now.
    pub(super) fn send(&mut self, now: Now, id: ProducerId) {
        loop {
            match self.next(now, id) {
                Next::Wait => return,
                Next::Write => self.write_next(id),
                Next::Encode => self.encode_next(id),
            }
        }
    }

    fn next(&mut self, now: Now, id: ProducerId) -> Next {
        let (at_bound, proves_from) = (self.is_at_bound(id), self.proves_from(id));
        let producer = &mut self.producers[super::index(id)];
        let State::Ready(connection) = producer.state else {
            // The open pack is not cut by time while nothing can be sent: it fills.
            producer.due = None;
            return Next::Wait;
        };
        // The verdict on a refused record may stop all that lies behind it; a named producer waits for its owner's look.
        if producer.judging > 0 || producer.named.as_ref().is_some_and(|named| named.gated) {
            return Next::Wait;
        }
        if let Some(from) = proves_from {
            // What is to show whether the broker keeps numbers is the only thing on the wire.
            if producer.on_wire > 0 {
                return Next::Wait;
            }
            if now.at < from {
                producer.due = Some(from);
                self.wake_at(from);
                return Next::Wait;
            }
            producer.due = None;
        }
        // Behind an entry that goes alone nothing is written until it is answered; what is collected goes on filling.
        let largest = producer.largest;
        let alone = |entry: &Entry| entry.oversize || entry.size > largest;
        if producer.on_wire > 0 && producer.pending.get(producer.on_wire - 1).is_some_and(alone) {
            return Next::Wait;
        }
        if at_bound {
            return Next::Wait;
        }
        let only_open = producer.pending.len() == producer.on_wire && producer.queue.is_empty();
        if only_open {
            if producer.open.is_empty() {
                return Next::Wait;
            }
            // With nothing on the wire there is nothing to wait for: the broker's own pace then cuts the entries, and the delay is only
            // for a broker that is slower. Without a time it became due while nothing could be sent.
            if let Some(due) = producer.due.filter(|due| now.at < *due && producer.on_wire > 0) {
                self.wake_at(due);
                return Next::Wait;
            }
        }
        let Some(connection) = self.connections.get_mut(&connection) else { return Next::Wait };
        if !connection.has_room() {
            if !std::mem::replace(&mut producer.blocked, true) {
                connection.blocked.push_back(id);
                self.facts.blocked.add(1);
            }
            return Next::Wait;
        }
        if only_open {
            producer.closed_at = Some(now.at);
            producer.close_open(self.settings.batching);
        }
        match producer.pending.get(producer.on_wire) {
            None => Next::Encode,
            Some(entry) if producer.on_wire > 0 && alone(entry) => Next::Wait,
            Some(_) => Next::Write,
        }
    }

    /// Whether a producer has on its way what it may, its part of what all that wait for answers may: the next answer sends more.
    fn is_at_bound(&self, id: ProducerId) -> bool {
        let (unanswered, most) = (self.producer(id).unanswered_bytes(), self.settings.unanswered_bytes as u64);
        // Only near the bound they are counted.
        if unanswered == 0 || unanswered * (self.producers.len() as u64) < most {
            return false;
        }
        let waiting = self.producers.iter().filter(|producer| producer.on_wire > 0).count() as u64;
        unanswered >= most / waiting.max(1)
    }

    fn write_next(&mut self, id: ProducerId) {
        let producer = &mut self.producers[super::index(id)];
        let State::Ready(connection) = producer.state else { return };
        let at = producer.on_wire;
        let entry = producer.pending.get_mut(at).expect("asked for after a look");
        // Encoded, held back, and in the meantime a lease was lost: cut it anew. What was written before is repeated whole while any
        // of it may be; under a name of its own, nothing of it is once the right is lost.
        if entry.duties.any_fenced() && (entry.writes == 0 || producer.named.is_some()) {
            let entry = producer.pending.remove(at).expect("just looked at");
            producer.queue.push_front(entry.into_pack());
            return;
        }
        if self.connections.get(&connection).is_some_and(|connection| entry.judged_size > connection.max_message_size) {
            // Made for a broker that took more. It is cut anew, and so is all behind it, which must not overtake it; what of it the
            // broker before has stored is stored twice.
            return self.take_back_from(id, at);
        }
        entry.writes += 1;
        entry.behind_bytes = producer.written_bytes;
        let (frames, highest) = (entry.unanswered(), entry.highest);
        let count = frames.len();
        let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
        producer.written_bytes += bytes;
        if entry.writes == 1 {
            self.facts.entries.add(1);
            self.facts.entry_records.add(entry.len() as u64);
            self.facts.written_bytes.add(bytes);
        } else {
            self.facts.resends.add(1);
        }
        producer.on_wire += 1;
        self.tell_writing(id, highest);
        // The chunks of a message go together: nothing of this producer comes between them.
        for frame in 0..count {
            let bytes = self.producers[super::index(id)].pending[at].unanswered()[frame].clone();
            self.write(connection, bytes);
        }
    }

    fn encode_next(&mut self, id: ProducerId) {
        let batch_limit = self.settings.batching.max_bytes;
        let Some(mut pack) = self.producer_mut(id).queue.pop_front() else { return };
        if pack.duties.any_fenced() {
            let (cut, charge) = pack.cut_fenced();
            self.producer_mut(id).resolved += cut as u64;
            self.facts.fenced_records.add(cut as u64);
            self.free(cut, charge);
        }
        if pack.is_empty() {
            return;
        }
        let alone = self.alone(id, &pack);
        if pack.records.len() > 1 && alone > 0 {
            let (front, back) = pack.split_at(alone);
            if !back.is_empty() {
                self.producer_mut(id).queue.push_front(back);
            }
            return self.queue_singly(id, front);
        }
        if let Some(error) = self.producer(id).check(&pack) {
            // One record in it is not of the schema: each is looked at by itself.
            return if pack.records.len() > 1 { self.queue_singly(id, pack) } else { self.refuse(id, pack, error, false) };
        }
        let Self { producers, encoder, connections, settings, .. } = self;
        let producer = &mut producers[super::index(id)];
        let State::Ready(connection) = producer.state else {
            producer.queue.push_front(pack);
            return;
        };
        if pack.records.len() > 1 && pack.value_bytes > producer.batch_bytes.max(1) {
            // Collected before the topic was known to take less.
            return producer.queue_halves(pack);
        }
        let maximum = connections.get(&connection).map_or(usize::MAX, |connection| connection.max_message_size);
        let producer_name = producer.name.as_deref().unwrap_or_default();
        let stamp = Stamp {
            producer_id: id.0,
            producer_name,
            numbers: if producer.named.is_some() { Numbers::OfRecords } else { Numbers::From(producer.next_sequence) },
            publish_time: pack.publish_time,
            schema_version: producer.schema_version.as_deref(),
            by_key: settings.batching.by_key,
        };
        let encoded = encoder.encode(stamp, &pack.records);
        if encoded.judged_size <= maximum {
            producer.next_sequence = encoded.highest + 1;
            let oversize = pack.value_bytes > batch_limit;
            producer.pending.push_back(Entry::new(pack, encoded, oversize));
        } else if pack.records.len() > 1 {
            // The batch limit is above what this broker takes: two entries instead of one.
            producer.queue_halves(pack);
        } else if settings.chunking
            && producer.topic.is_persistent()
            && let Some(chunks) = encoder.encode_chunks(stamp, &pack.records[0], maximum)
        {
            producer.next_sequence = chunks.highest + 1;
            producer.pending.push_back(Entry::new(pack, chunks, true));
        } else {
            let size = encoded.judged_size;
            let error = Error::new(
                ErrorKind::Data,
                format!("a message of {size} bytes is larger than the broker's `maxMessageSize` of {maximum} bytes"),
            )
            .with_hint("raise `maxMessageSize` in broker and bookies, set `producerConfig.chunkingEnabled`, or choose `onRecordError`: `drop` or `dead-letter`");
            self.refuse(id, pack, error, true);
        }
    }

    /// Takes back what was encoded but never written, so that something can go before it.
    pub(super) fn take_back_unwritten(&mut self, id: ProducerId) {
        let producer = self.producer_mut(id);
        while producer.pending.len() > producer.on_wire
            && let Some(entry) = producer.pending.pop_back_if(|entry| entry.writes == 0)
        {
            producer.queue.push_front(entry.into_pack());
        }
    }

    /// Takes back what is to go behind the records of an entry that was refused, the last on the wire of a named producer.
    pub(super) fn make_way(&mut self, id: ProducerId) {
        let producer = self.producer(id);
        if producer.named.is_none() {
            return self.take_back_unwritten(id);
        }
        // What was written on an earlier connection, too: the broker's last number is below the refused one's, so nothing of it is
        // stored, and behind its numbers the refused records would be taken for repetitions and be lost.
        self.take_back_from(id, producer.on_wire);
    }

    /// Takes back the entries from `at` on, none of which was written on the present connection.
    pub(super) fn take_back_from(&mut self, id: ProducerId, at: usize) {
        let producer = self.producer_mut(id);
        for entry in producer.pending.drain(at..).rev() {
            producer.queue.push_front(entry.into_pack());
        }
    }

    /// The records of a pack go one by one, before everything that has not been written.
    pub(super) fn queue_singly(&mut self, id: ProducerId, pack: Pack) {
        let producer = self.producer_mut(id);
        let singles: Vec<Pack> = pack.into_singles().collect();
        for single in singles.into_iter().rev() {
            producer.queue.push_front(single);
        }
    }

    /// Hands the one record of a pack to the owner, who decides its fate.
    pub(super) fn refuse(&mut self, id: ProducerId, pack: Pack, error: Error, too_large: bool) {
        let (record, duty, charge) = pack.into_only();
        self.producer_mut(id).resolved += 1;
        self.facts.refused_records.add(1);
        self.facts.in_flight_records.sub(1);
        self.facts.in_flight_bytes.sub(charge.bytes as u64);
        if duty.handle.is_fenced() {
            self.facts.fenced_records.add(1);
            self.freed += charge;
            duty.handle.give_back();
            return;
        }
        self.producer_mut(id).judging += 1;
        let refused = Refused { producer: id, record, duty, charge, error, too_large };
        self.event(Event::Refused(Box::new(refused)));
    }

    /// Hands every record that a producer has not been able to store to the owner: its topic refuses them all.
    pub fn refuse_all(&mut self, id: ProducerId, error: &Error) {
        let producer = self.producer_mut(id);
        producer.on_wire = 0;
        producer.due = None;
        let pending = std::mem::take(&mut producer.pending);
        let queue = std::mem::take(&mut producer.queue);
        let open = std::mem::take(&mut producer.open);
        let packs = pending.into_iter().map(Entry::into_pack).chain(queue).chain(std::iter::once(open));
        for single in packs.flat_map(Pack::into_singles) {
            self.refuse(id, single, error.clone(), false);
        }
    }

    /// The owner has decided the fate of one refused record of this producer: what lies behind it goes on.
    pub fn judged(&mut self, now: Now, id: ProducerId) {
        let producer = self.producer_mut(id);
        producer.judging = producer.judging.saturating_sub(1);
        self.send(now, id);
    }

    /// Frees what a refused record was charged for, once its fate is decided without another send.
    pub fn release(&mut self, charge: super::Charge) {
        self.freed += charge;
    }

    /// After an interruption: entries that were written and hold nothing that may still be sent leave the queue.
    pub(super) fn drop_lost(&mut self, id: ProducerId) {
        let resend = self.settings.resend;
        let pending = std::mem::take(&mut self.producer_mut(id).pending);
        for entry in pending {
            let written = entry.writes > 0;
            if !written || (resend && !entry.duties.all_fenced()) {
                self.producer_mut(id).pending.push_back(entry);
                continue;
            }
            let (count, charge) = (entry.len(), entry.charge());
            if resend {
                self.facts.fenced_records.add(count as u64);
                entry.duties.give_back();
            } else {
                // Settled includes unknown: the shard goes on, the loss is counted.
                self.facts.lost_records.add(count as u64);
                entry.duties.ack();
            }
            self.producer_mut(id).resolved += count as u64;
            self.free(count, charge);
        }
    }
}
