//! The metrics page: Prometheus text with the names Pulsar IO uses, one page for all instances of the process.
//!
//! Values are read from the instances when somebody asks; nothing is counted twice and nothing on the way of a record knows of
//! this page. The `_1min` counters restart each minute, as Pulsar IO's do.

mod exposition;
mod minute;
mod process;

use crate::engine::InstanceState;
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use connector_sdk::{ByteBudget, Error, Task};
use minute::Minute;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tracing::{info, warn};

/// A port that was had, and is not served yet.
pub struct MetricsPage {
    listener: TcpListener,
}

/// What a request reads.
struct Shown {
    states: Vec<Arc<InstanceState>>,
    minutes: Vec<Minute>,
    budget: ByteBudget,
}

impl MetricsPage {
    /// Takes the port on all addresses, as Pulsar IO's page does; 0 for any.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn bind(port: u16) -> Result<Self, Error> {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Error::configuration(format!("the metrics page cannot have port {port}: {error}"))
                .with_hint("choose another `--metrics-port-start`")
        })?;
        if let Ok(address) = listener.local_addr() {
            info!(port = address.port(), "metrics page");
        }
        Ok(Self { listener })
    }

    /// Serves `/` and `/metrics` until the task is dropped.
    pub fn serve(self, states: Vec<Arc<InstanceState>>, budget: ByteBudget) -> Task<()> {
        let minutes = states.iter().map(|_| Minute::default()).collect();
        let shown = Arc::new(Shown { states, minutes, budget });
        let router = Router::new().route("/", get(page)).route("/metrics", get(page)).with_state(shown);
        Task::spawn("metrics page", async move {
            if let Err(error) = axum::serve(self.listener, router).await {
                warn!(%error, "the metrics page ended");
            }
        })
    }
}

async fn page(State(shown): State<Arc<Shown>>) -> impl IntoResponse {
    let text = exposition::text(&shown.states, &shown.minutes, &shown.budget);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
