//! The integration tests; what belongs where:

/// A naive reading of the contract, and random logs through the core against it.
mod model;
/// The contract's examples and sentences, as text.
mod scenarios;
