//! `run` against a broker inside the test process.

mod fixture;
mod reading;
