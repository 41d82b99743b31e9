//! What has to hold for any bytes that arrive from a network: never a panic, never memory out of proportion to what came, and what
//! is read is written again as the same. The fuzz targets check it, and `anything` with mutations of real frames.

use bytes::{Bytes, BytesMut};
use connector_pulsar::Compression;
use connector_pulsar::wire::compression::decompress;
use connector_pulsar::wire::frame::{Frame, FrameError, decode, encode};
use connector_pulsar::wire::messages::MessageMetadata;
use connector_pulsar::wire::unpack::{inflate, open, unpack};
use prost::Message;

/// Of frames, in bytes.
const LIMIT: usize = 1 << 16;
/// What a byte can become at most: zstd repeats 128 KiB with four.
const EXPANSION: usize = 32_768;

/// A stream of frames: the first byte says how many bytes behind it are sizes of the pieces it comes in.
pub(crate) fn stream(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let (cuts, bytes) = rest.split_at(usize::from(*count % 16).min(rest.len()));
    let whole = read(bytes, &[]);
    assert_eq!(read(bytes, cuts), whole, "what is read depends on how it was cut");
    for Frame { command, entry: behind } in whole.0 {
        let again = encode(&command);
        let frame = decode(&mut BytesMut::from(&again[..]), again.len()).expect("what was written is read").expect("it is whole");
        assert_eq!(frame, Frame { command, entry: Bytes::new() });
        one_entry(behind);
    }
}

/// All frames of a stream that comes in pieces of these sizes, over and over; none: at once. And what ended it.
fn read(bytes: &[u8], cuts: &[u8]) -> (Vec<Frame>, Option<FrameError>) {
    let (mut buffer, mut frames, mut rest) = (BytesMut::new(), Vec::new(), bytes);
    let mut sizes = cuts.iter().map(|cut| usize::from(*cut) + 1).cycle();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(sizes.next().unwrap_or(rest.len()).min(rest.len()));
        buffer.extend_from_slice(piece);
        rest = behind;
        loop {
            match decode(&mut buffer, LIMIT) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(buffer.capacity() <= 2 * (LIMIT + bytes.len()), "{} bytes are reserved", buffer.capacity());
    }
    (frames, None)
}

/// An entry as it comes; and the same bytes behind a checksum that fits, with and without a block of the broker's before it, and as a
/// compressed payload of which the first bytes say the size.
pub(crate) fn entry(data: &[u8]) {
    one_entry(Bytes::copy_from_slice(data));
    one_entry(checksummed(data));
    let size = u16::try_from(data.len() % 50).expect("below 50").to_be_bytes();
    let block = &data[..data.len() % 50];
    one_entry([&[0x0e, 0x02, 0, 0][..], &size, block, &checksummed(data)].concat().into());
    let Some((size, payload)) = data.split_first_chunk::<4>() else { return };
    let (size, payload) = (u32::from_be_bytes(*size) as usize, Bytes::copy_from_slice(payload));
    for kind in [Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy] {
        if let Ok(restored) = decompress(kind, &payload, size) {
            assert_eq!(restored.len(), size);
            assert!(size <= payload.len().saturating_mul(EXPANSION), "{size} bytes out of {}", payload.len());
        }
    }
}

fn one_entry(bytes: Bytes) {
    let size = bytes.len();
    let Ok((metadata, payload)) = open(bytes.clone()) else {
        assert!(unpack(bytes).is_err(), "it can be unpacked and not opened");
        return;
    };
    let again = MessageMetadata::decode(&metadata.encode_to_vec()[..]).expect("what was written is read");
    assert_eq!(again, metadata);
    if let Ok(plain) = inflate(&metadata, payload) {
        assert!(plain.len() <= size.saturating_mul(EXPANSION), "{} bytes out of {size}", plain.len());
    }
    let Ok(entry) = unpack(bytes) else { return };
    assert_eq!(entry.records.len(), entry.sequences.len());
    let announced = entry.metadata.num_messages_in_batch.map_or(1, |count| usize::try_from(count).unwrap_or(0));
    assert_eq!(entry.records.len(), announced);
}

/// An entry with these bytes behind its checksum: the size of the metadata, the metadata, the payload.
pub(crate) fn checksummed(body: &[u8]) -> Bytes {
    [&[0x0e, 0x01][..], &crc32c::crc32c(body).to_be_bytes(), body].concat().into()
}
