//! Names of topics, validated where they enter: a wrong name is found before the network is asked.

use std::fmt;
use std::str::FromStr;

/// A full topic name, `persistent://tenant/namespace/topic`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(String);

/// Why a text is not a topic name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a topic name: {cause}; write `topic`, `tenant/namespace/topic` or `persistent://tenant/namespace/topic`")]
pub struct TopicNameError {
    name: String,
    cause: &'static str,
}

impl TopicName {
    /// The full name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its namespace with the tenant, `tenant/namespace`.
    pub fn namespace(&self) -> &str {
        let path = self.0.split_once("://").map_or(self.0.as_str(), |(_, path)| path);
        path.rsplit_once('/').map_or(path, |(namespace, _)| namespace)
    }

    /// Whether brokers keep its messages.
    pub fn is_persistent(&self) -> bool {
        self.0.starts_with("persistent://")
    }

    /// The name of the topic that is partition `index` of this one.
    #[must_use]
    pub fn partition(&self, index: u32) -> Self {
        Self(format!("{}-partition-{index}", self.0))
    }
}

impl FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |cause| TopicNameError { name: text.to_owned(), cause };
        let (domain, rest) = match text.split_once("://") {
            None => ("persistent", text),
            Some((domain @ ("persistent" | "non-persistent"), rest)) => (domain, rest),
            Some(_) => return Err(error("its domain is neither `persistent` nor `non-persistent`")),
        };
        if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(error("it holds a space or a control character"));
        }
        let parts: Vec<&str> = rest.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(error("a part of it is empty"));
        }
        let scoped = text.contains("://");
        match parts.as_slice() {
            [topic] if !scoped => Ok(Self(format!("{domain}://public/default/{topic}"))),
            [tenant, namespace, topic] => {
                let plain = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || "-=:._".contains(c));
                if !plain(tenant) || !plain(namespace) {
                    return Err(error("tenant and namespace take letters, digits and `-=:._` only"));
                }
                Ok(Self(format!("{domain}://{tenant}/{namespace}/{topic}")))
            }
            [_, _, _, _] => Err(error("names with a cluster in them are of Pulsar 1 and no longer known")),
            _ => Err(error("it has too many or too few parts")),
        }
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn short_names_get_tenant_and_namespace() {
        for (text, full) in [
            ("orders", "persistent://public/default/orders"),
            ("acme/shop/orders", "persistent://acme/shop/orders"),
            ("persistent://acme/shop/orders", "persistent://acme/shop/orders"),
            ("non-persistent://acme/shop/orders", "non-persistent://acme/shop/orders"),
        ] {
            assert_eq!(text.parse::<TopicName>().unwrap().as_str(), full);
        }
        assert_eq!("orders".parse::<TopicName>().unwrap().partition(3).as_str(), "persistent://public/default/orders-partition-3");
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for text in
            ["", "a b", "a/b", "kafka://a/b/c", "persistent://orders", "a//c", "a/b/c/d/e", "tenant!/ns/t", "persistent://a/cluster/b/c"]
        {
            assert!(text.parse::<TopicName>().is_err(), "{text}");
        }
    }
}
