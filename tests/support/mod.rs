//! What several areas share.

pub mod allocation;
