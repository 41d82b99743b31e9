# The index of commands. Everything a target needs is installed by it, or named in one sentence (see tests/rig/setup).
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test fuzz simulation exactly-once bench profile lint fmt setup licences down

help: ## print this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

demo: ## Kinesis to Pulsar on this machine: a real broker, local-aws, a stream, the source, and what a consumer receives
	@tests/rig/demo

# End-to-end tests wait more than they work, many of them for the one broker that may be broken: three at a time on two cores.
# Always the whole workspace with all targets: another choice of crates is another choice of features, and builds all of the AWS SDK again.
test: ## everything: set-up, format, lints, unit and property tests, end-to-end tests on a real Pulsar
	@tests/rig/setup test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo build --workspace --all-targets --locked
	cargo test --workspace --locked --lib --bins
	cargo test --workspace --locked --doc
	RUST_TEST_THREADS=3 PULSAR_CONNECT_BIN=$${CARGO_TARGET_DIR:-$$PWD/target}/debug tests/rig/with-servers cargo test --workspace --locked --test '*'

FUZZ_SECONDS ?= 60
FUZZ_HOST := $$(rustc -vV | sed -n 's/^host: //p')

# A workspace of its own, on a nightly compiler: the product needs neither. No input may make it reserve more than what 4 KiB can become.
fuzz: ## what reads the network, on any input for FUZZ_SECONDS (60) a target; inputs that fail are left in fuzz/artifacts
	rustup run nightly rustc --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
	command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	cd fuzz && cargo +nightly fuzz build --dev
	cd fuzz && target/$(FUZZ_HOST)/debug/seeds
	cd fuzz && for target in frame entry machine; do \
	  cargo +nightly fuzz run --dev $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -malloc_limit_mb=192; \
	done

simulation: ## effectively-once from 10,000 seeds of a simulated world; `SEED=n` begins elsewhere
	cargo build --release --locked -p simulation --bins
	"$${CARGO_TARGET_DIR:-target}/release/simulation" --seed $${SEED:-1} --count 10000
	"$${CARGO_TARGET_DIR:-target}/release/simulation" --seed $${SEED:-1} --count 2000 --at-least-once

# The crate `pulsar` is built by itself: what it asks of shared crates must not change what it is compared with.
bench: ## records/s, CPU per million records, memory, latency, our producer beside others; prints tables and writes them as JSON
	@tests/rig/setup test
	cargo build --release --locked -p pulsar-connect -p local-aws -p bench --bins
	cargo build --release --locked -p bench-crate-pulsar
	tests/rig/with-servers --bench "$${CARGO_TARGET_DIR:-target}/release/bench" --json docs/performance.json --markdown docs/performance.md

profile: ## instructions of a record from Kinesis to a publisher that does nothing, function by function (needs valgrind)
	cargo build --release --locked -p pulsar-connect -p local-aws -p bench --bins
	"$${CARGO_TARGET_DIR:-target}/release/bench" profile --retrieval fan-out
	"$${CARGO_TARGET_DIR:-target}/release/bench" profile --retrieval polling

MINUTES ?= 30
SEED ?= 1
exactly-once: ## 30 minutes (MINUTES) of kills, reshards, moves and limits under EFFECTIVELY_ONCE; compares every record, writes docs/reliability.md
	@tests/rig/setup test
	cargo build --workspace --all-targets --locked
	EXACTLY_ONCE_MINUTES=$(MINUTES) EXACTLY_ONCE_SEED=$(SEED) EXACTLY_ONCE_JSON=$(CURDIR)/docs/reliability.json EXACTLY_ONCE_MARKDOWN=$(CURDIR)/docs/reliability.md \
	PULSAR_CONNECT_BIN=$${CARGO_TARGET_DIR:-$$PWD/target}/debug cargo test --workspace --locked --test e2e -- --nocapture exactly_once_under_everything

lint: ## format and lints, without tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt: ## format the code
	cargo fmt --all

setup: ## install and download what `make test` needs
	@tests/rig/setup test

licences: ## check the licences and advisories of all dependencies (needs cargo-deny)
	cargo deny --locked check

down: ## stop servers that an interrupted run left behind
	@tests/rig/down
