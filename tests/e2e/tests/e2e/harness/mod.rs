//! What the tests stand on: brokers, topics, streams, the source as a process, and the comparison of what was put with what arrived.

pub(crate) mod broker;
pub(crate) mod http;
pub(crate) mod kpl;
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
