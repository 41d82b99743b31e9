//! Any commands in any order, told to a machine with producers and consumers open.
#![no_main]

#[allow(dead_code, reason = "other targets check the rest")]
#[path = "../../connectors/pulsar/tests/anything/checks.rs"]
mod checks;
#[allow(dead_code, reason = "the seeds are made by the rest")]
#[path = "../../connectors/pulsar/tests/anything/play.rs"]
mod play;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(play::play(data)));
