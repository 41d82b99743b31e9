//! What can be counted of a publisher: plain atomics, read by whoever makes metrics of them.
//!
//! Counters only grow; gauges go both ways. Nothing waits on them and nothing is decided by them.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }
}

/// The numbers of one publisher.
#[derive(Debug, Default)]
pub struct Facts {
    /// Gauge: records taken and not yet resolved.
    pub in_flight_records: Number,
    /// Gauge: bytes these records are charged for.
    pub in_flight_bytes: Number,
    /// Records stored by receipt.
    pub stored_records: Number,
    /// Bytes of the frames handed to connections, first writes only.
    pub written_bytes: Number,
    /// Receipts that stored something.
    pub receipts: Number,
    /// Receipts that said "stored before" after a repetition.
    pub deduplicated: Number,
    /// Entries written for the first time.
    pub entries: Number,
    /// Records in these entries; by `entries` it is the mean batch size.
    pub entry_records: Number,
    /// Entries written again.
    pub resends: Number,
    /// Connections opened.
    pub connections: Number,
    /// Connections that were lost.
    pub disconnects: Number,
    /// Producers opened again.
    pub reopens: Number,
    /// Failed attempts of any kind.
    pub errors: Number,
    /// Entries the broker refused.
    pub refused_entries: Number,
    /// Records that cannot be stored.
    pub refused_records: Number,
    /// Records dropped by `onRecordError` = `drop`.
    pub dropped_records: Number,
    /// Records handed to the dead letter topic.
    pub dead_letters: Number,
    /// Records of unknown outcome that are not sent again (at most once).
    pub lost_records: Number,
    /// Records cut out because the right to them was lost.
    pub fenced_records: Number,
    /// Times a live broker was found not to read from us (throttling).
    pub throttled: Number,
    /// Times a write found no room.
    pub blocked: Number,
    /// Entries delivered to consumers.
    pub received_entries: Number,
    /// Messages delivered to consumers.
    pub received_messages: Number,
    /// Bytes of these messages, with what they cost beside their payloads.
    pub received_bytes: Number,
    /// Of these, taken by the consumers' owners.
    pub consumed_bytes: Number,
    /// Bytes that came beyond a consumer's budget.
    pub overshoot_bytes: Number,
    /// Entries that were damaged, could not be decrypted, or never became whole.
    pub unusable_entries: Number,
    /// Acknowledgement commands sent.
    pub acks: Number,
    /// Messages negatively acknowledged.
    pub nacked: Number,
    /// Commands that asked for redelivery.
    pub redelivery_requests: Number,
    /// Consumers subscribed again.
    pub resubscribed: Number,
}

impl Facts {
    /// All numbers by their metric names, without prefix.
    pub fn export(&self) -> connector_sdk::Facts {
        let numbers = [
            ("pulsar_in_flight_records", &self.in_flight_records),
            ("pulsar_in_flight_bytes", &self.in_flight_bytes),
            ("pulsar_stored_records_total", &self.stored_records),
            ("pulsar_written_bytes_total", &self.written_bytes),
            ("pulsar_receipts_total", &self.receipts),
            ("pulsar_deduplicated_total", &self.deduplicated),
            ("pulsar_entries_total", &self.entries),
            ("pulsar_entry_records_total", &self.entry_records),
            ("pulsar_resends_total", &self.resends),
            ("pulsar_connections_total", &self.connections),
            ("pulsar_disconnects_total", &self.disconnects),
            ("pulsar_reopens_total", &self.reopens),
            ("pulsar_errors_total", &self.errors),
            ("pulsar_refused_entries_total", &self.refused_entries),
            ("pulsar_refused_records_total", &self.refused_records),
            ("pulsar_dropped_records_total", &self.dropped_records),
            ("pulsar_dead_letters_total", &self.dead_letters),
            ("pulsar_lost_records_total", &self.lost_records),
            ("pulsar_fenced_records_total", &self.fenced_records),
            ("pulsar_throttled_total", &self.throttled),
            ("pulsar_blocked_total", &self.blocked),
            ("pulsar_received_entries_total", &self.received_entries),
            ("pulsar_received_messages_total", &self.received_messages),
            ("pulsar_received_bytes_total", &self.received_bytes),
            ("pulsar_consumed_bytes_total", &self.consumed_bytes),
            ("pulsar_overshoot_bytes_total", &self.overshoot_bytes),
            ("pulsar_unusable_entries_total", &self.unusable_entries),
            ("pulsar_consumer_acks_total", &self.acks),
            ("pulsar_nacked_total", &self.nacked),
            ("pulsar_redelivery_requests_total", &self.redelivery_requests),
            ("pulsar_resubscribed_total", &self.resubscribed),
        ];
        // Exact up to 2^53, far beyond what these count.
        connector_sdk::Facts(numbers.into_iter().map(|(name, number)| (name, None, number.get() as f64)).collect())
    }
}
