//! One HTTP call at a time, for the broker's admin API, the stand-ins and the metrics page. Plain text only, one connection a call.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any healthy server takes.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Calls `url`, which begins with `http://`. HTTP/1.0 keeps the answer free of chunks and ends it with the connection.
pub(crate) async fn call(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> anyhow::Result<Answer> {
    tokio::time::timeout(DEADLINE, exchange(method, url, headers, body)).await.with_context(|| format!("`{method} {url}` had no answer"))?
}

async fn exchange(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> anyhow::Result<Answer> {
    let rest = url.strip_prefix("http://").with_context(|| format!("`{url}` does not begin with `http://`"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).await.with_context(|| format!("cannot connect to `{host}`"))?;
    let mut request = format!("{method} /{path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { bail!("`{url}` answered without a head") };
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).with_context(|| format!("`{url}` answered `{head}`"))?;
    Ok(Answer { status, body: answer.split_off(end + 4) })
}

/// One call of DynamoDB at `endpoint`; the stand-ins check no signature.
pub(crate) async fn dynamodb(endpoint: &str, operation: &str, request: &Value) -> anyhow::Result<Value> {
    let target = format!("DynamoDB_20120810.{operation}");
    let headers = [
        ("Content-Type", "application/x-amz-json-1.0"),
        ("X-Amz-Target", target.as_str()),
        (
            "Authorization",
            "AWS4-HMAC-SHA256 Credential=AKIALOOKER/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
        ),
    ];
    let answer = call("POST", endpoint, &headers, request.to_string().as_bytes()).await?;
    if answer.status != 200 {
        bail!("`{operation}` was refused with {}: {}", answer.status, answer.text());
    }
    Ok(serde_json::from_slice(&answer.body)?)
}
