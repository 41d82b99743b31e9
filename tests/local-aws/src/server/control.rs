//! `/_control`: what tests ask of the stand-ins, and the truth they compare with.
//!
//! `POST /_control` takes one JSON object or a list of them; `GET /_control/records|metrics|requests|assumed|settings` tell. Answers are JSON. Never part of
//! any AWS API: it needs no credentials and counts as no request.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::account::Account;
use super::body::Reply;
use crate::access::AccessRules;
use crate::clock::Millis;
use crate::faults::Fault;
use crate::kinesis::{CannedSpec, KinesisError, Stream};

/// A request to the stand-ins; every part is optional and they are carried out in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlRequest {
    /// Removes all faults.
    pub clear_faults: bool,
    /// Adds a fault.
    pub fault: Option<Fault>,
    /// Replaces the rules of access.
    pub access: Option<AccessRules>,
    /// Changes the named settings of the Kinesis machine, as in `{"subscriptionMs": 5000, "limits": {"reads": false}}`.
    pub settings: Option<serde_json::Map<String, serde_json::Value>>,
    /// Life of credentials issued from now on, in seconds, whatever is asked; 0 restores what is asked.
    pub session_seconds: Option<i64>,
    /// Creates a canned stream.
    pub canned: Option<CannedSpec>,
    /// Moves a stepped clock, in milliseconds.
    pub advance_ms: Option<Millis>,
}

/// Why a control request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A setting is unknown or of the wrong type.
    #[error("cannot change the settings: {0}")]
    Settings(#[source] serde_json::Error),
    /// The canned stream cannot be created.
    #[error("cannot create the canned stream: {0}")]
    Canned(#[source] KinesisError),
    /// The clock follows real time.
    #[error(transparent)]
    Clock(#[from] crate::clock::NotStepped),
}

/// A put record as the truth tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordTruth {
    /// Its number.
    pub sequence_number: String,
    /// The key it was put with.
    pub partition_key: String,
    /// The payload in base64.
    pub data: String,
    /// When it arrived, in milliseconds since the epoch.
    pub arrived_at: Millis,
}

/// Carries out a request.
pub(crate) fn carry_out(account: &Account, request: ControlRequest) -> Result<(), ControlError> {
    if request.clear_faults {
        account.faults().clear();
    }
    if let Some(fault) = request.fault {
        account.faults().add(fault, account.clock.now());
    }
    if let Some(rules) = request.access {
        *account.access() = rules;
    }
    if let Some(changes) = request.settings {
        change_settings(account, changes)?;
    }
    if let Some(seconds) = request.session_seconds {
        account.sts().session_seconds = (seconds > 0).then_some(seconds);
    }
    if let Some(spec) = request.canned {
        tracing::info!(stream = %spec.stream, "{}", canned_note(&spec));
        account.kinesis().create_canned_stream(&spec).map_err(ControlError::Canned)?;
    }
    if let Some(by) = request.advance_ms {
        account.clock.advance(by)?;
    }
    account.changed.notify_one();
    Ok(())
}

/// Lays the named settings over the present ones.
fn change_settings(account: &Account, changes: serde_json::Map<String, serde_json::Value>) -> Result<(), ControlError> {
    let mut kinesis = account.kinesis();
    let mut settings = serde_json::to_value(kinesis.settings()).map_err(ControlError::Settings)?;
    for (name, value) in changes {
        match (&mut settings[&name], value) {
            (serde_json::Value::Object(present), serde_json::Value::Object(parts)) => present.extend(parts),
            (present, value) => *present = value,
        }
    }
    *kinesis.settings_mut() = serde_json::from_value(settings).map_err(ControlError::Settings)?;
    Ok(())
}

/// Answers a request to `/_control`.
pub(super) fn answer(account: &Arc<Account>, method: &Method, uri: &Uri, body: &[u8]) -> Reply {
    let query = |name: &str| {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        pairs.into_owned().find(|(key, _)| key == name).map(|(_, value)| value)
    };
    match (method, uri.path()) {
        (&Method::POST, "/_control") => post(account, body),
        (&Method::GET, "/_control/records") => {
            let name = query("stream").unwrap_or_default();
            match account.kinesis().stream(&name) {
                Some(stream) => tell(200, &records(stream)),
                None => {
                    tell(404, &json!({ "error": format!("there is no stream `{name}`; name one as in `/_control/records?stream=orders`") }))
                }
            }
        }
        (&Method::GET, "/_control/metrics") => tell(200, &*account.datums()),
        (&Method::GET, "/_control/requests") => tell(200, &account.request_counts()),
        (&Method::GET, "/_control/assumed") => tell(200, account.sts().assumed()),
        (&Method::GET, "/_control/settings") => tell(200, account.kinesis().settings()),
        _ => tell(
            404,
            &json!({ "error": "known: POST /_control; GET /_control/records?stream=, /_control/metrics, /_control/requests, /_control/assumed, /_control/settings" }),
        ),
    }
}

fn post(account: &Account, body: &[u8]) -> Reply {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many(Vec<serde_json::Value>),
        One(serde_json::Value),
    }
    let requests = match serde_json::from_slice(body) {
        Ok(OneOrMany::Many(requests)) => requests,
        Ok(OneOrMany::One(request)) => vec![request],
        Err(error) => return tell(400, &json!({ "error": format!("the body is not JSON: {error}") })),
    };
    let mut notes = Vec::new();
    for request in requests {
        // Parsed one by one, so that the reason names the field and not the alternatives.
        let carried = serde_json::from_value::<ControlRequest>(request).map_err(|error| error.to_string());
        if let Ok(ControlRequest { canned: Some(spec), .. }) = &carried {
            notes.push(canned_note(spec));
        }
        if let Err(reason) = carried.and_then(|request| carry_out(account, request).map_err(|error| error.to_string())) {
            return tell(400, &json!({ "error": reason }));
        }
    }
    tell(200, &json!({ "done": true, "now": account.clock.now(), "notes": notes }))
}

/// What whoever reads a canned stream's figures must know.
fn canned_note(spec: &CannedSpec) -> String {
    format!(
        "stream `{}` is canned: its records are made up and encoded beforehand, the same payloads repeat under distinct sequence numbers, and no limit applies",
        spec.stream
    )
}

/// Everything ever put, by shard and in order.
fn records(stream: &Stream) -> serde_json::Map<String, serde_json::Value> {
    let shard = |shard: &crate::kinesis::Shard| {
        let truth = shard.all_records().iter().map(|record| RecordTruth {
            sequence_number: record.sequence_number.to_string(),
            partition_key: record.partition_key.to_string(),
            data: STANDARD.encode(&record.data),
            arrived_at: record.arrived_at,
        });
        (shard.id.to_string(), json!(truth.collect::<Vec<_>>()))
    };
    stream.shards.iter().map(shard).collect()
}

fn tell(status: u16, answer: &(impl Serialize + ?Sized)) -> Reply {
    let body = serde_json::to_vec(answer).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}").into_bytes());
    Reply::new(status, "application/json", body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The samples of the README are what people copy: each one must be understood.
    #[test]
    fn the_samples_of_the_readme_are_understood() {
        let readme = include_str!("../../README.md");
        let blocks: Vec<&str> = readme.split("```json").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(blocks.len(), 3);
        for block in blocks {
            let requests: Vec<ControlRequest> = serde_json::from_str(block).unwrap();
            assert!(!requests.contains(&ControlRequest::default()));
        }
    }
}
