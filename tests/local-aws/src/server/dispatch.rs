//! One request: whose it is, who calls, what shall go wrong, the answer.

use std::collections::HashMap;
use std::io;
use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::body::{Body, Reply, ReplyBody};
use super::{control, kinesis_api};
use crate::faults::{Call, CutAt, FaultAction, Service};
use crate::wire::value::{Format, map, read_cbor, to_json};
use crate::{cloudwatch, dynamodb, sts};

/// Largest body taken: a PutRecords of 10 MiB in base64, with room.
const MOST_BODY: usize = 32 * 1024 * 1024;
const CLOUDWATCH_PATH: &str = "/service/GraniteServiceVersion20100801/operation/";

/// The connection is to be cut without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut by a fault")]
pub(crate) struct Cut;

/// How the request was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// Kinesis in JSON 1.1 or CBOR.
    Kinesis(Format),
    /// DynamoDB in JSON 1.0.
    DynamoDb,
    /// CloudWatch in RPC v2 CBOR.
    RpcCbor,
    /// CloudWatch in JSON 1.0.
    CloudWatchJson,
    /// A query form, answered in XML.
    Query(Service),
}

impl Protocol {
    fn service(self) -> Service {
        match self {
            Self::Kinesis(_) => Service::Kinesis,
            Self::DynamoDb => Service::DynamoDb,
            Self::RpcCbor | Self::CloudWatchJson => Service::CloudWatch,
            Self::Query(service) => service,
        }
    }
}

/// A request read to its end.
struct Received {
    protocol: Protocol,
    operation: String,
    body: Bytes,
    form: HashMap<String, String>,
}

/// Answers a request, or cuts the connection.
pub(crate) async fn answer(
    account: &Arc<Account>,
    connection: &CancellationToken,
    request: Request<Incoming>,
) -> Result<Response<Body>, Cut> {
    let (head, body) = request.into_parts();
    let id = account.next_request();
    let finish = |reply: Reply| Ok(reply.into_response(account.clock.now(), id));
    let Ok(body) = Limited::new(body, MOST_BODY).collect().await else {
        return finish(Reply::new(413, "text/plain", format!("the body ended early or is larger than {MOST_BODY} bytes\n")));
    };
    let body = body.to_bytes();
    if head.uri.path().starts_with("/_control") {
        return finish(control::answer(account, &head.method, &head.uri, &body));
    }
    if head.method == http::Method::GET {
        return finish(Reply::new(200, "text/plain", "local-aws: kinesis, dynamodb, cloudwatch and sts on one port\n"));
    }
    let body = match unzip(&head.headers, body) {
        Ok(body) => body,
        Err(error) => return finish(Reply::new(400, "text/plain", format!("cannot unzip the body: {error}\n"))),
    };
    let Some(received) = recognise(&head.headers, head.uri.path(), body) else {
        return finish(Reply::new(404, "text/plain", "no service here answers this request\n"));
    };
    let access_key_id = access_key_id(&head.headers);
    match carry_out(account, &received, access_key_id).await {
        Carried::Reply(reply) => finish(reply),
        Carried::CutMiddle(reply) => finish(cut_in_the_middle(reply, connection.clone())),
        Carried::Cut => {
            connection.cancel();
            Err(Cut)
        }
    }
}

/// What came of a call.
enum Carried {
    Reply(Reply),
    CutMiddle(Reply),
    Cut,
}

async fn carry_out(account: &Arc<Account>, received: &Received, access_key_id: &str) -> Carried {
    let target = match received.protocol {
        Protocol::Kinesis(format) => kinesis_api::target(account, format, &received.body),
        Protocol::DynamoDb => kinesis_api::Target { resource: table_name(&received.body), shard: None },
        _ => kinesis_api::Target::default(),
    };
    let call = Call {
        service: received.protocol.service(),
        operation: &received.operation,
        resource: target.resource.as_deref(),
        shard: target.shard.as_deref(),
        access_key_id,
    };
    account.count(&call);
    if let Some(refusal) = account.refusal(&call) {
        return Carried::Reply(error_reply(received.protocol, &refusal.code, &refusal.message, None));
    }
    let struck = account.draw_faults(&call);
    for action in &struck {
        match action {
            FaultAction::Latency { ms } => account.clock.sleep_until(account.clock.now() + ms).await,
            FaultAction::Error { code, message, status } => {
                let message = message.as_deref().unwrap_or("asked to fail");
                return Carried::Reply(error_reply(received.protocol, code, message, *status));
            }
            FaultAction::Cut { at: CutAt::Before } => return Carried::Cut,
            _ => {}
        }
    }
    let reply = run(account, received, access_key_id, &struck).await;
    for action in struck {
        match action {
            FaultAction::Cut { at: CutAt::Middle } => return Carried::CutMiddle(reply),
            FaultAction::Cut { at: CutAt::After } => return Carried::Cut,
            _ => {}
        }
    }
    Carried::Reply(reply)
}

