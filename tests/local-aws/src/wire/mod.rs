//! Formats of the wire: requests and answers in JSON and CBOR, lists of records, frames of an event stream.
//!
//! Knows bytes and shapes only; never the machine's state, never a connection.

pub(crate) mod eventstream;
pub(crate) mod records;
pub(crate) mod requests;
pub(crate) mod value;
