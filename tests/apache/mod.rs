//! `run` against Apache Kafka: what only a real broker can show.

mod brokers;
mod fixture;
mod instances;
mod reading;
mod security;
mod transactions;
