//! The frames of an event stream, one at a time and piece by piece, never read ahead of the one that is asked for.
//!
//! What it holds beside a frame's headers is the rest of one piece of the connection: 16 KiB over HTTP/2, at most about 400 KiB over
//! HTTP/1.1. Whether a payload is whole is known only behind its last piece: nothing of it may be used before.

use super::body::TakenBody;
use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::event_stream::Header;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use connector_sdk::Error;

/// Lengths of the whole and of the headers, and their checksum.
const PRELUDE: usize = 12;
/// At the end, over all that is before it.
const CHECKSUM: usize = 4;
/// More than any event of the service: a length beyond it is damage.
const LARGEST_FRAME: usize = 32 << 20;

/// Cuts a body into frames.
pub(super) struct Frames {
    body: TakenBody,
    /// What has been read and belongs to no frame yet.
    rest: Bytes,
    /// The beginning of a frame up to its payload, or of its checksum.
    partial: BytesMut,
    announced: Option<usize>,
    payload: Option<Payload>,
}

/// A payload on its way.
struct Payload {
    left: usize,
    /// Over what has come of the frame.
    sum: crc32fast::Hasher,
}

impl Frames {
    pub(super) fn new(body: TakenBody) -> Self {
        Self { body, rest: Bytes::new(), partial: BytesMut::new(), announced: None, payload: None }
    }

    /// The length of the next frame, once its head is there; none at the end of the stream. Cancel-safe.
    pub(super) async fn announced(&mut self) -> Result<Option<usize>, Error> {
        if self.announced.is_none() {
            if !self.gather(PRELUDE).await? {
                return if self.partial.is_empty() { Ok(None) } else { Err(cut()) };
            }
            self.announced = Some(frame_length(&self.partial)?);
        }
        Ok(self.announced)
    }

    /// The headers of the announced frame, and the length of its payload. Cancel-safe.
    pub(super) async fn headers(&mut self) -> Result<(Vec<Header>, usize), Error> {
        let Some(length) = self.announced().await? else { return Err(cut()) };
        let headers = (&self.partial[4..8]).get_u32() as usize;
        let Some(left) = length.checked_sub(PRELUDE + headers + CHECKSUM) else { return Err(damaged()) };
        if !self.gather(PRELUDE + headers).await? {
            return Err(cut());
        }
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.partial);
        let headers = read_headers(&self.partial)?;
        self.partial.clear();
        self.payload = Some(Payload { left, sum });
        Ok((headers, left))
    }

    /// The next piece of the payload whose headers were read; none when it is over, and the frame was whole. Cancel-safe.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(payload) = &mut self.payload else { return Ok(None) };
        if payload.left > 0 {
            if self.rest.is_empty() {
                self.rest = self.body.piece().await?.ok_or_else(cut)?;
            }
            let piece = self.rest.split_to(payload.left.min(self.rest.len()));
            payload.left -= piece.len();
            payload.sum.update(&piece);
            return Ok(Some(piece));
        }
        if !self.gather(CHECKSUM).await? {
            return Err(cut());
        }
        let said = self.partial.get_u32();
        self.announced = None;
        let sum = self.payload.take().map(|payload| payload.sum.finalize());
        if sum == Some(said) { Ok(None) } else { Err(damaged()) }
    }

    /// Moves what comes into the beginning of the frame, up to `length` of it; false when the stream ends before. Cancel-safe.
    async fn gather(&mut self, length: usize) -> Result<bool, Error> {
        loop {
            let missing = length.saturating_sub(self.partial.len()).min(self.rest.len());
            self.partial.extend_from_slice(&self.rest.split_to(missing));
            if self.partial.len() >= length {
                return Ok(true);
            }
            match self.body.piece().await? {
                Some(piece) => self.rest = piece,
                None => return Ok(false),
            }
        }
    }
}

fn frame_length(mut prelude: &[u8]) -> Result<usize, Error> {
    let sum = crc32fast::hash(&prelude[..8]);
    let length = prelude.get_u32() as usize;
    prelude.advance(4);
    if prelude.get_u32() != sum || !(PRELUDE + CHECKSUM..=LARGEST_FRAME).contains(&length) {
        return Err(Error::transient("the head of a frame of the subscription is damaged"));
    }
    Ok(length)
}

/// Reads the headers behind a prelude. (The reader of the AWS crates wants a whole frame: so it is given one of the headers alone.)
fn read_headers(beginning: &[u8]) -> Result<Vec<Header>, Error> {
    let mut alone = BytesMut::with_capacity(beginning.len() + CHECKSUM);
    alone.put_u32(frame_size(beginning.len() + CHECKSUM));
    alone.put_slice(&beginning[4..8]);
    alone.put_u32(crc32fast::hash(&alone));
    alone.put_slice(&beginning[PRELUDE..]);
    alone.put_u32(crc32fast::hash(&alone));
    let read = read_message_from(alone).map_err(|error| Error::transient(format!("a frame of the subscription is damaged: {error}")))?;
    Ok(read.headers().to_vec())
}

fn frame_size(size: usize) -> u32 {
    u32::try_from(size).expect("a frame's parts are below the largest frame")
}

fn damaged() -> Error {
    Error::transient("a frame of the subscription is damaged")
}

fn cut() -> Error {
    Error::transient("the subscription was cut in the middle of a frame")
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
