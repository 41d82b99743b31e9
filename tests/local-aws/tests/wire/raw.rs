//! A plain HTTP client, for what the SDK does not speak or does not show.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use local_aws::LocalAws;
use tokio::net::TcpStream;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// Runs a connection's background work on the current task set.
#[derive(Clone)]
struct Spawn;

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, task: F) {
        drop(tokio::spawn(task));
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn send(local: &LocalAws, version: Version, request: Request<Full<Bytes>>) -> hyper::Result<http::Response<Incoming>> {
    let address = local.url().strip_prefix("http://").unwrap();
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    match version {
        Version::Http1 => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            drop(tokio::spawn(connection));
            sender.send_request(request).await
        }
        Version::Http2 => {
            let (mut sender, connection) = hyper::client::conn::http2::handshake(Spawn, io).await?;
            drop(tokio::spawn(connection));
            sender.send_request(request).await
        }
    }
}

/// Posts and reads the whole answer.
pub(crate) async fn post(
    local: &LocalAws,
    version: Version,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> (u16, HeaderMap, Bytes) {
    let response = send(local, version, request("POST", local, path, headers, body)).await.unwrap();
    let (head, body) = response.into_parts();
    (head.status.as_u16(), head.headers, body.collect().await.unwrap().to_bytes())
}

/// Gets JSON.
pub(crate) async fn get(local: &LocalAws, path: &str) -> serde_json::Value {
    let response = send(local, Version::Http1, request("GET", local, path, &[], Bytes::new())).await.unwrap();
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

pub(crate) fn request(
    method: &str,
    local: &LocalAws,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(format!("{}{path}", local.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let host = local.url().strip_prefix("http://").unwrap();
    request.header("host", host).body(Full::new(body.into())).unwrap()
}
