//! The page's text: Pulsar IO's names and labels first, then what source and sink measure themselves.

use super::minute::Minute;
use super::process;
use crate::engine::{FailureOrigin, InstanceState};
use connector_sdk::{ByteBudget, Facts};
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The cluster's name where there is no function worker.
const CLUSTER: &str = "local";
/// Failures of the last minute that are shown as metrics of their own.
const SHOWN_FAILURES: usize = 5;

/// Labels in Pulsar IO's order; the last is the metric's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Labels {
    base: Arc<[(&'static str, String)]>,
    own: Option<(&'static str, String)>,
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        use prometheus_client::encoding::EncodeLabel;
        for (name, value) in self.base.iter().chain(&self.own) {
            (*name, value.as_str()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// How the names of counters end; the library puts it there itself.
const COUNTER: &str = "_total";

enum Values {
    Counter(Family<Labels, Counter<f64, AtomicU64>>),
    Gauge(Family<Labels, Gauge<f64, AtomicU64>>),
}

/// Families by name, in the order of their first value. Made anew for each reading.
#[derive(Default)]
struct Page(Vec<(String, Values)>);

impl Page {
    /// A counter where the name ends like one, else a gauge.
    fn set(&mut self, name: &str, labels: &Labels, value: f64) {
        let counter = name.strip_suffix(COUNTER);
        let name = counter.unwrap_or(name);
        let index = self.0.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            let values = if counter.is_some() { Values::Counter(Family::default()) } else { Values::Gauge(Family::default()) };
            self.0.push((name.to_owned(), values));
            self.0.len() - 1
        });
        match &self.0[index].1 {
            Values::Counter(family) => {
                family.get_or_create(labels).inc_by(value);
            }
            Values::Gauge(family) => {
                family.get_or_create(labels).set(value);
            }
        }
    }
}

fn labels(state: &InstanceState) -> Labels {
    let identity = &state.identity;
    Labels {
        base: Arc::from([
            ("tenant", identity.tenant.to_string()),
            ("namespace", format!("{}/{}", identity.tenant, identity.namespace)),
            ("name", identity.name.to_string()),
            ("instance_id", identity.instance.to_string()),
            ("cluster", CLUSTER.to_owned()),
            ("fqfn", identity.full_name()),
        ]),
        own: None,
    }
}

/// Everything, as text.
pub(super) fn text(states: &[Arc<InstanceState>], minutes: &[Minute], budget: &ByteBudget) -> String {
    let mut page = Page::default();
    for (state, minute) in states.iter().zip(minutes) {
        let labels = labels(state);
        let (source_failures, system_failures) = state.failure_counts();
        let totals = [state.received(), state.written(), source_failures, system_failures];
        let lately = minute.since(totals);
        for (index, name) in ["received", "written", "source_exceptions", "system_exceptions"].into_iter().enumerate() {
            page.set(&format!("pulsar_source_{name}_total"), &labels, totals[index] as f64);
            page.set(&format!("pulsar_source_{name}_1min_total"), &labels, lately[index] as f64);
        }
        page.set("pulsar_source_last_invocation", &labels, state.last_received_at() as f64);
        for failure in state.failures_of_the_last_minute().iter().rev().take(SHOWN_FAILURES) {
            let name = match failure.origin {
                FailureOrigin::Source => "pulsar_source_source_exception",
                FailureOrigin::System => "pulsar_source_system_exception",
            };
            page.set(name, &Labels { own: Some(("error", failure.error.to_string())), ..labels.clone() }, 1.0);
        }
        page.set("pulsar_connect_received_bytes_total", &labels, state.received_bytes() as f64);
        page.set("pulsar_connect_restarts_total", &labels, state.restarts() as f64);
        page.set("pulsar_connect_in_flight_records", &labels, state.in_flight() as f64);
        if let Some(source) = state.source() {
            let status = source.status();
            page.set("pulsar_connect_partitions_held", &labels, status.partitions_held as f64);
            page.set("pulsar_connect_parked_partitions", &labels, status.parked.len() as f64);
            page.set("pulsar_connect_beyond_checkpoint_records", &labels, status.beyond_checkpoint as f64);
            if let Some(millis) = status.millis_behind {
                page.set("pulsar_connect_lag_millis", &labels, millis as f64);
            }
            add(&mut page, &labels, source.facts());
        }
        if let Some(sink) = state.sink() {
            add(&mut page, &labels, sink.facts());
        }
    }
    if let Some(state) = states.first() {
        let labels = Labels { base: labels(state).base.iter().filter(|(name, _)| *name != "instance_id").cloned().collect(), own: None };
        page.set("pulsar_connect_receive_queue_bytes", &labels, budget.used() as f64);
        page.set("pulsar_connect_receive_queue_bytes_peak", &labels, budget.peak() as f64);
    }
    let nobody = Labels { base: Arc::from([]), own: None };
    for (name, value) in process::facts() {
        page.set(name, &nobody, value);
    }
    render(page)
}

fn add(page: &mut Page, labels: &Labels, facts: Facts) {
    for (name, partition, value) in facts.0 {
        let own = partition.map(|partition| ("partition", partition.to_string()));
        page.set(&format!("pulsar_connect_{name}"), &Labels { own, ..labels.clone() }, value);
    }
}

fn render(page: Page) -> String {
    let mut registry = Registry::default();
    for (name, values) in page.0 {
        match values {
            Values::Counter(family) => registry.register(name, "", family),
            Values::Gauge(family) => registry.register(name, "", family),
        }
    }
    let mut out = String::new();
    // Writing to a string does not fail.
    text::encode(&mut out, &registry).unwrap_or_default();
    // Prometheus' own text format knows neither OpenMetrics' end mark nor help lines without help, and has a counter's type under the
    // counter's whole name.
    let lines = out.lines().filter(|line| *line != "# EOF" && !line.starts_with("# HELP"));
    lines
        .map(|line| match line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")) {
            Some(name) => format!("# TYPE {name}{COUNTER} counter\n"),
            None => format!("{line}\n"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_sdk::{Clock, Identity};

    #[test]
    fn names_types_and_labels_are_those_of_pulsar_io() {
        let identity = Identity { tenant: "acme".into(), namespace: "shop".into(), name: "orders".into(), instance: 1, instances: 2 };
        let state = InstanceState::new(identity, Clock::from_fn(|| 90_000));
        let text = text(&[state], &[Minute::default()], &ByteBudget::new(1_000));
        let labels = r#"tenant="acme",namespace="acme/shop",name="orders",instance_id="1",cluster="local",fqfn="acme/shop/orders""#;
        for name in ["received", "written", "source_exceptions", "system_exceptions"] {
            for name in [format!("pulsar_source_{name}_total"), format!("pulsar_source_{name}_1min_total")] {
                assert!(text.contains(&format!("# TYPE {name} counter\n")), "{name} in {text}");
                assert!(text.contains(&format!("{name}{{{labels}}} 0.0\n")), "{name} in {text}");
            }
        }
        assert!(text.contains("# TYPE pulsar_source_last_invocation gauge\n"));
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        assert!(!text.contains("# EOF"));
    }
}
