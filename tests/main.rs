//! The integration tests: one binary, one `mod` line an area.

#![allow(clippy::unwrap_used, clippy::too_many_lines, reason = "a test that fails says where; a scenario may be long")]

mod support;

/// The binary as people call it: exit codes, streams, help.
mod cli;
/// docs/configuration.md and docs/reference.toml are what the code says.
mod configuration;
/// validate --check-connectivity against a broker.
mod connectivity;
/// The style that no compiler checks.
mod tidy;
