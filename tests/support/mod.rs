//! What several areas share.

pub mod allocation;
pub mod apache_kafka;
pub mod cdnow;
pub mod golden;
pub mod process;
pub mod tool;

/// Waits until the condition holds; fails after a minute.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "never {what}");
        std::thread::yield_now();
    }
}
