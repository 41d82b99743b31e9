//! Any bytes, in any cuts, as they come off a socket.
#![no_main]

#[allow(dead_code, reason = "other targets check the rest")]
#[path = "../../connectors/pulsar/tests/anything/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::stream(data));
