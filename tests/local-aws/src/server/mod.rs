//! The stand-ins behind one port: HTTP/1.1 and HTTP/2 with prior knowledge.
//!
//! Which service is meant is read from each request. Promises that shutdown ends every task it started within its deadline; never keeps state of its own
//! beyond the [`account::Account`].

pub(crate) mod account;
pub(crate) mod body;
pub(crate) mod control;
mod dispatch;
mod kinesis_api;
mod kinesis_describe;
mod push;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use account::Account;

/// How long a shutdown waits for connections.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
/// Receive windows of HTTP/2, so that a PutRecords of 10 MiB does not crawl.
const H2_WINDOW: u32 = 4 * 1024 * 1024;

/// The running server: owns its tasks.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Listens on `host:port` (0 for any port) and serves `account`.
    pub(crate) async fn start(host: &str, port: u16, account: Arc<Account>) -> io::Result<Self> {
        let listener = TcpListener::bind((host, port)).await?;
        let address = listener.local_addr()?;
        let (stop, tasks) = (account.stop.clone(), TaskTracker::new());
        tasks.spawn(accept(listener, Arc::clone(&account), stop.clone(), tasks.clone()));
        tasks.spawn(keep_time(account, stop.clone()));
        tasks.close();
        Ok(Self { address, stop, tasks })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, cuts what is left after the deadline and waits for every task.
    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        if tokio::time::timeout(SHUTDOWN_DEADLINE, self.tasks.wait()).await.is_err() {
            tracing::warn!("connections did not end in time");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, account: Arc<Account>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(serve(stream, Arc::clone(&account), stop.child_token(), Tracked(tasks.clone())));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of descriptors is the usual cause: give others time to close theirs.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Starts the tasks which an HTTP/2 connection has for its streams where shutdown waits for them.
#[derive(Clone, Debug)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// Serves one connection until it ends, is cut by a fault, or the server stops.
async fn serve(stream: TcpStream, account: Arc<Account>, cut: CancellationToken, executor: Tracked) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set nodelay");
    }
    let mut builder = auto::Builder::new(executor);
    // The `Date` of an answer is the machine's, not the wall clock's.
    builder.http1().auto_date_header(false).max_buf_size(1024 * 1024);
    builder
        .http2()
        .auto_date_header(false)
        .initial_stream_window_size(H2_WINDOW)
        .initial_connection_window_size(4 * H2_WINDOW)
        .max_concurrent_streams(None)
        .max_send_buf_size(2 * 1024 * 1024);
    let service = service_fn(|request| {
        let (account, cut) = (Arc::clone(&account), cut.clone());
        async move { dispatch::answer(&account, &cut, request).await }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = cut.cancelled() => {}
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
        }
    }
}

/// Lets changes take effect when they are due even if nobody calls, so that waiting subscriptions notice them.
async fn keep_time(account: Arc<Account>, stop: CancellationToken) {
    loop {
        let due = {
            let mut kinesis = account.kinesis();
            kinesis.tick();
            kinesis.next_due()
        };
        let wait = async {
            match due {
                Some(at) => account.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = wait => {}
            () = account.changed.notified() => {}
        }
    }
}
