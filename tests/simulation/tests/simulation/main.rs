//! The simulation's own tests: random runs, replays from seeds, the schedules by name, planted mistakes.

#![allow(clippy::unwrap_used)]

mod mistakes;
mod random;
mod replay;
mod schedules;
