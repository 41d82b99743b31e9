//! Random runs of fixed seeds, and of a base that is new each time and printed.

use connector_sdk::Guarantee;
use simulation::chaos::chaos;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seeds that are always run.
const FIXED: u64 = 3_000;
/// Seeds of the new base.
const NEW: u64 = 1_000;

fn each(seeds: impl IntoIterator<Item = u64>, guarantee: Guarantee) {
    let seeds: Vec<u64> = seeds.into_iter().collect();
    let next = AtomicU64::new(0);
    let broken: Vec<String> = std::thread::scope(|scope| {
        let run = || {
            let mut broken = Vec::new();
            while let Some(seed) = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok().and_then(|at| seeds.get(at)) {
                let verdict = chaos(*seed, guarantee, false, None);
                if !verdict.holds(guarantee) {
                    broken.push(format!("seed {seed}: {}", verdict.in_words()));
                }
            }
            broken
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(run)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(broken.is_empty(), "`cargo run -p simulation -- --seed N --trace` shows what happened:\n{}", broken.join("\n"));
}

fn new_base() -> u64 {
    let base = u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()) * 1_000;
    println!("seeds from {base}");
    base
}

#[test]
fn effectively_once_loses_and_doubles_nothing() {
    each(1..=FIXED, Guarantee::EffectivelyOnce);
}

#[test]
fn effectively_once_loses_and_doubles_nothing_with_new_seeds() {
    let base = new_base();
    each(base..base + NEW, Guarantee::EffectivelyOnce);
}

#[test]
fn at_least_once_loses_nothing() {
    each(1..=FIXED, Guarantee::AtLeastOnce);
}
