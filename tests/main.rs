//! The integration tests: one binary, one `mod` line an area.

mod support;

/// The binary as people call it: exit codes, streams, help.
mod cli;
/// docs/configuration.md and docs/reference.toml are what the code says.
mod configuration;
/// validate --check-connectivity against a broker.
mod connectivity;
