//! The binary: prepares the process and hands over to its face, the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS provider for the AWS clients, the Pulsar client and HTTP; without a choice the first of them would panic.
    rustls::crypto::ring::default_provider().install_default().expect("nothing has chosen a TLS provider before main");
    pulsar_connect::cli::run(std::env::args_os())
}
