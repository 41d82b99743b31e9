//! The figures of a run under everything: a table for people, JSON, and the marked part of a page.

use std::path::Path;

use serde_json::json;

use crate::harness::oracle::Comparison;

const BEGIN: &str = "<!-- figures: written by `make exactly-once`, not by hand -->";
const END: &str = "<!-- end of figures -->";

#[derive(Default)]
pub(super) struct Report {
    seed: u64,
    minutes: u64,
    pub(super) starts: usize,
    pub(super) kills: usize,
    pub(super) stops: usize,
    pub(super) broker_kills: usize,
    pub(super) broker_pauses: usize,
    pub(super) unloads: usize,
    pub(super) reshards: usize,
    pub(super) limit_changes: usize,
    pub(super) partitions: u32,
    pub(super) leases_taken: usize,
    pub(super) read_back: usize,
    pub(super) producers: usize,
    pub(super) said_to_be_doubled: usize,
    /// Seconds that shards stood still at a record, added up over the shards.
    pub(super) stood_still_seconds: f64,
    /// From the end of the disturbances until everything had arrived.
    pub(super) rest_seconds: f64,
    records: usize,
    messages: usize,
    lost: usize,
    doubled: usize,
    out_of_order: usize,
    wrong: usize,
    late: usize,
}

impl Report {
    pub(super) fn of(seed: u64, minutes: u64) -> Self {
        Self { seed, minutes, ..Self::default() }
    }

    /// What the log of a process tells.
    pub(super) fn read(&mut self, log: &str) {
        let count = |words: &str| log.lines().filter(|line| line.contains(words)).count();
        self.leases_taken += count("lease taken");
        self.read_back += count("the topic was read back");
        self.said_to_be_doubled += count("may be stored twice") + count("is there twice");
    }

    pub(super) fn take(&mut self, comparison: &Comparison) {
        (self.records, self.messages) = (comparison.sent, comparison.arrived);
        (self.lost, self.doubled) = (comparison.lost.count, comparison.doubled.len());
        (self.out_of_order, self.wrong, self.late) = (comparison.disorder.count, comparison.wrong.count, comparison.late);
    }

    /// Prints it, and writes the files that the environment names.
    pub(super) fn write(&self) {
        println!("{}", self.table());
        if let Some(path) = std::env::var_os("EXACTLY_ONCE_JSON") {
            std::fs::write(path, format!("{:#}\n", self.json())).expect("the file named by `EXACTLY_ONCE_JSON` can be written");
        }
        if let Some(path) = std::env::var_os("EXACTLY_ONCE_MARKDOWN") {
            self.mark(Path::new(&path));
        }
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("minutes of disturbances", self.minutes.to_string()),
            ("records put", self.records.to_string()),
            ("messages in the topic", self.messages.to_string()),
            ("lost", self.lost.to_string()),
            ("doubled", self.doubled.to_string()),
            ("out of order", self.out_of_order.to_string()),
            ("changed on the way", self.wrong.to_string()),
            ("published late, after a refusal (order not judged)", self.late.to_string()),
            ("hosts killed (`kill -9`)", self.kills.to_string()),
            ("hosts stopped", self.stops.to_string()),
            ("hosts started", self.starts.to_string()),
            ("broker killed (`kill -9`)", self.broker_kills.to_string()),
            ("broker paused for 1 to 12 s", self.broker_pauses.to_string()),
            ("topic unloaded", self.unloads.to_string()),
            ("shards split or merged", self.reshards.to_string()),
            ("leases taken", self.leases_taken.to_string()),
            ("size limit lowered or raised", self.limit_changes.to_string()),
            ("partitions, of 2 at first", self.partitions.to_string()),
            ("producer names in the topic", self.producers.to_string()),
            ("producers of which was read back what they had stored", self.read_back.to_string()),
            ("shards stood still at a refused record, seconds in all", format!("{:.0}", self.stood_still_seconds)),
            ("seconds until the rest had arrived", format!("{:.0}", self.rest_seconds)),
            ("seed", self.seed.to_string()),
        ]
    }

    fn table(&self) -> String {
        let rows = self.rows().into_iter().map(|(name, value)| format!("| {name} | {value} |\n"));
        format!("| what | how many |\n|---|---:|\n{}", rows.collect::<String>())
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "minutes": self.minutes, "records": self.records, "messages": self.messages, "lost": self.lost, "doubled": self.doubled,
            "outOfOrder": self.out_of_order, "changed": self.wrong, "late": self.late, "hostKills": self.kills, "hostStops": self.stops,
            "hostStarts": self.starts, "brokerKills": self.broker_kills, "brokerPauses": self.broker_pauses, "unloads": self.unloads,
            "reshards": self.reshards, "leasesTaken": self.leases_taken, "limitChanges": self.limit_changes, "partitions": self.partitions,
            "producers": self.producers, "readBack": self.read_back, "stoodStillSeconds": self.stood_still_seconds,
            "restSeconds": self.rest_seconds, "seed": self.seed,
        })
    }

    /// Puts the table between the marks of a page.
    fn mark(&self, path: &Path) {
        let page = std::fs::read_to_string(path).expect("the page named by `EXACTLY_ONCE_MARKDOWN` can be read");
        let (before, rest) = page.split_once(BEGIN).expect("the page has a mark where the figures begin");
        let (_, after) = rest.split_once(END).expect("the page has a mark where the figures end");
        let text = format!("{before}{BEGIN}\n{}{END}{after}", self.table());
        std::fs::write(path, text).expect("the page named by `EXACTLY_ONCE_MARKDOWN` can be written");
    }
}
