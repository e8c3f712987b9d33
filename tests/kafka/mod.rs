//! `run` against a broker inside the test process.

mod command;
mod fixture;
mod outage;
mod reading;
mod rebalance;
mod restart;
