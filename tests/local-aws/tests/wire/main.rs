//! The stand-ins over HTTP, called by the real SDKs.
#![allow(clippy::unwrap_used, missing_docs)]

mod fan_out;
mod neighbours;
mod streams;
mod support;
