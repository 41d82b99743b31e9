//! Reading one shard, by polling or by enhanced fan-out, the same to its reader.
//!
//! Promises: no record is skipped or repeated, whatever expires, throttles, breaks or ends on the way; bytes are held of the shard's
//! share before what costs them is in memory (what a connection may hold beside that is said in [`fan_out`]); a call is never made
//! faster than the service allows. Never: a wait before the first call, a poll in the background, a position that is guessed.

mod backoff;
mod calls;
mod cursor;
mod demand;
pub mod fan_out;
mod late;
pub mod polling;
mod trouble;

#[cfg(test)]
mod script;

pub use calls::{Answer, Event, ReadError, ShardReads, Subscription, Subscriptions};
pub use fan_out::{FanOut, FanOutSettings};
pub use late::LateRetrieval;
pub use polling::{Polling, PollingSettings};
