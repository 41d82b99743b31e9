//! Compression of an entry's payload, in the forms Pulsar's readers expect: raw LZ4 block, zlib stream, zstd frame, raw snappy block.
//!
//! A [`Compressor`] keeps its tables and output between calls. It never grows a payload: what does not shrink is sent as it is.

use bytes::Bytes;
use flate2::{Compress, Compression as Level, Decompress, FlushCompress, FlushDecompress};
use serde::{Deserialize, Serialize};

/// How payloads are compressed; names as in `producerConfig.compressionType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Compression {
    /// Payloads are sent as they are.
    None,
    /// A raw LZ4 block.
    #[default]
    Lz4,
    /// A zlib stream.
    Zlib,
    /// A zstd frame, level 3.
    Zstd,
    /// A raw snappy block.
    Snappy,
}

impl Compression {
    /// The number in `MessageMetadata.compression`.
    pub fn number(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
            Self::Zlib => 2,
            Self::Zstd => 3,
            Self::Snappy => 4,
        }
    }

    /// The type with this number.
    pub fn from_number(number: i32) -> Option<Self> {
        [Self::None, Self::Lz4, Self::Zlib, Self::Zstd, Self::Snappy].into_iter().find(|kind| kind.number() == number)
    }
}

/// Compresses one payload after the other.
pub struct Compressor {
    kind: Compression,
    tables: Tables,
    output: Vec<u8>,
}

enum Tables {
    None,
    Lz4(Box<lz4_flex::block::CompressTable>),
    Zlib(Box<Compress>),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
    Snappy(Box<snap::raw::Encoder>),
}

impl Compressor {
    /// A compressor of this kind.
    ///
    /// # Errors
    /// When the compression library cannot be set up (out of memory).
    pub fn new(kind: Compression) -> std::io::Result<Self> {
        let tables = match kind {
            Compression::None => Tables::None,
            Compression::Lz4 => Tables::Lz4(Box::default()),
            Compression::Zlib => Tables::Zlib(Box::new(Compress::new(Level::default(), true))),
            Compression::Zstd => Tables::Zstd(Box::new(zstd::bulk::Compressor::new(3)?)),
            Compression::Snappy => Tables::Snappy(Box::new(snap::raw::Encoder::new())),
        };
        Ok(Self { kind, tables, output: Vec::new() })
    }

    /// The payload compressed, with its kind; the payload itself with [`Compression::None`] when it would not shrink.
    pub fn compress<'a>(&'a mut self, payload: &'a [u8]) -> (Compression, &'a [u8]) {
        let written = match &mut self.tables {
            Tables::None => None,
            Tables::Lz4(table) => {
                let room = lz4_flex::block::get_maximum_output_size(payload.len());
                grow(&mut self.output, room);
                lz4_flex::block::compress_into_with_table(payload, &mut self.output, table).ok()
            }
            Tables::Zlib(stream) => {
                // Room for the payload alone is enough: what needs more did not shrink and is not wanted.
                grow(&mut self.output, payload.len());
                stream.reset();
                match stream.compress(payload, &mut self.output[..payload.len()], FlushCompress::Finish) {
                    Ok(flate2::Status::StreamEnd) => usize::try_from(stream.total_out()).ok(),
                    _ => None,
                }
            }
            Tables::Zstd(compressor) => {
                grow(&mut self.output, zstd::zstd_safe::compress_bound(payload.len()));
                compressor.compress_to_buffer(payload, self.output.as_mut_slice()).ok()
            }
            Tables::Snappy(encoder) => {
                grow(&mut self.output, snap::raw::max_compress_len(payload.len()));
                encoder.compress(payload, &mut self.output).ok()
            }
        };
        match written {
            Some(size) if size < payload.len() => (self.kind, &self.output[..size]),
            _ => (Compression::None, payload),
        }
    }
}

/// Makes the scratch buffer at least `size` long; it keeps its length so that it is zeroed once only.
fn grow(buffer: &mut Vec<u8>, size: usize) {
    if buffer.len() < size {
        buffer.resize(size, 0);
    }
}

/// What a byte of this kind can become at most: nothing is reserved for a payload that claims more.
fn most_expansion(kind: Compression) -> usize {
    match kind {
        Compression::None => 1,
        // A match grows by 255 with each byte of its length.
        Compression::Lz4 => 255,
        // A match of 258 bytes is two bits.
        Compression::Zlib => 1_032,
        // A block of 128 KiB is one byte, repeated, behind a head of three.
        Compression::Zstd => 32_768,
        // A copy of 64 bytes is three.
        Compression::Snappy => 22,
    }
}

