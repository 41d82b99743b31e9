//! The frames of an event stream, one at a time, never read ahead of the one that is asked for.
//!
//! What it holds beside the announced frame is the rest of one piece of the connection: 16 KiB over HTTP/2, at most about 400 KiB
//! over HTTP/1.1.

use super::body::TakenBody;
use aws_smithy_eventstream::frame::read_message_from;
use aws_smithy_types::event_stream::Message;
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
    /// The beginning of a frame that spans pieces.
    partial: BytesMut,
    announced: Option<usize>,
}

impl Frames {
    pub(super) fn new(body: TakenBody) -> Self {
        Self { body, rest: Bytes::new(), partial: BytesMut::new(), announced: None }
    }

    /// The length of the next frame, once its head is there; none at the end of the stream. Cancel-safe.
    pub(super) async fn announced(&mut self) -> Result<Option<usize>, Error> {
        loop {
            if let Some(length) = self.announced {
                return Ok(Some(length));
            }
            if self.partial.is_empty() && self.rest.len() >= PRELUDE {
                self.announced = Some(frame_length(&self.rest[..PRELUDE])?);
                continue;
            }
            self.gather(PRELUDE);
            if self.partial.len() >= PRELUDE {
                self.announced = Some(frame_length(&self.partial[..PRELUDE])?);
                continue;
            }
            match self.body.piece().await? {
                Some(piece) => self.rest = piece,
                None if self.partial.is_empty() => return Ok(None),
                None => return Err(cut()),
            }
        }
    }

    /// The announced frame. Cancel-safe.
    pub(super) async fn frame(&mut self) -> Result<Message, Error> {
        let Some(length) = self.announced().await? else { return Err(cut()) };
        let whole = if self.partial.is_empty() && self.rest.len() >= length {
            self.rest.split_to(length)
        } else {
            self.partial.reserve(length.saturating_sub(self.partial.len()));
            loop {
                self.gather(length);
                if self.partial.len() == length {
                    break;
                }
                match self.body.piece().await? {
                    Some(piece) => self.rest = piece,
                    None => return Err(cut()),
                }
            }
            std::mem::take(&mut self.partial).freeze()
        };
        self.announced = None;
        message(&whole)
    }

    /// Moves what is there into the beginning of the frame, up to `length` of it.
    fn gather(&mut self, length: usize) {
        let missing = length.saturating_sub(self.partial.len()).min(self.rest.len());
        self.partial.extend_from_slice(&self.rest.split_to(missing));
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

/// Checks a frame and reads its headers; the payload stays where it is. (The reader of the AWS crates would copy it: so it is given a
/// frame of the headers alone.)
fn message(whole: &Bytes) -> Result<Message, Error> {
    let damaged = || Error::transient("a frame of the subscription is damaged");
    let (body, mut sum) = whole.split_at(whole.len() - CHECKSUM);
    if crc32fast::hash(body) != sum.get_u32() {
        return Err(damaged());
    }
    let headers_length = (&whole[4..8]).get_u32();
    let headers_end = PRELUDE + headers_length as usize;
    let headers = body.get(PRELUDE..headers_end).ok_or_else(damaged)?;
    let mut alone = BytesMut::with_capacity(headers_end + CHECKSUM);
    alone.put_u32(frame_size(headers_end + CHECKSUM));
    alone.put_u32(headers_length);
    alone.put_u32(crc32fast::hash(&alone));
    alone.put_slice(headers);
    alone.put_u32(crc32fast::hash(&alone));
    let read = read_message_from(alone).map_err(|error| Error::transient(format!("a frame of the subscription is damaged: {error}")))?;
    Ok(Message::new_from_parts(read.headers().to_vec(), whole.slice(headers_end..body.len())))
}

fn frame_size(size: usize) -> u32 {
    u32::try_from(size).expect("a frame's parts are below the largest frame")
}

fn cut() -> Error {
    Error::transient("the subscription was cut in the middle of a frame")
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
