//! One life of an instance: from open to closed. Batches go from the source to the sink until a stop, an end or a failure.
//!
//! The order of an end is fixed: nothing more is taken, what was taken is flushed until its receipts are in, the source stores how
//! far it came and gives its partitions away, the sink closes. A sink that cannot finish never keeps the source from storing.

use super::state::{FailureOrigin, InstanceState, Phase};
use super::stop::StopSignal;
use connector_sdk::{Batch, DynSink, DynSource, Error, Guarantee, StopReport};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Part of a stop's time that is kept for storing checkpoints and giving leases away.
const KEPT_FOR_THE_SOURCE: Duration = Duration::from_secs(3);
/// How long an instance that failed may take to end in order.
const AFTER_A_FAILURE: Duration = Duration::from_secs(10);

/// Why the flow ended, and what it left behind.
pub(super) struct FlowEnd {
    pub(super) failure: Option<(FailureOrigin, Error)>,
    pub(super) report: StopReport,
}

/// What an instance has beside its two ends while batches flow.
pub(super) struct Surroundings<'a> {
    pub(super) state: &'a InstanceState,
    pub(super) guarantee: Guarantee,
    pub(super) stop: &'a mut StopSignal,
    /// A failure that the source deals with itself and that ends the instance all the same.
    pub(super) fatal: &'a mut watch::Receiver<Option<Error>>,
}

/// Moves batches until there is a reason to end, then ends in order.
pub(super) async fn flow(mut source: Box<dyn DynSource>, mut sink: Box<dyn DynSink>, around: Surroundings<'_>) -> FlowEnd {
    let Surroundings { state, guarantee, stop, fatal } = around;
    let failure = tokio::select! {
        biased;
        error = told(fatal) => Some((FailureOrigin::Source, error)),
        moved = move_batches(&mut *source, &mut *sink, state, stop) => moved.err(),
    };
    if stop.is_asked() {
        state.enter(Phase::Stopping);
    }
    let deadline = if stop.is_asked() { stop.deadline() } else { Instant::now() + AFTER_A_FAILURE };
    let watch = source.watch();
    let mut at_once = stop.clone();
    let sink_works = !matches!(failure, Some((FailureOrigin::System, _)));
    let report = tokio::select! {
        report = finish(&mut *source, &mut *sink, state, sink_works, deadline) => report,
        () = at_once.at_once() => {
            let beyond = watch.status().beyond_checkpoint;
            match guarantee {
                Guarantee::AtLeastOnce | Guarantee::EffectivelyOnce => StopReport { replayed: beyond, ..StopReport::default() },
                Guarantee::AtMostOnce => StopReport { lost: beyond, ..StopReport::default() },
            }
        }
    };
    FlowEnd { failure, report }
}

async fn told(fatal: &mut watch::Receiver<Option<Error>>) -> Error {
    match fatal.wait_for(Option::is_some).await.map(|error| error.clone()) {
        Ok(Some(error)) => error,
        // Nobody is left to tell.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

async fn move_batches(
    source: &mut dyn DynSource,
    sink: &mut dyn DynSink,
    state: &InstanceState,
    stop: &mut StopSignal,
) -> Result<(), (FailureOrigin, Error)> {
    loop {
        let batch: Batch = tokio::select! {
            biased;
            () = stop.asked() => return Ok(()),
            next = source.next() => match next {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(()),
                Err(error) => return Err((FailureOrigin::Source, error)),
            },
        };
        count(state, &batch);
        tokio::select! {
            biased;
            written = sink.write(batch) => written.map_err(|error| (FailureOrigin::System, error))?,
            () = stop.asked() => return Ok(()),
        }
    }
}

fn count(state: &InstanceState, batch: &Batch) {
    let bytes: usize = batch.records.iter().map(|record| record.value.len()).sum();
    state.count_received(batch.records.len() as u64, bytes as u64);
}

async fn finish(
    source: &mut dyn DynSource,
    sink: &mut dyn DynSink,
    state: &InstanceState,
    sink_works: bool,
    deadline: Instant,
) -> StopReport {
    let mut troubles = Vec::new();
    source.wind_down();
    if sink_works {
        let kept = KEPT_FOR_THE_SOURCE.min(deadline.saturating_duration_since(Instant::now()) / 2);
        match timeout_at(deadline - kept, publish_the_rest(source, sink, state)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => troubles.push(error.to_string()),
            Err(_) => troubles.push("receipts for what was sent did not come in time".to_owned()),
        }
    }
    let mut report = source.stop(deadline).await;
    sink.close(deadline).await;
    troubles.append(&mut report.troubles);
    report.troubles = troubles;
    report
}

/// What must not be dropped any more, and the receipts of everything.
async fn publish_the_rest(source: &mut dyn DynSource, sink: &mut dyn DynSink, state: &InstanceState) -> Result<(), Error> {
    while let Ok(Some(batch)) = source.next().await {
        count(state, &batch);
        sink.write(batch).await?;
    }
    sink.flush().await
}
