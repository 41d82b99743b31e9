//! The hash space 0..2^128-1 and the way of a partition key into it.

use md5::{Digest, Md5};

/// An inclusive range of hash keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashRange {
    /// The lowest hash key of the range.
    pub start: u128,
    /// The highest hash key of the range.
    pub end: u128,
}

impl HashRange {
    /// The whole hash space.
    pub const ALL: Self = Self { start: 0, end: u128::MAX };

    /// Whether `hash` lies in the range.
    #[must_use]
    pub fn contains(&self, hash: u128) -> bool {
        (self.start..=self.end).contains(&hash)
    }
}

/// MD5 of the partition key as a big-endian number: where the service puts a record without an explicit hash key.
#[must_use]
pub fn hash_of(partition_key: &str) -> u128 {
    let digest: [u8; 16] = Md5::digest(partition_key.as_bytes()).into();
    u128::from_be_bytes(digest)
}

/// The first hash key of the `index`-th of `count` even ranges (`index < count`), as the service cuts them: the last range takes the rest.
#[must_use]
pub fn even_start(index: u128, count: u128) -> u128 {
    if index == 0 || count < 2 {
        return 0;
    }
    // 2^128 itself does not fit: its quotient is that of 2^128-1, plus one when nothing would be left over.
    let step = u128::MAX / count + u128::from(u128::MAX % count == count - 1);
    step * index
}
