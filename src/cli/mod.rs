//! The command line for people: parses, calls what does the work, prints, and decides the exit code.
//!
//! Exit codes: 0 done, 1 the configuration is wrong (known without network), 2 the command line is wrong, 3 learnt at run time.

mod broker_flags;
mod completions;
mod connectors;
mod leases;
mod localrun;
mod schema;
mod source_flags;
mod validate;

use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};

/// The configuration is wrong, and that shows without network.
const WRONG_CONFIGURATION: u8 = 1;
/// The command line is wrong.
const WRONG_USAGE: u8 = 2;
/// Something went wrong, or was learnt, at run time.
const FAILED: u8 = 3;

/// Runs Pulsar IO connectors natively, from the configurations Pulsar IO users already have.
#[derive(Parser)]
#[command(name = "pulsar-connect", version, arg_required_else_help = true, infer_long_args = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sources: connectors that bring data into Pulsar
    #[command(subcommand, alias = "source", arg_required_else_help = true)]
    Sources(SourcesCommand),
    /// Checks a source's configuration without network: every problem at once
    Validate(validate::Arguments),
    /// Prints the JSON Schema, or a sample, of a connector's configuration
    Schema(schema::Arguments),
    /// Lists the connectors of this program
    Connectors,
    /// Shows the lease table of a Kinesis source: shards, owners, checkpoints
    Leases(leases::Arguments),
    /// Prints a completion script for a shell
    Completions(completions::Arguments),
}

#[derive(Subcommand)]
enum SourcesCommand {
    /// Runs a source in this process
    #[command(alias = "local-run")]
    Localrun(Box<localrun::Arguments>),
}

/// Runs the command line; `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(source_flags::with_long_names(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to the standard output. Nothing can be said where printing fails.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { WRONG_USAGE } else { 0 });
        }
    };
    let code = match cli.command {
        Command::Sources(SourcesCommand::Localrun(arguments)) => localrun::run(*arguments),
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Connectors => connectors::run(),
        Command::Leases(arguments) => leases::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments, &mut Cli::command()),
    };
    ExitCode::from(code)
}

/// Prints to the standard output; a reader that went away (`| head`) is no failure.
fn print(text: &str) -> u8 {
    match stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) {
        Ok(()) => 0,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => 0,
        Err(error) => complain(&format!("pulsar-connect: cannot print: {error}\n"), FAILED),
    }
}

/// Prints to the standard error and gives back the exit code.
fn complain(text: &str, code: u8) -> u8 {
    // Where even the standard error is closed, the exit code is all that can be said.
    drop(stderr().write_all(text.as_bytes()));
    code
}

/// An error at run time as a person reads it: what went wrong, then what to do.
fn failure(error: &connector_sdk::Error) -> String {
    let hint = error.hint().map(|hint| format!("    {hint}\n")).unwrap_or_default();
    format!("pulsar-connect: {}\n{hint}", error.message())
}

/// Few threads: the work of an instance is a handful of tasks, and more threads cost memory and caches.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> std::io::Result<Runtime> {
    const MOST_THREADS: usize = 4;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Builder::new_multi_thread().worker_threads(cores.clamp(1, MOST_THREADS)).thread_name("pulsar-connect").enable_all().build()
}

/// The environment of the process.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
