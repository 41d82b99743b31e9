//! The HTTP clients under the SDK: one TLS stack (rustls on ring), pools that are shared or set apart.
//!
//! A pool holds its connections for itself: over TLS one HTTP/2 connection per host carries every request of the pool, so what must
//! not stall or be stalled by others gets a pool of its own. Plain `http://` addresses are spoken to in HTTP/1.1 and need no trust
//! store; they get a client that never builds one. Proxies are taken from the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).

use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// How long an idle connection is kept: below the minute after which AWS's front ends drop it, so that a request rarely meets a
/// connection that is just being closed.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// Idle HTTP/1.1 connections kept per host; HTTP/2 needs one.
const POOL_IDLE_PER_HOST: usize = 32;

/// The two clients of one pool: for `https://` and for `http://` addresses. Each builds its connector at first use.
#[derive(Debug, Clone)]
pub(crate) struct HttpPool {
    tls: SharedHttpClient,
    plain: SharedHttpClient,
}

impl HttpPool {
    /// A pool whose connections nobody else uses.
    pub(crate) fn new() -> Self {
        Self { tls: tls_client(), plain: plain_client() }
    }

    /// The client for an address of this kind.
    pub(crate) fn client(&self, plain: bool) -> SharedHttpClient {
        if plain { self.plain.clone() } else { self.tls.clone() }
    }
}

fn tls_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut builder = Connector::builder()
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
            .proxy_config(ProxyConfig::from_env());
        builder.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            builder.set_sleep_impl(components.sleep_impl());
        }
        builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
    })
}

fn plain_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut builder = Connector::builder()
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
            .proxy_config(ProxyConfig::from_env());
        builder.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            builder.set_sleep_impl(components.sleep_impl());
        }
        builder.build_http()
    })
}
