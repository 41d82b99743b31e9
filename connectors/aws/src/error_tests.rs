#![allow(clippy::unwrap_used)]
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;

use super::*;

type Failure = SdkError<ErrorMetadata, HttpResponse>;

fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> HttpResponse {
    let mut answer = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
    for (name, value) in headers {
        answer.headers_mut().insert(*name, *value);
    }
    answer
}

fn service(status: u16, code: &str, message: &str) -> Failure {
    SdkError::service_error(ErrorMetadata::builder().code(code).message(message).build(), answer(status, &[]))
}

fn failed(error: &Failure) -> Error {
    Call::new("kinesis:DescribeStreamSummary", "stream", "orders", "eu-west-1").failed(error)
}

const SUBJECT: &str = "`kinesis:DescribeStreamSummary` on stream `orders` in `eu-west-1`";

#[test]
fn a_missing_permission_names_the_action_to_allow() {
    let error = failed(&service(400, "AccessDeniedException", "User: me is not authorized."));
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert_eq!(
        error.to_string(),
        format!(
            "{SUBJECT} was refused: User: me is not authorized (`AccessDeniedException`); allow the action \
             `kinesis:DescribeStreamSummary` on it for this identity"
        )
    );
}

#[test]
fn an_absent_stream_is_the_configuration_s_matter() {
    let error = failed(&service(400, "ResourceNotFoundException", "Stream orders under account 1 not found."));
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(error.hint(), Some("create the stream `orders`, or correct its name, the region or the endpoint"));
}

#[test]
fn codes_have_the_kind_the_engine_acts_on() {
    use ErrorKind::{Authentication, Configuration, Fenced, Throttled, Transient};
    for (status, code, kind) in [
        (400, "UnrecognizedClientException", Authentication),
        (400, "InvalidSignatureException", Authentication),
        (400, "ExpiredTokenException", Authentication),
        (403, "InvalidClientTokenId", Authentication),
        (400, "KMSAccessDeniedException", Authentication),
        (400, "KMSDisabledException", Configuration),
        (400, "KMSThrottlingException", Throttled(None)),
        (400, "ThrottlingException", Throttled(None)),
        (400, "ProvisionedThroughputExceededException", Throttled(None)),
        (400, "LimitExceededException", Throttled(None)),
        (400, "ResourceInUseException", Transient),
        (400, "ExpiredIteratorException", Transient),
        (500, "InternalFailure", Transient),
        (400, "ConditionalCheckFailedException", Fenced),
        (400, "com.amazonaws.dynamodb.v20120810#ValidationException", Configuration),
        (400, "SomethingNew", Configuration),
        (403, "SomethingNew", Authentication),
        (429, "SomethingNew", Throttled(None)),
        (503, "SomethingNew", Transient),
    ] {
        assert_eq!(failed(&service(status, code, "")).kind(), kind, "{code} with status {status}");
    }
}

#[test]
fn a_code_without_words_is_still_named() {
    assert_eq!(failed(&service(500, "InternalFailure", "")).message(), format!("{SUBJECT} failed: `InternalFailure`"));
}

#[test]
fn the_patience_that_is_asked_for_is_passed_on() {
    let metadata = ErrorMetadata::builder().code("ThrottlingException").build();
    let error: Failure = SdkError::service_error(metadata, answer(400, &[("retry-after", "7")]));
    assert_eq!(failed(&error).kind(), ErrorKind::Throttled(Some(Duration::from_secs(7))));
}

#[test]
fn an_answer_that_is_not_of_aws_points_at_the_endpoint() {
    let error: Failure = SdkError::service_error(ErrorMetadata::builder().build(), answer(404, &[]));
    assert_eq!(failed(&error).kind(), ErrorKind::Configuration);
    assert_eq!(failed(&error).hint(), Some("check that the endpoint is that of the service"));
    let error: Failure = SdkError::response_error("not json", answer(502, &[]));
    assert_eq!(failed(&error).kind(), ErrorKind::Transient);
}

#[test]
fn a_refused_connection_is_waited_for_and_a_refused_certificate_is_not() {
    let away = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
    let error = failed(&SdkError::dispatch_failure(ConnectorError::io(Box::new(away))));
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(error.message(), format!("{SUBJECT} could not be sent: io error: connection refused"));

    for (refusal, why) in [
        (rustls::CertificateError::UnknownIssuer, "has an issuer that is not trusted"),
        (rustls::CertificateError::Expired, "has expired"),
        (rustls::CertificateError::ApplicationVerificationFailure, "was not accepted"),
    ] {
        // As hyper hands it up: inside an `io::Error`, which hides it from `source`.
        let refused = io::Error::other(rustls::Error::InvalidCertificate(refusal));
        let error = failed(&SdkError::dispatch_failure(ConnectorError::io(Box::new(refused))));
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert_eq!(error.message(), format!("{SUBJECT} could not be sent: the endpoint's certificate {why}"));
        assert!(error.hint().unwrap().contains("trust store"), "{error}");
    }
}

#[test]
fn credentials_that_fail_before_a_call_keep_their_kind_and_words() {
    let ours = Error::new(ErrorKind::Authentication, "the role was refused").with_hint("ask for it");
    let credentials = CredentialsError::provider_error(ours);
    let error = failed(&SdkError::construction_failure(credentials));
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert_eq!(error.to_string(), format!("{SUBJECT}: the role was refused; ask for it"));
}

#[test]
fn the_code_of_an_answer_is_given_for_decisions() {
    assert_eq!(service_code(&service(400, "ResourceInUseException", "")), Some("ResourceInUseException"));
    assert_eq!(service_code(&Failure::timeout_error("late")), None);
}