async fn run(account: &Arc<Account>, received: &Received, access_key_id: &str, struck: &[FaultAction]) -> Reply {
    match received.protocol {
        Protocol::Kinesis(format) => kinesis_api::call(account, format, &received.operation, &received.body, struck),
        Protocol::DynamoDb => {
            let (tables, operation, body) = (account.dynamodb.clone(), received.operation.clone(), received.body.clone());
            // A scan of a large table takes a while and must not hold up the runtime.
            let answered = tokio::task::spawn_blocking(move || tables.call(&operation, &body)).await;
            let (status, answer) = answered.unwrap_or_else(|error| dynamodb::error(500, "InternalServerError", &error.to_string()));
            Reply::new(status, "application/x-amz-json-1.0", answer)
        }
        Protocol::Query(Service::Sts) => {
            let account_id = account.kinesis().settings().account.clone();
            let answer = account.sts().call(&received.operation, &received.form, access_key_id, &account_id, account.clock.now());
            Reply::new(answer.status, "text/xml", answer.body)
        }
        Protocol::RpcCbor | Protocol::CloudWatchJson | Protocol::Query(_) => put_metric_data(account, received, access_key_id),
    }
}

fn put_metric_data(account: &Account, received: &Received, access_key_id: &str) -> Reply {
    let refuse = |code: &str, message: &str| error_reply(received.protocol, code, message, None);
    if received.operation != "PutMetricData" {
        return refuse("InvalidAction", "only PutMetricData is kept here");
    }
    let call = match received.protocol {
        // By way of JSON's tree, which takes a whole number for a fraction: senders write 6.0 as the integer 6.
        Protocol::RpcCbor => {
            read_cbor(&received.body, 1.0).and_then(|value| serde_json::from_value(to_json(&value)).map_err(|error| error.to_string()))
        }
        Protocol::CloudWatchJson => serde_json::from_slice(&received.body).map_err(|error| error.to_string()),
        _ => Ok(cloudwatch::from_form(&received.form)),
    };
    let datums = call.map_err(|error| ("SerializationException", error)).and_then(|call| cloudwatch::datums(call, access_key_id));
    match datums {
        Err((code, message)) => refuse(code, &message),
        Ok(datums) => {
            account.datums().extend(datums);
            match received.protocol {
                Protocol::RpcCbor => {
                    Reply { protocol: Some("rpc-v2-cbor"), ..Reply::new(200, "application/cbor", Format::Cbor.write(&map([]))) }
                }
                Protocol::CloudWatchJson => Reply::new(200, "application/x-amz-json-1.0", "{}"),
                _ => Reply::new(
                    200,
                    "text/xml",
                    "<PutMetricDataResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\"><ResponseMetadata><RequestId>local-aws</RequestId></ResponseMetadata></PutMetricDataResponse>",
                ),
            }
        }
    }
}

