//! The goals, and whether the figures reach them. Each is held against the worst cell that it is about, never against a mean.

use crate::figures::{Figures, Flow, Goal};
use crate::latency::Rate;
use crate::load::Retrieval;
use crate::producer::Client;
use crate::source::Sink;

/// Every goal that something was measured for.
pub(crate) fn compare(figures: &Figures) -> Vec<Goal> {
    let broker = || figures.flow.iter().filter(|flow| flow.sink == Sink::Broker);
    let fan_out = broker().filter(|flow| flow.retrieval == Retrieval::FanOut);
    let sixteen = broker().filter(|flow| flow.retrieval == Retrieval::Polling && flow.shards == 16);
    let idle = figures.idle.iter().map(|idle| (format!("idle/{}/{}", idle.retrieval.name(), idle.shards), idle.memory_mib));
    let null = figures.flow.iter().filter(|flow| flow.sink == Sink::Null && flow.retrieval == Retrieval::FanOut);
    let producer = figures.producer.iter().filter(|produced| produced.client == Client::Crate).filter_map(|theirs| {
        let ours = figures.ours_beside(theirs)?;
        Some((ours.name(), ours.cpu_us_per_message / theirs.cpu_us_per_message * 100.0))
    });
    let latency = |rate: Rate| {
        let rows = figures.latency.iter().filter(move |latency| latency.pace == rate);
        rows.map(|latency| (format!("latency/{}", latency.pace.name()), latency.p99_ms))
    };
    let goals = [
        goal(
            "CPU, fan-out to the broker's receipt",
            "s per million records",
            3.0,
            fan_out.map(|flow| (name(flow), flow.cpu_s_per_million)),
        ),
        goal("CPU, fan-out to nothing", "s per million records", 0.8, null.map(|flow| (name(flow), flow.cpu_s_per_million))),
        goal("the producer's CPU a message", "% of the crate `pulsar`'s", 100.0 / 3.0, producer),
        goal("arrival to publish at 2,000 records/s, 99th percentile", "ms", 5.0, latency(Rate::Steady)),
        goal("added at half of the full load, 99th percentile", "ms", 2.0, latency(Rate::Half)),
        goal("first record of a new application", "ms", 1_000.0, broker().map(|flow| (name(flow), flow.first_record_ms))),
        goal("idle memory, 4 shards", "MiB", 25.0, idle),
        goal("peak memory, 16 shards by polling", "MiB", 128.0, sixteen.map(|flow| (name(flow), flow.peak_memory_mib))),
        goal("stop under load", "ms", 2_000.0, broker().map(|flow| (name(flow), stop_ms(flow)))),
    ];
    goals.into_iter().flatten().collect()
}

/// A stop that leaves something to replay is no stop in time, however short it was.
fn stop_ms(flow: &Flow) -> f64 {
    if flow.exit_code == Some(0) { flow.stop_ms } else { f64::MAX }
}

fn name(flow: &Flow) -> String {
    format!("{}/{}/{}", flow.sink.name(), flow.retrieval.name(), flow.shards)
}

fn goal(what: &str, unit: &str, at_most: f64, found: impl Iterator<Item = (String, f64)>) -> Option<Goal> {
    let (cell, found) = found.max_by(|one, other| one.1.total_cmp(&other.1))?;
    Some(Goal { what: what.to_owned(), unit: unit.to_owned(), at_most, found, cell, reached: found <= at_most })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::figures;

    #[test]
    fn the_worst_cell_decides() {
        let goals = compare(&figures());
        let cpu = goals.iter().find(|goal| goal.what.starts_with("CPU")).map(|goal| (goal.cell.as_str(), goal.found, goal.reached));
        assert_eq!(cpu, Some(("broker/fan-out/1", 6.5, false)));
    }

    #[test]
    fn our_producer_is_held_against_the_crate_in_the_same_place() {
        let mut figures = figures();
        let part = |figures: &Figures| compare(figures).into_iter().find(|goal| goal.what.starts_with("the producer"));
        assert_eq!(part(&figures).map(|goal| (goal.found, goal.reached)), Some((50.0, false)));
        figures.producer[1].cpu_us_per_message = 4.0;
        assert_eq!(part(&figures).map(|goal| (goal.found, goal.reached)), Some((25.0, true)));
        // Of another place: nothing to compare with.
        figures.producer[1].layout = crate::producer::Layout::None;
        assert_eq!(part(&figures), None);
    }

    #[test]
    fn a_stop_with_something_to_replay_reaches_nothing() {
        let mut figures = figures();
        let stop = |figures: &Figures| compare(figures).into_iter().find(|goal| goal.what.starts_with("stop")).map(|goal| goal.reached);
        assert_eq!(stop(&figures), Some(true));
        figures.flow[0].exit_code = Some(3);
        assert_eq!(stop(&figures), Some(false));
    }

    #[test]
    fn what_was_not_measured_is_no_goal() {
        let mut figures = figures();
        figures.idle.clear();
        assert!(compare(&figures).iter().all(|goal| !goal.what.starts_with("idle")));
    }
}
