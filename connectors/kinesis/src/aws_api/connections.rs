//! The connections of subscriptions: apart from all other calls, and few subscriptions on each.
//!
//! Over HTTP/2 the subscriptions of a connection share its window. A subscription that stands unread fills its own window of 2 MiB,
//! the connection's is 5 MiB: two of them together cannot stop each other. So at most two are put on one connection.

use aws_sdk_kinesis::Client;
use connector_aws::{AwsContext, Pool, ServiceSettings};
use std::sync::{Arc, Mutex, PoisonError};

/// Subscriptions on one connection.
const PER_CONNECTION: usize = 2;
/// Connections kept without a subscription, for those that come back after five minutes.
const SPARE: usize = 2;

/// Gives each subscription a client whose connection it shares with few.
pub(super) struct Connections {
    context: AwsContext,
    settings: ServiceSettings,
    open: Mutex<Vec<Arc<Client>>>,
}

/// A place on a connection; dropped, it is free again.
pub(super) type Place = Arc<Client>;

impl Connections {
    pub(super) fn new(context: AwsContext, settings: ServiceSettings) -> Self {
        Self { context, settings: ServiceSettings { pool: Pool::Dedicated, ..settings }, open: Mutex::default() }
    }

    /// A place on a connection that has one, else on a new one.
    pub(super) fn place(&self) -> Place {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // The list itself holds each client once. A place that is given back meanwhile only makes a connection freer than it looks.
        let used = |client: &Arc<Client>| Arc::strong_count(client) - 1;
        let mut spare = 0;
        open.retain(|client| {
            spare += usize::from(used(client) == 0);
            used(client) > 0 || spare <= SPARE
        });
        // The fullest that has a place, so that empty ones can go.
        if let Some(client) = open.iter().filter(|client| used(client) < PER_CONNECTION).max_by_key(|client| used(client)) {
            return Arc::clone(client);
        }
        let client = Arc::new(Client::new(&self.context.service(&self.settings)));
        open.push(Arc::clone(&client));
        client
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use connector_aws::{AwsSettings, CredentialsConfig};

    #[tokio::test]
    async fn few_subscriptions_share_a_connection_and_empty_ones_go() {
        let keys = r#"{"accessKey":"AKIAEXAMPLE","secretKey":"test"}"#.to_owned();
        let credentials = CredentialsConfig { plugin_name: None, plugin_param: Some(keys.into()) }.validate().unwrap();
        let context = credentials.connect(&AwsSettings::default()).await.unwrap();
        let connections = Connections::new(context, ServiceSettings::default());
        let mut places: Vec<_> = (0..9).map(|_| connections.place()).collect();
        for (index, place) in places.iter().enumerate() {
            let sharing = places.iter().filter(|other| Arc::ptr_eq(place, other)).count();
            assert_eq!(sharing, if index == 8 { 1 } else { PER_CONNECTION });
        }
        places.truncate(3);
        let next = connections.place();
        assert!(Arc::ptr_eq(&next, &places[2]), "the connection with a free place is filled first");
        assert_eq!(connections.open.lock().unwrap().len(), 2 + SPARE, "empty connections are kept only for those who come back soon");
    }
}
