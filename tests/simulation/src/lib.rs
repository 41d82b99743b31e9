//! Sources, publishers and lease rows as they ship, in a simulated world: one paused thread, every delay and fault from a seed.
//!
//! A model of the broker with its deduplication, a network that delivers late or never, a lease table that loses replies, and
//! workers that die between any two steps. In the end an oracle compares the topic with the shards. What it promises: the same seed
//! gives the same run. What it never does: replace a part of the code under test.

pub mod broker;
pub mod chaos;
mod life;
mod network;
pub mod oracle;
pub mod run;
pub mod shard;
mod socket;
mod table;
mod words;
pub mod worker;
pub mod world;

pub use life::Life;
pub use network::{Cluster, Weather};
pub use table::{Call, TableTrouble, Tables};
