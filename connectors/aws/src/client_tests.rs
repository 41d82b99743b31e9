#![allow(clippy::unwrap_used)]
use std::time::{SystemTime, UNIX_EPOCH};

use secrecy::SecretString;

use super::*;
use crate::stand_in::{Answer, StandIn};
use crate::{AnsweredAt, CredentialsConfig};

const IDENTITY: &str = "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::1:user/me</Arn>\
                        </GetCallerIdentityResult></GetCallerIdentityResponse>";

async fn context(region: Option<&str>) -> AwsContext {
    let keys = SecretString::from(r#"{"accessKey":"AKIAEXAMPLE","secretKey":"s3cret"}"#);
    let config = CredentialsConfig { plugin_name: None, plugin_param: Some(keys) };
    let settings = AwsSettings { region: region.map(|name| Region::new(name.to_owned())) };
    config.validate().unwrap().connect(&settings).await.unwrap()
}

fn settings(url: &str) -> ServiceSettings {
    ServiceSettings { endpoint: Some(Endpoint::parse("awsEndpoint", url).unwrap()), ..ServiceSettings::default() }
}

#[tokio::test]
async fn a_configured_endpoint_is_used_and_signed_with_the_region() {
    let service = StandIn::start(|_, _| Answer::new(200, IDENTITY)).await;
    let context = context(Some("eu-west-1")).await;
    aws_sdk_sts::Client::new(&context.service(&settings(&service.url))).get_caller_identity().send().await.unwrap();
    let request = &service.requests()[0];
    assert!(request.contains("Credential=AKIAEXAMPLE/") && request.contains("/eu-west-1/sts/"), "{request}");
    assert!(request.contains("app/pulsar-connect"), "{request}");
}

#[tokio::test]
async fn without_a_region_the_default_one_signs() {
    let context = context(None).await;
    assert_eq!(context.region(), "us-east-1");
}

#[tokio::test]
async fn a_call_is_attempted_as_often_as_its_settings_say() {
    for attempts in [1, 2] {
        let service = StandIn::start(|_, _| Answer::new(500, "")).await;
        let settings = ServiceSettings { max_attempts: attempts, ..settings(&service.url) };
        let client = aws_sdk_sts::Client::new(&context(None).await.service(&settings));
        assert!(client.get_caller_identity().send().await.is_err());
        assert_eq!(service.requests().len(), attempts as usize);
    }
}

#[tokio::test]
async fn the_date_of_an_answer_is_handed_out() {
    let service = StandIn::start(|_, _| Answer {
        status: 200,
        headers: "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(),
        body: IDENTITY.to_owned(),
    })
    .await;
    let client = aws_sdk_sts::Client::new(&context(None).await.service(&settings(&service.url)));
    let answered = AnsweredAt::new();
    assert_eq!(answered.get(), None);
    client.get_caller_identity().customize().interceptor(answered.clone()).send().await.unwrap();
    let then: SystemTime = UNIX_EPOCH + Duration::from_secs(784_111_777);
    assert_eq!(answered.get(), Some(then));
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_given_up_after_its_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let settings = ServiceSettings { attempt_timeout: Some(Duration::from_millis(50)), ..settings(&url) };
    let client = aws_sdk_sts::Client::new(&context(None).await.service(&settings));
    let error = client.get_caller_identity().send().await.unwrap_err();
    let error = crate::Call::new("sts:GetCallerIdentity", "the account of", "me", "us-east-1").failed(&error);
    assert_eq!(error.kind(), connector_sdk::ErrorKind::Transient);
    assert!(error.message().ends_with("was not answered in time"), "{error}");
}
