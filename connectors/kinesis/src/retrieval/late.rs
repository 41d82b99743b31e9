//! A way of reading that is not known yet: a fan-out consumer becomes active while leases are prepared and shards open.

use crate::ids::ShardId;
use crate::port::{FetchError, Fetched, Retrieval, RetrievalMode, StartAt};
use connector_sdk::Share;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::SetOnce;

/// Opens shards at once; their first fetch waits until the way of reading is known.
#[derive(Clone, Default)]
pub struct LateRetrieval(Arc<SetOnce<Arc<dyn RetrievalMode>>>);

impl LateRetrieval {
    /// Now it is known. The first word counts.
    pub fn is(&self, mode: Arc<dyn RetrievalMode>) {
        // A second word changes nothing.
        drop(self.0.set(mode));
    }
}

impl RetrievalMode for LateRetrieval {
    fn open(&self, shard: &ShardId, start: StartAt, share: Share) -> Box<dyn Retrieval> {
        Box::new(LateShard { mode: self.clone(), asked: Some((shard.clone(), start, share)), shard: None })
    }
}

struct LateShard {
    mode: LateRetrieval,
    asked: Option<(ShardId, StartAt, Share)>,
    shard: Option<Box<dyn Retrieval>>,
}

impl Retrieval for LateShard {
    fn fetch(&mut self) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(async move {
            if let Some((shard, start, share)) = &self.asked {
                let mode = self.mode.0.wait().await;
                self.shard = Some(mode.open(shard, start.clone(), share.clone()));
                self.asked = None;
            }
            self.shard.as_mut().expect("it was opened by the first fetch").fetch().await
        })
    }

    fn rest(&mut self) {
        if let Some(shard) = &mut self.shard {
            shard.rest();
        }
    }
}
