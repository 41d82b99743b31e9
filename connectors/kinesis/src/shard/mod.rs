//! One shard's life under its lease: start position, fetch, decode, hand on, store progress, end or park.
//!
//! Promises: records leave in the shard's order; progress is stored only up to the settled prefix (ATMOST_ONCE: before anything
//! it covers is handed on); a shard that stands at a record that cannot be stored stays there and holds no bytes; a shard ends only
//! when its last record is settled. The wall clock says when it was caught up, what an epoch is called and since when something is
//! on its way; nothing waits for it.

mod board;
mod consumer;
mod decode;
mod exactly_once;
#[cfg(test)]
mod exactly_once_tests;
mod expiry;
mod opening;
mod progress;
mod queue;
mod runner;
mod start;
mod stop;
mod storing;
#[cfg(test)]
mod tests;

pub(crate) use board::Board;
pub(crate) use queue::{QueueEnd, ReceiveQueue, receive_queue};
pub(crate) use runner::{Outlet, Runner, ShardDeps};
