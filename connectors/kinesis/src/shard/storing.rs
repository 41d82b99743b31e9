//! What is stored of a shard's progress, and when: at the interval if it moved, at once where somebody waits for it.

use super::consumer::{Consumer, happens};
use super::decode::Place;
use super::exactly_once::{Event, ExactlyOnce, Sending, Unconfirmed};
use crate::coordinator::ShardEnd;
use crate::ids::Checkpoint;
use crate::lease::{Numbering, Progress, StoreError, last_number_before, record_number};
use connector_sdk::{AckTracker, Guarantee};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// A write on its way, and what it covers.
pub(super) struct Storing {
    pub(super) write: BoxFuture<'static, Result<(), StoreError>>,
    covers: u64,
    exactly: Option<Unconfirmed>,
}

impl Consumer {
    /// When the end of the shard was last seen, where everything up to there is settled.
    fn caught_up_at(&self) -> Option<u64> {
        let settled = self.acks.read(AckTracker::is_settled) && self.waiting.is_empty() && self.answer.is_none() && !self.cut;
        self.tip_seen_at.filter(|_| settled)
    }

    fn progress(&self, place: &Place) -> Progress {
        Progress {
            checkpoint: Checkpoint::At(place.position.clone()),
            numbering: Some(Numbering { epoch: self.epoch, ordinal: place.ordinal }),
            exact: None,
            caught_up_at: self.caught_up_at(),
            start: None,
        }
    }

    /// The row's own checkpoint, with nothing beside it.
    fn unmoved(&self) -> Progress {
        Progress { checkpoint: self.lease.checkpoint(), numbering: None, exact: None, caught_up_at: None, start: None }
    }

    /// Begins to store how far it is, when that moved or an idle shard's time is due.
    pub(super) fn store_if_due(&mut self) {
        if self.deps.guarantee == Guarantee::AtMostOnce && !self.released {
            self.store_ahead();
            return;
        }
        let (watermark, settled) = self.acks.read(|tracker| (tracker.watermark().cloned(), tracker.settled()));
        let moved = watermark.as_ref().is_some_and(|place| self.stored_through.as_ref() != Some(&place.position));
        let drained = self.is_drained();
        let is_waited_for = self.sending().is_some_and(|sending| sending.has_to_store() || (sending.is_growing() && drained));
        if is_waited_for || (moved && self.exactly.is_some()) {
            self.store_exactly();
            return;
        }
        let progress = match watermark {
            Some(place) if moved && self.deps.guarantee == Guarantee::AtLeastOnce => self.progress(&place),
            _ if self.schedule.idle_is_due() && self.tip_seen_at.is_some() && !self.cut && self.acks.read(AckTracker::is_settled) => {
                // Nothing moved: the row's own checkpoint, with a younger time.
                Progress { caught_up_at: self.tip_seen_at, ..self.unmoved() }
            }
            _ => return self.schedule.skipped(),
        };
        self.begin_to_store(progress, settled, None);
    }

    /// ATMOST_ONCE: stores the end of what was fetched before any of it is handed on.
    pub(super) fn store_ahead(&mut self) {
        let Some(last) = self.last_fetched.clone() else { return };
        let tracked = self.acks.read(AckTracker::next_number);
        let progress = Progress { caught_up_at: None, ..self.progress(&last) };
        self.begin_to_store(progress, tracked, None);
    }

    /// EFFECTIVELY_ONCE: stores how far it is and what goes with it, whether or not the checkpoint has moved.
    pub(super) fn store_exactly(&mut self) {
        let (watermark, settled) = self.acks.read(|tracker| (tracker.watermark().cloned(), tracker.settled()));
        let drained = self.is_drained();
        let unmoved = || Progress { caught_up_at: self.caught_up_at(), ..self.unmoved() };
        let progress = watermark.as_ref().map_or_else(unmoved, |place| self.progress(place));
        let now = self.deps.clock.millis();
        let Some(sending) = self.sending() else { return };
        // What has no number of its own is never settled.
        let number = watermark
            .map(|Place { ordinal, position, .. }| record_number(ordinal, position.sub).unwrap_or_else(|| last_number_before(ordinal)));
        let unconfirmed = sending.unconfirmed(number, drained, now);
        let progress = Progress { exact: Some(unconfirmed.exact.clone()), ..progress };
        self.begin_to_store(progress, settled, Some(unconfirmed));
    }

    /// Begins to store how far it is when nothing more is handed on.
    pub(super) fn begin_last_store(&mut self) {
        if self.exactly.is_some() {
            return self.store_exactly();
        }
        let (watermark, settled) = self.acks.read(|tracker| (tracker.watermark().cloned(), tracker.settled()));
        if let Some(place) = watermark {
            self.begin_to_store(self.progress(&place), settled, None);
        }
    }

    /// Whether everything that was decoded is settled.
    fn is_drained(&self) -> bool {
        self.waiting.is_empty() && self.acks.read(AckTracker::is_settled)
    }

