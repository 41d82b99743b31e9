//! Sequence numbers: 56 decimal digits, shaped like the service's.
//!
//! Promises that numbers of one shard strictly increase, and that a child's are above all of its parents'. A number tells its shard and its place,
//! so a position needs no search. Never reveals time or place to clients: to them it is an opaque number.
//!
//! Digits: `49`, shard generation (14), shard index (6), place in the shard (18), a filler (16) that varies as the service's low digits do.

use std::fmt;

const DIGITS: usize = 56;
const GENERATION: std::ops::Range<usize> = 2..16;
const SHARD: std::ops::Range<usize> = 16..22;
const PLACE: std::ops::Range<usize> = 22..40;
const FILLER: std::ops::Range<usize> = 40..56;

/// A sequence number as its 56 ASCII digits; text order is numeric order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber([u8; DIGITS]);

impl SequenceNumber {
    /// The number at `place` of a shard: 0 is the shard's start, records count from 1.
    #[must_use]
    pub fn new(generation: u64, shard: u64, place: u64) -> Self {
        let mut digits = [b'0'; DIGITS];
        digits[0] = b'4';
        digits[1] = b'9';
        write_digits(&mut digits[GENERATION], generation);
        write_digits(&mut digits[SHARD], shard);
        write_digits(&mut digits[PLACE], place);
        // A multiplication by a large odd number is a cheap, repeatable mix.
        let mixed = place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ generation;
        write_digits(&mut digits[FILLER], mixed % 10_000_000_000_000_000);
        Self(digits)
    }

    /// Reads what a client sent; `None` unless it is 56 digits that begin as ours do.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; DIGITS] = text.as_bytes().try_into().ok()?;
        (digits.starts_with(b"49") && digits.iter().all(u8::is_ascii_digit)).then_some(Self(digits))
    }

    /// The digits as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a sequence number holds ASCII digits only")
    }

    /// The digits as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; DIGITS] {
        &self.0
    }

    /// The shard's generation, which grows from parent to child.
    #[must_use]
    pub fn generation(&self) -> u64 {
        read_digits(&self.0[GENERATION])
    }

    /// The index of the shard in its stream.
    #[must_use]
    pub fn shard(&self) -> u64 {
        read_digits(&self.0[SHARD])
    }

    /// The place in the shard, records counting from 1.
    #[must_use]
    pub fn place(&self) -> u64 {
        read_digits(&self.0[PLACE])
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn write_digits(into: &mut [u8], mut value: u64) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).expect("a remainder of ten is one digit");
        value /= 10;
    }
}

fn read_digits(from: &[u8]) -> u64 {
    from.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
}
