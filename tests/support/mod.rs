//! What several areas share.

pub mod allocation;
pub mod cdnow;
pub mod golden;
