//! Runs seeds of the simulation: many at once, or one with all that happened in it.

use clap::Parser;
use connector_sdk::{Guarantee, Mistake};
use simulation::chaos::chaos;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Simulates workers, brokers and lease tables from seeds.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Threads; each runs one seed at a time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Print what happened.
    #[arg(long)]
    trace: bool,
    /// Simulate ATLEAST_ONCE instead of EFFECTIVELY_ONCE.
    #[arg(long)]
    at_least_once: bool,
    /// Make this mistake, by its name in the code.
    #[arg(long)]
    mistake: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let guarantee = if arguments.at_least_once { Guarantee::AtLeastOnce } else { Guarantee::EffectivelyOnce };
    let mistake = match &arguments.mistake {
        None => None,
        Some(name) => match Mistake::ALL.into_iter().find(|mistake| format!("{mistake:?}") == *name) {
            Some(mistake) => Some(mistake),
            None => {
                let known: Vec<String> = Mistake::ALL.iter().map(|mistake| format!("{mistake:?}")).collect();
                eprintln!("there is no mistake `{name}`; there are {}", known.join(", "));
                return ExitCode::from(2);
            }
        },
    };
    let began = Instant::now();
    let (next, broken, said) = (AtomicU64::new(arguments.seed), Mutex::new(Vec::new()), AtomicU64::new(0));
    let end = arguments.seed.saturating_add(arguments.count);
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let verdict = chaos(seed, guarantee, arguments.trace, mistake);
                    for line in &verdict.trace {
                        println!("{line}");
                    }
                    if !verdict.said.is_empty() {
                        said.fetch_add(1, Ordering::Relaxed);
                    }
                    if !verdict.holds(guarantee) {
                        println!("seed {seed}: {}", verdict.in_words());
                        broken.lock().expect("no thread panics with it").push(seed);
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().expect("no thread panics with it");
    let (seconds, said) = (began.elapsed().as_secs_f64(), said.into_inner());
    println!("{} seeds in {seconds:.1} s: {} broken, {said} stopped and said so", arguments.count, broken.len());
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
