//! What is put to CloudWatch: one metric's statistic set of one interval, with its dimensions.

use bytestring::ByteString;

use super::names::{Metric, Operation};
use super::statistic::Statistic;

/// The dimension beside `Operation`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// None: the application as a whole.
    Application,
    /// `ShardId`.
    Shard(ByteString),
    /// `WorkerIdentifier`.
    Worker(ByteString),
}

impl Dimension {
    /// Name and value as CloudWatch has them.
    pub fn pair(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Application => None,
            Self::Shard(id) => Some(("ShardId", id)),
            Self::Worker(id) => Some(("WorkerIdentifier", id)),
        }
    }
}

/// One metric's values of one interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    /// Which metric.
    pub metric: Metric,
    /// The dimension beside its operation.
    pub dimension: Dimension,
    /// The values.
    pub statistic: Statistic,
    /// The end of the interval, in milliseconds since the epoch.
    pub at: u64,
}

impl Datum {
    /// The value of the dimension `Operation`.
    pub fn operation(&self) -> Operation {
        self.metric.operation()
    }

    /// An upper bound for its encoded size, in bytes: names, values and numbers with their labels.
    pub(super) fn size(&self) -> usize {
        let (name, value) = self.dimension.pair().unwrap_or_default();
        320 + self.metric.name().len() + self.operation().name().len() + name.len() + value.len()
    }
}
