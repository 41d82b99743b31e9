//! One plain HTTP call at a time, one connection a call.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Longer than any healthy server takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// Calls `url`, which begins with `http://`, and gives the body of a 2xx answer. HTTP/1.0 keeps the answer free of chunks and ends it with the connection.
pub(crate) fn call(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> anyhow::Result<String> {
    let (host, path) = split(url)?;
    let mut stream = TcpStream::connect(host).with_context(|| format!("cannot connect to `{host}`"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(&request(method, "1.0", host, path, headers, body))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("`{url}` did not answer"))?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { bail!("`{url}` answered without a head") };
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        bail!("`{method} {url}` was answered with {status}: {body}");
    }
    Ok(body.to_owned())
}

/// Host with port, and path without its first slash.
pub(crate) fn split(url: &str) -> anyhow::Result<(&str, &str)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("`{url}` does not begin with `http://`"))?;
    Ok(rest.split_once('/').unwrap_or((rest, "")))
}

/// A request as it goes over the wire.
pub(crate) fn request(method: &str, version: &str, host: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} /{path} HTTP/{version}\r\nhost: {host}\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}
