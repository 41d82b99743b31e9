//! The worker identifier: whose lease is whose.

use bytestring::ByteString;
use connector_sdk::{Identity, Random};

/// Letters and digits that make each process its own worker.
const RANDOM_PART: usize = 10;

/// tenant/namespace/name/instance/host and a random part per process. A configured identifier is taken as it is, with the instance's
/// number where there are several.
pub fn worker_identifier(identity: &Identity, configured: Option<&str>, random: &Random) -> ByteString {
    match configured {
        Some(name) if identity.instances > 1 => format!("{name}-{}", identity.instance).into(),
        Some(name) => name.into(),
        None => format!("{identity}/{}-{}", host_name(), random.name(RANDOM_PART)).into(),
    }
}

fn host_name() -> String {
    let from_system = || std::fs::read_to_string("/etc/hostname").ok();
    let name = std::env::var("HOSTNAME").ok().or_else(from_system).unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(instances: u32) -> Identity {
        Identity { tenant: "public".into(), namespace: "default".into(), name: "orders".into(), instance: 1, instances }
    }

    #[test]
    fn each_process_is_a_worker_of_its_own() {
        let random = Random::seeded(1);
        let (one, other) = (worker_identifier(&identity(2), None, &random), worker_identifier(&identity(2), None, &random));
        assert!(one.starts_with("public/default/orders/1/") && one != other);
    }

    #[test]
    fn a_configured_identifier_is_told_apart_by_instance_only_where_there_are_several() {
        let random = Random::seeded(1);
        assert_eq!(worker_identifier(&identity(1), Some("w"), &random), "w");
        assert_eq!(worker_identifier(&identity(2), Some("w"), &random), "w-1");
    }
}
