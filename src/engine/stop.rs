//! The wish to stop: the first asks for an orderly end within a deadline, the second for the end at once.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    None,
    By(Instant),
    Now,
}

/// Asks for the stop.
#[derive(Debug)]
pub struct StopHandle {
    wish: watch::Sender<Wish>,
    within: Duration,
}

/// Learns of the stop. Clones learn of the same.
#[derive(Debug, Clone)]
pub struct StopSignal(watch::Receiver<Wish>);

impl StopHandle {
    /// A handle whose first request allows `within` for an orderly end.
    pub fn new(within: Duration) -> (Self, StopSignal) {
        let (wish, receiver) = watch::channel(Wish::None);
        (Self { wish, within }, StopSignal(receiver))
    }

    /// Asks for an orderly end, however often it is called.
    pub fn ask_in_order(&self) {
        let within = self.within;
        self.wish.send_if_modified(|wish| {
            let first = *wish == Wish::None;
            if first {
                *wish = Wish::By(Instant::now() + within);
            }
            first
        });
    }

    /// Asks once more: first for an orderly end, then for the end at once.
    pub fn ask(&self) {
        let within = self.within;
        self.wish.send_modify(|wish| {
            *wish = match *wish {
                Wish::None => Wish::By(Instant::now() + within),
                Wish::By(_) | Wish::Now => Wish::Now,
            };
        });
    }
}

impl StopSignal {
    /// Waits until somebody asks. Cancel-safe.
    pub async fn asked(&mut self) {
        self.until(|wish| wish != Wish::None).await;
    }

    /// Waits until the end is wanted at once. Cancel-safe.
    pub async fn at_once(&mut self) {
        self.until(|wish| wish == Wish::Now).await;
    }

    /// Whether somebody asked.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow() != Wish::None
    }

    /// When an orderly end has to be complete; now, when nobody asked or the end is wanted at once.
    pub fn deadline(&self) -> Instant {
        match *self.0.borrow() {
            Wish::By(deadline) => deadline,
            Wish::None | Wish::Now => Instant::now(),
        }
    }

    async fn until(&mut self, wanted: impl Fn(Wish) -> bool) {
        if self.0.wait_for(|wish| wanted(*wish)).await.is_err() {
            // The handle is gone: nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_second_request_is_for_the_end_at_once() {
        let (handle, mut signal) = StopHandle::new(Duration::from_secs(30));
        assert!(!signal.is_asked());
        handle.ask();
        handle.ask_in_order();
        signal.asked().await;
        assert_eq!(signal.deadline() - Instant::now(), Duration::from_secs(30));
        assert!(tokio::time::timeout(Duration::from_secs(3600), signal.at_once()).await.is_err());
        handle.ask();
        signal.at_once().await;
        assert_eq!(signal.deadline(), Instant::now());
    }
}
