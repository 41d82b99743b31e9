//! `pulsar-connect connectors`.

use crate::registry;

pub(super) fn run() -> u8 {
    let mut text = String::new();
    for connector in registry::connectors() {
        let info = connector.info();
        text.push_str(&format!("{:<12} {}\n", info.name, info.description));
    }
    super::print(&text)
}
