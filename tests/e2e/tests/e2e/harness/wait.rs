//! Waiting for a condition: never for time to pass by itself.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

/// Looks again and again until `look` gives a value; panics with what it saw last when the deadline is over.
pub(crate) async fn until<T, E: Display>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(value) => return value,
            Err(seen) if Instant::now() >= deadline => panic!("waited {} s for {what}; last seen: {seen}", within.as_secs()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// As [`until`], for something that is or is not so.
pub(crate) async fn until_true(what: &str, within: Duration, mut look: impl AsyncFnMut() -> bool) {
    until(what, within, async || if look().await { Ok(()) } else { Err("not yet") }).await;
}