/// Restores a payload of exactly `size` bytes.
///
/// # Errors
/// When the bytes are not `kind`, or not `size` bytes come out.
pub fn decompress(kind: Compression, payload: &Bytes, size: usize) -> Result<Bytes, &'static str> {
    if size > payload.len().saturating_mul(most_expansion(kind)) {
        return Err("the payload claims to be larger than it can be");
    }
    let mut output = match kind {
        Compression::None => return if payload.len() == size { Ok(payload.clone()) } else { Err("the payload has another size") },
        _ => vec![0; size],
    };
    let restored = match kind {
        Compression::None => payload.len(),
        Compression::Lz4 => lz4_flex::block::decompress_into(payload, &mut output).map_err(|_| "the LZ4 block is damaged")?,
        Compression::Zlib => {
            // Java's writer never ends its streams: exactly `size` bytes are asked for, not the end of the stream.
            let mut stream = Decompress::new(true);
            stream.decompress(payload, &mut output, FlushDecompress::Sync).map_err(|_| "the zlib stream is damaged")?;
            usize::try_from(stream.total_out()).unwrap_or(usize::MAX)
        }
        Compression::Zstd => zstd::bulk::decompress_to_buffer(payload, &mut output).map_err(|_| "the zstd frame is damaged")?,
        Compression::Snappy => snap::raw::Decoder::new().decompress(payload, &mut output).map_err(|_| "the snappy block is damaged")?,
    };
    if restored == size { Ok(output.into()) } else { Err("the payload has another size") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = Compression> {
        prop::sample::select(vec![Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy])
    }

    proptest! {
        #[test]
        fn any_payload_comes_back_bit_for_bit_and_never_grows(
            kind in kinds(),
            payloads in prop::collection::vec(prop::collection::vec(prop_oneof![4 => 0u8..4, 1 => any::<u8>()], 0..3_000), 1..4),
        ) {
            // One compressor for several payloads: what it keeps between calls must not leak into the next.
            let mut compressor = Compressor::new(kind).unwrap();
            for payload in payloads {
                let (used, packed) = compressor.compress(&payload);
                prop_assert!(packed.len() <= payload.len());
                let packed = Bytes::copy_from_slice(packed);
                prop_assert_eq!(&decompress(used, &packed, payload.len()).unwrap()[..], &payload[..]);
            }
        }
    }

    #[test]
    fn repetitive_payloads_shrink_with_every_kind() {
        let payload = b"the same again ".repeat(1_000);
        for kind in [Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy] {
            let mut compressor = Compressor::new(kind).unwrap();
            let (used, packed) = compressor.compress(&payload);
            assert_eq!(used, kind);
            assert!(packed.len() * 5 < payload.len(), "{kind:?} left {} bytes", packed.len());
        }
    }

    #[test]
    fn a_zlib_stream_that_was_only_flushed_is_read_as_java_writes_it() {
        let payload = b"hello hello hello hello".to_vec();
        let mut stream = Compress::new(Level::default(), true);
        let mut packed = vec![0; 200];
        stream.compress(&payload, &mut packed, FlushCompress::Sync).unwrap();
        packed.truncate(usize::try_from(stream.total_out()).unwrap());
        assert_eq!(&decompress(Compression::Zlib, &packed.into(), payload.len()).unwrap()[..], &payload[..]);
    }

    #[test]
    fn no_payload_expands_by_more_than_is_allowed_for() {
        for kind in [Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy] {
            for size in [1 << 10, 1 << 17, 8 << 20] {
                let payload = vec![0; size];
                let mut compressor = Compressor::new(kind).unwrap();
                let (used, packed) = compressor.compress(&payload);
                assert_eq!(used, kind);
                let packed = Bytes::copy_from_slice(packed);
                assert!(decompress(kind, &packed, size).unwrap().iter().all(|byte| *byte == 0), "{kind:?}");
            }
        }
    }

    #[test]
    fn a_claim_beyond_what_the_bytes_can_become_is_refused_before_memory_is_reserved() {
        let few = Bytes::from_static(&[0; 10]);
        for kind in [Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy] {
            // More than a machine has: reserving it would end the process.
            assert_eq!(decompress(kind, &few, 1 << 60), Err("the payload claims to be larger than it can be"), "{kind:?}");
        }
    }

    #[test]
    fn damaged_payloads_are_refused() {
        for kind in [Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy] {
            assert!(decompress(kind, &Bytes::from_static(&[0xff; 40]), 100).is_err(), "{kind:?}");
        }
    }
}
