//! What a run came to: the one place that decides the exit code of a run.

use connector_sdk::{Error, StopReport};

/// How an instance, or all of a process, ended.
#[derive(Debug, Clone, Default)]
pub struct RunReport {
    /// The error that ended it, where one did.
    pub error: Option<Error>,
    /// What the sources left behind.
    pub stopped: StopReport,
}

impl RunReport {
    /// Ended by an error.
    pub fn failed(error: Error) -> Self {
        Self { error: Some(error), stopped: StopReport::default() }
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.error = self.error.or(other.error);
        self.stopped.replayed += other.stopped.replayed;
        self.stopped.lost += other.stopped.lost;
        self.stopped.troubles.extend(other.stopped.troubles);
        self
    }

    /// 0 for a clean stop; 3 when an error ended it, records will be replayed or may be lost.
    pub fn exit_code(&self) -> u8 {
        if self.error.is_none() && self.stopped.replayed == 0 && self.stopped.lost == 0 { 0 } else { 3 }
    }

    /// The last line for a person.
    pub fn summary(&self) -> String {
        match (self.stopped.replayed, self.stopped.lost) {
            (0, 0) => "stopped; everything published is checkpointed".to_owned(),
            (replayed, 0) => format!("stopped; {replayed} records were sent beyond the stored checkpoints and will be replayed"),
            (0, lost) => format!("stopped; {lost} records are checkpointed and may not have been stored"),
            (replayed, lost) => format!("stopped; {replayed} records will be replayed, {lost} may not have been stored"),
        }
    }
}
