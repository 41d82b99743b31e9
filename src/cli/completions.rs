//! `pulsar-connect completions SHELL`.

use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Args)]
pub(super) struct Arguments {
    /// Which shell
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments, command: &mut Command) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, command, "pulsar-connect", &mut script);
    super::print(&String::from_utf8_lossy(&script))
}
