//! An assumed role over the wire, against an STS that issues short-lived credentials and refuses expired ones.

#![allow(clippy::unwrap_used, missing_docs)]

use connector_aws::{AwsContext, AwsSettings, Call, CredentialsConfig, Endpoint, ServiceSettings, service_code};
use connector_sdk::{Error, ErrorKind};
use local_aws::{AccessRules, LocalAws, Options};

const ARN: &str = "arn:aws:iam::123456789012:role/orders";

async fn assume(local: &LocalAws, seconds: u32) -> Result<AwsContext, Error> {
    let param = format!(
        r#"{{"roleArn":"{ARN}","roleSessionName":"pulsar","externalId":"ticket-7","durationSeconds":{seconds},
            "endpoint":"{}","accessKey":"AKIAEXAMPLE","secretKey":"test"}}"#,
        local.url()
    );
    let config = CredentialsConfig {
        plugin_name: Some("org.apache.pulsar.io.aws.STSAssumeRoleProviderPlugin".to_owned()),
        plugin_param: Some(param.into()),
    };
    config.validate().unwrap().connect(&AwsSettings::default()).await
}

fn client(context: &AwsContext, local: &LocalAws) -> aws_sdk_sts::Client {
    let endpoint = Endpoint::parse("endpoint", local.url()).unwrap();
    aws_sdk_sts::Client::new(&context.service(&ServiceSettings { endpoint: Some(endpoint), ..ServiceSettings::default() }))
}

#[tokio::test]
async fn calls_go_on_without_an_error_while_short_lived_credentials_come_and_go() {
    let local = LocalAws::start(Options::default()).await.unwrap();
    let context = assume(&local, 4).await.unwrap();
    let client = client(&context, &local);
    let mut calls = 0_u64;
    // Each call that is signed with expired credentials is refused by the stand-in. The loop ends by the roles that were assumed.
    while local.assumed().len() < 4 {
        let answer = client.get_caller_identity().send().await;
        let arn = answer.unwrap_or_else(|error| panic!("call {calls}: {:?}", service_code(&error))).arn.unwrap();
        assert!(arn.ends_with("assumed-role/orders/pulsar"), "{arn}");
        calls += 1;
        // The pace of a reader, so that the test does not take a core for itself.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let assumed = local.assumed();
    assert!(assumed.iter().all(|role| role.role_arn == ARN && role.external_id.as_deref() == Some("ticket-7")));
    assert!(assumed.iter().all(|role| role.caller_access_key_id == "AKIAEXAMPLE"), "the base keys assume, never the role itself");
    for pair in assumed.windows(2) {
        assert!(pair[1].assumed_at < pair[0].expires_at, "the next credentials came only after the last ones had ended");
    }
    local.shutdown().await;
}

#[tokio::test]
async fn a_base_key_that_is_refused_ends_the_start() {
    let local = LocalAws::start(Options::default()).await.unwrap();
    local.set_access(AccessRules {
        only: Some(vec!["AKIAOTHER".to_owned()]),
        refuse_with: Some("InvalidClientTokenId".to_owned()),
        ..AccessRules::default()
    });
    let error = assume(&local, 4).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.message().contains("`sts:AssumeRole`") && error.message().contains(ARN), "{error}");
    assert!(error.hint().unwrap().contains("access key"), "{error}");
    local.shutdown().await;
}

#[tokio::test]
async fn a_call_that_is_denied_names_its_action() {
    let local = LocalAws::start(Options::default()).await.unwrap();
    let context = assume(&local, 900).await.unwrap();
    let denied: local_aws::Denied = local_aws::Denied { service: local_aws::Service::Sts, operation: None };
    local.set_access(AccessRules { denied: vec![denied], ..AccessRules::default() });
    let error = client(&context, &local).get_caller_identity().send().await.unwrap_err();
    let error = Call::new("sts:GetCallerIdentity", "session", "pulsar", context.region()).failed(&error);
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.hint().unwrap().contains("allow the action `sts:GetCallerIdentity`"), "{error}");
    local.shutdown().await;
}
