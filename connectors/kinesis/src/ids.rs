//! Names and positions of Kinesis, validated where they enter: shard ids, sequence numbers, checkpoints, hash ranges.

use bytestring::ByteString;
use std::cmp::Ordering;
use std::fmt;

/// A shard's id, such as `shardId-000000000007`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(ByteString);

impl ShardId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as shared text.
    pub fn text(&self) -> &ByteString {
        &self.0
    }
}

impl From<&str> for ShardId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<String> for ShardId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Kinesis sequence number: decimal digits, up to about 186 bits, ordered as a number. Kept as the text that came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SequenceNumber(ByteString);

impl SequenceNumber {
    /// Takes decimal digits; `None` for anything else.
    pub fn parse(text: impl Into<ByteString>) -> Option<Self> {
        let text = text.into();
        // All of them, whatever is found: so they are looked at many at a time.
        let decimal = text.bytes().fold(true, |decimal, byte| decimal & byte.is_ascii_digit());
        (decimal && !text.is_empty()).then_some(Self(text))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits as shared text.
    pub fn text(&self) -> &ByteString {
        &self.0
    }

    fn significant(&self) -> &str {
        let digits = self.0.trim_start_matches('0');
        if digits.is_empty() { "0" } else { digits }
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mine, theirs) = (self.significant(), other.significant());
        mine.len().cmp(&theirs.len()).then_with(|| mine.cmp(theirs))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The position of one user record: the sequence number, and the index inside a KPL aggregate (0 for a record of its own).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The Kinesis record.
    pub sequence: SequenceNumber,
    /// KCL's sub-sequence number.
    pub sub: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.sequence, self.sub)
    }
}

/// What stands in a lease row's `checkpoint`: a sentinel before the first record, a position, or the shard's end.
/// Ordered as the KCL orders them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checkpoint {
    /// Begin at an instant, which the row does not say (see the row's `pulsarConnect`, else the configuration).
    AtTimestamp,
    /// Begin at the oldest record.
    TrimHorizon,
    /// Begin at the application's start moment.
    Latest,
    /// Everything through this record is settled.
    At(Position),
    /// Everything in the shard is settled and it is closed.
    ShardEnd,
}

impl Checkpoint {
    /// Reads KCL's two attributes; `None` when the text is no checkpoint.
    pub fn parse(checkpoint: &str, sub: u64) -> Option<Self> {
        Some(match checkpoint {
            "AT_TIMESTAMP" => Self::AtTimestamp,
            "TRIM_HORIZON" => Self::TrimHorizon,
            "LATEST" => Self::Latest,
            "SHARD_END" => Self::ShardEnd,
            digits => Self::At(Position { sequence: SequenceNumber::parse(digits)?, sub }),
        })
    }

    /// KCL's text for it.
    pub fn text(&self) -> &str {
        match self {
            Self::AtTimestamp => "AT_TIMESTAMP",
            Self::TrimHorizon => "TRIM_HORIZON",
            Self::Latest => "LATEST",
            Self::At(position) => position.sequence.as_str(),
            Self::ShardEnd => "SHARD_END",
        }
    }

    /// KCL's sub-sequence number for it: 0 for sentinels.
    pub fn sub(&self) -> u64 {
        match self {
            Self::At(position) => position.sub,
            _ => 0,
        }
    }

    /// Whether nothing of the shard has been settled yet.
    pub fn is_initial(&self) -> bool {
        matches!(self, Self::AtTimestamp | Self::TrimHorizon | Self::Latest)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(position) => position.fmt(f),
            other => f.write_str(other.text()),
        }
    }
}

/// The hash keys a shard covers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashRange {
    /// The lowest key.
    pub start: u128,
    /// The highest key.
    pub end: u128,
}

impl HashRange {
    /// Whether `key` falls in it.
    pub fn contains(&self, key: u128) -> bool {
        (self.start..=self.end).contains(&key)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sequence_numbers_order_as_numbers(mine: u128, theirs: u128, zeros in 0usize..4) {
            let padded = format!("{}{mine}", "0".repeat(zeros));
            let (left, right) = (SequenceNumber::parse(padded).unwrap(), SequenceNumber::parse(theirs.to_string()).unwrap());
            prop_assert_eq!(left.cmp(&right), mine.cmp(&theirs));
        }
    }

    #[test]
    fn checkpoints_order_as_the_kcl_orders_them() {
        let at = |sequence: &str, sub| Checkpoint::parse(sequence, sub).unwrap();
        let ordered =
            [at("AT_TIMESTAMP", 0), at("TRIM_HORIZON", 0), at("LATEST", 0), at("9", 0), at("9", 1), at("10", 0), at("SHARD_END", 0)];
        assert!(ordered.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(Checkpoint::parse("NOWHERE", 0), None);
    }
}
