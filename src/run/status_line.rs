//! The one line a second that a person at a terminal sees.

use crate::engine::{InstanceState, Phase};
use connector_sdk::ParkedShard;
use std::io::Write;
use std::sync::Arc;
use tokio::time::Instant;

/// What the line is made of, at one moment, over all instances.
pub(super) struct Reading {
    at: Instant,
    records: u64,
    bytes: u64,
    in_flight: u64,
    millis_behind: Option<u64>,
    shards: u64,
    restarts: u64,
    waiting_for: Option<String>,
    starting: bool,
    /// Shards that stand still.
    pub(super) parked: Vec<ParkedShard>,
}

impl Reading {
    /// Asks all instances.
    pub(super) fn take(states: &[Arc<InstanceState>]) -> Self {
        let mut reading = Self {
            at: Instant::now(),
            records: 0,
            bytes: 0,
            in_flight: 0,
            millis_behind: None,
            shards: 0,
            restarts: 0,
            waiting_for: None,
            starting: false,
            parked: Vec::new(),
        };
        for state in states {
            reading.records += state.received();
            reading.bytes += state.received_bytes();
            reading.in_flight += state.in_flight();
            reading.restarts += state.restarts();
            reading.starting |= state.phase() == Phase::Starting;
            if let Some(source) = state.source() {
                let status = source.status();
                reading.shards += status.partitions_held;
                reading.millis_behind = reading.millis_behind.max(status.millis_behind);
                reading.parked.extend(status.parked);
                reading.waiting_for = reading.waiting_for.or(status.waiting_for);
            }
            if let Some(sink) = state.sink() {
                reading.waiting_for = sink.waiting_for().or(reading.waiting_for);
            }
        }
        reading
    }

    fn line(&self, before: &Self) -> String {
        let seconds = self.at.duration_since(before.at).as_secs_f64().max(0.001);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let behind = self.millis_behind.map_or_else(|| "-".to_owned(), |millis| millis.to_string());
        let mut line = format!(
            "{:.0} records/s  {}/s  {} in flight  {behind} ms behind  {} shards  {} parked",
            rate(self.records, before.records),
            bytes(rate(self.bytes, before.bytes)),
            self.in_flight,
            self.shards,
            self.parked.len(),
        );
        if self.restarts > 0 {
            line.push_str(&format!("  {} restarts", self.restarts));
        }
        match &self.waiting_for {
            Some(waiting_for) => line.push_str(&format!("  waiting for {waiting_for}")),
            None if self.starting => line.push_str("  starting"),
            None => {}
        }
        line
    }
}

/// Writes the line over the last one.
pub(super) fn show(before: &Reading, now: &Reading) {
    write(&format!("\r\x1b[2K{}", now.line(before)));
}

/// Takes the line away.
pub(super) fn clear() {
    write("\r\x1b[2K");
}

fn write(text: &str) {
    let mut terminal = std::io::stderr().lock();
    // A terminal that is gone is no reason to stop moving records.
    if terminal.write_all(text.as_bytes()).is_ok() {
        terminal.flush().unwrap_or_default();
    }
}

fn bytes(rate: f64) -> String {
    let (value, unit) = match rate {
        rate if rate >= 1_048_576.0 => (rate / 1_048_576.0, "MiB"),
        rate if rate >= 1_024.0 => (rate / 1_024.0, "KiB"),
        rate => return format!("{rate:.0} B"),
    };
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_line_says_rates_over_the_time_that_passed() {
        let before = Reading::take(&[]);
        tokio::time::advance(Duration::from_secs(2)).await;
        let mut now = Reading::take(&[]);
        (now.records, now.bytes, now.in_flight, now.shards, now.millis_behind) = (4_000, 4 * 1_048_576, 12, 4, Some(250));
        assert_eq!(now.line(&before), "2000 records/s  2.0 MiB/s  12 in flight  250 ms behind  4 shards  0 parked");
    }
}
