//! The binary `pulsar-connect` between local-aws and a real Apache Pulsar: each promise by what breaks it.
//!
//! Every test compares all records that were put with all messages that an independent client reads. Servers are started by `tests/rig` at first use; one
//! that does not start fails the tests that need it. See `harness` for what can be given by the environment.
#![allow(clippy::unwrap_used, clippy::large_futures)]

mod every_record_arrives;
mod harness;
