//! A new data key every four hours, wrapped for the readers' keys as they are then.
//!
//! The keys' files are read off the actor's task. When that fails the present data key goes on and the log says so: nothing is sent
//! in clear, and nothing stops for it.

use crate::crypto::{CryptoConfig, Sealer};
use connector_sdk::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

/// As the Java client.
pub(super) const PERIOD: Duration = Duration::from_secs(4 * 60 * 60);
/// After keys that could not be read.
const AGAIN: Duration = Duration::from_secs(60);

/// When the next data key is due, and the work on it.
pub(super) struct Rotation {
    config: Option<CryptoConfig>,
    due: Instant,
    work: JoinSet<Result<Sealer, Error>>,
}

impl Rotation {
    /// The first sealer was made just now; without a configuration there is nothing to do.
    pub(super) fn new(config: Option<CryptoConfig>) -> Self {
        Self { config, due: Instant::now() + PERIOD, work: JoinSet::new() }
    }

    /// The next sealer, when it is due; waits for ever where nothing is encrypted. Cancel-safe.
    pub(super) async fn sealer(&mut self) -> Arc<Sealer> {
        let Some(config) = &self.config else { return std::future::pending().await };
        loop {
            if self.work.is_empty() {
                tokio::time::sleep_until(self.due).await;
                let config = config.clone();
                self.work.spawn_blocking(move || Sealer::new(&config));
            }
            match self.work.join_next().await {
                Some(Ok(Ok(sealer))) => {
                    self.due = Instant::now() + PERIOD;
                    return Arc::new(sealer);
                }
                Some(Ok(Err(error))) => warn!(%error, "the data key is not replaced, the present one goes on"),
                // A panic was logged by the runtime.
                Some(Err(_)) | None => {}
            }
            self.due = Instant::now() + AGAIN;
        }
    }

    /// Waits for the end of what is being worked on, the reading of a few files.
    pub(super) async fn end(&mut self) {
        self.work.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::test_keys::{P256_PUBLIC, RSA};
    use crate::crypto::{KeyLocation, KeyReaderConfig};

    #[tokio::test(start_paused = true)]
    async fn every_four_hours_comes_a_new_data_key_and_a_key_that_is_gone_is_looked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reader.pem");
        std::fs::write(&path, P256_PUBLIC).unwrap();
        let place = KeyLocation::new(format!("file:{}", path.display()));
        let reader = KeyReaderConfig { default_public_key: Some(place), ..KeyReaderConfig::default() };
        let config =
            CryptoConfig { encryption_keys: Some(vec!["a".into()]), crypto_key_reader_config: Some(reader), ..CryptoConfig::default() };
        let began = Instant::now();
        let mut rotation = Rotation::new(Some(config));
        let first = rotation.sealer().await;
        assert_eq!(began.elapsed().as_secs(), PERIOD.as_secs());

        // A private key where the public one was: the present data key goes on until that is mended.
        std::fs::write(&path, RSA).unwrap();
        assert!(tokio::time::timeout(PERIOD + AGAIN / 2, rotation.sealer()).await.is_err());
        std::fs::write(&path, P256_PUBLIC).unwrap();
        let second = rotation.sealer().await;
        assert_eq!(began.elapsed().as_secs(), (PERIOD + PERIOD + AGAIN).as_secs());
        assert_ne!(first.copies(), second.copies());
        let mut sealed = b"payload".to_vec();
        let param = second.seal(&mut sealed);
        assert!(first.open(&param, &sealed).is_none());
        rotation.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_encrypted_there_is_nothing_to_do() {
        let mut rotation = Rotation::new(None);
        assert!(tokio::time::timeout(PERIOD * 2, rotation.sealer()).await.is_err());
    }
}
