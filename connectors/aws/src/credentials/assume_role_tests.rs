#![allow(clippy::unwrap_used)]
use std::time::UNIX_EPOCH;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use connector_sdk::ErrorKind;

use super::*;
use crate::stand_in::{Answer, StandIn};
use crate::{AwsSettings, CredentialsConfig};

const ARN: &str = "arn:aws:iam::123456789012:role/orders";

fn issued(key: &str, expiration: SystemTime) -> String {
    let expiration = DateTime::from(expiration).fmt(Format::DateTime).unwrap();
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
         <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>issued-secret</SecretAccessKey><SessionToken>issued-token</SessionToken>\
         <Expiration>{expiration}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )
}

fn refused(code: &str, message: &str) -> String {
    format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>")
}

async fn connect(url: &str) -> Result<AwsContext, Error> {
    let param = format!(
        r#"{{"roleArn":"{ARN}","roleSessionName":"pulsar","externalId":"ticket 7","region":"eu-west-1","durationSeconds":900,
            "endpoint":"{url}","accessKey":"AKIAEXAMPLE","secretKey":"base-secret"}}"#
    );
    let config = CredentialsConfig {
        plugin_name: Some("org.apache.pulsar.io.aws.STSAssumeRoleProviderPlugin".to_owned()),
        plugin_param: Some(SecretString::from(param)),
    };
    let settings = AwsSettings { region: Some(Region::from_static("us-west-2")) };
    config.validate().unwrap().connect(&settings).await
}

#[tokio::test]
async fn a_role_is_assumed_with_the_base_keys_and_every_parameter() {
    let sts = StandIn::start(|_, _| Answer::new(200, issued("ASIAISSUED", SystemTime::now() + Duration::from_secs(900)))).await;
    let context = connect(&sts.url).await.unwrap();
    let credentials = context.credentials().unwrap().provide_credentials().await.unwrap();
    assert_eq!(credentials.access_key_id(), "ASIAISSUED");
    assert_eq!(credentials.session_token(), Some("issued-token"));
    assert_eq!(context.region(), "us-west-2", "the role's region is for STS alone");

    let requests = sts.requests();
    assert_eq!(requests.len(), 1, "the first credentials serve the later calls");
    let request = &requests[0];
    for part in [
        "Action=AssumeRole",
        "RoleSessionName=pulsar",
        "ExternalId=ticket%207",
        "DurationSeconds=900",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Forders",
        "Credential=AKIAEXAMPLE/",
        "/eu-west-1/sts/aws4_request",
        "app/pulsar-connect",
    ] {
        assert!(request.contains(part), "`{part}` is not in the request:\n{request}");
    }
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_ends_the_start_with_its_name_and_the_remedy() {
    let sts = StandIn::start(|_, _| {
        Answer::new(403, refused("AccessDenied", "User: arn:aws:iam::1:user/me is not authorized to perform: sts:AssumeRole."))
    })
    .await;
    let error = connect(&sts.url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert_eq!(
        error.to_string(),
        format!(
            "`sts:AssumeRole` on the role `{ARN}` in `eu-west-1` was refused: User: arn:aws:iam::1:user/me is not authorized to \
             perform: sts:AssumeRole (`AccessDenied`); allow the action `sts:AssumeRole` on it for this identity, and let the \
             role's trust policy name this identity and its `externalId`"
        )
    );
}

#[tokio::test]
async fn wrong_base_keys_are_said() {
    let sts =
        StandIn::start(|_, _| Answer::new(403, refused("InvalidClientTokenId", "The security token included in the request is invalid.")))
            .await;
    let error = connect(&sts.url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.hint().unwrap().contains("access key"), "{error}");
}

#[tokio::test]
async fn an_sts_that_is_busy_is_asked_again_and_one_that_is_away_is_transient() {
    let sts = StandIn::start(|count, _| match count {
        0 => Answer::new(503, refused("ServiceUnavailable", "busy")),
        _ => Answer::new(200, issued("ASIAISSUED", SystemTime::now() + Duration::from_secs(900))),
    })
    .await;
    connect(&sts.url).await.unwrap();
    assert_eq!(sts.requests().len(), 2);

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let error = connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(error.message().contains("could not be sent"), "{error}");
}

#[tokio::test]
async fn the_lifetime_counts_from_the_service_clock_when_ours_is_wrong() {
    let theirs = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let date = DateTime::from(theirs).fmt(Format::HttpDate).unwrap();
    let sts = StandIn::start(move |_, _| Answer {
        status: 200,
        headers: format!("date: {date}\r\n"),
        body: issued("ASIAISSUED", theirs + Duration::from_secs(1_000)),
    })
    .await;
    let before = SystemTime::now();
    let context = connect(&sts.url).await.unwrap();
    let expiry = context.credentials().unwrap().provide_credentials().await.unwrap().expiry().unwrap();
    assert!(expiry >= before + Duration::from_secs(1_000) && expiry <= SystemTime::now() + Duration::from_secs(1_000));
}

#[test]
fn a_right_clock_takes_the_expiry_as_it_is() {
    let asked = UNIX_EPOCH + Duration::from_secs(1_000);
    let expiry = asked + Duration::from_secs(20);
    assert_eq!(by_our_clock(expiry, Some(asked + Duration::from_secs(1)), asked), expiry);
    assert_eq!(by_our_clock(expiry, None, asked), expiry);
    // STS is a minute ahead: its credentials live 20 s, not 80 s.
    let ahead = asked + Duration::from_secs(60);
    assert_eq!(by_our_clock(ahead + Duration::from_secs(20), Some(ahead), asked), expiry);
}
