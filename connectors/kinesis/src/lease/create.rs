//! A new row, asked for until it is known to be there.

use super::row::Lease;
use super::table::{Created, LeaseTable};
use connector_sdk::Error;

/// How often an unanswered creation is asked again.
const CREATIONS: u32 = 3;

/// Creates a row; asked again while there is no answer, which an earlier attempt that landed answers with "existed". True when it
/// is new.
pub(crate) async fn create_row(table: &dyn LeaseTable, lease: &Lease) -> Result<bool, Error> {
    let mut failure = None;
    for _ in 0..CREATIONS {
        match table.create(lease).await? {
            Created::New => return Ok(true),
            Created::Existed => return Ok(false),
            Created::Unknown(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| Error::transient(format!("the lease of `{}` was not created", lease.shard))))
}
