//! The broker's answers to entries: receipts in the order of sending, refusals from anywhere in the queue.
//!
//! A receipt names the lowest id of its entry, a refusal the highest; both are compared signed.

use super::entry::Entry;
use super::producer::State;
use super::{ConnectionId, Machine, Now, ProducerId};
use crate::error::{self, code};
use crate::wire::messages::{SendError, SendReceipt};
use connector_sdk::{Error, ErrorKind, MessageId};

impl Machine {
    pub(super) fn receipt(&mut self, now: Now, connection: ConnectionId, receipt: &SendReceipt) {
        let id = ProducerId(receipt.producer_id);
        let Some(producer) = self.producers.get_mut(super::index(id)) else { return };
        let ready = match producer.state {
            State::Ready(mine) => mine == connection,
            // A receipt that crossed the close of its producer is as good as any.
            State::Waiting(_) | State::Closing { .. } => false,
            _ => return,
        };
        let Some(head) = producer.pending.front_mut() else { return };
        if head.writes == 0 || receipt.sequence_id < head.sequence {
            return;
        }
        let highest = receipt.highest_sequence_id.unwrap_or(0);
        let fits = receipt.sequence_id == head.sequence && (receipt.sequence_id >= highest || highest == head.highest);
        if !fits {
            if ready && producer.on_wire > 0 {
                let error = Error::transient(format!("the broker acknowledged entries of `{}` out of order", producer.topic));
                self.drop_connection(now, connection, error);
            }
            return;
        }
        let unstored = receipt.message_id.is_some_and(|message| message.ledger_id == -1);
        // Of a message in chunks the broker's deduplication may drop the last chunk of the only copy.
        let again = producer.named.is_none() && unstored && (head.writes == 1 || head.is_chunked());
        if !again && !head.answer(receipt.message_id) {
            // The entry is stored when its last chunk is.
            return;
        }
        let entry = producer.pending.pop_front().expect("just looked at");
        producer.on_wire = producer.on_wire.saturating_sub(1);
        let place = receipt.message_id.filter(|message| message.ledger_id != -1);
        let place = place.map(|message| MessageId { ledger: message.ledger_id, entry: message.entry_id });
        if producer.named.is_some() {
            self.named_receipt(now, connection, id, entry, place);
            return self.send(now, id);
        }
        if again {
            // The broker took for a repetition, or dropped, what it had never seen: it is not stored. It goes again, numbered anew.
            let pack = entry.into_pack();
            self.take_back_unwritten(id);
            self.producer_mut(id).queue.push_front(pack);
            self.facts.resends.add(1);
            self.send(now, id);
            return;
        }
        self.entry_stored(id, entry, place);
        if ready {
            self.send(now, id);
        }
    }

    /// Everything of the entry is stored: now at `message`, or before.
    pub(super) fn entry_stored(&mut self, id: ProducerId, entry: Entry, message: Option<MessageId>) {
        let producer = self.producer_mut(id);
        if !entry.is_chunked() {
            // A topic's limit does not apply to chunks.
            producer.largest = producer.largest.max(entry.size);
        }
        producer.backoff.reset();
        producer.resolved += entry.len() as u64;
        let account = producer.named.as_ref().and_then(|named| named.account.as_ref());
        if let (Some(account), Ok(number)) = (account, u64::try_from(entry.highest))
            && !account.late
        {
            account.lineage.receipted(account.partition, number, message);
        }
        let (count, charge) = (entry.len(), entry.charge());
        if message.is_some() { &self.facts.receipts } else { &self.facts.deduplicated }.add(1);
        self.facts.stored_records.add(count as u64);
        entry.duties.ack();
        self.free(count, charge);
    }

    pub(super) fn send_error(&mut self, now: Now, connection: ConnectionId, refusal: &SendError) {
        let id = ProducerId(refusal.producer_id);
        let Some(producer) = self.producers.get_mut(super::index(id)) else { return };
        if producer.connection() != Some(connection) || !producer.is_ready() {
            return;
        }
        let doing = format!("publishing to `{}`", producer.topic);
        let error = error::refused(refusal.error, &refusal.message, &doing);
        if refusal.error == code::CHECKSUM {
            // Damaged on its way: this connection is not to be trusted, the kept bytes are.
            self.drop_connection(now, connection, error);
            return;
        }
        if Self::concerns_producer(refusal.error) {
            return self.close_and_retry(now, connection, id, error);
        }
        let found = producer.pending.iter().take(producer.on_wire).position(|entry| entry.highest == refusal.sequence_id);
        let Some(at) = found else { return };
        if self.named_refusal(id, at) {
            return;
        }
        self.make_way(id);
        let producer = self.producer_mut(id);
        let entry = producer.pending.remove(at).expect("just found");
        producer.on_wire -= 1;
        // What was taken before says nothing any more: a topic's limit may come into force while records flow.
        producer.largest = 0;
        self.facts.refused_entries.add(1);
        let size = entry.size;
        let pack = entry.into_pack();
        if pack.records.len() > 1 {
            // The topic takes less than a batch: the next ones are half of what it refused, so that few more are.
            let producer = self.producer_mut(id);
            producer.batch_bytes = producer.batch_bytes.min(pack.value_bytes / 2);
            self.queue_singly(id, pack);
        } else {
            let too_large = refusal.message.to_ascii_lowercase().contains("size");
            let said = error.message().to_owned();
            let error = Error::new(ErrorKind::Data, format!("{said} (an entry of {size} bytes)"))
                .with_hint("raise the topic's limit, or choose `onRecordError`: `drop` or `dead-letter`");
            self.refuse(id, pack, error, too_large);
        }
        self.send(now, id);
    }
}
