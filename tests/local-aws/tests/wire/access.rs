//! Who may call, and with credentials of what age.

use aws_sdk_kinesis::error::ProvideErrorMetadata as _;
use local_aws::{AccessRules, Clock, Denied, LocalAws, Options, Service};

use crate::neighbours::sts;
use crate::support::{credentials, kinesis_as, start};

async fn code(local: &LocalAws, key: &str) -> Option<String> {
    let answer = kinesis_as(local, credentials(key)).list_streams().send().await;
    answer.err().map(|error| error.into_service_error().code().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn keys_are_refused_by_the_service_s_own_codes() {
    let local = start().await;
    assert_eq!(code(&local, "AKIAOLD").await, None);
    local.set_access(AccessRules {
        only: Some(vec!["AKIAOLD".to_owned(), "AKIANEW".to_owned()]),
        refused: [("AKIAOLD".to_owned(), "ExpiredTokenException".to_owned())].into(),
        ..AccessRules::default()
    });
    assert_eq!(code(&local, "AKIAOLD").await.as_deref(), Some("ExpiredTokenException"));
    assert_eq!(code(&local, "AKIANEW").await, None);
    assert_eq!(code(&local, "AKIAOTHER").await.as_deref(), Some("UnrecognizedClientException"));
    let counted = local.requests();
    assert_eq!(counted.by_operation["kinesis.ListStreams"], 4);
    assert_eq!(counted.by_access_key_id["AKIAOLD"], 2);
    local.shutdown().await;
}

#[tokio::test]
async fn an_operation_is_denied_by_name() {
    let local = start().await;
    local.set_access(AccessRules {
        denied: vec![Denied { service: Service::Kinesis, operation: Some("CreateStream".to_owned()) }],
        ..AccessRules::default()
    });
    let client = kinesis_as(&local, credentials("AKIAEXAMPLE"));
    let denied = client.create_stream().stream_name("s").shard_count(1).send().await.unwrap_err().into_service_error();
    assert_eq!(denied.code(), Some("AccessDeniedException"));
    client.list_streams().send().await.unwrap();
    local.shutdown().await;
}

#[tokio::test]
async fn issued_credentials_are_refused_after_their_life() {
    let local = LocalAws::start(Options { clock: Clock::stepped(1_700_000_000_000), ..Options::default() }).await.unwrap();
    local.set_access(AccessRules { only_issued_sessions: true, ..AccessRules::default() });
    assert_eq!(code(&local, "AKIAEXAMPLE").await.as_deref(), Some("UnrecognizedClientException"));
    let assume = sts(&local).assume_role().role_arn("arn:aws:iam::000000000000:role/r").role_session_name("s").duration_seconds(1);
    let issued = assume.send().await.unwrap().credentials.unwrap().access_key_id;
    assert_eq!(code(&local, &issued).await, None);
    local.advance(999).unwrap();
    assert_eq!(code(&local, &issued).await, None);
    local.advance(1).unwrap();
    assert_eq!(code(&local, &issued).await.as_deref(), Some("ExpiredTokenException"));
    local.shutdown().await;
}
