//! `bench`: what a record costs, from the stand-in for Kinesis to a publisher that does nothing and to a real broker; what the producer
//! costs beside others; and how long a record stays in the source.
//!
//! Every measured program is a process of its own, so that its CPU time and memory are its own, and every cell starts it afresh, as a
//! new application on a fresh lease table and a fresh topic. The figures are the kernel's and those of the metrics page; nothing is
//! measured inside the measured program. It never compares runs: for that, run twice, interleaved, on one quiet machine.

mod cell;
mod drain;
mod figures;
mod goals;
mod http;
mod idle;
mod latency;
mod load;
mod machine;
mod markdown;
mod null;
mod process;
mod producer;
mod profile;
mod programs;
mod scripted;
mod source;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use cell::{Cell, Pace};
use figures::Figures;
use mimalloc::MiMalloc;
use programs::Programs;

/// The product's own, so that the source with a null publisher is the product's too.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Records a second, CPU, memory, start and stop of the source, by polling and fan-out, on 1, 4 and 16 shards.
#[derive(Debug, Parser)]
#[command(name = "bench", version, about)]
struct Arguments {
    /// Shorter windows: to see that everything runs, not for figures to keep.
    #[arg(long)]
    quick: bool,
    /// Only cells whose name has all these parts, as in `broker/fan-out` or `null/16`; may be given several times.
    #[arg(long, value_name = "PARTS")]
    only: Vec<String>,
    /// Where the figures go as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A page whose marked part is written anew from the figures.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Prints the names of all cells and ends.
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a source whose records are acknowledged at once: what the cells `null/..` measure.
    Null(null::Arguments),
    /// Counts the instructions of a record on its way through such a source, function by function. Needs `valgrind`.
    Profile(profile::Arguments),
    /// Writes the marked part of a page from the figures of a run before.
    Render {
        /// The figures, in which the goals are compared anew.
        json: PathBuf,
        /// The page.
        page: PathBuf,
    },
}

impl Arguments {
    /// What decides the figures.
    fn shown(&self) -> String {
        let quick = if self.quick { " --quick" } else { "" };
        let only = self.only.iter().map(|parts| format!(" --only {parts}"));
        format!("bench{quick}{}", only.collect::<String>())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Some(Command::Null(null)) => null::run(null),
        Some(Command::Profile(profile)) => profile::run(profile).map(|()| ExitCode::SUCCESS),
        Some(Command::Render { json, page }) => render(json, page),
        None if arguments.list => {
            Cell::all().iter().for_each(|cell| println!("{}", cell.name()));
            Ok(ExitCode::SUCCESS)
        }
        None => measure(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

fn render(json: &std::path::Path, page: &std::path::Path) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(json).with_context(|| format!("cannot read `{}`", json.display()))?;
    let mut figures: Figures =
        serde_json::from_str(&text).with_context(|| format!("`{}` holds no figures of this program", json.display()))?;
    // A goal may have been moved since.
    figures.goals = goals::compare(&figures);
    keep(&figures, json)?;
    markdown::write(&figures, page)?;
    Ok(ExitCode::SUCCESS)
}

fn keep(figures: &Figures, file: &std::path::Path) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(figures)? + "\n";
    std::fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))
}

fn measure(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let cells: Vec<Cell> = Cell::all().into_iter().filter(|cell| cell.is_wanted(&arguments.only)).collect();
    anyhow::ensure!(!cells.is_empty(), "no cell has the parts asked for; `bench --list` prints their names");
    let programs = Programs::find(cells.iter().any(Cell::needs_broker))?;
    let pace = if arguments.quick { Pace::QUICK } else { Pace::FULL };
    let mut figures = Figures::begin(arguments.shown(), &programs, pace);
    if figures.machine.load_before > 0.5 {
        eprintln!("bench: something else is running (load average {:.2}): the figures will be too high", figures.machine.load_before);
    }
    if cells.iter().any(Cell::needs_broker) {
        eprintln!("bench: warming the broker up");
        cell::warm_up(&programs, pace)?;
    }
    for (index, cell) in cells.iter().enumerate() {
        eprintln!("bench: {} ({} of {})", cell.name(), index + 1, cells.len());
        cell.measure(&programs, pace, &mut figures).with_context(|| format!("`{}` could not be measured", cell.name()))?;
    }
    figures.goals = goals::compare(&figures);
    print!("{}", table::text(&figures));
    if let Some(file) = &arguments.json {
        keep(&figures, file)?;
    }
    if let Some(page) = &arguments.markdown {
        markdown::write(&figures, page)?;
    }
    Ok(ExitCode::SUCCESS)
}
