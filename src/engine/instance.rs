//! One instance's whole life: open, flow, and after a failure again with back-off, until it is stopped or gives up.
//!
//! Until its first start is complete, errors a person must act on end it; afterwards every failure restarts it (1 s to 5 min)
//! unless it was told to exit on errors. Each failure is kept for the status.

use super::backoff::Backoff;
use super::flow::{Surroundings, flow};
use super::report::RunReport;
use super::state::{FailureOrigin, InstanceState, Phase};
use super::stop::StopSignal;
use connector_sdk::{DynSink, DynSource, Error, ErrorKind, Lineages, ReadySink, ReadySource, SinkContext, SourceContext};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// An instance that ran this long has recovered: its next failure starts with the shortest pause again.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);

/// How long the end of a side may take that was opened in vain.
const HALF_OPEN: Duration = Duration::from_secs(5);

/// Everything one instance is made of.
pub(super) struct Instance {
    pub(super) source: Arc<dyn ReadySource>,
    pub(super) sink: Arc<dyn ReadySink>,
    pub(super) source_context: SourceContext,
    pub(super) sink_context: SinkContext,
    pub(super) state: Arc<InstanceState>,
    pub(super) exit_on_error: bool,
    /// With `exit_on_error`: the first failure that the source deals with itself.
    pub(super) fatal: watch::Receiver<Option<Error>>,
}

impl Instance {
    /// Runs until stopped or ended.
    pub(super) async fn run(mut self, mut stop: StopSignal) -> RunReport {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300), self.source_context.random.clone());
        let mut started = false;
        // What earlier lives left behind: a life that is opened again replays it then and there; what is lost stays lost.
        let mut before = RunReport::default();
        let report = loop {
            let attempt = self.open(&mut stop).await;
            let began = Instant::now();
            let (origin, error, left) = match attempt {
                Opened::Stopped => break before,
                Opened::Failed(origin, error) => (origin, error, std::mem::take(&mut before)),
                Opened::Both(source, sink) => {
                    started = true;
                    self.state.opened(source.watch(), sink.watch());
                    self.state.enter(Phase::Running);
                    info!(destination = %self.source_context.destination, "running");
                    let guarantee = self.source_context.guarantee;
                    let around = Surroundings { state: &self.state, guarantee, stop: &mut stop, fatal: &mut self.fatal };
                    let end = flow(source, sink, around).await;
                    self.state.closed();
                    let mut left = RunReport { error: None, stopped: end.report };
                    left.stopped.lost += before.stopped.lost;
                    match end.failure {
                        None => break left,
                        Some((origin, error)) => (origin, error, left),
                    }
                }
            };
            // What the source dealt with itself was counted when it was told.
            if self.fatal.borrow().is_none() {
                self.state.failed(origin, &error);
            }
            // Another owner does not go away by waiting, before the start or after.
            let ends = error.kind() == ErrorKind::Fenced || (!started && error.kind().ends_a_start());
            if self.exit_on_error || ends {
                break RunReport { error: Some(error), ..left };
            }
            if stop.is_asked() {
                break left;
            }
            if began.elapsed() > RECOVERED_AFTER {
                backoff.reset();
            }
            let pause = backoff.pause();
            self.state.enter(Phase::Restarting);
            if started {
                error!(%error, retry_in_ms = pause.as_millis() as u64, "the instance failed and will be opened again");
            } else {
                warn!(%error, retry_in_ms = pause.as_millis() as u64, "waiting to start");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.asked() => break left,
            }
            before = left;
        };
        self.state.enter(Phase::Stopped);
        report
    }

    /// Reaches both sides at once: what is wrong on either shows at the first start. A side that was reached when the other failed,
    /// or when a stop was asked for, is ended in order: a source holds partitions from the moment it is open.
    async fn open(&self, stop: &mut StopSignal) -> Opened {
        let (mut source, mut sink) = (None, None);
        let outcome = {
            // What a former life asked of its sink is over with it.
            let lineages = Lineages::default();
            let mut opening_sink = self.sink.connect(SinkContext { lineages: lineages.clone(), ..self.sink_context.clone() });
            let mut opening_source = self.source.connect(SourceContext { lineages, ..self.source_context.clone() });
            loop {
                tokio::select! {
                    biased;
                    () = stop.asked() => break Opened::Stopped,
                    opened = &mut opening_sink, if sink.is_none() => match opened {
                        Ok(opened) => sink = Some(opened),
                        Err(error) => break Opened::Failed(FailureOrigin::System, error),
                    },
                    opened = &mut opening_source, if source.is_none() => match opened {
                        Ok(opened) => source = Some(opened),
                        Err(error) => break Opened::Failed(FailureOrigin::Source, error),
                    },
                }
                if let (Some(_), Some(_)) = (&source, &sink)
                    && let (Some(source), Some(sink)) = (source.take(), sink.take())
                {
                    break Opened::Both(source, sink);
                }
            }
        };
        let deadline = Instant::now() + HALF_OPEN;
        if let Some(mut source) = source {
            source.stop(deadline).await;
        }
        if let Some(mut sink) = sink {
            sink.close(deadline).await;
        }
        outcome
    }
}

/// What came of opening both sides.
enum Opened {
    Both(Box<dyn DynSource>, Box<dyn DynSink>),
    Stopped,
    Failed(FailureOrigin, Error),
}
