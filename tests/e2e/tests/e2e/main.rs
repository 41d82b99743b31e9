//! The binary `pulsar-connect` between local-aws and a real Apache Pulsar: each promise by what breaks it.
//!
//! Every test compares all records that were put with all messages that an independent client reads. Servers are started by `tests/rig` at first use; one
//! that does not start fails the tests that need it. See `harness` for what can be given by the environment.
#![allow(clippy::unwrap_used, clippy::large_futures)]

mod a_record_that_cannot_be_stored;
mod a_role_of_twenty_seconds;
mod a_stop_replays_nothing;
mod any_payload_arrives_bit_for_bit;
mod at_most_once_doubles_nothing;
mod broker_failures_cost_only_time;
mod effectively_once;
mod every_record_arrives;
mod exactly_once_broker_failures;
mod exactly_once_deduplication;
mod exactly_once_growth;
mod exactly_once_limits;
mod exactly_once_owners;
mod exactly_once_under_everything;
mod harness;
mod java_tables_are_continued;
mod kill_nine_loses_nothing;
mod memory_is_bounded;
mod on_aws_itself;
mod other_clients_read_what_we_write;
mod reshards_keep_the_order;
mod the_comparison_sees_everything;
mod two_processes_share;
mod we_read_what_other_clients_write;
mod what_bad_input_gets;
mod where_reading_begins;
