//! All instances of one connector in this process: each an independent worker, all under one byte budget.
//!
//! When one instance ends by an error, the others are stopped in order too: a process that runs half of its parallelism in silence
//! would look healthy and fall behind.

use super::instance::Instance;
use super::report::RunReport;
use super::state::{FailureOrigin, InstanceState};
use super::stop::{StopHandle, StopSignal};
use bytestring::ByteString;
use connector_sdk::{
    ByteBudget, Clock, Error, Failures, Guarantee, Identity, Lineages, OnRecordError, Random, ReadySink, ReadySource, SinkContext,
    SourceContext, Task,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::{Instrument, warn};

/// A connector and how to run it in this process.
pub struct LocalRun {
    /// Where records come from.
    pub source: Arc<dyn ReadySource>,
    /// Where they go.
    pub sink: Arc<dyn ReadySink>,
    /// Pulsar tenant.
    pub tenant: ByteString,
    /// Pulsar namespace, without the tenant.
    pub namespace: ByteString,
    /// The connector's name.
    pub name: ByteString,
    /// The full name of the topic.
    pub topic: ByteString,
    /// What is promised.
    pub guarantee: Guarantee,
    /// How many instances.
    pub parallelism: u32,
    /// Whether a failure after the start ends the process instead of restarting the instance.
    pub exit_on_error: bool,
    /// How long an orderly end may take.
    pub stop_timeout: Duration,
}

/// The instances, running.
pub struct Running {
    /// One for each instance, in their order.
    pub states: Vec<Arc<InstanceState>>,
    /// The byte budget they share.
    pub budget: ByteBudget,
    stop: Arc<StopHandle>,
    instances: Vec<Task<RunReport>>,
}

impl LocalRun {
    /// Starts all instances.
    pub fn start(self) -> Running {
        let settings = self.source.settings();
        let on_record_error = match (self.guarantee, settings.on_record_error) {
            (Guarantee::AtMostOnce, OnRecordError::Fail) => {
                warn!(
                    "with ATMOST_ONCE a record that cannot be stored is dropped: its checkpoint is stored before it is sent, so `onRecordError` cannot be `fail`"
                );
                OnRecordError::Drop
            }
            (_, on_record_error) => on_record_error,
        };
        let budget = ByteBudget::new(settings.receive_queue_bytes);
        let clock = Clock::system();
        let (handle, signal) = StopHandle::new(self.stop_timeout);
        let mut states = Vec::new();
        let mut instances = Vec::new();
        for number in 0..self.parallelism {
            let identity = Identity {
                tenant: self.tenant.clone(),
                namespace: self.namespace.clone(),
                name: self.name.clone(),
                instance: number,
                instances: self.parallelism,
            };
            let state = InstanceState::new(identity.clone(), clock.clone());
            let random = Random::from_system();
            let (fatal, fatal_told) = watch::channel(None);
            let (told, exits) = (Arc::clone(&state), self.exit_on_error);
            let failures = Failures::to(move |error: &Error| {
                told.failed(FailureOrigin::Source, error);
                if exits {
                    fatal.send_replace(Some(error.clone()));
                }
            });
            let instance = Instance {
                source: Arc::clone(&self.source),
                sink: Arc::clone(&self.sink),
                source_context: SourceContext {
                    identity: identity.clone(),
                    guarantee: self.guarantee,
                    destination: self.topic.clone(),
                    budget: budget.clone(),
                    failures,
                    lineages: Lineages::default(),
                    clock: clock.clone(),
                    uptime: Clock::uptime(),
                    random: random.clone(),
                },
                sink_context: SinkContext {
                    identity: identity.clone(),
                    guarantee: self.guarantee,
                    on_record_error,
                    dead_letter_topic: settings.dead_letter_topic.clone(),
                    lineages: Lineages::default(),
                    accept_duplicates: settings.accept_duplicates,
                    clock: clock.clone(),
                    random,
                },
                state: Arc::clone(&state),
                exit_on_error: self.exit_on_error,
                fatal: fatal_told,
            };
            let span = tracing::info_span!("instance", connector = %identity.full_name(), instance = number);
            let stop: StopSignal = signal.clone();
            instances.push(Task::spawn(format!("instance {number}"), instance.run(stop).instrument(span)));
            states.push(state);
        }
        Running { states, budget, stop: Arc::new(handle), instances }
    }
}

impl Running {
    /// Asks for the stop; may be asked from anywhere, a second time for the end at once.
    pub fn stop_handle(&self) -> Arc<StopHandle> {
        Arc::clone(&self.stop)
    }

    /// Waits until all instances have ended.
    pub async fn join(mut self) -> RunReport {
        let mut report = RunReport::default();
        let mut ended_by_error = false;
        while !self.instances.is_empty() {
            let waits = self.instances.iter_mut().map(|task| Box::pin(task.join()));
            let (result, index, rest) = futures_util::future::select_all(waits).await;
            drop(rest);
            drop(self.instances.swap_remove(index));
            let ended = result.unwrap_or_else(RunReport::failed);
            if ended.error.is_some() && !ended_by_error {
                ended_by_error = true;
                self.stop.ask_in_order();
            }
            report = report.and(ended);
        }
        report
    }
}
