//! The program as a person meets it: its messages and exit codes, by the real binary, without any network.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const SOUND: &str = r#"{
  "name": "orders", "archive": "builtin://kinesis", "topicName": "orders",
  "configs": {
    "awsKinesisStreamName": "orders", "awsRegion": "eu-west-1",
    "awsCredentialPluginParam": "{\"accessKey\":\"AKIAEXAMPLE\",\"secretKey\":\"test\"}"
  }
}"#;

fn call(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulsar-connect"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("awsCredentialPluginParam").output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn file(name: &str, text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_flag_of_pulsars_localrun_is_there_in_both_spellings() {
    let help = out(&call(&["sources", "localrun", "--help"]));
    let flags = [
        ("--tenant", ""),
        ("--namespace", ""),
        ("--name", ""),
        ("--source-type", "--sourceType"),
        ("--processing-guarantees", "--processingGuarantees"),
        ("--destination-topic-name", "--destinationTopicName"),
        ("--producer-config", "--producerConfig"),
        ("--batch-builder", "--batchBuilder"),
        ("--deserialization-classname", "--deserializationClassName"),
        ("--schema-type", "--schemaType"),
        ("--parallelism", ""),
        ("--archive", ""),
        ("--classname", "--className"),
        ("--source-config-file", "--sourceConfigFile"),
        ("--cpu", ""),
        ("--ram", ""),
        ("--disk", ""),
        ("--source-config", "--sourceConfig"),
        ("--batch-source-config", "--batchSourceConfig"),
        ("--custom-runtime-options", "--customRuntimeOptions"),
        ("--secrets", ""),
        ("--log-topic", "--logTopic"),
        ("--runtime-flags", "--runtimeFlags"),
        ("--broker-service-url", "--brokerServiceUrl"),
        ("--state-storage-service-url", "--stateStorageServiceUrl"),
        ("--client-auth-plugin", "--clientAuthPlugin"),
        ("--client-auth-params", "--clientAuthParams"),
        ("--use-tls", "--useTls"),
        ("--tls-allow-insecure", "--tlsAllowInsecure"),
        ("--hostname-verification-enabled", "--hostnameVerificationEnabled"),
        ("--tls-trust-cert-path", "--tlsTrustCertPath"),
        ("--secrets-provider-classname", "--secretsProviderClassName"),
        ("--secrets-provider-config", "--secretsProviderConfig"),
        ("--metrics-port-start", "--metricsPortStart"),
        ("--log-format", "--logFormat"),
        ("--exit-on-error", "--exitOnError"),
        ("--stop-timeout", "--stopTimeout"),
    ];
    for (flag, twin) in flags {
        assert!(help.split_whitespace().any(|word| word == flag), "{flag} is not in the help");
        // A flag that exists asks for its value or takes it; one that does not is unexpected.
        for name in [flag, twin].into_iter().filter(|name| !name.is_empty()) {
            let complaint =
                err(&call(&["sources", "localrun", &format!("{name}=1"), "--source-config-file", "nowhere.json", "--no-such-flag"]));
            assert!(complaint.contains("--no-such-flag") || complaint.contains("invalid value"), "{name}: {complaint}");
            assert!(!twin.is_empty() && name == twin || help.contains(name), "{name}");
        }
        if !twin.is_empty() {
            assert!(!help.contains(&format!("{twin} ")), "{twin} should be hidden");
        }
    }
    for short in ["-t", "-o", "-a", "-st"] {
        let complaint = err(&call(&["sources", "localrun", short, "x", "--no-such-flag"]));
        assert!(complaint.contains("--no-such-flag"), "{short}: {complaint}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &["--nonsense"][..],
        &["sources"],
        &["sources", "run"],
        &["sources", "localrun", "--parallelism", "many"],
        &["validate"],
        &["leases"],
        &["sources", "localrun", "--archive", "builtin://kinesis", "--source-type", "kinesis"],
        &["schema", "nothing"],
        &["completions", "cmd"],
        &["sources", "localrun", "--log-format", "xml"],
        &[],
    ] {
        let output = call(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(!err(&output).is_empty() && out(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_and_version_end_with_0() {
    for arguments in [&["--help"][..], &["--version"], &["help", "sources"], &["sources", "localrun", "--help"], &["source", "--help"]] {
        let output = call(arguments);
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn a_sound_file_is_valid_in_both_formats() {
    let yaml = "name: orders\nsourceType: kinesis\ntopicName: orders\nresources: {cpu: 1}\nconfigs:\n  awsKinesisStreamName: orders\n  \
                awsRegion: eu-west-1\n  awsCredentialPluginName: org.apache.pulsar.io.aws.AwsDefaultProviderChainPlugin\n";
    for (name, content) in [("orders.json", SOUND), ("orders.yaml", yaml)] {
        let (_folder, path) = file(name, content);
        let output = call(&["validate", text(&path)]);
        assert_eq!(code(&output), 0, "{}", err(&output));
        assert!(out(&output).contains("valid; `kinesis` would publish to persistent://public/default/orders"));
        assert_eq!(out(&output).contains("note: `resources` means nothing here"), name == "orders.yaml");
    }
}

#[test]
fn validate_shows_every_problem_with_path_cause_and_hint_and_ends_with_1() {
    let wrong =
        SOUND.replace("\"topicName\": \"orders\",", "").replace("awsRegion", "awsRegoin").replace("orders\", \"aws", "or/ders\", \"aws");
    let (_folder, path) = file("orders.json", &wrong);
    let output = call(&["validate", text(&path)]);
    assert_eq!((code(&output), out(&output).as_str()), (1, ""));
    let shown = err(&output);
    assert!(shown.contains("orders.json: 3 problems\n"), "{shown}");
    assert!(shown.contains("  `configs.awsRegoin`: this key is not known\n      did you mean `awsRegion`?\n"), "{shown}");
    assert!(shown.contains("  `topicName`: no topic is named"), "{shown}");
    assert!(shown.contains("  `configs.awsKinesisStreamName`: `or/ders` is not a stream's name\n"), "{shown}");

    let output = call(&["validate", "--json", text(&path)]);
    assert_eq!(code(&output), 1);
    let found: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(found["valid"], false);
    assert_eq!(found["problems"].as_array().unwrap().len(), 3);
    assert!(found["problems"].as_array().unwrap().iter().all(|problem| problem["path"].is_string() && problem["hint"].is_string()));
}

#[test]
fn a_file_that_is_no_json_or_yaml_is_named_with_line_and_column() {
    for (name, content, wanted) in [
        ("a.json", "{\"name\": \"x\",\n \"configs\": {\"a\": 1,}\n}", "line 2, column 21"),
        ("a.yaml", "name: x\nconfigs:\n  a: 1\n b: 2\n", "line 4, column 2"),
    ] {
        let (_folder, path) = file(name, content);
        for arguments in [&["validate", text(&path)][..], &["sources", "localrun", "--source-config-file", text(&path)]] {
            let output = call(arguments);
            assert_eq!(code(&output), 1);
            assert!(err(&output).contains(wanted), "{}", err(&output));
        }
    }
}

#[test]
fn localrun_ends_with_1_for_what_shows_without_network() {
    let (_folder, path) = file("orders.json", SOUND);
    for (flags, wanted) in [
        (&["--processing-guarantees", "MANUAL"][..], "`MANUAL` leaves acknowledgement to the user's code"),
        (&["--processingGuarantees", "ATLEAST_ONC"], "did you mean `ATLEAST_ONCE`?"),
        (&["--destinationTopicName", "a b"], "`topicName`: `a b` is not a topic name"),
        (&["--source-type", "kafka"], "there is no connector `kafka`"),
        (&["-st", "AVRO"], "the schema `avro` needs its definition"),
        (&["-st", "PROTOBUF"], "the schema `protobuf` is not offered"),
        (&["--log-topic", "logs"], "`logTopic`"),
        (&["--parallelism", "0"], "`parallelism`: 0 is out of bounds"),
        (&["--cpu", "0"], "`resources.cpu`"),
        (&["--source-config", "{"], "`--source-config`: the value is not JSON at line 1, column 1"),
        (&["--sourceConfig", "{}"], "`configs.awsKinesisStreamName`: the stream's name is missing"),
        (&["--producer-config", "{\"compressionType\":\"GZIP\"}"], "`producerConfig.compressionType`: `GZIP`"),
        (&["--batch-source-config", "{\"a\":1}"], "`batchSourceConfig`"),
        (&["--secrets", "{\"awsCredentialPluginParam\":{\"path\":\"a\"}}"], "`secrets.awsCredentialPluginParam`"),
        (&["--secrets-provider-classname", "Vault"], "`--secrets-provider-classname`: the secrets provider `Vault` is not offered"),
        (&["--secrets-provider-config", "x"], "`--secrets-provider-config`"),
        (&["--broker-service-url", "http://localhost:8080"], "`--broker-service-url`"),
        (&["--client-auth-plugin", "Kerberos"], "`--client-auth-plugin`: `Kerberos` is not offered"),
        (&["--tls-trust-cert-path", "nowhere.pem"], "`--tls-trust-cert-path`: there is no file `nowhere.pem`"),
    ] {
        let output = call(&[&["sources", "localrun", "--source-config-file", text(&path)], flags].concat());
        assert_eq!(code(&output), 1, "{flags:?}: {}", err(&output));
        assert!(err(&output).contains(wanted), "{flags:?}: {}", err(&output));
        assert!(err(&output).lines().count() <= 24, "more than a screen: {}", err(&output));
        assert!(!err(&output).contains("AKIAEXAMPLE"), "a secret is shown");
    }
}

#[test]
fn flags_win_over_the_file() {
    // Each file is wrong in one key that a flag puts right; what is left is a wrong address, which is found last.
    for (from, to, flags) in [
        ("\"orders\", \"archive\"", "\"a/b\", \"archive\"", &["--name", "orders"][..]),
        ("builtin://kinesis", "builtin://kafka", &["--source-type", "kinesis"]),
        ("builtin://kinesis", "some.nar", &["-a", "builtin://kinesis"]),
        ("\"topicName\": \"orders\"", "\"topicName\": \"a b\"", &["-o", "orders"]),
        ("\"topicName\"", "\"schemaType\": \"AVRO\", \"topicName\"", &["-st", "bytes"]),
        ("\"topicName\"", "\"parallelism\": 0, \"topicName\"", &["--parallelism", "2"]),
        (
            "\"awsRegion\"",
            "\"nonsense\"",
            &[
                "--source-config",
                "{\"awsKinesisStreamName\":\"o\",\"awsRegion\":\"eu-west-1\",\"awsCredentialPluginName\":\"AwsDefaultProviderChainPlugin\"}",
            ],
        ),
    ] {
        let (_folder, path) = file("orders.json", &SOUND.replace(from, to));
        let base = ["sources", "localrun", "--source-config-file", text(&path), "--broker-service-url", "wrong"];
        let without = err(&call(&base));
        let with = err(&call(&[&base[..], flags].concat()));
        assert!(!without.contains("one problem"), "{flags:?}: {without}");
        assert!(with.contains("one problem") && with.contains("--broker-service-url"), "{flags:?}: {with}");
    }
}

#[test]
fn localrun_needs_no_file() {
    let configs = r#"{"awsKinesisStreamName":"orders","awsRegion":"eu-west-1","awsCredentialPluginName":"AwsDefaultProviderChainPlugin"}"#;
    let flags = ["--name", "orders", "-t", "kinesis", "-o", "orders", "--source-config", configs, "--broker-service-url", "wrong"];
    let output = call(&[&["sources", "localrun"], &flags[..]].concat());
    assert_eq!(code(&output), 1);
    assert!(err(&output).starts_with("the command line: one problem\n  `--broker-service-url`"), "{}", err(&output));
}

#[test]
fn references_and_secrets_come_from_the_environment_of_the_process() {
    let (_folder, path) = file("orders.json", &SOUND.replace("\"eu-west-1\"", "\"${TEST_REGION_OF_ORDERS}\""));
    let output = call(&["validate", text(&path)]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("the environment variable `TEST_REGION_OF_ORDERS` is not set"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulsar-connect"));
    let output = command.args(["validate", text(&path)]).env("TEST_REGION_OF_ORDERS", "eu-west-1").output().unwrap();
    assert_eq!(code(&output), 0, "{}", err(&output));
}

#[test]
fn connectors_schemas_and_completions_are_printed() {
    assert!(out(&call(&["connectors"])).starts_with("kinesis "));
    let schema: serde_json::Value = serde_json::from_str(&out(&call(&["schema", "kinesis"]))).unwrap();
    assert_eq!(schema["properties"]["configs"]["properties"]["maxRecords"]["maximum"], 10_000);
    let (_folder, path) = file("sample.json", &out(&call(&["schema", "builtin://kinesis", "--sample"])));
    assert_eq!(code(&call(&["validate", text(&path)])), 0);
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&call(&["completions", shell]));
        assert!(script.contains("source-config-file"), "{shell}");
    }
}

#[test]
fn leases_checks_its_file_before_it_calls_anybody() {
    let (_folder, path) = file("orders.json", &SOUND.replace("eu-west-1", "Ireland"));
    let output = call(&["leases", "--source-config-file", text(&path)]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("`configs.awsRegion`: `Ireland` is not a region"), "{}", err(&output));
}

#[test]
fn leases_of_a_service_that_refuses_connections_end_with_3() {
    // A port that was free a moment ago: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let there = format!("\"eu-west-1\", \"dynamoEndpoint\": \"http://127.0.0.1:{port}\"");
    let (_folder, path) = file("orders.json", &SOUND.replace("\"eu-west-1\"", &there));
    let output = call(&["leases", "--source-config-file", text(&path)]);
    assert_eq!(code(&output), 3, "{}", err(&output));
    assert!(err(&output).starts_with("pulsar-connect: "), "{}", err(&output));
}
