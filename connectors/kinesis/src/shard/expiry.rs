//! Records that expired before they were read: seen at the first answer after a start, and said with their span.
//!
//! A restart asks for the checkpointed record itself. When the first answer does not begin with it, and the shard was last caught
//! up longer ago than records are kept, what lies between is gone. An idle shard raises no alarm: it is caught up all the time.

use crate::ids::SequenceNumber;
use jiff::Timestamp;

/// Watches the first answer of a shard.
pub(super) struct ExpiryWatch {
    expected: Option<SequenceNumber>,
    caught_up_at: Option<u64>,
    retention_millis: u64,
    decided: bool,
}

/// What the first answer said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FirstAnswer {
    /// Not enough was seen to say.
    Undecided,
    /// It begins with the checkpointed record, or there was none, or nothing can have expired.
    Whole,
    /// The checkpointed record is gone, but nothing behind it can have been missed.
    Moved,
    /// What arrived in this span, in milliseconds since the epoch, may be lost.
    Expired {
        /// Last caught up; none when it never was since the checkpointed record.
        from: Option<u64>,
        /// The oldest record there is now, or the horizon.
        to: u64,
    },
}

impl ExpiryWatch {
    /// Expects the checkpointed record, if there is one; `caught_up_at` is when the shard was last seen at its tip, settled.
    pub(super) fn new(expected: Option<SequenceNumber>, caught_up_at: Option<u64>, retention_hours: u32) -> Self {
        Self { expected, caught_up_at, retention_millis: u64::from(retention_hours) * 3_600_000, decided: false }
    }

    /// Looks at an answer: its first record with its arrival, whether it is at the tip or the shard's end; says it once.
    pub(super) fn look(&mut self, first: Option<(&SequenceNumber, Option<u64>)>, at_tip_or_end: bool, now: u64) -> FirstAnswer {
        if self.decided || (first.is_none() && !at_tip_or_end) {
            return FirstAnswer::Undecided;
        }
        self.decided = true;
        let found = match (&self.expected, first) {
            (Some(expected), Some((sequence, _))) => expected == sequence,
            // Without a checkpoint only the time can tell.
            (None, _) | (Some(_), None) => false,
        };
        if found {
            return FirstAnswer::Whole;
        }
        let horizon = now.saturating_sub(self.retention_millis);
        let oldest = first.and_then(|(_, arrived)| arrived).unwrap_or(horizon);
        match self.caught_up_at {
            Some(from) if from < horizon => FirstAnswer::Expired { from: Some(from), to: oldest.max(from) },
            // A record goes only by expiring, and there was more behind it when it was stored.
            None if self.expected.is_some() => FirstAnswer::Expired { from: None, to: oldest },
            _ if self.expected.is_some() => FirstAnswer::Moved,
            _ => FirstAnswer::Whole,
        }
    }
}

/// An instant as Java's `Instant` writes it: ISO 8601 in UTC, with three digits of fraction or none.
pub(super) fn instant(millis: u64) -> String {
    let Some(at) = i64::try_from(millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok()) else {
        return millis.to_string();
    };
    let format = if millis.is_multiple_of(1_000) { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S.%3fZ" };
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DAY: u64 = 86_400_000;

    fn number(text: &str) -> SequenceNumber {
        SequenceNumber::parse(text).unwrap()
    }

    #[test]
    fn the_checkpointed_record_at_the_front_is_no_alarm_however_old() {
        let mut watch = ExpiryWatch::new(Some(number("7")), Some(0), 24);
        assert_eq!(watch.look(Some((&number("7"), Some(1))), false, 3 * DAY), FirstAnswer::Whole);
    }

    #[test]
    fn a_gap_longer_than_the_retention_is_said_with_its_span_once() {
        let mut watch = ExpiryWatch::new(Some(number("7")), Some(DAY), 24);
        assert_eq!(watch.look(None, false, 3 * DAY), FirstAnswer::Undecided, "an empty answer before the tip says nothing");
        assert_eq!(
            watch.look(Some((&number("9"), Some(2 * DAY + 5))), false, 3 * DAY),
            FirstAnswer::Expired { from: Some(DAY), to: 2 * DAY + 5 }
        );
        assert_eq!(watch.look(Some((&number("10"), None)), true, 3 * DAY), FirstAnswer::Undecided);
    }

    #[test]
    fn an_idle_shard_is_no_alarm() {
        let mut watch = ExpiryWatch::new(Some(number("7")), Some(3 * DAY - 60_000), 24);
        assert_eq!(watch.look(None, true, 3 * DAY), FirstAnswer::Moved, "its number is not used again");
        let mut watch = ExpiryWatch::new(Some(number("7")), Some(3 * DAY - 60_000), 24);
        assert_eq!(watch.look(Some((&number("8"), None)), false, 3 * DAY), FirstAnswer::Moved);
    }

    #[test]
    fn a_backlog_that_was_never_caught_up_is_said_when_its_record_is_gone() {
        let mut watch = ExpiryWatch::new(Some(number("7")), None, 24);
        assert_eq!(watch.look(Some((&number("9"), Some(2 * DAY))), false, 3 * DAY), FirstAnswer::Expired { from: None, to: 2 * DAY });
    }

    #[test]
    fn a_closed_shard_that_expired_whole_is_said() {
        let mut watch = ExpiryWatch::new(Some(number("7")), Some(DAY / 2), 24);
        assert_eq!(watch.look(None, true, 3 * DAY), FirstAnswer::Expired { from: Some(DAY / 2), to: 2 * DAY });
    }

    #[test]
    fn instants_are_written_as_java_writes_them() {
        assert_eq!([instant(1_700_000_000_120), instant(1_700_000_000_000)], ["2023-11-14T22:13:20.120Z", "2023-11-14T22:13:20Z"]);
    }

    #[test]
    fn a_sentinel_is_judged_by_its_moment() {
        let mut watch = ExpiryWatch::new(None, Some(DAY), 24);
        assert!(matches!(watch.look(Some((&number("9"), None)), false, 3 * DAY), FirstAnswer::Expired { .. }));
        let mut watch = ExpiryWatch::new(None, None, 24);
        assert_eq!(watch.look(Some((&number("9"), None)), false, 3 * DAY), FirstAnswer::Whole);
    }
}
