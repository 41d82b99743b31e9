//! Faults asked for by a test: what shall go wrong, on which call, how often.
//!
//! Promises that the same seed and the same calls draw the same faults. Never acts: it only says what to do, the server does it.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// The services in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Kinesis.
    Kinesis,
    /// DynamoDB.
    DynamoDb,
    /// CloudWatch.
    CloudWatch,
    /// STS.
    Sts,
}

impl Service {
    /// The name as it stands in control requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kinesis => "kinesis",
            Self::DynamoDb => "dynamodb",
            Self::CloudWatch => "cloudwatch",
            Self::Sts => "sts",
        }
    }
}

/// A call, as far as faults tell calls apart.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The service called.
    pub service: Service,
    /// The operation by the service's name.
    pub operation: &'a str,
    /// The stream (Kinesis) or table (DynamoDB), where known.
    pub resource: Option<&'a str>,
    /// The shard, where known.
    pub shard: Option<&'a str>,
    /// The caller's access key id.
    pub access_key_id: &'a str,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum FaultAction {
    /// The call is refused and has no effect.
    #[serde(rename_all = "camelCase")]
    Error {
        /// The service's error code.
        code: String,
        /// The message; a plain sentence when absent.
        #[serde(default)]
        message: Option<String>,
        /// The HTTP status; 500 for codes that begin with `Internal` or `ServiceUnavailable`, else 400.
        #[serde(default)]
        status: Option<u16>,
    },
    /// The answer comes later, by this many milliseconds of the machine's clock.
    #[serde(rename_all = "camelCase")]
    Latency {
        /// Milliseconds.
        ms: Millis,
    },
    /// The connection is cut.
    #[serde(rename_all = "camelCase")]
    Cut {
        /// When.
        at: CutAt,
    },
    /// A subscription falls silent: no event, no end.
    #[serde(rename_all = "camelCase")]
    Freeze {
        /// Events which still pass.
        #[serde(default)]
        after_events: u64,
    },
    /// An event's frame ends too early, and the connection with it.
    #[serde(rename_all = "camelCase")]
    Truncate {
        /// Events which still pass.
        #[serde(default)]
        after_events: u64,
    },
    /// An event's frame carries a wrong checksum.
    #[serde(rename_all = "camelCase")]
    WrongCrc {
        /// Events which still pass.
        #[serde(default)]
        after_events: u64,
    },
}

/// When a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CutAt {
    /// Before the call has an effect.
    Before,
    /// In the middle of the answer: the call had its effect.
    Middle,
    /// Instead of the answer: the call had its effect and the reply is lost.
    After,
}

/// A fault to be drawn by matching calls; what is absent matches everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Which service.
    #[serde(default)]
    pub service: Option<Service>,
    /// Which operation.
    #[serde(default)]
    pub operation: Option<String>,
    /// Which stream or table.
    #[serde(default)]
    pub resource: Option<String>,
    /// Which shard.
    #[serde(default)]
    pub shard: Option<String>,
    /// Which caller.
    #[serde(default)]
    pub access_key_id: Option<String>,
    /// What goes wrong.
    pub action: FaultAction,
    /// Matching calls that pass first.
    #[serde(default)]
    pub skip: u64,
    /// How many calls it strikes; for ever when absent.
    #[serde(default)]
    pub calls: Option<u64>,
    /// For how long from now, in milliseconds; for ever when absent.
    #[serde(default)]
    pub for_ms: Option<Millis>,
    /// Chance of striking a matching call, 0 to 1; always when absent.
    #[serde(default)]
    pub probability: Option<f64>,
}

impl Fault {
    /// A fault of every call of `service`.
    #[must_use]
    pub fn new(service: Service, action: FaultAction) -> Self {
        Self {
            service: Some(service),
            operation: None,
            resource: None,
            shard: None,
            access_key_id: None,
            action,
            skip: 0,
            calls: None,
            for_ms: None,
            probability: None,
        }
    }

    /// An error of `code` for every call of `service`.
    #[must_use]
    pub fn error(service: Service, code: &str) -> Self {
        Self::new(service, FaultAction::Error { code: code.to_owned(), message: None, status: None })
    }

    /// Only calls of this operation.
    #[must_use]
    pub fn on(mut self, operation: &str) -> Self {
        self.operation = Some(operation.to_owned());
        self
    }

    /// Only calls about this shard.
    #[must_use]
    pub fn shard(mut self, shard: &str) -> Self {
        self.shard = Some(shard.to_owned());
        self
    }

