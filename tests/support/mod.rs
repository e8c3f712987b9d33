//! What several areas share.

pub mod allocation;
pub mod apache_kafka;
pub mod cdnow;
pub mod certificates;
pub mod golden;
pub mod process;
pub mod proxy;
pub mod tied;
pub mod tool;

/// Says loudly that a test does not run, and why; fails in CI.
pub fn not_run(test: &str, why: &str) {
    // Not by the macros, whose output the harness keeps to itself where a test passes.
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "NOT RUN: {test}: {why}");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{test} did not run: {why}");
}

/// Waits until the condition holds; fails after a minute.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "never {what}");
        std::thread::yield_now();
    }
}
