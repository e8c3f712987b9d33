//! churnwatch: exact rolling churn and retention of customers and recurring revenue, from Kafka to Prometheus.
//!
//! ```text
//! Kafka ── record ──> decode ──> history ──change──> tally ──readings──> gauges ── text ──> HTTP
//!                       (one shard = one Kafka partition: histories + tallies + next offset)
//!                                      │ histories + next offset
//!                                      └──> snapshot ──> store (a directory or a bucket)
//! ```
//!
//! Data flows one way, and each word of the picture is a module. [`framing`] finds the message in a record, [`decode`] judges
//! it. [`history`] keeps one customer's facts and tells what the customer was at every instant. [`tally`] keeps signed
//! ranges over window starts, per cohort of the finest groupings; the others are added up. [`shard`] joins the three for one
//! partition: change the customer's history, and replace what it contributed by what it contributes now. [`readings`] are the additive numbers at one instant; ratios are
//! made once, from their sum, in [`gauges`]. What every number means stands in `docs/semantics.md`. All `unsafe` code is
//! in [`native`].
//!
//! # Invariants
//!
//! 1. Equal sets of events and equal as-of give equal bytes out, whatever the order, repetition, batching, crash or
//!    rebalance.
//! 2. Tallies equal those rebuilt from the histories, at every instant.
//! 3. An offset is committed only after a durable snapshot covers it. State and offset are one artefact.
//! 4. Every record read is counted exactly once: applied, unchanged, ignored, or rejected by reason.
//! 5. Absent, never wrong: no cohort gauge before the shards have caught up, none for a window that the history does
//!    not cover, none for a revoked partition; numerator and denominator always come from the same readings.
//! 6. Hostile bytes cannot panic: `unwrap`, `expect` and indexing are denied by lint where bytes are read.
//! 7. No customer id leaves the process: histories are keyed by a keyed 128-bit hash, and ids appear in no label, log
//!    line or snapshot.
//! 8. Memory is bounded by the number of customers and of cohorts, and by how much happened to each within the
//!    longest window; the numbers of both are exported.

// Words
pub mod cohort;
pub mod event;
pub mod time;
pub mod varint;

// The core: pure. No runtime, no Kafka, no files, no clock, no randomness; time is an argument.
pub mod decode;
pub mod framing;
pub mod gauges;
pub mod history;
pub mod proto;
pub mod readings;
pub mod shard;
pub mod snapshot;
pub mod tally;

// The shell: everything that does I/O, and decides nothing about numbers.
pub mod embedded;
pub mod http;
pub mod input;
pub mod kafka;
pub mod native;
pub mod notify;
pub mod own_metrics;
pub mod publish;
pub mod settings;
pub mod store;
pub mod telemetry;

// The commands.
pub mod cli;
pub mod demo;
pub mod import;
pub mod inspect;
pub mod replay;
pub mod run;
pub mod validate;
