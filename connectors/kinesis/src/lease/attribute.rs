//! `pulsarConnect`: the one attribute of ours on a lease row, a JSON string that Java workers leave alone.
//!
//! It says who wrote the row, in which write, for which stream, and what the KCL's own attributes cannot say: the moment LATEST
//! stands for, the number of the checkpointed record, and what EFFECTIVELY_ONCE goes by. A format version that is not known is never
//! written over.

use super::exact::Exact;
use crate::ids::{Checkpoint, Position, SequenceNumber};
use bytestring::ByteString;
use serde::{Deserialize, Serialize};

/// The attribute's name on the row.
pub(super) const NAME: &str = "pulsarConnect";

/// The format without [`Exact`], and with it: a program that does not know of it must not take the row.
const PLAIN: u64 = 1;
const WITH_EXACT: u64 = 2;

/// What the attribute holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PulsarConnect {
    /// The id of the write that put it there: settles a lost reply.
    pub write: ByteString,
    /// When that was, by the writer's clock, in milliseconds since the epoch: the age of what is stored. Nothing is decided by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<u64>,
    /// Who wrote it: tenant/namespace/name, the same for all instances.
    pub writer: ByteString,
    /// The worker identifier of the writer: the row is still the writer's as long as it is the lease's owner.
    pub worker: ByteString,
    /// The stream the checkpoint belongs to.
    pub stream: StreamMark,
    /// The full name of the topic its records go to.
    pub topic: ByteString,
    /// What the sentinel LATEST or AT_TIMESTAMP stands for in this application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartMoment>,
    /// When the reader was last at the tip with everything settled, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caught_up_at: Option<u64>,
    /// Which counting of records the ordinal belongs to; 0 before the first.
    pub epoch: u64,
    /// The checkpointed position with its ordinal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<NumberedPosition>,
    /// Whether nothing was ever sent beyond the checkpoint, by any owner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clean: bool,
    /// What EFFECTIVELY_ONCE goes by, since it ran last and no other guarantee after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<Exact>,
}

/// Which stream: a stream created again under the same name has the same ARN and another creation time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamMark {
    /// Its ARN.
    pub arn: ByteString,
    /// When it was created, in milliseconds since the epoch.
    pub created_at: u64,
}

impl StreamMark {
    /// Whether both are the same stream. Creation times are compared to the second: that is what every protocol carries.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.arn == other.arn && self.created_at / 1_000 == other.created_at / 1_000
    }
}

/// What a sentinel stands for, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StartMoment {
    /// LATEST: the service's clock when the application first listed the shards.
    Latest(u64),
    /// AT_TIMESTAMP: the configured instant.
    Timestamp(u64),
}

impl StartMoment {
    /// The milliseconds, whichever it is.
    pub fn millis(self) -> u64 {
        match self {
            Self::Latest(millis) | Self::Timestamp(millis) => millis,
        }
    }
}

/// A position and the number of its Kinesis record within the shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedPosition {
    /// The Kinesis record's sequence number, decimal digits.
    pub sequence: ByteString,
    /// The KCL's sub-sequence number.
    pub sub: u64,
    /// The record's ordinal: 1 for the first record of the epoch.
    pub ordinal: u64,
}

/// How the records after a checkpoint are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbering {
    /// The epoch the numbers belong to.
    pub epoch: u64,
    /// The ordinal of the checkpointed Kinesis record; 0 where none is: the next new record is this plus one.
    pub ordinal: u64,
}

impl PulsarConnect {
    /// Reads the attribute. The error is the reason, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, AttributeError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let Versioned { version } = serde_json::from_str(text).map_err(|error| AttributeError::Malformed(error.to_string()))?;
        if !matches!(version, PLAIN | WITH_EXACT) {
            return Err(AttributeError::Version(version));
        }
        serde_json::from_str(text).map_err(|error| AttributeError::Malformed(error.to_string()))
    }

    /// The attribute's text.
    pub fn text(&self) -> String {
        #[derive(Serialize)]
        struct Versioned<'a> {
            version: u64,
            #[serde(flatten)]
            attribute: &'a PulsarConnect,
        }
        let version = if self.exact.is_some() { WITH_EXACT } else { PLAIN };
        serde_json::to_string(&Versioned { version, attribute: self }).expect("strings and numbers have a JSON form")
    }

    /// The ordinal that the checkpoint has come to; none before the first record.
    pub fn ordinal(&self) -> Option<u64> {
        let before_next = || self.exact.as_ref()?.next.as_ref().map(|next| next.ordinal.saturating_sub(1));
        self.position.as_ref().map(|position| position.ordinal).or_else(before_next)
    }

    /// How records after `checkpoint` are numbered: continued where the position is the checkpoint's, else from 1 under the
    /// next epoch (the checkpoint was moved by Java or by hand, or nothing was stored yet).
    pub fn numbering(&self, checkpoint: &Checkpoint) -> Numbering {
        match (&self.position, checkpoint) {
            (Some(numbered), Checkpoint::At(position)) if numbered.is(position) => {
                Numbering { epoch: self.epoch, ordinal: numbered.ordinal }
            }
            _ => Numbering { epoch: self.epoch + 1, ordinal: 0 },
        }
    }
}

