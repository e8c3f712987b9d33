//! `run` against a broker inside the test process.

mod command;
mod dead_letters;
mod fixture;
mod outage;
mod reading;
mod rebalance;
mod record;
mod restart;
