//! The integration tests: one binary, one `mod` line an area.

mod support;

/// docs/configuration.md and docs/reference.toml are what the code says.
mod configuration;
/// The demo: its population, its table and the command.
mod demo;
/// What is served: content types, compression, readiness, and that a scrape waits for nobody.
mod http;
/// `run` against an embedded broker: pages, restarts, rebalances, outages, kills.
mod kafka;
/// docs/metrics.md is what the table says; the whole page of metrics is as it was, and promtool likes it.
mod metrics;
