//! The instance's receive queue: batches of all shards, bounded in records, on their way to the engine.
//!
//! Bytes are bounded elsewhere, from the socket on; this bound keeps a slow publisher from hiding behind a long queue. One batch
//! may overshoot it. What was fenced off while it waited never comes out.

use connector_sdk::Batch;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Where shards put batches. Clones are the same queue.
#[derive(Clone)]
pub(crate) struct ReceiveQueue {
    sender: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    size: usize,
}

/// Where the engine takes them out.
pub(crate) struct QueueEnd {
    receiver: mpsc::Receiver<Queued>,
}

struct Queued {
    batch: Batch,
    /// The batch's room, until it is taken out.
    _room: OwnedSemaphorePermit,
}

/// The right to put one batch in.
pub(crate) struct Room(OwnedSemaphorePermit);

/// A queue for `size` waiting records.
pub(crate) fn receive_queue(size: usize) -> (ReceiveQueue, QueueEnd) {
    let size = size.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let (sender, receiver) = mpsc::channel(size);
    (ReceiveQueue { sender, room: Arc::new(Semaphore::new(size)), size }, QueueEnd { receiver })
}

impl ReceiveQueue {
    /// Waits for room for a batch of `records`, first come first served; none when the queue was closed. Cancel-safe.
    pub(crate) async fn room(&self, records: usize) -> Option<Room> {
        let records = u32::try_from(records.clamp(1, self.size)).unwrap_or(u32::MAX);
        Arc::clone(&self.room).acquire_many_owned(records).await.ok().map(Room)
    }

    /// Puts a batch in, where there is room for it.
    pub(crate) fn put(&self, room: Room, batch: Batch) {
        // Each batch holds at least one of as many permits as the channel has places; a closed queue gives the batch back.
        drop(self.sender.try_send(Queued { batch, _room: room.0 }));
    }

    /// Closes it: nobody finds room any more.
    pub(crate) fn close(&self) {
        self.room.close();
    }
}

impl QueueEnd {
    /// The next batch whose lease is still held; none when nothing can come any more. Cancel-safe.
    pub(crate) async fn take(&mut self) -> Option<Batch> {
        loop {
            let queued = self.receiver.recv().await?;
            if !queued.batch.handle.is_fenced() {
                return Some(queued.batch);
            }
        }
    }

    /// The next batch that is there already.
    pub(crate) fn take_now(&mut self) -> Option<Batch> {
        loop {
            let queued = self.receiver.try_recv().ok()?;
            if !queued.batch.handle.is_fenced() {
                return Some(queued.batch);
            }
        }
    }

    /// Drops what waits: the records are given back.
    pub(crate) fn clear(&mut self) {
        self.receiver.close();
        while let Ok(queued) = self.receiver.try_recv() {
            drop(queued);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::receive_queue;
    use connector_sdk::{Acknowledgements, Batch, ByteBudget, Fence, Record};
    use futures_util::FutureExt;

    fn batch(acks: &std::sync::Arc<Acknowledgements<u32>>, records: u32) -> Batch {
        acks.share().charge(u64::from(records));
        let handle = acks.track((0..records).map(|position| (position, 1)));
        Batch::new("shard".into(), vec![Record::default(); records as usize], handle)
    }

    #[tokio::test]
    async fn records_wait_up_to_the_size_and_one_batch_may_overshoot() {
        let (queue, mut end) = receive_queue(10);
        let budget = ByteBudget::new(1_000);
        let acks = Acknowledgements::new(budget.share(), Fence::new());
        queue.put(queue.room(25).await.unwrap(), batch(&acks, 25));
        assert!(queue.room(1).now_or_never().is_none(), "full");
        assert_eq!(end.take().await.unwrap().records.len(), 25);
        queue.put(queue.room(6).await.unwrap(), batch(&acks, 6));
        assert!(queue.room(5).now_or_never().is_none());
        assert!(queue.room(4).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_was_fenced_off_never_comes_out() {
        let (queue, mut end) = receive_queue(10);
        let budget = ByteBudget::new(1_000);
        let (lost, held) = (Fence::new(), Fence::new());
        let (first, second) = (Acknowledgements::new(budget.share(), lost.clone()), Acknowledgements::new(budget.share(), held));
        queue.put(queue.room(3).await.unwrap(), batch(&first, 3));
        queue.put(queue.room(2).await.unwrap(), batch(&second, 2));
        lost.fall();
        assert_eq!(end.take().await.unwrap().records.len(), 2);
        assert_eq!(budget.used(), 0, "what was cut out, and the test's own batch, hold no bytes");
        assert_eq!(first.watermark(), None);
    }
}
