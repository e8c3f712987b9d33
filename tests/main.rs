//! The integration tests: one binary, one `mod` line an area.

mod support;

/// Damaged bytes never panic and never allocate without bound.
mod hostile;
