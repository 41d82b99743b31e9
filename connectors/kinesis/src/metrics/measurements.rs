//! The same facts for the runtime's Prometheus page: running totals and present values, by shard where they are a shard's.

use std::sync::atomic::{AtomicU64, Ordering};

use bytestring::ByteString;

use super::facts::{Calls, Facts, ShardTotals};

impl Facts {
    /// Every value, named without prefix; counters end in `_total`. A shard's counters begin at 0 when it is taken.
    pub fn measurements(&self) -> connector_sdk::Facts {
        let mut page = Page::default();
        let worker = self.worker_totals();
        page.put("leases_held", &worker.leases_held);
        page.put("leases_in_table", &worker.leases_total);
        page.put("leases_needed", &worker.leases_needed);
        page.put("leases_expired", &worker.leases_expired);
        page.put("lease_workers", &worker.workers);
        page.put("leases_taken_total", &worker.leases_taken);
        page.put("leases_lost_total", &worker.leases_lost);
        page.calls(["lease_renewals_total", "lease_renewal_failures_total", "lease_renewal_seconds_total"], &worker.renewals);
        page.calls(["shard_syncs_total", "shard_sync_failures_total", "shard_sync_seconds_total"], &worker.shard_syncs);
        page.put("cloudwatch_datums_put_total", &worker.datums_put);
        page.put("cloudwatch_datums_dropped_total", &worker.datums_dropped);
        for (id, shard) in self.live_shards() {
            page.shard = Some(id.text().clone());
            page.of_shard(&shard.totals);
        }
        connector_sdk::Facts(page.values)
    }
}

#[derive(Default)]
struct Page {
    shard: Option<ByteString>,
    values: Vec<(&'static str, Option<ByteString>, f64)>,
}

impl Page {
    fn of_shard(&mut self, totals: &ShardTotals) {
        self.put("records_processed_total", &totals.records);
        self.put("data_bytes_processed_total", &totals.bytes);
        if let Some(behind) = totals.behind_plus_one.load(Ordering::Relaxed).checked_sub(1) {
            self.value("millis_behind_latest", behind as f64);
        }
        self.calls(["get_records_total", "get_records_failures_total", "get_records_seconds_total"], &totals.get_records);
        self.calls(["checkpoints_total", "checkpoint_failures_total", "checkpoint_seconds_total"], &totals.checkpoints);
        self.put("expired_iterators_total", &totals.expired_iterators);
        self.put("throttled_total", &totals.throttled);
        self.put("resubscriptions_total", &totals.resubscriptions);
    }

    fn calls(&mut self, [count, failed, seconds]: [&'static str; 3], calls: &Calls) {
        self.put(count, &calls.count);
        self.put(failed, &calls.failed);
        self.value(seconds, calls.micros.load(Ordering::Relaxed) as f64 / 1e6);
    }

    fn put(&mut self, name: &'static str, value: &AtomicU64) {
        self.value(name, value.load(Ordering::Relaxed) as f64);
    }

    fn value(&mut self, name: &'static str, value: f64) {
        self.values.push((name, self.shard.clone(), value));
    }
}
