//! For simulations: the publisher as it ships, over connections that are not sockets.
//!
//! Nothing but the way to the broker is replaced; the actor, the machine and the frames are those of every publisher.

use crate::auth::AuthData;
use crate::driver::{Dial, Halves};
use crate::publisher::{Publisher, PublisherSettings};
use crate::url::HostPort;
use connector_sdk::Error;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// What is read from the broker.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// What is written to the broker.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The way to the brokers of a simulated cluster.
pub trait Network: Send + Sync {
    /// Opens a connection.
    ///
    /// # Errors
    /// When nobody listens there.
    fn connect<'a>(&'a self, address: &'a HostPort) -> BoxFuture<'a, Result<(Reader, Writer), Error>>;
}

/// As [`Publisher::connect`], by this network and without credentials.
///
/// # Errors
/// As [`Publisher::connect`].
pub async fn connect(settings: PublisherSettings, network: Arc<dyn Network>) -> Result<Publisher, Error> {
    Publisher::connect_by(settings, Arc::new(Simulated(network))).await
}

struct Simulated(Arc<dyn Network>);

impl Dial for Simulated {
    fn dial<'a>(&'a self, address: &'a HostPort) -> BoxFuture<'a, Result<Halves, Error>> {
        Box::pin(async move {
            let (reader, writer) = self.0.connect(address).await?;
            Ok(Halves { reader, writer })
        })
    }

    fn credentials(&self) -> BoxFuture<'_, Result<AuthData, Error>> {
        Box::pin(async { Ok(AuthData::none()) })
    }
}
