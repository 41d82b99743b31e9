//! STS: AssumeRole and GetCallerIdentity in the query protocol.
//!
//! Promises that an issued key id lives exactly as long as was asked (seconds are allowed, which the service does not) and that every role assumed is kept
//! for assertions. Never checks a signature or a trust policy: refusals are asked for by faults.

use std::collections::HashMap;

use serde::Serialize;

use crate::access::Session;
use crate::clock::Millis;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const DEFAULT_SECONDS: i64 = 3600;

/// A role that was assumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AssumedRole {
    /// ARN of the role.
    pub role_arn: String,
    /// Name of the session.
    pub role_session_name: String,
    /// External id, if one was sent.
    pub external_id: Option<String>,
    /// The key id of the caller.
    pub caller_access_key_id: String,
    /// The key id that was issued.
    pub issued_access_key_id: String,
    /// The session token that was issued.
    pub session_token: String,
    /// When, in milliseconds since the epoch.
    pub assumed_at: Millis,
    /// When the issued credentials end, in milliseconds since the epoch.
    pub expires_at: Millis,
}

/// The stand-in's state.
#[derive(Debug)]
pub(crate) struct Sts {
    random: fastrand::Rng,
    assumed: Vec<AssumedRole>,
    by_key: HashMap<String, usize>,
    /// Life of issued credentials, whatever was asked.
    pub(crate) session_seconds: Option<i64>,
}

/// An answer or a refusal: HTTP status and XML.
pub(crate) struct XmlAnswer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Sts {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed ^ 0x7374_7300), assumed: Vec::new(), by_key: HashMap::new(), session_seconds: None }
    }

    pub(crate) fn assumed(&self) -> &[AssumedRole] {
        &self.assumed
    }

    /// What is known of a key id.
    pub(crate) fn session(&self, access_key_id: &str, now: Millis) -> Session {
        match self.by_key.get(access_key_id).map(|index| self.assumed[*index].expires_at) {
            None => Session::Unknown,
            Some(end) if now < end => Session::Live,
            Some(_) => Session::Expired,
        }
    }

    /// Answers a call; `account` is the twelve digits of the account.
    pub(crate) fn call(&mut self, operation: &str, form: &HashMap<String, String>, caller: &str, account: &str, now: Millis) -> XmlAnswer {
        match operation {
            "AssumeRole" => self.assume_role(form, caller, account, now),
            "GetCallerIdentity" => self.caller_identity(caller, account),
            other => error(400, "InvalidAction", &format!("Could not find operation {other} for version 2011-06-15")),
        }
    }

    fn assume_role(&mut self, form: &HashMap<String, String>, caller: &str, account: &str, now: Millis) -> XmlAnswer {
        let (Some(role_arn), Some(session)) = (form.get("RoleArn"), form.get("RoleSessionName")) else {
            return error(400, "ValidationError", "RoleArn and RoleSessionName must not be null");
        };
        let asked = form.get("DurationSeconds").map_or(Ok(DEFAULT_SECONDS), |text| text.parse::<i64>());
        let Some(asked) = asked.ok().filter(|seconds| (1..=43_200).contains(seconds)) else {
            return error(400, "ValidationError", "DurationSeconds must be a number from 1 to 43200");
        };
        let seconds = self.session_seconds.unwrap_or(asked);
        let issued = AssumedRole {
            role_arn: role_arn.clone(),
            role_session_name: session.clone(),
            external_id: form.get("ExternalId").cloned(),
            caller_access_key_id: caller.to_owned(),
            issued_access_key_id: format!("ASIA{}", self.letters(16)),
            session_token: format!("session-{}", self.letters(40)),
            assumed_at: now,
            expires_at: now + seconds * 1000,
        };
        let role = role_arn.rsplit('/').next().unwrap_or_default();
        let assumed_arn = format!("arn:aws:sts::{account}:assumed-role/{}/{}", escape(role), escape(session));
        let result = format!(
            "<AssumedRoleUser><AssumedRoleId>AROAEXAMPLE:{}</AssumedRoleId><Arn>{assumed_arn}</Arn></AssumedRoleUser>\
             <Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>",
            escape(session),
            issued.issued_access_key_id,
            self.letters(40),
            issued.session_token,
            iso_seconds(issued.expires_at),
        );
        self.by_key.insert(issued.issued_access_key_id.clone(), self.assumed.len());
        self.assumed.push(issued);
        answer("AssumeRole", &result)
    }

    fn caller_identity(&self, caller: &str, account: &str) -> XmlAnswer {
        let arn = match self.by_key.get(caller).map(|index| &self.assumed[*index]) {
            Some(assumed) => {
                let role = assumed.role_arn.rsplit('/').next().unwrap_or_default();
                format!("arn:aws:sts::{account}:assumed-role/{role}/{}", assumed.role_session_name)
            }
            None => format!("arn:aws:iam::{account}:user/local"),
        };
        answer("GetCallerIdentity", &format!("<Arn>{}</Arn><UserId>{}</UserId><Account>{account}</Account>", escape(&arn), escape(caller)))
    }

    fn letters(&mut self, count: usize) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        (0..count).map(|_| char::from(LETTERS[self.random.usize(..LETTERS.len())])).collect()
    }
}

/// An error of the query protocol.
pub(crate) fn error(status: u16, code: &str, message: &str) -> XmlAnswer {
    let body = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>local-aws</RequestId></ErrorResponse>",
        escape(code),
        escape(message)
    );
    XmlAnswer { status, body }
}

fn answer(operation: &str, result: &str) -> XmlAnswer {
    let body = format!(
        "<{operation}Response xmlns=\"{NAMESPACE}\"><{operation}Result>{result}</{operation}Result>\
         <ResponseMetadata><RequestId>local-aws</RequestId></ResponseMetadata></{operation}Response>"
    );
    XmlAnswer { status: 200, body }
}

/// An instant as XML shows it.
fn iso_seconds(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Text as XML takes it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
