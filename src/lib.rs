//! churnwatch: exact rolling churn and retention, from Kafka to Prometheus.
//!
//! ```text
//! Kafka ── record ──> decode ──> history ──change──> tally ──readings──> gauges ── text ──> HTTP
//!                       (one shard = one Kafka partition: histories + tallies + next offset)
//!                                      │ histories + next offset
//!                                      └──> snapshot ──> store (a directory)
//! ```

// Words
pub mod cohort;
pub mod event;
pub mod time;

// The core: pure. No runtime, no Kafka, no files, no clock, no randomness; time is an argument.
pub mod decode;
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
pub mod own_metrics;
pub mod publish;
pub mod settings;
pub mod store;
pub mod telemetry;

// The commands.
pub mod cli;
pub mod replay;
pub mod run;
pub mod validate;
