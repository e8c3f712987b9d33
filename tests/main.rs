//! The integration tests: one binary, one `mod` line an area.

mod support;

/// Real purchases, checked against another engine.
mod cdnow;
/// docs/configuration.md and docs/reference.toml are what the code says.
mod configuration;
/// Damaged bytes never panic and never allocate without bound.
mod hostile;
/// `replay` from files to page and summary.
mod replay;
