//! What several areas share.

pub mod golden;
