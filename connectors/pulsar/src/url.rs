//! Service URLs: `pulsar://h1:6650,h2:6650` and `pulsar+ssl://h:6651`.
//!
//! Only names and ports; nothing is resolved here. Names are resolved anew at each connection attempt.

use std::fmt;
use std::str::FromStr;

/// A host and a port, as a connection is opened to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A DNS name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

/// A service URL with one or several hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    /// Whether connections use TLS from their first byte.
    pub tls: bool,
    /// At least one host.
    pub hosts: Vec<HostPort>,
}

/// Why a text is not a service URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not a Pulsar service URL: {cause}; write `pulsar://host:6650` or `pulsar+ssl://host:6651`, several hosts by commas")]
pub struct UrlError {
    url: String,
    cause: &'static str,
}

impl FromStr for ServiceUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |cause| UrlError { url: text.to_owned(), cause };
        let (tls, rest) = match text.trim().split_once("://") {
            Some(("pulsar", rest)) => (false, rest),
            Some(("pulsar+ssl", rest)) => (true, rest),
            Some(("http" | "https", _)) => return Err(error("lookups over HTTP are not offered, only the binary protocol")),
            Some(_) => return Err(error("its scheme is not known")),
            None => return Err(error("it has no scheme")),
        };
        let rest = rest.trim_end_matches('/');
        let default_port = if tls { 6651 } else { 6650 };
        let mut hosts = Vec::new();
        for part in rest.split(',') {
            hosts.push(host_port(part.trim(), default_port).map_err(error)?);
        }
        Ok(Self { tls, hosts })
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "pulsar+ssl://" } else { "pulsar://" })?;
        for (at, host) in self.hosts.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            write!(f, "{host}")?;
        }
        Ok(())
    }
}

fn host_port(text: &str, default_port: u16) -> Result<HostPort, &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, behind) = rest.split_once(']').ok_or("a bracket is not closed")?;
        (host, behind.strip_prefix(':'))
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() || host.contains(['/', ' ', '@', '?']) {
        return Err("a host is missing or holds characters that hosts do not have");
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or("a port is not a number from 1 to 65535")?,
    };
    Ok(HostPort { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_ports_and_schemes() {
        let url: ServiceUrl = "pulsar://a:1,b, [::1]:7".parse().unwrap();
        assert!(!url.tls);
        assert_eq!(url.to_string(), "pulsar://a:1,b:6650,[::1]:7");
        assert_eq!("pulsar+ssl://broker/".parse::<ServiceUrl>().unwrap().to_string(), "pulsar+ssl://broker:6651");
    }

    #[test]
    fn what_is_not_a_url_is_refused() {
        for text in ["", "localhost:6650", "http://a:8080", "pulsar://", "pulsar://a:0", "pulsar://a:x", "pulsar://a,", "pulsar://u@h:1"] {
            assert!(text.parse::<ServiceUrl>().is_err(), "{text}");
        }
    }
}
