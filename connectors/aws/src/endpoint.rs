//! Regions and endpoint addresses as configurations give them, checked without the network.

use std::fmt;

use aws_types::region::Region;
use connector_sdk::Problem;

/// The region that signs requests when only endpoints are configured: stand-ins accept any, and this is the one their users name.
pub const DEFAULT_REGION: &str = "us-east-1";

/// The address of one service: `http://host:port` or `https://host`, with nothing behind it but perhaps a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    url: String,
    plain: bool,
}

impl Endpoint {
    /// Reads an address; `path` is the JSON path for the problem.
    pub fn parse(path: &str, text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        let hint = "write it like `https://kinesis.eu-west-1.amazonaws.com` or `http://localhost:4566`";
        let uri: http::Uri = text.parse().map_err(|_| Problem::new(path, format!("`{text}` is not an address")).hint(hint))?;
        let plain = match uri.scheme_str() {
            Some("http") => true,
            Some("https") => false,
            Some(other) => return Err(Problem::new(path, format!("the scheme `{other}` is not known")).hint(hint)),
            None => return Err(Problem::new(path, format!("`{text}` has no scheme")).hint(hint)),
        };
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        if authority.contains('@') {
            return Err(Problem::new(path, "an address must not hold a user or a password").hint(hint));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(Problem::new(path, format!("`{text}` has no host")).hint(hint));
        }
        if uri.query().is_some() {
            return Err(Problem::new(path, format!("`{text}` has a query part")).hint(hint));
        }
        Ok(Self { url: text.trim_end_matches('/').to_owned(), plain })
    }

    /// The address as text, without a final slash.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Whether the address is spoken to without TLS.
    pub fn is_plain(&self) -> bool {
        self.plain
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// Reads a region's name, such as `eu-west-1`; `path` is the JSON path for the problem.
pub fn parse_region(path: &str, text: &str) -> Result<Region, Problem> {
    let name = text.trim();
    let sound = !name.is_empty()
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if sound {
        Ok(Region::new(name.to_owned()))
    } else {
        Err(Problem::new(path, format!("`{name}` is not a region")).hint("write the region's code in lower case, such as `eu-west-1`"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn endpoints_are_read_with_their_scheme() {
        let endpoint = Endpoint::parse("awsEndpoint", " http://localhost:4566/ ").unwrap();
        assert_eq!(endpoint.as_str(), "http://localhost:4566");
        assert!(endpoint.is_plain());
        assert!(!Endpoint::parse("awsEndpoint", "https://kinesis.eu-west-1.amazonaws.com").unwrap().is_plain());
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_its_path() {
        for text in
            ["", "localhost:4566", "kinesis.eu-west-1.amazonaws.com", "ftp://x", "https://", "http://a b", "http://u:p@h", "http://h/?q"]
        {
            let problem = Endpoint::parse("awsEndpoint", text).unwrap_err();
            assert_eq!(problem.path, "awsEndpoint");
            assert!(problem.hint.unwrap().contains("https://kinesis.eu-west-1.amazonaws.com"));
            assert!(!problem.cause.contains("u:p"), "a password must not be repeated");
        }
    }

    #[test]
    fn regions_are_codes() {
        assert_eq!(parse_region("awsRegion", " us-gov-west-1 ").unwrap().as_ref(), "us-gov-west-1");
        for text in ["", "EU (Ireland)", "eu_west_1", "Eu-West-1", "-x"] {
            assert_eq!(parse_region("awsRegion", text).unwrap_err().path, "awsRegion");
        }
    }
}
