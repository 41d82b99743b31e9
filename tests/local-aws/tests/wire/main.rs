//! The stand-ins over HTTP, called by the real SDKs.
#![allow(clippy::unwrap_used, missing_docs)]

mod access;
mod binary;
mod control;
mod fan_out;
mod faults;
mod neighbours;
mod protocols;
mod raw;
mod streams;
mod support;
