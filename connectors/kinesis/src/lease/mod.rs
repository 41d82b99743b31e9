//! The lease: one shard's row in the table that all workers share, in the Java KCL's form, attribute for attribute.
//!
//! `leaseCounter` is the fence and the heartbeat: each write but the creation is a compare-and-set on it and moves it up by one.
//! Nothing here writes over a whole row, touches an attribute it does not know, or takes a foreign row for a lease.

mod attribute;
mod dynamodb;
mod held;
mod memory;
mod row;
mod table;

pub use attribute::{PulsarConnect, StartMoment};
pub use dynamodb::DynamoDbTable;
pub use held::{HeldLease, StoreError};
pub use memory::MemoryTable;
pub use row::{Lease, RowError};
pub use table::{LeaseTable, TableError, TableRow};
