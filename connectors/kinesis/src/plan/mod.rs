//! What a worker should do with the leases, as pure functions of what it saw: a table, a listing, a time and a name.
//!
//! Nothing here reads a clock, a socket or a random source of its own, so that years of many workers can be played in a test.

pub(crate) mod cleanup;
pub(crate) mod fleet;
pub(crate) mod gate;
pub(crate) mod identity;
pub(crate) mod sync;
pub(crate) mod take;
