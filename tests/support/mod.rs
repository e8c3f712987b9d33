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

use std::fmt::Debug;
use std::time::{Duration, Instant};

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
    until_equal(|| if holds() { what } else { "not yet" }, &what);
}

/// Waits until what is found is what is expected; fails after a minute with the difference.
#[track_caller]
pub fn until_equal<F: PartialEq<E> + Debug, E: Debug>(mut find: impl FnMut() -> F, expected: &E) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut found = find();
    while found != *expected {
        assert!(Instant::now() < deadline, "{found:?} never became {expected:?}");
        std::thread::yield_now();
        found = find();
    }
}
