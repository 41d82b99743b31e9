//! ListShards: filters and pages.
//!
//! Promises that every filter which asks for a moment gives shards that tile the hash space, and that all pages of one listing answer for the same moment.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Kinesis;
use super::error::{ErrorKind, KinesisError};
use super::shard::{Shard, ShardId};
use super::stream::{Stream, StreamStatus};
use crate::clock::Millis;

/// Most shards which a caller may ask for on a page.
const MOST_RESULTS: usize = 10_000;

/// Which shards to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardFilter {
    /// Open now.
    AtLatest,
    /// Open at the horizon.
    AtTrimHorizon,
    /// Open at this time, in milliseconds since the epoch.
    AtTimestamp(Millis),
    /// Everything since the horizon.
    FromTrimHorizon,
    /// Everything since this time, in milliseconds since the epoch.
    FromTimestamp(Millis),
    /// Everything with a higher id.
    AfterShardId(ShardId),
}

/// A first call of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListShardsRequest {
    /// Which shards; absent means all that are remembered.
    pub filter: Option<ShardFilter>,
    /// Only shards with a higher id.
    pub after: Option<ShardId>,
    /// Most shards on a page.
    pub most: Option<usize>,
}

/// A page of shards.
#[derive(Debug)]
pub struct ShardPage<'a> {
    /// The shards by id.
    pub shards: Vec<&'a Shard>,
    /// How to get the next page.
    pub next_token: Option<String>,
}

impl Kinesis {
    /// The first page of a listing.
    ///
    /// # Errors
    /// InvalidArgument for a bad page size or a time that is yet to come, ResourceNotFound.
    pub fn list_shards(&mut self, stream: &str, request: &ListShardsRequest) -> Result<ShardPage<'_>, KinesisError> {
        self.tick();
        let now = self.now();
        if let Some(ShardFilter::AtTimestamp(at) | ShardFilter::FromTimestamp(at)) = request.filter
            && at > now
        {
            return Err(ErrorKind::InvalidArgument.because(format!("Timestamp {at} of the ShardFilter is later than now, {now}")));
        }
        self.shard_page(stream, request, now)
    }

    /// A following page, which its token alone describes; `most` may still be given.
    ///
    /// # Errors
    /// ExpiredNextToken after 5 minutes, InvalidArgument for a token that is not ours.
    pub fn list_shards_next(&mut self, token: &str, most: Option<usize>) -> Result<ShardPage<'_>, KinesisError> {
        self.tick();
        let invalid = || ErrorKind::InvalidArgument.because("NextToken is invalid");
        let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
        let (signature, claims) = text.split_once('|').ok_or_else(invalid)?;
        if signature != self.signature(claims) {
            return Err(invalid());
        }
        let mut fields = claims.splitn(7, '|');
        let mut number = || fields.next().and_then(|field| field.parse::<i64>().ok()).ok_or_else(invalid);
        let (issued, as_of, incarnation, after, kind, argument) = (number()?, number()?, number()?, number()?, number()?, number()?);
        let stream = fields.next().ok_or_else(invalid)?.to_owned();
        if self.now() - issued > self.settings.page_token_ms {
            return Err(ErrorKind::ExpiredNextToken.because("NextToken is expired: begin the listing again"));
        }
        if self.stream_ref(&stream)?.incarnation != incarnation.unsigned_abs() {
            return Err(self.no_stream(&stream));
        }
        let filter = match kind {
            1 => Some(ShardFilter::AtLatest),
            2 => Some(ShardFilter::AtTrimHorizon),
            3 => Some(ShardFilter::AtTimestamp(argument)),
            4 => Some(ShardFilter::FromTrimHorizon),
            5 => Some(ShardFilter::FromTimestamp(argument)),
            _ => None,
        };
        let request = ListShardsRequest { filter, after: Some(ShardId(after.unsigned_abs())), most };
        self.shard_page(&stream, &request, as_of)
    }

    fn shard_page(&self, stream: &str, request: &ListShardsRequest, as_of: Millis) -> Result<ShardPage<'_>, KinesisError> {
        let most = request.most.unwrap_or(usize::MAX).min(self.settings.list_shards_page);
        if most == 0 || request.most.is_some_and(|asked| asked > MOST_RESULTS) {
            return Err(ErrorKind::InvalidArgument.because(format!("MaxResults must be between 1 and {MOST_RESULTS}")));
        }
        let found = self.stream_ref(stream)?;
        if found.status == StreamStatus::Creating {
            return Ok(ShardPage { shards: Vec::new(), next_token: None });
        }
        let mut listed = found
            .shards
            .iter()
            .filter(|shard| request.after.is_none_or(|after| shard.id > after) && found.lists(shard, request.filter, as_of));
        let shards: Vec<&Shard> = listed.by_ref().take(most).collect();
        let next_token = match (shards.last(), listed.next()) {
            (Some(last), Some(_)) => Some(self.page_token(found, request.filter, last.id, as_of)),
            _ => None,
        };
        Ok(ShardPage { shards, next_token })
    }

    fn page_token(&self, stream: &Stream, filter: Option<ShardFilter>, after: ShardId, as_of: Millis) -> String {
        let (kind, argument) = match filter {
            // The lower bound of an id is carried by the token's own place.
            None | Some(ShardFilter::AfterShardId(_)) => (0, 0),
            Some(ShardFilter::AtLatest) => (1, 0),
            Some(ShardFilter::AtTrimHorizon) => (2, 0),
            Some(ShardFilter::AtTimestamp(at)) => (3, at),
            Some(ShardFilter::FromTrimHorizon) => (4, 0),
            Some(ShardFilter::FromTimestamp(at)) => (5, at),
        };
        let claims = format!("{}|{as_of}|{}|{}|{kind}|{argument}|{}", self.now(), stream.incarnation, after.0, stream.name);
        URL_SAFE_NO_PAD.encode(format!("{}|{claims}", self.signature(&claims)))
    }
}

impl Stream {
    fn lists(&self, shard: &Shard, filter: Option<ShardFilter>, now: Millis) -> bool {
        if self.is_forgotten(shard, now) || shard.opened_at > now {
            return false;
        }
        let open_at = |at: Millis| shard.opened_at <= at && shard.closed_at.is_none_or(|closed| closed > at);
        let since = |at: Millis| shard.closed_at.is_none_or(|closed| closed >= at);
        match filter {
            None => true,
            Some(ShardFilter::AtLatest) => open_at(now),
            Some(ShardFilter::AtTrimHorizon) => open_at(self.horizon(now)),
            Some(ShardFilter::AtTimestamp(at)) => open_at(at.max(self.horizon(now))),
            Some(ShardFilter::FromTrimHorizon) => since(self.horizon(now)),
            Some(ShardFilter::FromTimestamp(at)) => since(at.max(self.horizon(now))),
            Some(ShardFilter::AfterShardId(after)) => shard.id > after,
        }
    }
}
