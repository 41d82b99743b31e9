//! The default credential chain, each link in a process of its own: the chain reads the process's environment.
//!
//! Each test starts this test binary again with only itself selected and with the environment of its case; the child asks the
//! chain and prints what it got.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../src/stand_in.rs"]
mod stand_in;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use aws_credential_types::provider::ProvideCredentials;
use connector_aws::{AwsSettings, CredentialsConfig};
use stand_in::{Answer, StandIn};

/// Set in the child.
const CHILD: &str = "DEFAULT_CHAIN_CHILD";
/// What the child writes before its answer.
const MARK: &str = "chain: ";

async fn ask_the_chain() -> String {
    let config = CredentialsConfig { plugin_name: Some("AwsDefaultProviderChainPlugin".to_owned()), plugin_param: None };
    match config.validate().expect("the chain has no parameter").connect(&AwsSettings::default()).await {
        Ok(context) => {
            let provider = context.credentials().expect("a connected context has credentials");
            let credentials = provider.provide_credentials().await.expect("the first credentials are held");
            credentials.access_key_id().to_owned()
        }
        Err(error) => format!("{:?}: {error}", error.kind()),
    }
}

/// Runs `test` again in a child with this environment and nothing else; gives what its chain answered.
async fn in_a_child(test: &str, environment: &[(&str, &str)]) -> String {
    let home = tempfile::tempdir().unwrap();
    let mut all: BTreeMap<&str, &str> = BTreeMap::from([
        (CHILD, "yes"),
        ("HOME", home.path().to_str().unwrap()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("NO_PROXY", "127.0.0.1"),
    ]);
    all.extend(environment.iter().copied());
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env_clear()
        .envs(all)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), child).await.expect("the child ends").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer = text.lines().find_map(|line| line.split_once(MARK)).map(|(_, answer)| answer.to_owned());
    answer.unwrap_or_else(|| panic!("the child printed no answer:\n{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// In the child: asks, prints, and says so.
async fn was_child() -> bool {
    let child = std::env::var_os(CHILD).is_some();
    if child {
        println!("{MARK}{}", ask_the_chain().await);
    }
    child
}

fn json_credentials(key: &str) -> String {
    format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-01-01T00:00:00Z","AccessKeyId":"{key}",
            "SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}}"#
    )
}

#[tokio::test]
async fn the_environment_is_read() {
    if was_child().await {
        return;
    }
    let environment = [("AWS_ACCESS_KEY_ID", "AKIAFROMENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
    assert_eq!(in_a_child("the_environment_is_read", &environment).await, "AKIAFROMENV");
}

#[tokio::test]
async fn a_profile_and_its_process_are_read() {
    if was_child().await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    std::fs::write(&credentials, "[default]\naws_access_key_id = AKIAFROMPROFILE\naws_secret_access_key = s\n").unwrap();
    let answer = folder.path().join("answer.json");
    let process = r#"{"Version":1,"AccessKeyId":"AKIAFROMPROCESS","SecretAccessKey":"s","SessionToken":"t"}"#;
    std::fs::write(&answer, process).unwrap();
    let config = folder.path().join("config");
    std::fs::write(&config, format!("[profile tool]\ncredential_process = /bin/cat {}\n", answer.display())).unwrap();
    let files = [
        ("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap()),
        ("AWS_CONFIG_FILE", config.to_str().unwrap()),
        ("PATH", "/usr/bin:/bin"),
    ];
    let test = "a_profile_and_its_process_are_read";
    assert_eq!(in_a_child(test, &files).await, "AKIAFROMPROFILE");
    let tool = [files[0], files[1], files[2], ("AWS_PROFILE", "tool")];
    assert_eq!(in_a_child(test, &tool).await, "AKIAFROMPROCESS");
}

#[tokio::test]
async fn a_web_identity_is_exchanged() {
    if was_child().await {
        return;
    }
    let sts = StandIn::start(|_, request| {
        assert!(request.contains("Action=AssumeRoleWithWebIdentity") && request.contains("WebIdentityToken=the-token"), "{request}");
        Answer::new(
            200,
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAFROMWEB</AccessKeyId>\
             <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
             </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        )
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "the-token").unwrap();
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod"),
        ("AWS_ROLE_SESSION_NAME", "pod"),
        ("AWS_ENDPOINT_URL_STS", sts.url.as_str()),
    ];
    assert_eq!(in_a_child("a_web_identity_is_exchanged", &environment).await, "ASIAFROMWEB");
}

#[tokio::test]
async fn a_container_s_role_is_asked_for() {
    if was_child().await {
        return;
    }
    let container = StandIn::start(|_, _| Answer::new(200, json_credentials("ASIAFROMCONTAINER"))).await;
    let url = format!("{}/credentials", container.url);
    let environment = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod-token")];
    assert_eq!(in_a_child("a_container_s_role_is_asked_for", &environment).await, "ASIAFROMCONTAINER");
    assert!(container.requests()[0].to_lowercase().contains("authorization: pod-token"));
}

#[tokio::test]
async fn an_instance_s_role_is_asked_for_with_a_session_token() {
    if was_child().await {
        return;
    }
    let metadata = StandIn::start(|_, request| {
        let path = request.split(' ').nth(1).unwrap();
        match path {
            "/latest/api/token" => {
                Answer { status: 200, headers: "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n".to_owned(), body: "imds-token".to_owned() }
            }
            _ if !request.contains("imds-token") => Answer::new(401, ""),
            path if path.ends_with("/instance-role") => Answer::new(200, json_credentials("ASIAFROMINSTANCE")),
            path if path.contains("security-credentials-extended") => Answer::new(404, ""),
            _ => Answer::new(200, "instance-role"),
        }
    })
    .await;
    let environment = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url.as_str())];
    let answer = in_a_child("an_instance_s_role_is_asked_for_with_a_session_token", &environment).await;
    assert_eq!(answer, "ASIAFROMINSTANCE");
    assert!(metadata.requests()[0].starts_with("PUT /latest/api/token"), "IMDSv2 begins with a token");
}

#[tokio::test]
async fn no_credentials_anywhere_is_said_with_where_they_may_be() {
    if was_child().await {
        return;
    }
    let answer = in_a_child("no_credentials_anywhere_is_said_with_where_they_may_be", &[]).await;
    assert!(answer.starts_with("Authentication: the default credential chain found no AWS credentials; set "), "{answer}");
    assert!(answer.contains("`AWS_ACCESS_KEY_ID`") && answer.contains("awsCredentialPluginParam"), "{answer}");
}
