//! Any commands in any order, told to a machine with producers and consumers open.
#![no_main]

#[path = "../../connectors/pulsar/tests/anything/checks.rs"]
mod checks;
#[path = "../../connectors/pulsar/tests/anything/play.rs"]
mod play;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(play::play(data)));
