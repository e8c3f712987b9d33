//! `run` against a broker inside the test process.

mod command;
pub mod fixture;
mod outage;
pub mod reading;
pub mod rebalance;
mod restart;
mod session;
