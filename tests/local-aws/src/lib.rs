//! A Kinesis simulator with DynamoDB, CloudWatch and STS stand-ins, as a library and as a binary.
//!
//! For tests and for trying things out on one machine. Promises Kinesis' rules where a consumer feels them (lineage at a reshard, filters, iterators, limits,
//! enhanced fan-out), faults on request, and the truth about everything that was put. Never talks to AWS, never keeps anything on disk, never checks a
//! signature.
//!
//! [`LocalAws::start`] serves all four services on one port; [`Kinesis`] alone is the machine without a socket, for simulations under a stepped [`Clock`].

mod access;
mod clock;
mod cloudwatch;
mod dynamodb;
mod faults;
pub mod kinesis;
mod local;
mod server;
mod sts;
mod wire;

pub use access::{AccessRules, Denied};
pub use clock::{Clock, Millis, NotStepped};
pub use cloudwatch::{Datum, Statistics};
pub use faults::{Call, CutAt, Fault, FaultAction, Service};
pub use kinesis::{Kinesis, KinesisSettings, Limits, NewRecord, StoredRecord};
pub use local::{LocalAws, Options, StartError};
pub use server::account::RequestCounts;
pub use server::control::{ControlError, ControlRequest, RecordTruth};
pub use sts::AssumedRole;
