//! What the tests stand on: brokers, topics, streams, the source as a process, and the comparison of what was put with what arrived.
//!
//! What may be given by the environment:
//! - `PULSAR_SERVICE_URL` or `PULSAR_URL`, with `PULSAR_ADMIN_URL`: the broker that is only used; those that are killed, paused or ask for tokens are
//!   always started here
//! - `PULSAR_CONNECT_BIN`: the program under test, or the folder it is in; else cargo builds it
//! - `PULSAR_CONNECT_RIG`: where the brokers keep their state
//! - `PULSAR_CONNECT_TEST_AWS=1`: one short run on real AWS, see `on_aws_itself`

pub(crate) mod broker;
pub(crate) mod http;
pub(crate) mod kpl;
pub(crate) mod namespace;
pub(crate) mod oracle;
pub(crate) mod source;
pub(crate) mod stream;
pub(crate) mod topic;
pub(crate) mod wait;

use std::path::PathBuf;

/// The root of the checkout.
pub(crate) fn checkout() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two folders below the root").to_owned()
}

/// A name nobody has used.
pub(crate) fn unique(label: &str) -> String {
    format!("{label}-{:08x}", fastrand::u32(..))
}
