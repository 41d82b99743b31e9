//! Who may call: by default everybody.
//!
//! Promises the service's own codes for refused, expired and unknown keys and for denied operations. Never checks a signature.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::faults::{Call, Service};

/// A refusal of the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// An operation that is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Denied {
    /// The service.
    pub service: Service,
    /// The operation; every one when absent.
    #[serde(default)]
    pub operation: Option<String>,
}

/// The rules in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessRules {
    /// When given, every other access key id is refused.
    pub only: Option<Vec<String>>,
    /// The code for refused key ids: `UnrecognizedClientException` unless said otherwise.
    pub refuse_with: Option<String>,
    /// Key ids refused, each with its own code, such as `ExpiredTokenException`.
    pub refused: BTreeMap<String, String>,
    /// Outside STS, take session credentials of our own STS only.
    pub only_issued_sessions: bool,
    /// Operations that answer AccessDeniedException.
    pub denied: Vec<Denied>,
}

/// What STS knows of a key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    Unknown,
    Live,
    Expired,
}

impl AccessRules {
    /// Why the call is refused, if it is.
    pub(crate) fn refusal(&self, call: &Call<'_>, session: Session) -> Option<Refusal> {
        let key = call.access_key_id;
        let refuse = |code: &str, message: String| Some(Refusal { code: code.to_owned(), message });
        if let Some(code) = self.refused.get(key) {
            return refuse(code, format!("The security token of {key} is refused"));
        }
        if session == Session::Expired {
            return refuse("ExpiredTokenException", "The security token included in the request is expired".to_owned());
        }
        let unrecognized = self.refuse_with.as_deref().unwrap_or("UnrecognizedClientException");
        let listed = self.only.as_ref().is_none_or(|only| only.iter().any(|known| known == key));
        let issued = session == Session::Live;
        if !listed && !issued || self.only_issued_sessions && call.service != Service::Sts && !issued {
            return refuse(unrecognized, "The security token included in the request is invalid.".to_owned());
        }
        let denies =
            |rule: &&Denied| rule.service == call.service && rule.operation.as_deref().is_none_or(|operation| operation == call.operation);
        self.denied.iter().find(denies)?;
        let action = format!("{}:{}", call.service.as_str(), call.operation);
        refuse("AccessDeniedException", format!("User: {key} is not authorized to perform: {action}"))
    }
}
