//! Opening a connection: TCP, TLS when the service URL says so, within a deadline. Names are resolved anew each time.

use crate::auth::{AuthData, Authentication};
use crate::tls;
use crate::url::HostPort;
use connector_sdk::{Error, ErrorKind};
use futures_util::future::BoxFuture;
use rustls::pki_types::ServerName;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The two halves of an open connection.
pub(crate) struct Halves {
    pub(crate) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) writer: Box<dyn AsyncWrite + Send + Unpin>,
}

/// How connections are opened and what they begin with; tests have one without a network.
pub(crate) trait Dial: Send + Sync {
    /// Opens a connection.
    fn dial<'a>(&'a self, address: &'a HostPort) -> BoxFuture<'a, Result<Halves, Error>>;

    /// The credentials as they are now.
    fn credentials(&self) -> BoxFuture<'_, Result<AuthData, Error>>;
}

/// How connections are opened.
pub(crate) struct Dialer {
    pub(crate) tls: bool,
    pub(crate) trust_file: Option<PathBuf>,
    pub(crate) insecure: bool,
    pub(crate) verify_hostname: bool,
    pub(crate) auth: Arc<dyn Authentication>,
    pub(crate) deadline: Duration,
}

impl Dial for Dialer {
    fn dial<'a>(&'a self, address: &'a HostPort) -> BoxFuture<'a, Result<Halves, Error>> {
        Box::pin(async move {
            let doing = format!("connecting to the broker `{address}`");
            match tokio::time::timeout(self.deadline, self.open(address, &doing)).await {
                Ok(opened) => opened,
                Err(_) => Err(Error::transient(format!("{doing}: no answer in {} s", self.deadline.as_secs()))
                    .with_hint("check the service URL and that the network lets it through")),
            }
        })
    }

    fn credentials(&self) -> BoxFuture<'_, Result<AuthData, Error>> {
        self.auth.credentials()
    }
}

impl Dialer {
    async fn open(&self, address: &HostPort, doing: &str) -> Result<Halves, Error> {
        let stream = TcpStream::connect((address.host.as_str(), address.port))
            .await
            .map_err(|error| Error::transient(format!("{doing}: {error}")).with_hint("check the service URL and that the broker runs"))?;
        stream.set_nodelay(true).map_err(|error| Error::transient(format!("{doing}: {error}")))?;
        if !self.tls {
            let (reader, writer) = stream.into_split();
            return Ok(Halves { reader: Box::new(reader), writer: Box::new(writer) });
        }
        let config =
            tls::client_config(self.trust_file.as_deref(), self.insecure, self.verify_hostname, self.auth.client_certificate()).await?;
        let name = ServerName::try_from(address.host.clone())
            .map_err(|_| Error::new(ErrorKind::Configuration, format!("{doing}: `{}` is not a host name", address.host)))?;
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| tls::handshake_error(doing, &error))?;
        let (reader, writer) = tokio::io::split(stream);
        Ok(Halves { reader: Box::new(reader), writer: Box::new(writer) })
    }
}
