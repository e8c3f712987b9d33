//! `run` against a broker inside the test process.

mod backfill;
pub mod command;
mod dead_letters;
pub mod fixture;
mod outage;
pub mod reading;
pub mod rebalance;
mod record;
mod restart;
mod session;
