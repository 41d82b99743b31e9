//! Frames: a length, a command, and for SEND and MESSAGE a checksummed entry behind it.
//!
//! Decoding takes whole frames off the front of a buffer without copying; it never accepts a frame above the limit, so a peer
//! that speaks another protocol cannot make it reserve memory.

use super::messages::BaseCommand;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// What a frame may carry beside `max_message_size`: room for commands and metadata, as both decoders of the protocol have it.
pub const FRAME_PADDING: usize = 10_240;

/// `max_message_size` of a broker that does not say.
pub const DEFAULT_MAX_MESSAGE_SIZE: usize = 5_242_880;

/// Marks a CRC32C block.
pub const MAGIC_CHECKSUM: u16 = 0x0e01;

/// Marks a broker entry metadata block.
pub const MAGIC_BROKER_METADATA: u16 = 0x0e02;

/// A frame taken off a connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The command.
    pub command: BaseCommand,
    /// What follows the command: empty, or an entry from its first magic number on.
    pub entry: Bytes,
}

/// What makes a byte stream not the Pulsar protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The announced length cannot be.
    #[error("a frame of {0} bytes was announced, which the protocol does not allow here")]
    Length(usize),
    /// The command does not parse.
    #[error("a command could not be decoded: {0}")]
    Command(String),
    /// The entry does not parse.
    #[error("an entry could not be decoded: {0}")]
    Entry(&'static str),
}

/// A command without an entry, as a frame.
pub fn encode(command: &BaseCommand) -> Bytes {
    let size = command.encoded_len();
    let mut out = BytesMut::with_capacity(8 + size);
    out.put_u32(length(4 + size));
    out.put_u32(length(size));
    command.encode(&mut out).expect("a BytesMut grows as needed");
    out.freeze()
}

/// Takes the next whole frame off `buffer`, or `None` when more bytes are needed.
///
/// # Errors
/// When the bytes are not a frame, or one above `limit` bytes: the connection is then useless.
pub fn decode(buffer: &mut BytesMut, limit: usize) -> Result<Option<Frame>, FrameError> {
    let Some((head, _)) = buffer.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let total = u32::from_be_bytes(*head) as usize;
    if total < 4 || total + 4 > limit {
        return Err(FrameError::Length(total));
    }
    if buffer.len() < 4 + total {
        buffer.reserve(4 + total - buffer.len());
        return Ok(None);
    }
    buffer.advance(4);
    let mut frame = buffer.split_to(total).freeze();
    let size = frame.get_u32() as usize;
    if size > frame.len() {
        return Err(FrameError::Length(size));
    }
    let command = BaseCommand::decode(frame.split_to(size)).map_err(|error| FrameError::Command(error.to_string()))?;
    Ok(Some(Frame { command, entry: frame }))
}

/// A length that the protocol writes in 32 bits. Everything sent is bounded far below by `max_message_size`.
pub(crate) fn length(size: usize) -> u32 {
    u32::try_from(size).expect("frames are bounded by max_message_size, which is a positive i32")
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
