//! Which partition a record goes to: by its key as Java's client does, by its number, or round robin.
//!
//! The same key always goes to the same partition of the same number of partitions. Time decides only for records that have
//! neither a key nor a number.

use connector_sdk::Record;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How keys are hashed. Java's sources publish with Murmur3; the client library's own default is Java's string hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum HashingScheme {
    /// MurmurHash3 x86_32 of the UTF-8 bytes, seed 0.
    #[default]
    #[serde(rename = "Murmur3_32Hash")]
    Murmur3_32,
    /// `String.hashCode()` of Java.
    #[serde(rename = "JavaStringHash")]
    JavaString,
}

impl HashingScheme {
    /// Its name in configurations and on lease rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Murmur3_32 => "Murmur3_32Hash",
            Self::JavaString => "JavaStringHash",
        }
    }

    /// The key's hash, 0 to 2^31 - 1.
    pub fn hash(self, key: &str) -> u32 {
        let full = match self {
            Self::Murmur3_32 => murmur3_32(key.as_bytes()),
            Self::JavaString => key.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit))),
        };
        full & 0x7FFF_FFFF
    }
}

/// Chooses partitions for one topic.
#[derive(Debug)]
pub struct Router {
    scheme: HashingScheme,
    start: Instant,
    first: u64,
    window: Option<Duration>,
    counter: u64,
}

impl Router {
    /// A router whose round robin begins at `first` and stays on a partition for `window`, or moves on at each record without one.
    pub fn new(scheme: HashingScheme, window: Option<Duration>, first: u64, now: Instant) -> Self {
        Self { scheme, start: now, first, window, counter: 0 }
    }

    /// The partition of `record` among `partitions`, which is at least 1.
    pub fn route(&mut self, record: &Record, partitions: u32, now: Instant) -> u32 {
        let number = match (&record.key, record.sequence) {
            (Some(key), _) => u64::from(self.scheme.hash(key)),
            (None, Some(sequence)) => by_sequence(sequence),
            (None, None) => self.first.wrapping_add(self.turn(now)),
        };
        u32::try_from(number % u64::from(partitions.max(1))).expect("a remainder is smaller than its u32 divisor")
    }

    fn turn(&mut self, now: Instant) -> u64 {
        match self.window {
            Some(window) => {
                let passed = now.saturating_duration_since(self.start).as_millis();
                u64::try_from(passed / window.as_millis().max(1)).unwrap_or(u64::MAX)
            }
            None => {
                self.counter = self.counter.wrapping_add(1);
                self.counter - 1
            }
        }
    }
}

/// A record sequence is `ordinal << 24 | index`: taken as it is, its remainder by 2, 4, 8 ... would be the index's alone, and
/// records that were not aggregated would all go to one partition. So ordinal and index are added.
fn by_sequence(sequence: u64) -> u64 {
    (sequence >> 24) + (sequence & 0xFF_FFFF)
}

fn murmur3_32(bytes: &[u8]) -> u32 {
    let mix = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (blocks, tail) = bytes.as_chunks::<4>();
    let mut hash = 0u32;
    for block in blocks {
        hash = (hash ^ mix(u32::from_le_bytes(*block))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        hash ^= mix(u32::from_le_bytes(last));
    }
    hash ^= u32::try_from(bytes.len() & 0xFFFF_FFFF).unwrap_or_default();
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key, Java string hash with its remainders by 4 and 7, Murmur3 with the same.
    type Row = (&'static str, u32, [u32; 2], u32, [u32; 2]);

    /// From Java's client.
    const TABLE: [Row; 17] = [
        ("", 0, [0, 0], 0, [0, 0]),
        ("a", 97, [1, 6], 1_009_084_850, [2, 4]),
        ("k1", 3_366, [2, 6], 2_110_152_746, [2, 2]),
        ("key1", 3_288_498, [2, 3], 462_881_061, [1, 6]),
        ("key02", 101_943_457, [1, 0], 751_761_803, [3, 2]),
        ("hello", 99_162_322, [2, 0], 613_153_351, [3, 6]),
        ("keykeykey2", 42_978_643, [3, 1], 304_171_170, [2, 2]),
        ("keykeykeykeykey1", 434_058_482, [2, 4], 19_350_382, [2, 2]),
        ("polygenelubricants", 0, [0, 0], 1_101_602_400, [0, 3]),
        ("partition-0", 1_254_098_445, [1, 5], 1_821_929_577, [1, 6]),
        ("customer:4711", 2_115_208_703, [3, 6], 731_472_163, [3, 2]),
        ("ключ", 33_309_882, [2, 4], 442_048_578, [2, 6]),
        ("naïve", 104_710_475, [3, 2], 992_511_445, [1, 2]),
        ("日本語", 25_921_943, [3, 5], 631_534_231, [3, 6]),
        ("😀", 1_772_899, [3, 2], 1_051_995_898, [2, 2]),
        ("AAEC/w==", 1_210_523_014, [2, 1], 1_033_688_062, [2, 1]),
        ("The quick brown fox jumps over the lazy dog", 1_538_055_507, [3, 2], 776_992_547, [3, 2]),
    ];

    #[test]
    fn keys_go_where_java_sends_them() {
        let now = Instant::now();
        for (key, java, java_parts, murmur, murmur_parts) in TABLE {
            assert_eq!(HashingScheme::JavaString.hash(key), java, "{key}");
            assert_eq!(HashingScheme::Murmur3_32.hash(key), murmur, "{key}");
            let record = Record { key: Some(key.into()), sequence: Some(5), ..Record::default() };
            for (partitions, at) in [(4, 0), (7, 1)] {
                assert_eq!(Router::new(HashingScheme::JavaString, None, 3, now).route(&record, partitions, now), java_parts[at], "{key}");
                assert_eq!(Router::new(HashingScheme::Murmur3_32, None, 3, now).route(&record, partitions, now), murmur_parts[at], "{key}");
            }
        }
    }

    #[test]
    fn records_with_a_number_but_no_key_spread_evenly_and_always_alike() {
        let now = Instant::now();
        let mut counts = [0; 4];
        for ordinal in 1..=400u64 {
            let record = Record { sequence: Some(ordinal << 24), ..Record::default() };
            let mut later = Router::new(HashingScheme::Murmur3_32, None, 9, now);
            let at = Router::new(HashingScheme::Murmur3_32, None, 0, now).route(&record, 4, now);
            assert_eq!(later.route(&record, 4, now + Duration::from_secs(9)), at);
            counts[at as usize] += 1;
        }
        assert_eq!(counts, [100; 4]);
    }

    #[test]
    fn round_robin_moves_by_time_with_batching_and_by_record_without() {
        let now = Instant::now();
        let record = Record::default();
        let mut batched = Router::new(HashingScheme::Murmur3_32, Some(Duration::from_millis(100)), 1, now);
        let at = |router: &mut Router, ms| router.route(&record, 3, now + Duration::from_millis(ms));
        assert_eq!([at(&mut batched, 0), at(&mut batched, 99), at(&mut batched, 100), at(&mut batched, 200)], [1, 1, 2, 0]);
        let mut single = Router::new(HashingScheme::Murmur3_32, None, 1, now);
        assert_eq!([at(&mut single, 0), at(&mut single, 0), at(&mut single, 0)], [1, 2, 0]);
    }
}
