//! Bodies and heads of answers.

use std::io;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};

use crate::clock::Millis;

/// The body of any answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An answer before it goes out.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// `smithy-protocol` of RPC v2.
    pub(crate) protocol: Option<&'static str>,
    pub(crate) body: ReplyBody,
}

#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// All there is.
    Whole(Bytes),
    /// Frames as they come.
    Stream(Body),
}

impl Reply {
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, protocol: None, body: ReplyBody::Whole(body.into()) }
    }

    /// The answer on the wire, with the machine's time in its `Date`.
    pub(crate) fn into_response(self, now: Millis, request_id: u64) -> Response<Body> {
        let body = match self.body {
            ReplyBody::Whole(bytes) => whole(bytes),
            ReplyBody::Stream(body) => body,
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Ok(date) = HeaderValue::from_str(&http_date(now)) {
            headers.insert(header::DATE, date);
        }
        if let Ok(id) = HeaderValue::from_str(&format!("00000000-0000-4000-8000-{request_id:012x}")) {
            headers.insert("x-amzn-requestid", id);
        }
        if let Some(protocol) = self.protocol {
            headers.insert("smithy-protocol", HeaderValue::from_static(protocol));
        }
        response
    }
}

/// A body of these bytes.
pub(crate) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// An instant as HTTP's `Date`, in whole seconds.
fn http_date(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap_or_default().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
