//! Shard iterators: five ways to begin, one signed token to go on.
//!
//! Promises that a token which we did not sign is refused, and that one older than its life is said to be expired.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::{Digest, Md5};

use super::error::{ErrorKind, KinesisError};
use super::sequence::SequenceNumber;
use super::shard::ShardId;
use super::stream::Stream;
use super::{Kinesis, Shard};
use crate::clock::Millis;

/// Where reading of a shard begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartingPosition {
    /// The oldest record kept.
    TrimHorizon,
    /// After the newest record.
    Latest,
    /// The first record that arrived at this time, in milliseconds since the epoch, or later.
    AtTimestamp(Millis),
    /// The record of this number.
    AtSequenceNumber(String),
    /// The record after this number.
    AfterSequenceNumber(String),
}

/// What a token stands for.
#[derive(Debug)]
pub(crate) struct IteratorState {
    pub(crate) stream: String,
    pub(crate) shard: ShardId,
    /// How many records of the shard lie before it.
    pub(crate) position: u64,
}

impl Kinesis {
    /// A token for reading `shard` from `start`.
    ///
    /// # Errors
    /// InvalidArgument for a number that is not of this shard or a time that is yet to come, ResourceNotFound.
    pub fn get_shard_iterator(&mut self, stream: &str, shard: ShardId, start: &StartingPosition) -> Result<String, KinesisError> {
        self.tick();
        let position = self.position(stream, shard, start)?;
        let incarnation = self.stream_ref(stream)?.incarnation;
        Ok(self.iterator_token(stream, incarnation, shard, position))
    }

    /// How many records of the shard lie before `start`.
    pub(super) fn position(&mut self, stream: &str, shard: ShardId, start: &StartingPosition) -> Result<u64, KinesisError> {
        let now = self.now();
        let found = self.stream_mut(stream)?;
        if found.status == super::StreamStatus::Creating {
            return Err(self.no_stream(stream));
        }
        let retention = found.retention;
        let canned = found.canned.as_ref().map(|canned| canned.arrived(shard, now));
        let name = found.name.clone();
        let source = found.shard_mut(shard, now)?;
        let trimmed = source.trim(retention, now) as u64;
        let len = canned.unwrap_or(source.records.len() as u64);
        match start {
            StartingPosition::TrimHorizon => Ok(trimmed),
            StartingPosition::Latest => Ok(len),
            StartingPosition::AtTimestamp(at) if *at > now => Err(ErrorKind::InvalidArgument.because(format!(
                "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: {at}, currentTimestampInMillis: {now}"
            ))),
            StartingPosition::AtTimestamp(_) if canned.is_some() => Ok(0),
            StartingPosition::AtTimestamp(at) => Ok((source.place_at(*at) as u64).max(trimmed)),
            StartingPosition::AtSequenceNumber(text) => Ok(place_of(&name, source, text, len)?.saturating_sub(1).max(trimmed)),
            StartingPosition::AfterSequenceNumber(text) => Ok(place_of(&name, source, text, len)?.min(len).max(trimmed)),
        }
    }

    /// Signs a token for the present moment.
    pub(super) fn iterator_token(&self, stream: &str, incarnation: u64, shard: ShardId, position: u64) -> String {
        let claims = format!("{}|{}|{}|{}|{}", incarnation, shard.0, position, self.now(), stream);
        let signature = self.signature(&claims);
        URL_SAFE_NO_PAD.encode(format!("{signature}|{claims}"))
    }

    /// Reads a token back.
    pub(super) fn read_iterator(&self, token: &str) -> Result<IteratorState, KinesisError> {
        let invalid = || ErrorKind::InvalidArgument.because("Invalid ShardIterator.");
        let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
        let (signature, claims) = text.split_once('|').ok_or_else(invalid)?;
        if signature != self.signature(claims) {
            return Err(invalid());
        }
        let mut fields = claims.splitn(5, '|');
        let mut number = || fields.next().and_then(|field| field.parse::<i64>().ok()).ok_or_else(invalid);
        let (incarnation, shard, position, issued) = (number()?, number()?, number()?, number()?);
        let stream = fields.next().ok_or_else(invalid)?.to_owned();
        let age = self.now() - issued;
        if age > self.settings.iterator_ms {
            return Err(ErrorKind::ExpiredIterator.because(format!(
                "Iterator expired. The iterator was created at time {issued} while right now it is {} which is further in the future than the tolerated delay of {} milliseconds.",
                self.now(),
                self.settings.iterator_ms
            )));
        }
        let found = self.stream_ref(&stream)?;
        if found.incarnation != incarnation.unsigned_abs() {
            // The token is of a stream of the same name that is gone.
            return Err(self.no_stream(&stream));
        }
        Ok(IteratorState { stream, shard: ShardId(shard.unsigned_abs()), position: position.unsigned_abs() })
    }

    /// A keyed digest: enough to tell our tokens from others, which is all that is asked here.
    pub(super) fn signature(&self, claims: &str) -> String {
        let mut digest = Md5::new();
        digest.update(self.settings.seed.to_be_bytes());
        digest.update(b"local-aws token");
        digest.update(claims.as_bytes());
        let digest: [u8; 16] = digest.finalize().into();
        format!("{:032x}", u128::from_be_bytes(digest))
    }
}

/// The place of a number which a client says is of this shard.
fn place_of(stream: &str, shard: &Shard, text: &str, len: u64) -> Result<u64, KinesisError> {
    let number = SequenceNumber::parse(text)
        .ok_or_else(|| ErrorKind::InvalidArgument.because(format!("StartingSequenceNumber {text} used in stream {stream} is invalid.")))?;
    // One above the last record is the ending number of a closed shard.
    let ours = number == shard.number(number.place()) && number.place() <= len + 1;
    if ours {
        Ok(number.place())
    } else {
        Err(ErrorKind::InvalidArgument.because(format!(
            "StartingSequenceNumber {text} used on shard {} in stream {stream} is invalid because it did not come from this shard.",
            shard.id
        )))
    }
}

impl Stream {
    /// How many records a shard holds, made-up ones included that have arrived.
    pub(super) fn len_of(&self, shard: &Shard, now: Millis) -> u64 {
        self.canned.as_ref().map_or(shard.records.len() as u64, |canned| canned.arrived(shard.id, now))
    }
}
