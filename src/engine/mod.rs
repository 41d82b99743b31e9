//! The engine: runs instances. It opens a source and a sink, moves batches from one to the other, and ends them in order.
//!
//! Promises: a failure is never silent (it is counted, kept and either restarts the instance with back-off or ends it); a stop
//! publishes what was taken, stores how far it came and says what will be replayed. It knows nothing of HTTP, of AWS or of any
//! connector: everything outside is behind the traits of `connector_sdk`.

mod backoff;
mod flow;
mod instance;
mod local;
mod report;
mod state;
mod stop;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use local::{LocalRun, Running};
pub use report::RunReport;
pub use state::{Failure, FailureOrigin, InstanceState, Phase};
pub use stop::{StopHandle, StopSignal};
