//! The integration tests: one binary, one `mod` line an area.

#![allow(clippy::unwrap_used, clippy::too_many_lines, reason = "a test that fails says where; a scenario may be long")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness shows what a failing test printed")]

mod support;

/// `run` against Apache Kafka, of one broker and of three.
mod apache;
/// Real purchases, checked against another engine.
mod cdnow;
/// Random faults by a seed against Apache Kafka and several instances: no number changes.
mod chaos;
/// The binary as people call it: exit codes, streams, help.
mod cli;
/// docs/configuration.md and docs/reference.toml are what the code says.
mod configuration;
/// validate --check-connectivity against a broker.
mod connectivity;
/// The demo: its population, its table and the command.
mod demo;
/// TLS, client certificates, passwords, slow and oversized clients.
mod door;
/// Damaged bytes never panic and never allocate without bound.
mod hostile;
/// What is served: content types, compression, readiness, and that a scrape waits for nobody.
mod http;
/// `run` against an embedded broker: pages, restarts, rebalances, outages, kills.
mod kafka;
/// docs/metrics.md is what the table says; the whole page of metrics is as it was, and promtool likes it.
mod metrics;
/// Random logs through the core against a naive reading of the contract.
mod model;
/// Messages and queues of the C library, and that no memory of its is used wrongly.
mod native;
/// The service manager is told of readiness, life and end.
mod notify;
/// Recording rules over several instances: from the table, by promtool, and in a real Prometheus.
mod prometheus;
/// `replay` from files to page and summary.
mod replay;
/// The contract's examples and sentences, as text.
mod scenarios;
/// Snapshots in an object store: a real S3 server, and what is done where it refuses, hangs or cheats.
mod store;
/// The style that no compiler checks.
mod tidy;
