//! What reads the network, fed with real frames that are cut, flipped, spliced and given other lengths. `make fuzz` does the same
//! without bounds; what it finds becomes a test by its name.

mod checks;
mod golden;
mod play;

use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Debug, Clone)]
enum Mutation {
    /// Everything behind is gone.
    Cut(Index),
    Flip(Index, u8),
    /// Four bytes are these, as lengths are.
    Length(Index, u32),
    /// A varint or a byte at its end.
    Ends(Index, u8),
    /// From here on it goes on as another from there on.
    Splice(Index, Index, Index),
    /// So many bytes are missing.
    Remove(Index, u8),
    /// So many bytes come twice.
    Again(Index, u8),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let at = any::<Index>;
    let lengths = prop_oneof![prop::sample::select(vec![0, 1, 4, 0x7fff_ffff, 0x8000_0000, u32::MAX]), any::<u32>(), 0u32..300];
    let mutation = prop_oneof![
        1 => at().prop_map(Mutation::Cut),
        4 => (at(), 1u8..).prop_map(|(at, with)| Mutation::Flip(at, with)),
        2 => (at(), lengths).prop_map(|(at, length)| Mutation::Length(at, length)),
        2 => (at(), 1u8..10).prop_map(|(at, count)| Mutation::Ends(at, count)),
        2 => (at(), at(), at()).prop_map(|(at, other, from)| Mutation::Splice(at, other, from)),
        1 => (at(), 1u8..20).prop_map(|(at, count)| Mutation::Remove(at, count)),
        1 => (at(), 1u8..).prop_map(|(at, count)| Mutation::Again(at, count)),
    ];
    prop::collection::vec(mutation, 0..6)
}

fn mutated(seeds: &[Vec<u8>], seed: Index, mutations: Vec<Mutation>) -> Vec<u8> {
    let mut bytes = seed.get(seeds).clone();
    for mutation in mutations {
        if bytes.is_empty() {
            break;
        }
        let size = bytes.len();
        let end = |from: usize, count: u8| (from + usize::from(count)).min(size);
        match mutation {
            Mutation::Cut(at) => bytes.truncate(at.index(size)),
            Mutation::Flip(at, with) => bytes[at.index(size)] ^= with,
            Mutation::Length(at, length) => {
                let at = at.index(size);
                let end = end(at, 4);
                bytes[at..end].copy_from_slice(&length.to_be_bytes()[..end - at]);
            }
            Mutation::Ends(at, count) => {
                let at = at.index(size);
                let end = end(at, count);
                bytes[at..end].fill(0xff);
                bytes[end - 1] = 0x01;
            }
            Mutation::Splice(at, other, from) => {
                let other = other.get(seeds);
                bytes.truncate(at.index(size));
                bytes.extend_from_slice(&other[from.index(other.len())..]);
            }
            Mutation::Remove(at, count) => {
                let at = at.index(size);
                bytes.drain(at..end(at, count));
            }
            Mutation::Again(at, count) => {
                let at = at.index(size);
                let twice = bytes[at..end(at, count)].to_vec();
                bytes.splice(at..at, twice);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_stream_of_frames_is_read_or_refused(seed: Index, mutations in mutations()) {
        checks::stream(&mutated(&golden::streams(), seed, mutations));
    }

    #[test]
    fn any_entry_is_read_or_refused(seed: Index, mutations in mutations()) {
        checks::entry(&mutated(&golden::entries(), seed, mutations));
    }

    #[test]
    fn any_commands_leave_a_machine_that_resolves_each_record_once(choice: u8, seed: Index, mutations in mutations()) {
        let mut script = mutated(&golden::scripts(), seed, mutations);
        if let Some(first) = script.first_mut() {
            *first = choice;
        }
        play::play(&script);
    }
}

/// The seeds are what they are meant to be: else mutations of them prove little.
#[test]
fn the_seeds_are_read_whole() {
    use bytes::BytesMut;
    use connector_pulsar::wire::frame::decode;
    use connector_pulsar::wire::unpack::{open, unpack};
    let mut entries = 0;
    for stream in golden::streams() {
        let mut bytes = BytesMut::from(&stream[1 + usize::from(stream[0])..]);
        while let Some(frame) = decode(&mut bytes, 1 << 16).expect("it is a frame") {
            if !frame.entry.is_empty() {
                // Of chunks the payload is a part of what is compressed.
                let whole = open(frame.entry.clone()).expect("it opens").0.uuid.is_none();
                assert!(!whole || unpack(frame.entry).is_ok());
                entries += 1;
            }
        }
        assert!(bytes.is_empty());
        checks::stream(&stream);
    }
    assert!(entries >= 30, "{entries} entries");
    golden::entries().iter().for_each(|entry| checks::entry(entry));
    let mut reached = [0; 5];
    for script in golden::scripts() {
        let facts = play::play(&script);
        let done = [&facts.received_messages, &facts.unusable_entries, &facts.receipts, &facts.reopens, &facts.entries];
        reached.iter_mut().zip(done).for_each(|(sum, fact)| *sum += fact.get());
    }
    assert!(reached.iter().all(|sum| *sum > 0), "{reached:?}");
}
