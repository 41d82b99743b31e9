//! Assumed role whose credentials live 20 s: records flow for two minutes without an error.

use std::time::{Duration, Instant};

use local_aws::AccessRules;
use local_aws::ControlRequest;
use serde_json::json;

use crate::harness::broker;
use crate::harness::source::Setup;
use crate::harness::stream::Stream;
use crate::harness::topic::Topic;

const LIFE: Duration = Duration::from_secs(20);
const FLOW: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_of_twenty_seconds() {
    let stream = Stream::start(2).await;
    let topic = Topic::new(broker::shared().await, "role");
    let life = Some(LIFE.as_secs() as i64);
    let access = Some(AccessRules { only_issued_sessions: true, ..AccessRules::default() });
    stream.local.control(ControlRequest { session_seconds: life, access, ..ControlRequest::default() }).unwrap();
    let role = json!({
        "roleArn": "arn:aws:iam::000000000000:role/reader", "roleSessionName": "orders", "externalId": "tenant-7", "region": "us-east-1",
        "endpoint": stream.local.url(), "accessKey": "AKIABASE", "secretKey": "secret",
    });
    // A machine that is busy for half a second is no matter of credentials: renewals have as long as by default.
    let setup = Setup::new(&stream, &topic)
        .config("failoverTimeMillis", 10_000)
        .config("awsCredentialPluginName", "org.apache.pulsar.io.aws.STSAssumeRoleProviderPlugin")
        .config("awsCredentialPluginParam", role.to_string());
    let source = setup.start().await;
    let (began, follower, mut put) = (Instant::now(), topic.follow().await, 0);
    while began.elapsed() < FLOW {
        stream.put_numbered(put, 100, 20);
        put += 100;
        // Records keep coming all the time, not only at the end.
        follower.at_least(put, Duration::from_secs(15)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(follower);
    let log = source.stop().await;
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "nothing went wrong, and still the log complains:\n{log}");
    let assumed = stream.local.assumed();
    assert!(assumed.len() >= (FLOW.as_secs() / LIFE.as_secs()) as usize, "the role was assumed {} times", assumed.len());
    assert!(assumed.iter().all(|one| one.external_id.as_deref() == Some("tenant-7") && one.caller_access_key_id == "AKIABASE"));
    stream.truth().compare(&topic.read_all().await).assert_exact();
}
