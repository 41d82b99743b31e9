//! Where a shard's reading begins: from the row alone, with the configuration only where the row says nothing. Pure.

use crate::config::InitialPosition;
use crate::ids::{Checkpoint, Position};
use crate::lease::PulsarConnect;
use crate::port::StartAt;
use connector_sdk::Error;

/// Where to begin and what is behind it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Where the service is asked to begin: at the checkpointed record itself, for what may be left of an aggregate.
    pub(super) at: StartAt,
    /// What the checkpoint covers and must not be handed on again.
    pub(super) covered: Option<Position>,
    /// When the shard was last seen at its tip with everything settled.
    pub(super) caught_up_at: Option<u64>,
    /// The number of the Kinesis record before the first one asked for.
    pub(super) ordinal: u64,
}

/// Decides where to begin.
///
/// # Errors
/// When the row holds a sentinel whose moment nobody knows: guessing would lose or repeat data.
pub(super) fn start(checkpoint: &Checkpoint, attribute: &PulsarConnect, initial: InitialPosition) -> Result<Start, Error> {
    let moment = attribute.start;
    let caught_up_at = attribute.caught_up_at;
    let begin = |at, covered, caught_up_at| Start { at, covered, caught_up_at, ordinal: 0 };
    Ok(match checkpoint {
        Checkpoint::TrimHorizon => begin(StartAt::TrimHorizon, None, caught_up_at),
        Checkpoint::At(position) => Start {
            // The checkpointed record itself comes first and is counted again.
            ordinal: attribute.numbering(checkpoint).ordinal.saturating_sub(1),
            ..begin(StartAt::Sequence(position.sequence.clone()), Some(position.clone()), caught_up_at)
        },
        Checkpoint::Latest => match moment {
            // What arrived since the moment and expired unread is a loss too.
            Some(moment) => begin(StartAt::Timestamp(moment.millis()), None, caught_up_at.or(Some(moment.millis()))),
            None => {
                return Err(Error::configuration(
                    "the lease row says LATEST and not since when, so records that came before could be skipped",
                )
                .with_hint("set the row's `checkpoint` to TRIM_HORIZON or to a sequence number"));
            }
        },
        Checkpoint::AtTimestamp => match (moment, initial) {
            (Some(moment), _) => begin(StartAt::Timestamp(moment.millis()), None, caught_up_at),
            (None, InitialPosition::AtTimestamp(configured)) => begin(StartAt::Timestamp(configured), None, caught_up_at),
            (None, _) => {
                return Err(Error::configuration(
                    "the lease row says AT_TIMESTAMP and neither the row nor the configuration says which time",
                )
                .with_hint(
                    "set `initialPositionInStream` to AT_TIMESTAMP and `startAtTime` to the time the application was created with",
                ));
            }
        },
        Checkpoint::ShardEnd => return Err(Error::configuration("the shard is finished and cannot be read again")),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lease::PulsarConnect;

    fn row(start: &str, position: &str) -> PulsarConnect {
        PulsarConnect::parse(&format!(
            r#"{{"version":1,"write":"w","writer":"t/n/c","worker":"x","stream":{{"arn":"a","createdAt":1}},"topic":"t","epoch":4{start}{position}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn latest_is_the_moment_of_the_row_at_every_start() {
        let start = start(&Checkpoint::Latest, &row(r#","start":{"latest":5000}"#, ""), InitialPosition::TrimHorizon).unwrap();
        assert_eq!((start.at, start.caught_up_at), (StartAt::Timestamp(5000), Some(5000)));
    }

    #[test]
    fn latest_without_a_moment_is_never_guessed() {
        let error = start(&Checkpoint::Latest, &row("", ""), InitialPosition::Latest).unwrap_err();
        assert!(error.hint().unwrap().contains("TRIM_HORIZON"));
    }

    #[test]
    fn the_instant_of_the_row_wins_over_the_configuration() {
        let found =
            start(&Checkpoint::AtTimestamp, &row(r#","start":{"timestamp":7000}"#, ""), InitialPosition::AtTimestamp(9000)).unwrap();
        assert_eq!(found.at, StartAt::Timestamp(7000));
        let configured = start(&Checkpoint::AtTimestamp, &row("", ""), InitialPosition::AtTimestamp(9000)).unwrap();
        assert_eq!(configured.at, StartAt::Timestamp(9000));
        assert!(start(&Checkpoint::AtTimestamp, &row("", ""), InitialPosition::Latest).is_err());
    }

    #[test]
    fn a_checkpoint_is_read_at_its_record_and_covers_it() {
        let checkpoint = Checkpoint::parse("4957", 2).unwrap();
        let found =
            start(&checkpoint, &row("", r#","position":{"sequence":"4957","sub":2,"ordinal":40}"#), InitialPosition::Latest).unwrap();
        assert!(matches!(&found.at, StartAt::Sequence(sequence) if sequence.as_str() == "4957"));
        assert_eq!(found.covered.unwrap().sub, 2);
        assert_eq!(found.ordinal, 39, "the checkpointed record is number 40 again");
        let moved = start(&Checkpoint::parse("5000", 0).unwrap(), &row("", ""), InitialPosition::Latest).unwrap();
        assert_eq!(moved.ordinal, 0, "a checkpoint moved by somebody else is numbered anew");
    }
}