    fn begin_to_store(&mut self, progress: Progress, covers: u64, exactly: Option<Unconfirmed>) {
        if self.storing.is_some() {
            return;
        }
        if let Checkpoint::At(position) = &progress.checkpoint {
            self.stored_through = Some(position.clone());
        }
        let lease = Arc::clone(&self.lease);
        self.storing = Some(Storing { write: Box::pin(async move { lease.store(progress).await }), covers, exactly });
    }

    pub(super) fn stored(&mut self, result: Result<(), StoreError>) -> Option<ShardEnd> {
        let storing = self.storing.take();
        match result {
            Ok(()) => {
                let covers = storing.as_ref().map_or(0, |storing| storing.covers);
                self.is_stored(storing);
                self.schedule.stored();
                let ahead = self.deps.guarantee == Guarantee::AtMostOnce;
                self.released = !ahead || covers >= self.acks.read(AckTracker::next_number);
                if !self.released {
                    // What was written was an idle shard's time, or an older answer: these records are not covered yet.
                    self.store_ahead();
                }
            }
            Err(StoreError::Lost) => return Some(self.lose()),
            Err(StoreError::Failed(error)) => {
                self.stored_through = None;
                let is_waited_for = !self.released || self.sending().is_some_and(|sending| sending.has_to_store() || sending.is_growing());
                let given_up = self.schedule.failed(is_waited_for);
                warn!(shard = %self.lease.shard(), %error, left_to_next_interval = given_up, "progress could not be stored");
            }
        }
        None
    }

    /// Takes over what is in the row now.
    pub(super) fn is_stored(&mut self, storing: Option<Storing>) {
        let Some(Storing { covers, exactly, .. }) = storing else { return };
        self.stored = self.stored.max(covers);
        if let (Some(sending), Some(unconfirmed)) = (self.sending(), exactly) {
            sending.confirmed(unconfirmed);
            // It may have ended the doubt that the topic's growth waits for.
            self.look_at_topic();
        }
    }

    /// Whether what the sink waits for may be stored at once: not while something is being stored, nor right after that failed.
    pub(super) fn may_store_now(&self) -> bool {
        self.storing.is_none() && !self.schedule.is_failing()
    }

    /// Whether a new partition count waits for nothing but the last acknowledgements.
    pub(super) fn waits_to_grow(&mut self) -> bool {
        let may_store = self.may_store_now() && self.waiting.is_empty() && self.parked.is_none();
        may_store && self.sending().is_some_and(|sending| sending.is_growing())
    }

    pub(super) fn end_doubt(&mut self) {
        if let Some(sending) = self.sending() {
            sending.end_doubt();
        }
        self.look_at_topic();
    }

    /// EFFECTIVELY_ONCE: the lineage, once records are handed on under it.
    pub(super) fn sending(&mut self) -> Option<&mut Sending> {
        self.exactly.as_mut().and_then(ExactlyOnce::sending)
    }

    /// EFFECTIVELY_ONCE: waits until nothing is on its way, and stores meanwhile what that waits for. False when the time is over.
    pub(super) async fn quiet_exactly(&mut self, until: Instant) -> bool {
        loop {
            let may_store = self.may_store_now();
            let again = self.storing.is_none() && self.schedule.is_failing();
            tokio::select! {
                biased;
                result = written(&mut self.storing), if self.storing.is_some() => {
                    if self.stored(result).is_some() {
                        return false;
                    }
                }
                () = self.acks.quiet() => return true,
                event = happens(&mut self.exactly, may_store) => match event {
                    Event::HasToStore => self.store_exactly(),
                    Event::DoubtIsOver => self.end_doubt(),
                    // Nothing more is handed on.
                    Event::Opened(_) | Event::Lost | Event::Reshaped => {}
                },
                () = sleep_until(self.schedule.next()), if again => self.store_exactly(),
                () = sleep_until(until) => return false,
            }
        }
    }

    /// Everything is settled: children first, then the shard's end. The error is the pause before the next attempt.
    pub(super) async fn finish(&mut self) -> Result<ShardEnd, Duration> {
        let children = self.children.as_deref().unwrap_or_default();
        match self.lease.finish(children).await {
            Ok(()) => {
                info!(shard = %self.lease.shard(), children = children.len(), "shard finished");
                // The end that is stored covers everything: nothing comes again.
                self.place.show(|view| view.beyond_checkpoint = 0);
                Ok(ShardEnd::Finished)
            }
            Err(StoreError::Lost) => Ok(self.lose()),
            Err(StoreError::Failed(error)) => {
                warn!(shard = %self.lease.shard(), %error, "the shard's end could not be stored");
                self.deps.failures.tell(&error);
                Err(self.schedule.pause())
            }
        }
    }
}

pub(super) async fn written(storing: &mut Option<Storing>) -> Result<(), StoreError> {
    match storing {
        Some(storing) => (&mut storing.write).await,
        None => std::future::pending().await,
    }
}
