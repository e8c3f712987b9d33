//! What the benches share: rows of figures, seeded logs of events, and bare measures to hold figures against.

#![allow(dead_code, reason = "every bench is a binary of its own, and none needs all of it")]

pub mod figures;
pub mod log;
pub mod quiet;
pub mod reference;
