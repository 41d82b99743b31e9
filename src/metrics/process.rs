//! The process as the kernel sees it, by the names every Prometheus library uses. What cannot be read is left out.

use std::fs;

/// The kernel's clock ticks a second in what it shows to programs: the same on every Linux.
const TICKS: f64 = 100.0;
/// Bytes of a page, likewise on the machines this runs on.
const PAGE: f64 = 4_096.0;

/// Names and values.
pub(super) fn facts() -> Vec<(&'static str, f64)> {
    let mut facts = Vec::new();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program may hold blanks; what follows its closing bracket does not.
    let fields: Vec<&str> = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    if let (Some(user), Some(system)) = (number(11), number(12)) {
        facts.push(("process_cpu_seconds_total", (user + system) / TICKS));
    }
    if let Some(threads) = number(17) {
        facts.push(("process_threads", threads));
    }
    if let Some(pages) = number(21) {
        facts.push(("process_resident_memory_bytes", pages * PAGE));
    }
    facts
}
