//! The Pulsar binary protocol as bytes: frames, commands, entries (a SEND's metadata and payload), compression.
//!
//! Everything here is a pure function of its arguments; it opens no socket, reads no clock and keeps no connection's state.

pub mod compression;
pub mod consume;
pub mod entry;
pub mod frame;
pub mod messages;
pub mod schema;
#[cfg(test)]
pub(crate) mod test_reader;
pub mod unpack;
