//! Looks at the instances once a second: the status line for a person at a terminal; for everybody, one log line when a shard stands
//! still, once a minute for as long as it does.

use super::status_line::{self, Reading};
use crate::engine::InstanceState;
use connector_sdk::ParkedShard;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::error;

/// How often a shard that stands still is said again.
const REMIND: Duration = Duration::from_secs(60);

/// Watches until it is dropped.
pub(super) async fn watch(states: Vec<Arc<InstanceState>>, terminal: bool) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut before = Reading::take(&states);
    let mut reminded: HashMap<String, Instant> = HashMap::new();
    loop {
        ticks.tick().await;
        let now = Reading::take(&states);
        if terminal {
            status_line::show(&before, &now);
        }
        remind(&now.parked, &mut reminded);
        before = now;
    }
}

/// The first sight of a parked shard was said by the shard itself: here it is repeated.
fn remind(parked: &[ParkedShard], reminded: &mut HashMap<String, Instant>) {
    let now = Instant::now();
    reminded.retain(|shard, _| parked.iter().any(|parked| *parked.partition == **shard));
    for shard in parked {
        let last = reminded.entry(shard.partition.to_string()).or_insert(now);
        if now.duration_since(*last) >= REMIND {
            *last = now;
            error!(
                shard = %shard.partition,
                record = %shard.record,
                reason = %shard.reason,
                expires_at = shard.expires_at,
                waiting_children = shard.waiting_children.len(),
                "the shard still stands at a record that cannot be stored"
            );
        }
    }
}
