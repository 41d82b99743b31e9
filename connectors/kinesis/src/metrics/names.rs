//! The KCL's metrics that exist for us: operation, name, unit, level and dimension of each, in one table.

use crate::config::MetricsLevel;

/// The KCL's task or round that a metric belongs to; the value of the dimension `Operation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Reading a shard and handing its records on.
    ProcessTask,
    /// All shards of the worker together.
    ApplicationTracker,
    /// The start of a shard.
    InitializeTask,
    /// The end of a shard.
    ShutdownTask,
    /// Waiting for a shard's parents.
    BlockOnParentShardTask,
    /// Comparing the stream's shards with the leases.
    ShardSyncTask,
    /// A round of taking leases.
    TakeLeases,
    /// A round of renewing leases.
    RenewAllLeases,
}

impl Operation {
    /// The KCL's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProcessTask => "ProcessTask",
            Self::ApplicationTracker => "ApplicationTracker",
            Self::InitializeTask => "InitializeTask",
            Self::ShutdownTask => "ShutdownTask",
            Self::BlockOnParentShardTask => "BlockOnParentShardTask",
            Self::ShardSyncTask => "ShardSyncTask",
            Self::TakeLeases => "TakeLeases",
            Self::RenewAllLeases => "RenewAllLeases",
        }
    }
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things. A `Success` is 1 or 0.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
}

/// What stands beside `Operation` in a metric's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing: all workers of the application together.
    Nothing,
    /// `ShardId`.
    Shard,
    /// `WorkerIdentifier`.
    Worker,
}

macro_rules! metrics {
    ($($variant:ident = $operation:ident $beside:ident $name:literal $unit:ident $level:ident,)*) => {
        /// One of the KCL's metrics, within its operation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Metric {
            $(#[doc = concat!("`", stringify!($operation), "`: `", $name, "`.")] $variant,)*
        }

        impl Metric {
            /// Every metric, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The operation it belongs to.
            pub fn operation(self) -> Operation {
                match self { $(Self::$variant => Operation::$operation,)* }
            }

            /// The KCL's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it counts.
            pub fn unit(self) -> Unit {
                match self { $(Self::$variant => Unit::$unit,)* }
            }

            /// From which level on it is put.
            pub fn level(self) -> MetricsLevel {
                match self { $(Self::$variant => MetricsLevel::$level,)* }
            }

            /// The dimension beside `Operation`.
            pub(super) fn beside(self) -> Beside {
                match self { $(Self::$variant => Beside::$beside,)* }
            }
        }
    };
}