impl NumberedPosition {
    /// Whether it is this position.
    pub fn is(&self, position: &Position) -> bool {
        self.sub == position.sub && SequenceNumber::parse(self.sequence.clone()).is_some_and(|mine| mine.cmp(&position.sequence).is_eq())
    }
}

/// Why the attribute cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AttributeError {
    /// Another format than this program knows.
    #[error("`pulsarConnect` has format version {0}, and this program knows {PLAIN} and {WITH_EXACT}")]
    Version(u64),
    /// Not in the format.
    #[error("`pulsarConnect` is not in its format: {0}")]
    Malformed(String),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::MessageKeyMode;
    use crate::lease::NextRecord;
    use connector_sdk::{Covered, MessageId};
    use std::collections::{BTreeMap, BTreeSet};

    fn attribute() -> PulsarConnect {
        PulsarConnect {
            write: "w-1".into(),
            written_at: None,
            writer: "public/default/orders".into(),
            worker: "public/default/orders/0/host-abc".into(),
            stream: StreamMark { arn: "arn:aws:kinesis:eu-west-1:123456789012:stream/orders".into(), created_at: 1_700_000_000_123 },
            topic: "persistent://public/default/orders".into(),
            start: Some(StartMoment::Latest(1_700_000_001_000)),
            caught_up_at: None,
            epoch: 3,
            position: Some(NumberedPosition { sequence: "4957".into(), sub: 2, ordinal: 40 }),
            clean: false,
            exact: None,
        }
    }

    #[test]
    fn its_text_is_the_documented_json() {
        let text = r#"{"version":1,"write":"w-1","writer":"public/default/orders","worker":"public/default/orders/0/host-abc","stream":{"arn":"arn:aws:kinesis:eu-west-1:123456789012:stream/orders","createdAt":1700000000123},"topic":"persistent://public/default/orders","start":{"latest":1700000001000},"epoch":3,"position":{"sequence":"4957","sub":2,"ordinal":40}}"#;
        assert_eq!(attribute().text(), text);
        assert_eq!(PulsarConnect::parse(text).unwrap(), attribute());
    }

    #[test]
    fn with_exact_it_is_of_a_version_that_older_programs_stop_at() {
        let exact = Exact {
            topic: "persistent://public/default/orders".into(),
            partitions: 2,
            hashing: "Murmur3_32Hash".into(),
            key_mode: MessageKeyMode::PartitionKey,
            numbering: 1,
            covered: BTreeMap::from([
                (0, Covered { number: 9, message: Some(MessageId { ledger: 7, entry: 3 }) }),
                (1, Covered { number: 8, message: None }),
            ]),
            spent: BTreeSet::from([12]),
            uncovered_since: 1_700_000_002_000,
            next: Some(NextRecord { checkpoint: "TRIM_HORIZON".into(), sub: 0, sequence: "4958".into(), ordinal: 1 }),
        };
        let attribute = PulsarConnect { start: None, position: None, clean: true, exact: Some(exact), ..attribute() };
        let text = r#"{"version":2,"write":"w-1","writer":"public/default/orders","worker":"public/default/orders/0/host-abc","stream":{"arn":"arn:aws:kinesis:eu-west-1:123456789012:stream/orders","createdAt":1700000000123},"topic":"persistent://public/default/orders","epoch":3,"clean":true,"exact":{"topic":"persistent://public/default/orders","partitions":2,"hashing":"Murmur3_32Hash","keyMode":"PARTITION_KEY","numbering":1,"covered":{"0":{"number":9,"message":{"ledger":7,"entry":3}},"1":{"number":8}},"spent":[12],"uncoveredSince":1700000002000,"next":{"checkpoint":"TRIM_HORIZON","sub":0,"sequence":"4958","ordinal":1}}}"#;
        assert_eq!(attribute.text(), text);
        assert_eq!(PulsarConnect::parse(text).unwrap(), attribute);
    }

    #[test]
    fn an_unknown_version_is_told_from_a_malformed_text() {
        assert_eq!(PulsarConnect::parse(r#"{"version":3,"whatever":1}"#), Err(AttributeError::Version(3)));
        assert!(matches!(PulsarConnect::parse("{"), Err(AttributeError::Malformed(_))));
    }

    #[test]
    fn numbers_go_on_only_from_the_position_they_belong_to() {
        let at = |sequence, sub| Checkpoint::parse(sequence, sub).unwrap();
        assert_eq!(attribute().numbering(&at("4957", 2)), Numbering { epoch: 3, ordinal: 40 });
        assert_eq!(attribute().numbering(&at("4957", 3)), Numbering { epoch: 4, ordinal: 0 });
        assert_eq!(attribute().numbering(&Checkpoint::Latest), Numbering { epoch: 4, ordinal: 0 });
    }

    #[test]
    fn a_stream_created_again_is_another_stream() {
        let mark = attribute().stream;
        assert!(mark.is_same_as(&StreamMark { created_at: 1_700_000_000_999, ..mark.clone() }));
        assert!(!mark.is_same_as(&StreamMark { created_at: 1_700_000_001_123, ..mark.clone() }));
    }
}
