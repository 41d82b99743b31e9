//! SIGTERM and Ctrl-C: the first asks for an orderly end, the second for the end at once.

use crate::engine::StopHandle;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// Passes signals on until it is dropped.
pub(super) async fn watch(stop: Arc<StopHandle>, within: Duration) {
    let (Some(mut term), Some(mut interrupt)) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    let mut first = true;
    loop {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        if first {
            info!(
                within_s = within.as_secs(),
                "stopping: waiting for receipts, storing checkpoints, giving leases away; a second signal ends at once"
            );
        } else {
            warn!("ending at once");
        }
        first = false;
        stop.ask();
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    match signal(kind) {
        Ok(signal) => Some(signal),
        Err(error) => {
            warn!(%error, "signals cannot be watched; the process can only be killed");
            None
        }
    }
}
