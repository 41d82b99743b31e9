//! The runtime: knows every connector; no connector knows it.

pub mod cli;
pub mod config;
pub mod engine;
pub mod metrics;
pub mod registry;
pub mod run;
pub mod telemetry;
