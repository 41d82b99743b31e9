//! Permits by a byte budget: how many more messages a broker may send, judged by the mean size of those seen.
//!
//! The protocol counts messages, memory is bytes: what arrives beyond the budget (sizes differ, a batch comes whole) is taken all
//! the same, and counted by the caller. No permit is granted while what is held and what is still allowed fill the budget.

/// Assumed of messages while none has been seen.
const FIRST_MEAN: usize = 16 * 1024;
/// Granted at once, at most.
const MOST_PERMITS: i64 = 100_000;
/// What a message costs beside its payload.
pub(crate) const MESSAGE_COST: usize = 256;

/// One consumer's permits and the bytes it holds.
#[derive(Debug)]
pub(super) struct Flow {
    budget: usize,
    /// Bytes handed to the owner and not taken, and of chunks.
    held: usize,
    /// What the broker may still send; below zero after a batch that was larger than what was left.
    permits: i64,
    mean: usize,
}

impl Flow {
    pub(super) fn new(budget: usize) -> Self {
        Self { budget: budget.max(1), held: 0, permits: 0, mean: FIRST_MEAN }
    }

    pub(super) fn set_budget(&mut self, budget: usize) {
        self.budget = budget.max(1);
    }

    /// The broker has forgotten what it was granted.
    pub(super) fn reopened(&mut self) {
        self.permits = 0;
    }

    /// An entry of `messages` has arrived, of `bytes` in all.
    pub(super) fn arrived(&mut self, messages: u32, bytes: usize) {
        self.permits -= i64::from(messages);
        if messages > 0 {
            let size = bytes / messages as usize + MESSAGE_COST;
            self.mean = (self.mean * 7 + size) / 8;
        }
    }

    /// Bytes are kept until [`Flow::give`]; returns by how much they exceed the budget.
    pub(super) fn hold(&mut self, bytes: usize) -> usize {
        let before = self.held.max(self.budget);
        self.held += bytes;
        self.held.saturating_sub(before)
    }

    pub(super) fn give(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }

    /// How many messages the broker is to be granted now, if any; with them it may send `most` in all.
    pub(super) fn grant(&mut self, most: usize) -> Option<u32> {
        let mean = self.mean.max(1);
        let allowed = usize::try_from(self.permits.max(0)).unwrap_or(usize::MAX).saturating_mul(mean);
        let expected = self.held.saturating_add(allowed);
        // Granted in halves of the budget, not one by one.
        if expected > self.budget / 2 && !(self.held == 0 && self.permits <= 0) {
            return None;
        }
        let room = i64::try_from((self.budget - self.held.min(self.budget)) / mean).unwrap_or(i64::MAX).clamp(1, MOST_PERMITS);
        let room = room.min(i64::try_from(most).unwrap_or(i64::MAX));
        let more = u32::try_from(room - self.permits).ok().filter(|more| *more > 0)?;
        self.permits += i64::from(more);
        Some(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn permits_follow_the_mean_size_and_are_granted_in_halves() {
        let mut flow = Flow::new(1 << 20);
        assert_eq!(flow.grant(usize::MAX), Some(64), "16 KiB each are assumed at first");
        assert_eq!(flow.grant(usize::MAX), None);
        for _ in 0..64 {
            flow.arrived(1, 1_024 - MESSAGE_COST);
        }
        // All taken at once: about a thousand of this size fit.
        let granted = flow.grant(usize::MAX).unwrap_or_default();
        assert!((1_000..=1_024).contains(&granted), "{granted}");
        flow.arrived(400, 400 * 768);
        assert_eq!(flow.grant(usize::MAX), None, "more than half is still allowed");
        flow.arrived(200, 200 * 768);
        assert!(flow.grant(usize::MAX).is_some());
    }

    #[test]
    fn a_batch_beyond_the_permits_is_made_good_in_the_next_grant() {
        let mut flow = Flow::new(10_000);
        assert_eq!(flow.grant(usize::MAX), Some(1), "one message always fits");
        flow.arrived(1_000, 100_000);
        assert_eq!(flow.hold(100_000), 90_000, "the overshoot");
        assert_eq!(flow.grant(usize::MAX), None, "nothing more while it is held");
        flow.give(100_000);
        let granted = flow.grant(usize::MAX).unwrap_or_default();
        assert!(granted > 999, "a broker 999 below zero sends nothing for {granted} permits");
    }

    proptest! {
        #[test]
        fn an_empty_handed_consumer_always_lets_the_broker_send(
            budget in 1usize..1 << 30,
            entries in prop::collection::vec((1u32..2_000, 0usize..1 << 20), 0..50),
        ) {
            let mut flow = Flow::new(budget);
            let mut allowed = 0i64;
            for (messages, bytes) in entries {
                allowed += i64::from(flow.grant(usize::MAX).unwrap_or(0));
                flow.arrived(messages, bytes);
                allowed -= i64::from(messages);
                flow.hold(bytes);
                flow.give(bytes);
                allowed += i64::from(flow.grant(usize::MAX).unwrap_or(0));
                prop_assert!(allowed > 0, "the broker stands at {}", allowed);
            }
        }
    }
}
