//! The machine of a run, as the kernel describes it. Never its name or its addresses.

use std::fs;

use serde::{Deserialize, Serialize};

/// What a reader needs to judge the figures.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    /// Processors that this program may use.
    pub(crate) cores: usize,
    pub(crate) is_virtual: bool,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) system: String,
    /// Mean number of running tasks in the minute before the run.
    pub(crate) load_before: f64,
}

impl Machine {
    /// This machine; what the kernel does not tell stays empty.
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (processors, memory, release) = (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/etc/os-release"));
        let kib = field(&memory, "MemTotal").and_then(|text| text.trim_end_matches("kB").trim().parse::<f64>().ok());
        Self {
            processor: field(&processors, "model name").unwrap_or(std::env::consts::ARCH).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            is_virtual: field(&processors, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            memory_gib: kib.unwrap_or_default() / 1024.0 / 1024.0,
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim().split('-').next().unwrap_or_default()),
            system: release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default().trim_matches('"').to_owned(),
            load_before: read("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default(),
        }
    }
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_stands_between_name_and_value() {
        let text = "model\t\t: 7\nmodel name\t: Some Processor @ 3 GHz\nMemTotal:   1024 kB\n";
        assert_eq!(field(text, "model name"), Some("Some Processor @ 3 GHz"));
        assert_eq!(field(text, "MemTotal"), Some("1024 kB"));
        assert_eq!(field(text, "flags"), None);
    }
}
