//! The stand-ins as a test holds them: start, control, look, stop.

use std::io;
use std::sync::Arc;

use crate::access::AccessRules;
use crate::clock::{Clock, Millis, NotStepped};
use crate::cloudwatch::Datum;
use crate::faults::Fault;
use crate::kinesis::{Kinesis, KinesisSettings, StoredRecord};
use crate::server::Server;
use crate::server::account::{Account, RequestCounts};
use crate::server::control::{self, ControlError, ControlRequest};
use crate::sts::AssumedRole;

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub host: String,
    /// The port; 0 takes any that is free.
    pub port: u16,
    /// How the Kinesis machine behaves.
    pub kinesis: KinesisSettings,
    /// What time it is.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: 0, kinesis: KinesisSettings::default(), clock: Clock::system() }
    }
}

impl Options {
    /// Like the default, without any limit of rate or size.
    #[must_use]
    pub fn unlimited() -> Self {
        let kinesis = KinesisSettings { limits: crate::kinesis::Limits::OFF, ..KinesisSettings::default() };
        Self { kinesis, ..Self::default() }
    }
}

/// Why the stand-ins did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`: {source}; choose another port, or 0 for any")]
    Listen {
        /// Host and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The tables cannot be made.
    #[error("cannot make the tables of dynamodb in memory: {0}")]
    Tables(String),
}

/// Kinesis, DynamoDB, CloudWatch and STS on one port of this process.
#[derive(Debug)]
pub struct LocalAws {
    account: Arc<Account>,
    server: Server,
    url: String,
}

impl LocalAws {
    /// Starts the stand-ins; they stop at [`LocalAws::shutdown`] or when this is dropped.
    ///
    /// # Errors
    /// [`StartError`] when the port is taken.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let tables = crate::dynamodb::DynamoDb::new().map_err(|error| StartError::Tables(error.to_string()))?;
        let account = Arc::new(Account::new(Kinesis::new(options.kinesis, options.clock), tables));
        let server = Server::start(&options.host, options.port, Arc::clone(&account))
            .await
            .map_err(|source| StartError::Listen { address: format!("{}:{}", options.host, options.port), source })?;
        let url = format!("http://{}", server.address());
        Ok(Self { account, server, url })
    }

    /// The endpoint of all four services.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The clock of all four services.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.account.clock
    }

    /// Calls the machine directly, past HTTP and its faults: to create, fill and reshard streams quickly, and to look at them.
    pub fn kinesis<T>(&self, call: impl FnOnce(&mut Kinesis) -> T) -> T {
        let answer = call(&mut self.account.kinesis());
        self.account.changed.notify_one();
        answer
    }

    /// Everything ever put to a stream, one list a shard, by shard index; empty for a stream that is not there.
    #[must_use]
    pub fn records(&self, stream: &str) -> Vec<Vec<StoredRecord>> {
        let kinesis = self.account.kinesis();
        kinesis.stream(stream).map_or_else(Vec::new, |stream| stream.shards.iter().map(|shard| shard.all_records().to_vec()).collect())
    }

    /// Adds a fault.
    pub fn add_fault(&self, fault: Fault) {
        self.account.faults().add(fault, self.account.clock.now());
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.account.faults().clear();
    }

    /// Replaces the rules of access.
    pub fn set_access(&self, rules: AccessRules) {
        *self.account.access() = rules;
    }

    /// Carries out a request as `POST /_control` would.
    ///
    /// # Errors
    /// [`ControlError`] for a setting that is unknown, a stream that exists, a clock that cannot be stepped.
    pub fn control(&self, request: ControlRequest) -> Result<(), ControlError> {
        control::carry_out(&self.account, request)
    }

    /// Moves a stepped clock.
    ///
    /// # Errors
    /// [`NotStepped`] when the clock follows real time.
    pub fn advance(&self, by: Millis) -> Result<Millis, NotStepped> {
        let now = self.account.clock.advance(by)?;
        self.account.changed.notify_one();
        Ok(now)
    }

    /// The metrics that were sent, in order of arrival.
    #[must_use]
    pub fn metrics(&self) -> Vec<Datum> {
        self.account.datums().clone()
    }

    /// What was called how often, and by whom.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        self.account.request_counts()
    }

    /// The roles that were assumed, in order.
    #[must_use]
    pub fn assumed(&self) -> Vec<AssumedRole> {
        self.account.sts().assumed().to_vec()
    }

    /// Stops serving, cuts all connections and waits for every task.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}
