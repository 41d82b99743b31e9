//! What is asked of the lease table, as a port: DynamoDB behind it, or a table in memory.
//!
//! One call is one request (a scan: all its pages); nobody behind the port retries. A write that was not answered is told from one
//! that was refused: only a consistent read can settle it, and that is the caller's.

use super::change::Update;
use super::row::{Item, Lease, RowError};
use crate::config::BillingMode;
use crate::ids::ShardId;
use connector_sdk::Error;
use futures_util::future::BoxFuture;

/// The table that all workers of an application share.
pub trait LeaseTable: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// Whether a table exists. Errors: those of the service; authentication where looking is not allowed.
    fn exists<'a>(&'a self, table: &'a str) -> BoxFuture<'a, Result<bool, Error>>;

    /// Creates the table if it is absent and waits until it can be used. A table with another key is a configuration error.
    fn ensure(&self, billing: BillingMode) -> BoxFuture<'_, Result<Ensured, Error>>;

    /// All rows.
    fn scan(&self) -> BoxFuture<'_, Result<Vec<TableRow>, Error>>;

    /// One lease, read consistently; none where no row is. A row that is no lease is a data error.
    fn get<'a>(&'a self, shard: &'a ShardId) -> BoxFuture<'a, Result<Option<Lease>, Error>>;

    /// Puts a new row, if none has its key.
    fn create<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<Created, Error>>;

    /// Changes a row by compare-and-set. An error means that nothing was written.
    fn update<'a>(&'a self, update: &'a Update) -> BoxFuture<'a, Result<Written, Error>>;

    /// Puts the children on a row that exists; the counter stays. False where no row is. May be repeated.
    fn put_children<'a>(&'a self, shard: &'a ShardId, children: &'a [ShardId]) -> BoxFuture<'a, Result<bool, Error>>;

    /// Removes a finished lease that still has the counter it was seen with. False where it changed or is gone.
    fn delete<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<bool, Error>>;

    /// All rows of another, small table of the same application; none where there is no such table.
    fn side_rows<'a>(&'a self, table: &'a str) -> BoxFuture<'a, Result<Option<Vec<Item>>, Error>>;
}

/// How the table came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It existed before.
    Existed,
    /// It was created by this call.
    Created,
}

/// One row of a scan.
#[derive(Debug, Clone, PartialEq)]
pub enum TableRow {
    /// A lease.
    Lease(Box<Lease>),
    /// A row of another kind, which is left alone.
    Other(Item),
    /// A row that should be a lease and cannot be read; costs one row.
    Unreadable(RowError),
}

impl TableRow {
    /// Tells what kind of row an item is.
    pub fn from_item(item: Item) -> Self {
        match Lease::decode(&item) {
            Ok(Some(lease)) => Self::Lease(Box::new(lease)),
            Ok(None) => Self::Other(item),
            Err(error) => Self::Unreadable(error),
        }
    }
}

/// What became of a new row.
#[derive(Debug, Clone)]
pub enum Created {
    /// It is there by this call.
    New,
    /// A row of this key was there before.
    Existed,
    /// Not answered: it may be there or come yet. Asking again settles it.
    Unknown(Error),
}

/// What became of a compare-and-set.
#[derive(Debug, Clone)]
pub enum Written {
    /// Written; this is the row now.
    Applied(Box<Lease>),
    /// The condition did not hold: nothing was written. The row as it is, where the service said so.
    Refused(Option<Box<Lease>>),
    /// Not answered: it may be written, or be written yet.
    Unknown(Error),
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
