//! The same seed gives the same run, line for line.

use connector_sdk::Guarantee;
use simulation::chaos::chaos;

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1..=60 {
        for guarantee in [Guarantee::EffectivelyOnce, Guarantee::AtLeastOnce] {
            let (first, second) = (chaos(seed, guarantee, true, None), chaos(seed, guarantee, true, None));
            let differs = first.trace.iter().zip(&second.trace).find(|(one, other)| one != other);
            assert_eq!(differs, None, "seed {seed}");
            assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
            assert_eq!(first.findings, second.findings, "seed {seed}");
            assert!(first.trace.len() > 50, "seed {seed}: something happened");
        }
    }
}
