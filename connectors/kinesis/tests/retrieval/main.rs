//! Reading real shards over HTTP: the SDK's client, polling and enhanced fan-out against the simulator and its faults.
#![allow(clippy::unwrap_used, missing_docs)]

mod calls;
mod fan_out;
mod polling;
mod support;
