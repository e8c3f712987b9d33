//! The integration tests: one binary, one `mod` line an area.

mod support;

/// docs/configuration.md and docs/reference.toml are what the code says.
mod configuration;
/// The demo: its population, its table and the command.
mod demo;