    /// Only this many calls.
    #[must_use]
    pub fn times(mut self, calls: u64) -> Self {
        self.calls = Some(calls);
        self
    }

    /// Only after this many matching calls have passed.
    #[must_use]
    pub fn skipping(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// Only for this long, in milliseconds from when it is set.
    #[must_use]
    pub fn for_ms(mut self, ms: Millis) -> Self {
        self.for_ms = Some(ms);
        self
    }

    /// Only with this chance, 0 to 1.
    #[must_use]
    pub fn with_probability(mut self, chance: f64) -> Self {
        self.probability = Some(chance);
        self
    }

    fn matches(&self, call: &Call<'_>) -> bool {
        let wants = |wanted: &Option<String>, is: Option<&str>| wanted.as_deref().is_none_or(|wanted| is == Some(wanted));
        self.service.is_none_or(|service| service == call.service)
            && wants(&self.operation, Some(call.operation))
            && wants(&self.resource, call.resource)
            && wants(&self.shard, call.shard)
            && wants(&self.access_key_id, Some(call.access_key_id))
    }
}

/// The faults in force.
#[derive(Debug)]
pub(crate) struct Faults {
    random: fastrand::Rng,
    rules: Vec<(Option<Millis>, Fault)>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), rules: Vec::new() }
    }

    pub(crate) fn add(&mut self, fault: Fault, now: Millis) {
        self.rules.push((fault.for_ms.map(|ms| now + ms), fault));
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What strikes this call, in the order the faults were set.
    pub(crate) fn draw(&mut self, call: &Call<'_>, now: Millis) -> Vec<FaultAction> {
        if self.rules.is_empty() {
            return Vec::new();
        }
        self.rules.retain(|(until, fault)| until.is_none_or(|until| now < until) && fault.calls != Some(0));
        let mut struck = Vec::new();
        for (_, fault) in &mut self.rules {
            if !fault.matches(call) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if fault.probability.is_some_and(|chance| self.random.f64() >= chance) {
                continue;
            }
            if let Some(calls) = &mut fault.calls {
                *calls -= 1;
            }
            struck.push(fault.action.clone());
        }
        struck
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn call<'a>(operation: &'a str, shard: Option<&'a str>) -> Call<'a> {
        Call { service: Service::Kinesis, operation, resource: Some("orders"), shard, access_key_id: "AKIAEXAMPLE" }
    }

    fn struck(faults: &mut Faults, call: &Call<'_>, now: Millis) -> usize {
        faults.draw(call, now).len()
    }

    #[test]
    fn a_fault_strikes_what_it_names_as_often_as_it_says() {
        let mut faults = Faults::new(0);
        faults.add(Fault::error(Service::Kinesis, "InternalFailure").on("GetRecords").shard("a").skipping(1).times(2), 0);
        assert_eq!(struck(&mut faults, &call("PutRecord", Some("a")), 0), 0);
        assert_eq!(struck(&mut faults, &call("GetRecords", Some("b")), 0), 0);
        assert_eq!(struck(&mut faults, &call("GetRecords", None), 0), 0);
        let draws: Vec<usize> = (0..5).map(|_| struck(&mut faults, &call("GetRecords", Some("a")), 0)).collect();
        assert_eq!(draws, [0, 1, 1, 0, 0]);
        let other = Call { service: Service::DynamoDb, ..call("GetRecords", Some("a")) };
        faults.add(Fault::error(Service::Kinesis, "InternalFailure"), 0);
        assert_eq!(struck(&mut faults, &other, 0), 0);
    }

    #[test]
    fn a_fault_ends_with_its_time() {
        let mut faults = Faults::new(0);
        faults.add(Fault::error(Service::Kinesis, "InternalFailure").for_ms(100), 1_000);
        assert_eq!(struck(&mut faults, &call("GetRecords", None), 1_099), 1);
        assert_eq!(struck(&mut faults, &call("GetRecords", None), 1_100), 0);
        assert!(faults.is_empty());
    }

    #[test]
    fn a_chance_is_the_same_for_the_same_seed() {
        let draws = |seed| {
            let mut faults = Faults::new(seed);
            faults.add(Fault::error(Service::Kinesis, "InternalFailure").with_probability(0.25), 0);
            (0..4_000).map(|_| struck(&mut faults, &call("GetRecords", None), 0)).collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        let hits: usize = draws(7).iter().sum();
        assert!((800..1_200).contains(&hits), "{hits} of 4,000 at one in four");
    }
}