/// A refusal in the form of the protocol.
fn error_reply(protocol: Protocol, code: &str, message: &str, status: Option<u16>) -> Reply {
    let internal = code.starts_with("Internal") || code.starts_with("ServiceUnavailable");
    let status = status.unwrap_or(if internal { 500 } else { 400 });
    match protocol {
        Protocol::Kinesis(format) => kinesis_api::error(format, status, code, message),
        Protocol::DynamoDb => {
            let (status, body) = dynamodb::error(status, &format!("com.amazonaws.dynamodb.v20120810#{code}"), message);
            Reply::new(status, "application/x-amz-json-1.0", body)
        }
        Protocol::RpcCbor => {
            let body = map([("__type", format!("com.amazonaws.cloudwatch#{code}").into()), ("message", message.into())]);
            Reply { protocol: Some("rpc-v2-cbor"), ..Reply::new(status, "application/cbor", Format::Cbor.write(&body)) }
        }
        Protocol::CloudWatchJson => {
            let body = map([("__type", code.into()), ("message", message.into())]);
            Reply::new(status, "application/x-amz-json-1.0", Format::Json.write(&body))
        }
        Protocol::Query(_) => {
            // The query protocol has names of its own for the common refusals.
            let (code, status) = match code {
                "AccessDeniedException" => ("AccessDenied", 403),
                "ExpiredTokenException" => ("ExpiredToken", 403),
                "UnrecognizedClientException" => ("InvalidClientTokenId", 403),
                "AccessDenied" => ("AccessDenied", 403),
                other => (other, status),
            };
            let answer = sts::error(status, code, message);
            Reply::new(answer.status, "text/xml", answer.body)
        }
    }
}

/// Reads off which service and operation are meant.
fn recognise(headers: &HeaderMap, path: &str, body: Bytes) -> Option<Received> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = text("content-type");
    let received =
        |protocol, operation: &str, body| Some(Received { protocol, operation: operation.to_owned(), body, form: HashMap::new() });
    if let Some((service, operation)) = text("x-amz-target").split_once('.') {
        let protocol = match service {
            "Kinesis_20131202" if content_type.starts_with("application/x-amz-cbor") => Protocol::Kinesis(Format::Cbor),
            "Kinesis_20131202" => Protocol::Kinesis(Format::Json),
            "DynamoDB_20120810" => Protocol::DynamoDb,
            "GraniteServiceVersion20100801" => Protocol::CloudWatchJson,
            _ => return None,
        };
        return received(protocol, operation, body);
    }
    if let Some(operation) = path.strip_prefix(CLOUDWATCH_PATH) {
        return received(Protocol::RpcCbor, operation, body);
    }
    let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    let operation = form.get("Action")?.clone();
    let service = match form.get("Version").map(String::as_str) {
        Some("2010-08-01") => Service::CloudWatch,
        _ => Service::Sts,
    };
    Some(Received { protocol: Protocol::Query(service), operation, body, form })
}

fn table_name(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Named {
        table_name: Option<String>,
    }
    serde_json::from_slice::<Named>(body).ok()?.table_name
}

/// The key id in `Authorization: AWS4-HMAC-SHA256 Credential=<key id>/..`; empty for an unsigned request.
fn access_key_id(headers: &HeaderMap) -> &str {
    let credential =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|text| text.split_once("Credential="));
    credential.and_then(|(_, rest)| rest.split_once('/')).map_or("", |(key, _)| key)
}

fn unzip(headers: &HeaderMap, body: Bytes) -> io::Result<Bytes> {
    let zipped = headers.get(header::CONTENT_ENCODING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"));
    if !zipped {
        return Ok(body);
    }
    let mut plain = Vec::new();
    GzDecoder::new(body.as_ref()).take(MOST_BODY as u64).read_to_end(&mut plain)?;
    Ok(plain.into())
}

/// The first half of the answer, and then the end of the connection.
fn cut_in_the_middle(reply: Reply, connection: CancellationToken) -> Reply {
    let Reply { status, content_type, protocol, body } = reply;
    let first = match body {
        ReplyBody::Whole(bytes) => bytes.slice(..bytes.len() / 2),
        ReplyBody::Stream(_) => Bytes::new(),
    };
    let frames = futures_util::stream::unfold(Some(first), move |left| {
        let connection = connection.clone();
        async move {
            match left {
                Some(first) if !first.is_empty() => Some((Ok(Frame::data(first)), Some(Bytes::new()))),
                Some(_) => {
                    // Let what was written so far reach the wire before the end.
                    tokio::task::yield_now().await;
                    connection.cancel();
                    Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), None))
                }
                None => None,
            }
        }
    });
    let body = ReplyBody::Stream(StreamBody::new(frames).boxed_unsync());
    Reply { status, content_type, protocol, body }
}
