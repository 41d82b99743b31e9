//! Any entry: as it comes, and with a checksum that fits, so that what lies behind the checksum is reached.
#![no_main]

#[allow(dead_code, reason = "other targets check the rest")]
#[path = "../../connectors/pulsar/tests/anything/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::entry(data));
