//! The integration tests: one binary, one `mod` line an area.

mod support;

/// docs/configuration.md and docs/reference.toml are what the code says.
mod configuration;
/// Random logs through the core against a naive reading of the contract.
mod model;
/// The contract's examples and sentences, as text.
mod scenarios;
