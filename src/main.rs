//! The binary: prepares the process and hands over to its face, the command line.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A record is a handful of small allocations that one thread makes and another frees; the system's allocator takes a third of all CPU
/// time for that.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // One TLS provider for the AWS clients, the Pulsar client and HTTP; without a choice the first of them would panic.
    rustls::crypto::ring::default_provider().install_default().expect("nothing has chosen a TLS provider before main");
    pulsar_connect::cli::run(std::env::args_os())
}
