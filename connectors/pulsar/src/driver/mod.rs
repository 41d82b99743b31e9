//! The thin layer of tokio around the state machine: sockets, TLS, timers, and the one task that owns the machine.
//!
//! It decides nothing about records or retries; it carries out the machine's actions and reports what happened.

pub(crate) mod actor;
mod connection;
mod connections;
mod rotation;
mod socket;

pub(crate) use connections::Connections;
#[cfg(any(test, feature = "simulation"))]
pub(crate) use socket::Halves;
pub(crate) use socket::{Dial, Dialer};
