//! End-to-end tests: the binary `pulsar-connect` against a real Apache Pulsar and local-aws. All of it is in `tests/e2e`; this crate has no code of its own.
