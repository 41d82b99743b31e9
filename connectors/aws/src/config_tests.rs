#![allow(clippy::unwrap_used)]
use super::*;

const DEFAULT_CHAIN: &str = "org.apache.pulsar.io.aws.AwsDefaultProviderChainPlugin";
const ASSUME_ROLE: &str = "org.apache.pulsar.io.aws.STSAssumeRoleProviderPlugin";
const ARN: &str = "arn:aws:iam::123456789012:role/orders";

fn validate(name: &str, param: Option<&str>) -> Result<ValidatedCredentials, Vec<Problem>> {
    let plugin_name = (!name.is_empty()).then(|| name.to_owned());
    CredentialsConfig { plugin_name, plugin_param: param.map(SecretString::from) }.validate()
}

fn problems(name: &str, param: Option<&str>) -> Vec<Problem> {
    validate(name, param).unwrap_err()
}

#[test]
fn a_blank_name_means_static_keys() {
    let param = r#"{"accessKey":"AKIAEXAMPLE","secretKey":"s3cret"}"#;
    assert_eq!(validate("", Some(param)).unwrap().describe(), "the keys in `awsCredentialPluginParam`");
    assert!(validate("  ", Some(param)).is_ok());
    let with_token = r#"{"accessKey":"ASIAEXAMPLE","secretKey":"s3cret","sessionToken":"t0ken"}"#;
    assert!(validate("", Some(with_token)).is_ok());
}

#[test]
fn static_keys_that_are_missing_are_all_named_at_once() {
    for param in [None, Some(""), Some("  ")] {
        let found = problems("", param);
        assert_eq!((found[0].path.as_str(), found[0].cause.as_str()), ("awsCredentialPluginParam", "is missing"));
        assert!(found[0].hint.as_ref().unwrap().contains("awsCredentialPluginName"));
    }
    let paths: Vec<_> = problems("", Some(r#"{"secretKey":" "}"#)).into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["awsCredentialPluginParam.accessKey", "awsCredentialPluginParam.secretKey"]);
}

#[test]
fn a_problem_never_repeats_a_secret() {
    let secret = "wJalrXUtnFEMIEXAMPLEKEY";
    for param in [
        format!("\"{secret}\""),
        format!("{{\"accessKey\": {secret}}}"),
        format!("{{\"accessKey\":[\"{secret}\"],\"secretKey\":{{\"{secret}\":1}}}}"),
        format!("{{\"{secret}\":\"AKIAEXAMPLE\"}}"),
        format!("[\"{secret}\"]"),
        format!("{{\"roleArn\":\"x\",\"roleSessionName\":\"{secret} {secret}\",\"secretKey\":\"{secret}\"}}"),
    ] {
        for name in ["", ASSUME_ROLE] {
            let text = problems(name, Some(&param)).iter().map(ToString::to_string).collect::<String>();
            assert!(!text.contains(secret), "{text}");
        }
    }
    let config = CredentialsConfig { plugin_name: None, plugin_param: Some(SecretString::from(secret)) };
    assert!(!format!("{config:?}").contains(secret));
    let keys = format!(r#"{{"accessKey":"AKIAEXAMPLE","secretKey":"{secret}","sessionToken":"{secret}"}}"#);
    assert!(!format!("{:?}", validate("", Some(&keys)).unwrap()).contains(secret));
}

#[test]
fn what_is_no_json_object_is_said_with_line_and_column() {
    let found = problems("", Some("{\n  \"accessKey\": oops\n}"));
    assert!(found[0].cause.contains("line 2, column"), "{}", found[0].cause);
}

#[test]
fn a_misspelt_key_gets_the_nearest_one() {
    let found = problems("", Some(r#"{"accesKey":"AKIAEXAMPLE","secretKey":"s"}"#));
    assert_eq!(found[0].to_string(), "`awsCredentialPluginParam`: the key `accesKey` is not known; did you mean `accessKey`?");
    assert_eq!(found[1].path, "awsCredentialPluginParam.accessKey");
}

#[test]
fn the_default_chain_needs_no_parameter_and_answers_to_every_name_in_use() {
    for name in [
        DEFAULT_CHAIN,
        "org.apache.pulsar.io.kinesis.AwsDefaultProviderChainPlugin",
        "AwsDefaultProviderChainPlugin",
        " org.apache.pulsar.io.aws.AwsDefaultProviderChainPlugin ",
    ] {
        for param in [None, Some(""), Some("{}"), Some("whatever")] {
            assert_eq!(validate(name, param).unwrap().describe(), "the default credential chain");
        }
    }
}

#[test]
fn an_assumed_role_takes_every_key() {
    let param = format!(
        r#"{{"roleArn":"{ARN}","roleSessionName":"pulsar","externalId":"x-1","region":"eu-west-1","durationSeconds":"3600",
            "endpoint":"http://localhost:4566","accessKey":"AKIAEXAMPLE","secretKey":"s","sessionToken":"t"}}"#
    );
    for name in [ASSUME_ROLE, "org.apache.pulsar.io.kinesis.STSAssumeRoleProviderPlugin", "STSAssumeRoleProviderPlugin"] {
        assert_eq!(validate(name, Some(&param)).unwrap().describe(), format!("the role `{ARN}`"));
    }
    assert!(validate(ASSUME_ROLE, Some(&format!(r#"{{"roleArn":"{ARN}","roleSessionName":"pulsar"}}"#))).is_ok());
}

#[test]
fn every_problem_of_an_assumed_role_is_found_at_once() {
    let param = r#"{"roleArn":"arn:aws:iam::1:user/me","roleSessionName":"a b","region":"Ireland","durationSeconds":20,
        "endpoint":"localhost","accessKey":"AKIAEXAMPLE"}"#;
    let mut paths: Vec<_> = problems(ASSUME_ROLE, Some(param)).into_iter().map(|problem| problem.path).collect();
    paths.sort();
    let keys = ["endpoint", "region", "roleArn", "roleSessionName", "secretKey"];
    assert_eq!(paths, keys.map(|key| format!("awsCredentialPluginParam.{key}")));
}

#[test]
fn a_duration_below_what_sts_allows_needs_an_endpoint_of_its_own() {
    let short = format!(r#"{{"roleArn":"{ARN}","roleSessionName":"pulsar","durationSeconds":20}}"#);
    assert_eq!(problems(ASSUME_ROLE, Some(&short))[0].hint.as_deref(), Some("write 900 to 43200"));
    let elsewhere = format!(r#"{{"roleArn":"{ARN}","roleSessionName":"pulsar","durationSeconds":20,"endpoint":"http://localhost:1"}}"#);
    assert!(validate(ASSUME_ROLE, Some(&elsewhere)).is_ok());
}

#[test]
fn an_unknown_plugin_is_answered_with_what_exists() {
    let found = problems("com.example.MyPlugin", None);
    let text = found[0].to_string();
    assert!(text.starts_with("`awsCredentialPluginName`: there is no credential plugin `com.example.MyPlugin`; there are: "));
    assert!(text.contains(DEFAULT_CHAIN) && text.contains(ASSUME_ROLE) && text.contains("static keys"));
    let near = problems("org.apache.pulsar.io.aws.STSAssumeRolePlugin", None)[0].to_string();
    assert!(near.contains(&format!("did you mean `{ASSUME_ROLE}`?")), "{near}");
    assert!(validate("org.apache.pulsar.io.aws.", None).is_err());
}
