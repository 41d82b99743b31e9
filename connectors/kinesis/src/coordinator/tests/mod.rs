//! Workers on one table in memory, with paused time: sharing, takeover, resharding, stops, and lost replies.
#![allow(clippy::unwrap_used)]

mod faults;
mod sharing;
mod starts;
mod world;
