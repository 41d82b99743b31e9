//! What a reader makes of a topic's entries: opens what is sealed, puts chunks together by Pulsar's rules.

use super::frame::FrameError;
use super::messages::MessageMetadata;
use super::unpack::{Entry, open, unpack_payload};
use crate::crypto::{Decrypt, Decryptor};
use bytes::Bytes;
use std::collections::HashMap;

#[derive(Default)]
pub(crate) struct TestReader {
    pub(crate) keys: Option<Decryptor>,
    /// By `uuid`: the chunks so far.
    open: HashMap<String, Vec<Bytes>>,
}

impl TestReader {
    pub(crate) fn with_keys(keys: Decryptor) -> Self {
        Self { keys: Some(keys), open: HashMap::new() }
    }

    /// The whole entry, or nothing yet when it is a chunk that is not the last.
    pub(crate) fn read(&mut self, entry: Bytes) -> Result<Option<Entry>, FrameError> {
        let (metadata, mut payload) = open(entry)?;
        if !metadata.encryption_keys.is_empty() {
            let keys = self.keys.as_ref().ok_or(FrameError::Entry("it is encrypted"))?;
            let param = metadata.encryption_param.as_deref().unwrap_or_default();
            payload = keys.decrypt(&metadata.encryption_keys, param, &payload).ok_or(FrameError::Entry("no key opens it"))?;
        }
        if metadata.uuid.is_some() {
            match self.collect(&metadata, payload)? {
                Some(whole) => payload = whole,
                None => return Ok(None),
            }
        }
        unpack_payload(metadata, payload).map(Some)
    }

    fn collect(&mut self, metadata: &MessageMetadata, payload: Bytes) -> Result<Option<Bytes>, FrameError> {
        let uuid = metadata.uuid.clone().unwrap_or_default();
        let number =
            |value: Option<i32>| value.and_then(|value| usize::try_from(value).ok()).ok_or(FrameError::Entry("a chunk without numbers"));
        let (id, count, total) =
            (number(metadata.chunk_id)?, number(metadata.num_chunks_from_msg)?, number(metadata.total_chunk_msg_size)?);
        let known = self.open.get(&uuid).map_or(0, Vec::len);
        if id == 0 {
            self.open.insert(uuid.clone(), vec![payload]);
        } else if id == known {
            self.open.entry(uuid.clone()).or_default().push(payload);
        } else if id > known && known > 0 {
            return Err(FrameError::Entry("a chunk is missing"));
        } else {
            // A repetition, also of a message that was put together before.
            return Ok(None);
        }
        if id + 1 < count {
            return Ok(None);
        }
        let whole = self.open.remove(&uuid).unwrap_or_default().concat();
        if whole.len() == total { Ok(Some(whole.into())) } else { Err(FrameError::Entry("the chunks are not all of the message")) }
    }
}
