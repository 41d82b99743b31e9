//! Writing records.

use super::Kinesis;
use super::error::{ErrorKind, KinesisError};
use super::hash_key::hash_of;
use super::records::{NewRecord, Placed};
use super::stream::{Stream, StreamStatus};
use crate::clock::Millis;

/// Most records of one PutRecords.
const MOST_RECORDS: usize = 500;
/// Most bytes of one PutRecords, partition keys included.
const MOST_BYTES: usize = 10 * 1024 * 1024;

/// What became of one record of a PutRecords.
pub type PutOutcome = Result<Placed, KinesisError>;

impl Kinesis {
    /// Puts one record.
    ///
    /// # Errors
    /// ProvisionedThroughputExceeded over the shard's rate, Validation and InvalidArgument for what cannot be, ResourceNotFound.
    pub fn put_record(&mut self, stream: &str, record: NewRecord) -> Result<Placed, KinesisError> {
        self.tick();
        let (now, limits) = (self.now(), self.settings.limits);
        let found = self.writable(stream)?;
        check_record(found, &record, limits.sizes)?;
        found.place(record, limits.writes, now)
    }

    /// Puts up to 500 records; each has its own outcome, in order.
    ///
    /// # Errors
    /// Those that refuse the whole call: too many, too large, a bad key, no such stream.
    pub fn put_records(&mut self, stream: &str, records: Vec<NewRecord>) -> Result<Vec<PutOutcome>, KinesisError> {
        self.tick();
        let (now, limits) = (self.now(), self.settings.limits);
        let found = self.writable(stream)?;
        if records.is_empty() || (limits.sizes && records.len() > MOST_RECORDS) {
            return Err(ErrorKind::Validation.because(format!(
                "1 validation error detected: {} records at 'records' failed to satisfy constraint: 1 to {MOST_RECORDS} records",
                records.len()
            )));
        }
        let bytes: usize = records.iter().map(NewRecord::size).sum();
        if limits.sizes && bytes > MOST_BYTES {
            return Err(ErrorKind::InvalidArgument.because(format!("Records size exceeds 10 MB limit: {bytes} bytes")));
        }
        for record in &records {
            check_record(found, record, limits.sizes)?;
        }
        Ok(records.into_iter().map(|record| found.place(record, limits.writes, now)).collect())
    }

    /// Puts any number of records at once, without limits of size or rate: for tests that fill a stream.
    ///
    /// # Errors
    /// ResourceNotFound, and ResourceInUse for a stream that takes no records.
    pub fn load(&mut self, stream: &str, records: impl IntoIterator<Item = NewRecord>) -> Result<Vec<Placed>, KinesisError> {
        self.tick();
        let now = self.now();
        let found = self.writable(stream)?;
        records.into_iter().map(|record| found.place(record, false, now)).collect()
    }

    fn writable(&mut self, stream: &str) -> Result<&mut Stream, KinesisError> {
        let missing = self.no_stream(stream);
        let found = self.stream_mut(stream)?;
        if found.canned.is_some() {
            return Err(ErrorKind::ResourceInUse.because(format!("Stream {stream} is canned: its records are made up and it takes none")));
        }
        match found.status {
            StreamStatus::Active | StreamStatus::Updating => Ok(found),
            StreamStatus::Creating | StreamStatus::Deleting => Err(missing),
        }
    }
}

fn check_record(stream: &Stream, record: &NewRecord, sizes: bool) -> Result<(), KinesisError> {
    if !(1..=256).contains(&record.partition_key.chars().count()) {
        return Err(ErrorKind::Validation
            .because("1 validation error detected: value at 'partitionKey' failed to satisfy constraint: 1 to 256 characters"));
    }
    if sizes && record.size() > stream.max_record_bytes {
        return Err(ErrorKind::Validation.because(format!(
            "1 validation error detected: value at 'data' failed to satisfy constraint: {} bytes with the partition key, at most {}",
            record.size(),
            stream.max_record_bytes
        )));
    }
    Ok(())
}

impl Stream {
    fn place(&mut self, record: NewRecord, limited: bool, now: Millis) -> PutOutcome {
        let hash = record.explicit_hash_key.unwrap_or_else(|| hash_of(&record.partition_key));
        let encrypted = self.kms_key.is_some();
        let size = record.size() as f64;
        let name = if limited { self.name.clone() } else { String::new() };
        let shard = self.shard_for(hash);
        if limited {
            if !shard.write_bytes.admits(size, now) || !shard.write_records.admits(1.0, now) {
                return Err(
                    ErrorKind::ProvisionedThroughputExceeded.because(format!("Rate exceeded for shard {} in stream {name}.", shard.id))
                );
            }
            shard.write_bytes.take(size, now);
            shard.write_records.take(1.0, now);
        }
        let sequence_number = shard.append(record, encrypted, now);
        Ok(Placed { shard_id: shard.id, sequence_number, encrypted })
    }
}
