//! Messages that came in chunks, until they are whole.
//!
//! At most [`MOST_OPEN`] are open at once; one that is not whole after [`PATIENCE`] is let go of. What is let go of is reported,
//! never silently lost: its chunks stay unacknowledged or are acknowledged by the caller's decision.

use crate::wire::messages::MessageMetadata;
use bytes::{Bytes, BytesMut};
use connector_sdk::MessageId;
use std::time::{Duration, Instant};

/// Messages in chunks that are open at once.
pub(super) const MOST_OPEN: usize = 10;
/// For all chunks of a message.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// A message that claims to be larger is not begun.
const MOST_BYTES: usize = 1 << 30;

struct Open {
    uuid: String,
    next: i32,
    ids: Vec<MessageId>,
    bytes: BytesMut,
    since: Instant,
}

/// One consumer's open messages in chunks, oldest first.
#[derive(Default)]
pub(super) struct Chunks(Vec<Open>);

/// What a chunk makes.
pub(super) enum Chunked {
    /// More is to come.
    More,
    /// The whole payload, still compressed, and all of its entries but the last.
    Whole(Bytes, Vec<MessageId>),
    /// It is one that came before: it is to be acknowledged.
    Again,
    /// It follows nothing that is known: it cannot be used.
    Astray,
}

/// A message that was let go of before it was whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Abandoned {
    pub(super) ids: Vec<MessageId>,
    pub(super) bytes: usize,
}

impl Chunks {
    /// A chunk's payload, in clear. The second answer: messages that were let go of for it.
    pub(super) fn push(&mut self, now: Instant, id: MessageId, metadata: &MessageMetadata, payload: &Bytes) -> (Chunked, Vec<Abandoned>) {
        let (uuid, at) = (metadata.uuid.as_deref().unwrap_or_default(), metadata.chunk_id.unwrap_or(0));
        let total = metadata.num_chunks_from_msg.unwrap_or(1);
        let size = usize::try_from(metadata.total_chunk_msg_size.unwrap_or(0)).unwrap_or(0);
        let mut abandoned = Vec::new();
        if at == 0 {
            // A new beginning: what was there of it before is void.
            abandoned.extend(self.take(uuid).map(Open::abandon));
            if size > MOST_BYTES {
                return (Chunked::Astray, abandoned);
            }
            if self.0.len() >= MOST_OPEN {
                abandoned.push(self.0.remove(0).abandon());
            }
            self.0.push(Open { uuid: uuid.to_owned(), next: 0, ids: Vec::new(), bytes: BytesMut::new(), since: now });
        }
        let Some(open) = self.0.iter_mut().find(|open| open.uuid == uuid) else { return (Chunked::Astray, abandoned) };
        if at < open.next {
            return (Chunked::Again, abandoned);
        }
        if at > open.next || open.bytes.len() + payload.len() > size {
            abandoned.extend(self.take(uuid).map(Open::abandon));
            return (Chunked::Astray, abandoned);
        }
        open.bytes.extend_from_slice(payload);
        open.next += 1;
        if open.next < total {
            open.ids.push(id);
            return (Chunked::More, abandoned);
        }
        let chunked = self.take(uuid).map_or(Chunked::Astray, |open| Chunked::Whole(open.bytes.freeze(), open.ids));
        (chunked, abandoned)
    }

    fn take(&mut self, uuid: &str) -> Option<Open> {
        let at = self.0.iter().position(|open| open.uuid == uuid)?;
        Some(self.0.remove(at))
    }

    /// When the oldest open message is let go of.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|open| open.since + PATIENCE).min()
    }

    /// Lets go of what has waited too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Abandoned> {
        self.0.extract_if(.., |open| now >= open.since + PATIENCE).map(Open::abandon).collect()
    }

    /// Bytes kept for open messages.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|open| open.bytes.len()).sum()
    }

    /// Everything comes again from the beginning.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Open {
    fn abandon(self) -> Abandoned {
        Abandoned { ids: self.ids, bytes: self.bytes.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(uuid: &str, at: i32, of: i32) -> MessageMetadata {
        MessageMetadata {
            uuid: Some(uuid.to_owned()),
            chunk_id: Some(at),
            num_chunks_from_msg: Some(of),
            total_chunk_msg_size: Some(2 * of),
            ..MessageMetadata::default()
        }
    }

    fn id(entry: i64) -> MessageId {
        MessageId { ledger: 3, entry }
    }

    fn push(chunks: &mut Chunks, now: Instant, entry: i64, metadata: &MessageMetadata) -> (Chunked, Vec<Abandoned>) {
        chunks.push(now, id(entry), metadata, &Bytes::from(format!("{:02}", metadata.chunk_id.unwrap_or(0))))
    }

    #[test]
    fn interleaved_messages_become_whole_and_repeated_chunks_are_told() {
        let (mut chunks, now) = (Chunks::default(), Instant::now());
        assert!(matches!(push(&mut chunks, now, 1, &chunk("a", 0, 3)).0, Chunked::More));
        assert!(matches!(push(&mut chunks, now, 2, &chunk("b", 0, 2)).0, Chunked::More));
        assert!(matches!(push(&mut chunks, now, 3, &chunk("a", 1, 3)).0, Chunked::More));
        assert!(matches!(push(&mut chunks, now, 4, &chunk("a", 1, 3)).0, Chunked::Again));
        assert!(matches!(push(&mut chunks, now, 5, &chunk("c", 1, 3)).0, Chunked::Astray));
        let Chunked::Whole(bytes, ids) = push(&mut chunks, now, 6, &chunk("a", 2, 3)).0 else { panic!("not whole") };
        assert_eq!((&bytes[..], ids), (&b"000102"[..], vec![id(1), id(3)]));
        assert_eq!(chunks.bytes(), 2);
        let (gap, abandoned) = push(&mut chunks, now, 7, &chunk("b", 5, 9));
        assert!(matches!(gap, Chunked::Astray));
        assert_eq!(abandoned, [Abandoned { ids: vec![id(2)], bytes: 2 }]);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_and_each_after_its_time() {
        let (mut chunks, now) = (Chunks::default(), Instant::now());
        for at in 0..10 {
            assert!(push(&mut chunks, now, at, &chunk(&at.to_string(), 0, 2)).1.is_empty());
        }
        let abandoned = push(&mut chunks, now + Duration::from_secs(1), 10, &chunk("10", 0, 2)).1;
        assert_eq!(abandoned, [Abandoned { ids: vec![id(0)], bytes: 2 }]);
        assert_eq!(chunks.deadline(), Some(now + PATIENCE));
        assert_eq!(chunks.expire(now + PATIENCE).len(), 9);
        assert_eq!(chunks.deadline(), Some(now + Duration::from_secs(61)));
    }
}
