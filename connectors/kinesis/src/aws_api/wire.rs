//! In what the calls that bring records are written: CBOR, as the KCL writes them, because payloads then come as they are and not as
//! base64; or JSON, with an endpoint that does not understand CBOR.
//!
//! What is asked in CBOR may be answered in either: each body is read as what its first byte says it is. An endpoint that cannot read
//! a call, or whose CBOR cannot be read here, is asked in JSON from then on. No other call is touched: instants in CBOR are counted
//! in milliseconds, which only the calls here do without.

use super::answer::Reading;
use aws_sdk_kinesis::config::Builder;
use aws_smithy_cbor::codec::CborCodec;
use aws_smithy_json::protocol::aws_json_rpc::AwsJsonRpcProtocol;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::{Request, Response};
use aws_smithy_schema::error_envelope::sanitize_error_code;
use aws_smithy_schema::http_protocol::HttpRpcProtocol;
use aws_smithy_schema::protocol::{ClientProtocolInner, ServiceShapeName};
use aws_smithy_schema::serde::{SerdeError, SerializableStruct, ShapeDeserializer};
use aws_smithy_schema::{Schema, ShapeId, shape_id};
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::endpoint::Endpoint;
use aws_smithy_types::error::metadata::{Builder as MetadataBuilder, ErrorMetadata, ProvideErrorMetadata};
use connector_aws::service_code;
use connector_sdk::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::info;

/// What a service calls a request that it cannot read.
const NOT_UNDERSTOOD: [&str; 3] = ["SerializationException", "UnknownOperationException", "UnsupportedMediaTypeException"];

/// What an endpoint is spoken to in. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    /// CBOR was answered in CBOR once.
    cbor_works: AtomicBool,
    json_only: AtomicBool,
}

impl Wire {
    /// The settings by which a call is written in CBOR; none where JSON is to be spoken.
    pub(super) fn cbor(&self) -> Option<Builder> {
        (!self.0.json_only.load(Ordering::Relaxed)).then(|| Builder::new().protocol(CborOfKinesis::default()))
    }

    /// A call in CBOR failed so. Whether it is to be made again, in JSON: nothing has ever been understood, and this was not either.
    pub(super) fn falls_back<E>(&self, error: &SdkError<E, HttpResponse>) -> bool
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let answered = matches!(error, SdkError::ServiceError(_) | SdkError::ResponseError(_));
        let understood = service_code(error).is_some_and(|code| !NOT_UNDERSTOOD.contains(&code));
        if !answered || understood || self.0.cbor_works.load(Ordering::Relaxed) {
            return false;
        }
        self.speak_json();
        true
    }

    /// Looks at what was read, and learns from whether it could be.
    pub(super) fn read<T>(&self, reading: Reading, read: impl FnOnce(Reading) -> Result<T, Error>) -> Result<T, Error> {
        let in_cbor = reading.is_cbor();
        let read = read(reading);
        match read {
            Ok(_) if in_cbor => self.0.cbor_works.store(true, Ordering::Relaxed),
            Err(_) if in_cbor => self.speak_json(),
            _ => {}
        }
        read
    }

    fn speak_json(&self) {
        if !self.0.json_only.swap(true, Ordering::Relaxed) {
            info!("the Kinesis endpoint is not understood in CBOR; records are asked for in JSON, which costs more CPU");
        }
    }
}

/// Whether a body that begins so is JSON: no CBOR map does.
pub(super) fn is_json(body: &[u8]) -> bool {
    body.first().is_some_and(|byte| *byte == b'{' || byte.is_ascii_whitespace())
}

/// `application/x-amz-cbor-1.1` in requests, and in answers either that or JSON.
#[derive(Debug)]
struct CborOfKinesis {
    requests: HttpRpcProtocol<CborCodec>,
    json: AwsJsonRpcProtocol,
}

impl Default for CborOfKinesis {
    fn default() -> Self {
        let requests = HttpRpcProtocol::new(shape_id!("aws.protocols", "awsCbor1_1"), CborCodec::default(), "application/x-amz-cbor-1.1");
        Self { requests, json: AwsJsonRpcProtocol::aws_json_1_1() }
    }
}

impl ClientProtocolInner for CborOfKinesis {
    type Request = Request;
    type Response = Response;

    fn protocol_id(&self) -> &ShapeId<'static> {
        self.requests.protocol_id()
    }

    fn serialize_request(
        &self,
        input: &dyn SerializableStruct,
        schema: &Schema<'_>,
        _endpoint: &str,
        bag: &ConfigBag,
    ) -> Result<Request, SerdeError> {
        let mut request = self.requests.serialize_request(input, schema, "/", bag)?;
        let (Some(service), Some(operation)) = (bag.load::<ServiceShapeName>(), bag.load::<Metadata>()) else {
            return Err(SerdeError::custom("a call without a name cannot be made"));
        };
        request.headers_mut().insert("x-amz-target", format!("{}.{}", service.as_str(), operation.name()));
        Ok(request)
    }

    fn deserialize_response<'a>(
        &self,
        response: &'a Response,
        schema: &Schema<'_>,
        bag: &'a ConfigBag,
    ) -> Result<Box<dyn ShapeDeserializer + 'a>, SerdeError> {
        match response.body().bytes() {
            Some(body) if !body.is_empty() && !is_json(body) => self.requests.deserialize_response(response, schema, bag),
            // The stand-in for records that were taken out, and an endpoint's own JSON.
            _ => self.json.deserialize_response(response, schema, bag),
        }
    }

    fn parse_error_metadata(&self, response: &Response, bag: &ConfigBag) -> Result<MetadataBuilder, SerdeError> {
        let body = response.body().bytes().unwrap_or_default();
        if body.is_empty() || is_json(body) {
            return self.json.parse_error_metadata(response, bag);
        }
        // What is neither, such as a proxy's page, is an error without a code.
        let mut metadata = ErrorMetadata::builder();
        let Some(said) = super::cbor::refusal(body) else { return Ok(metadata) };
        if let Some(code) = said.code {
            metadata = metadata.code(sanitize_error_code(&code));
        }
        if let Some(message) = said.message {
            metadata = metadata.message(message);
        }
        Ok(metadata)
    }

    fn update_endpoint(&self, request: &mut Request, endpoint: &Endpoint, bag: &ConfigBag) -> Result<(), SerdeError> {
        self.requests.update_endpoint(request, endpoint, bag)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