metrics! {
    RecordsProcessed = ProcessTask Shard "RecordsProcessed" Count Summary,
    DataBytesProcessed = ProcessTask Shard "DataBytesProcessed" Bytes Summary,
    MillisBehindLatest = ProcessTask Shard "MillisBehindLatest" Milliseconds Summary,
    ProcessRecordsTime = ProcessTask Shard "RecordProcessor.processRecords.Time" Milliseconds Summary,
    ProcessSuccess = ProcessTask Shard "Success" Count Summary,
    ProcessTime = ProcessTask Shard "Time" Milliseconds Summary,
    ExpiredIterator = ProcessTask Shard "ExpiredIterator" Count Summary,
    GetRecordsSuccess = ProcessTask Shard "KinesisDataFetcher.getRecords.Success" Count Detailed,
    GetRecordsTime = ProcessTask Shard "KinesisDataFetcher.getRecords.Time" Milliseconds Detailed,
    GetShardIteratorSuccess = ProcessTask Shard "KinesisDataFetcher.getShardIterator.Success" Count Detailed,
    GetShardIteratorTime = ProcessTask Shard "KinesisDataFetcher.getShardIterator.Time" Milliseconds Detailed,
    UpdateLeaseSuccess = ProcessTask Shard "UpdateLease.Success" Count Detailed,
    UpdateLeaseTime = ProcessTask Shard "UpdateLease.Time" Milliseconds Detailed,

    TrackerMillisBehindLatest = ApplicationTracker Nothing "MillisBehindLatest" Milliseconds Summary,

    InitializeTime = InitializeTask Nothing "RecordProcessor.initialize.Time" Milliseconds Summary,
    InitializeTaskSuccess = InitializeTask Nothing "Success" Count Summary,
    InitializeTaskTime = InitializeTask Nothing "Time" Milliseconds Summary,

    ShutdownTime = ShutdownTask Nothing "RecordProcessor.shutdown.Time" Milliseconds Summary,
    ShutdownTaskSuccess = ShutdownTask Nothing "Success" Count Summary,
    ShutdownTaskTime = ShutdownTask Nothing "Time" Milliseconds Summary,
    ShutdownCreateLeaseSuccess = ShutdownTask Nothing "CreateLease.Success" Count Detailed,
    ShutdownCreateLeaseTime = ShutdownTask Nothing "CreateLease.Time" Milliseconds Detailed,

    BlockOnParentSuccess = BlockOnParentShardTask Nothing "Success" Count Summary,
    BlockOnParentTime = BlockOnParentShardTask Nothing "Time" Milliseconds Summary,

    ShardSyncSuccess = ShardSyncTask Nothing "Success" Count Summary,
    ShardSyncTime = ShardSyncTask Nothing "Time" Milliseconds Summary,
    SyncShardsSuccess = ShardSyncTask Nothing "SyncShards.Success" Count Detailed,
    SyncCreateLeaseSuccess = ShardSyncTask Nothing "CreateLease.Success" Count Detailed,
    SyncCreateLeaseTime = ShardSyncTask Nothing "CreateLease.Time" Milliseconds Detailed,

    TakeLeasesSuccess = TakeLeases Worker "Success" Count Summary,
    TakeLeasesTime = TakeLeases Worker "Time" Milliseconds Summary,
    ListLeasesSuccess = TakeLeases Worker "ListLeases.Success" Count Detailed,
    ListLeasesTime = TakeLeases Worker "ListLeases.Time" Milliseconds Detailed,
    TakeLeaseSuccess = TakeLeases Worker "TakeLease.Success" Count Detailed,
    TakeLeaseTime = TakeLeases Worker "TakeLease.Time" Milliseconds Detailed,
    TotalLeases = TakeLeases Worker "TotalLeases" Count Detailed,
    NumWorkers = TakeLeases Worker "NumWorkers" Count Summary,
    NeededLeases = TakeLeases Worker "NeededLeases" Count Detailed,
    LeasesToTake = TakeLeases Worker "LeasesToTake" Count Detailed,
    TakenLeases = TakeLeases Worker "TakenLeases" Count Summary,
    UntakenLeases = TakeLeases Worker "UntakenLeases" Count Summary,
    ExpiredLeases = TakeLeases Worker "ExpiredLeases" Count Summary,
    VeryOldLeases = TakeLeases Worker "VeryOldLeases" Count Summary,
    LeaseSpillover = TakeLeases Worker "LeaseSpillover" Count Summary,

    RenewAllSuccess = RenewAllLeases Worker "Success" Count Summary,
    RenewAllTime = RenewAllLeases Worker "Time" Milliseconds Summary,
    RenewLeaseSuccess = RenewAllLeases Worker "RenewLease.Success" Count Detailed,
    RenewLeaseTime = RenewAllLeases Worker "RenewLease.Time" Milliseconds Detailed,
    CurrentLeases = RenewAllLeases Worker "CurrentLeases" Count Summary,
    LostLeases = RenewAllLeases Worker "LostLeases" Count Summary,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_metrics_have_one_name_in_one_operation() {
        let names: HashSet<_> = Metric::ALL.iter().map(|metric| (metric.operation(), metric.name())).collect();
        assert_eq!(names.len(), Metric::ALL.len());
    }

    #[test]
    fn units_and_levels_follow_the_names() {
        for metric in Metric::ALL {
            let name = metric.name();
            assert_eq!(metric.unit() == Unit::Milliseconds, name.ends_with("Time") || name == "MillisBehindLatest", "{name}");
            let single_call = name.matches('.').count() > 0 && !name.starts_with("RecordProcessor.");
            if single_call {
                assert_eq!(metric.level(), MetricsLevel::Detailed, "{name}");
            }
            if matches!(name, "Success" | "Time" | "MillisBehindLatest") {
                assert_eq!(metric.level(), MetricsLevel::Summary, "{name}");
            }
        }
    }
}
