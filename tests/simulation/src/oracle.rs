//! What the topic holds at the end of a run, against what the shards held: each record, each key's order.
//!
//! It reads the broker's stored entries and the shards' own records, and nothing that the code under test says of itself.

use crate::broker::{Broker, OTHERS};
use crate::shard::Expected;
use connector_kinesis::ids::ShardId;
use connector_pulsar::wire::unpack::unpack;
use std::collections::BTreeMap;

/// The end of names under which spent numbers are sent; they may come behind later ones of their key.
const LATE: &str = "-late";

/// What is wrong with a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Messages that are not there.
    pub lost: Vec<String>,
    /// Messages that are there more than once.
    pub doubled: Vec<String>,
    /// Messages whose first appearance is behind that of a later one of their key.
    pub disordered: Vec<String>,
    /// Messages that no shard holds, or with another key or payload.
    pub foreign: Vec<String>,
}

impl Findings {
    /// Whether each record is there exactly once, in order.
    pub fn is_exact(&self) -> bool {
        *self == Self::default()
    }

    /// In a sentence.
    pub fn in_words(&self) -> String {
        let mut parts = Vec::new();
        for (what, messages) in
            [("lost", &self.lost), ("doubled", &self.doubled), ("out of order", &self.disordered), ("foreign", &self.foreign)]
        {
            if !messages.is_empty() {
                let shown: Vec<&str> = messages.iter().take(6).map(String::as_str).collect();
                parts.push(format!("{} {what} ({})", messages.len(), shown.join(", ")));
            }
        }
        if parts.is_empty() { "exactly once".to_owned() } else { parts.join("; ") }
    }
}

struct Seen {
    order: (u64, usize),
    late: bool,
    value: bytes::Bytes,
    key: Option<String>,
}

/// Compares.
pub fn judge<'a>(broker: &Broker, shards: impl IntoIterator<Item = (&'a ShardId, &'a [Expected])>) -> Findings {
    let mut findings = Findings::default();
    let mut seen: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    for entries in broker.entries().values() {
        for stored in entries.iter().filter(|stored| stored.producer != OTHERS) {
            let Ok(entry) = unpack(stored.entry.clone()) else {
                findings.foreign.push(format!("an entry that cannot be read, at {}:{}", stored.id.0, stored.id.1));
                continue;
            };
            for (at, record) in entry.records.into_iter().enumerate() {
                let name = name(&record.value);
                let late = stored.producer.ends_with(LATE);
                let key = record.key.map(|key| key.to_string());
                seen.entry(name).or_default().push(Seen { order: (stored.order, at), late, value: record.value, key });
            }
        }
    }
    for (_, expected) in shards {
        let mut newest: BTreeMap<&str, ((u64, usize), String)> = BTreeMap::new();
        for message in expected {
            let name = name(&message.value);
            let found = seen.remove(&name).unwrap_or_default();
            if found.is_empty() {
                findings.lost.push(name);
                continue;
            }
            if found.len() > 1 {
                findings.doubled.push(name.clone());
            }
            if found.iter().any(|seen| seen.value != message.value || seen.key.as_deref() != Some(message.key.as_str())) {
                findings.foreign.push(name.clone());
            }
            let Some(first) = found.iter().min_by_key(|seen| seen.order) else { continue };
            if first.late {
                continue;
            }
            match newest.get(message.key.as_str()) {
                Some((order, before)) if first.order < *order => findings.disordered.push(format!("{name} before {before}")),
                _ => {
                    newest.insert(&message.key, (first.order, name));
                }
            }
        }
    }
    findings.foreign.extend(seen.into_keys());
    findings
}

/// A message's name: its payload up to the first space.
pub fn name(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}
