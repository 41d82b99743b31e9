//! The ports of this crate on the AWS SDK: the stream's calls, polling, and enhanced fan-out.
//!
//! Each call is one request with a deadline; nothing here retries. The SDK signs, sends and names errors; the two answers that carry
//! records are read and decoded here, because they must be charged before they are in memory and decoded without waste.

mod answer;
mod body;
mod cbor;
mod connections;
mod consumer;
#[cfg(test)]
mod equality_tests;
mod fault;
mod frames;
mod json;
mod missing;
mod reads;
mod stream;
mod subscribe;
mod wire;

pub use consumer::AwsConsumer;

use aws_sdk_kinesis::Client;
use connections::Connections;
use connector_aws::{AwsContext, Call, Endpoint, ServiceSettings};
use std::sync::Arc;
use std::time::Duration;
use wire::Wire;

/// Longest wait for an answer, or for the head of one that carries records.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// One stream of Kinesis. Cheap to clone, the same behind every clone.
#[derive(Clone)]
pub struct AwsKinesis {
    client: Client,
    connections: Arc<Connections>,
    stream: StreamName,
    wire: Wire,
}

/// What a stream is called, and where it is.
#[derive(Debug, Clone)]
struct StreamName {
    name: String,
    /// Given where it was configured; requests then name the stream by it, as streams of other accounts require.
    arn: Option<String>,
    region: String,
}

impl StreamName {
    /// A call on this stream, as messages name it.
    fn call<'a>(&'a self, action: &'a str) -> Call<'a> {
        Call::new(action, "stream", &self.name, &self.region)
    }

    /// The name for a request, unless the ARN takes its place.
    fn name_in_request(&self) -> Option<String> {
        self.arn.is_none().then(|| self.name.clone())
    }
}

impl AwsKinesis {
    /// The stream `name`, or the one with `arn` when that is given, at `endpoint` or at AWS's own address. Reaches no network.
    pub fn new(context: &AwsContext, endpoint: Option<Endpoint>, name: &str, arn: Option<&str>) -> Self {
        let settings = ServiceSettings { endpoint, attempt_timeout: Some(CALL_TIMEOUT), ..ServiceSettings::default() };
        let client = Client::new(&context.service(&settings));
        let connections = Arc::new(Connections::new(context.clone(), settings));
        let stream = StreamName { name: name.to_owned(), arn: arn.map(str::to_owned), region: context.region().to_owned() };
        Self { client, connections, stream, wire: Wire::default() }
    }
}
