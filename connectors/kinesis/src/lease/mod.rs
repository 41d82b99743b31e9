//! The lease: one shard's row in the table that all workers share, in the Java KCL's form, attribute for attribute.
//!
//! `leaseCounter` is the fence and the heartbeat: each write but the creation is a compare-and-set on it and moves it up by one.
//! Nothing here writes over a whole row, touches an attribute it does not know, or takes a foreign row for a lease.

mod attribute;
mod change;
mod claim;
mod create;
mod dynamodb;
mod exact;
mod finish;
mod held;
mod list;
mod memory;
mod row;
mod table;

pub use attribute::{NumberedPosition, Numbering, PulsarConnect, StartMoment, StreamMark};
pub use change::{Action, Change, OwnerChange, Update};
pub(crate) use claim::no_instant;
pub use claim::{Claimant, Taken, Worker};
pub(crate) use create::create_row;
pub use dynamodb::DynamoDbTable;
pub use exact::{Exact, NUMBERING, NextRecord, last_number_before, parts_of_number, record_number};
pub use held::{HeldLease, Progress, StoreError};
pub use list::{ExactView, LastNumber, LeaseListing, LeaseView, OurView, list_leases};
pub use memory::{Fault, MemoryTable, Operation, OperationKind};
pub use row::{Item, LEASE_KEY, Lease, RowError};
pub use table::{Created, Ensured, LeaseTable, TableRow, Written};
