//! What `promtool` says, where it is installed.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

/// Asserts that `promtool check metrics` finds nothing.
#[track_caller]
pub fn check_metrics(text: &str) {
    if let Some((success, said)) = promtool(&["check", "metrics"], text) {
        assert!(success && said.is_empty(), "promtool check metrics:\n{said}");
    }
}

/// Whether promtool succeeds, and what it says. Where there is no promtool, that is a failure in CI and said
/// aloud elsewhere.
#[track_caller]
fn promtool(args: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new("promtool");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = match command.spawn() {
        Ok(promtool) => promtool,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!is_ci, "promtool is not installed: apt-get install prometheus");
            // Not by a macro: the test harness would swallow it.
            let message = format!("NOT RUN: promtool {args:?}, for want of promtool: apt-get install prometheus\n");
            let _ = std::io::stderr().write_all(message.as_bytes());
            return None;
        }
        Err(error) => panic!("promtool cannot be run: {error}"),
    };
    promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Some((output.status.success(), said))
}

#[test]
fn promtool_finds_what_is_wrong() {
    let found = std::panic::catch_unwind(|| check_metrics("# TYPE a_total gauge\na_total 1\n"));
    let installed = Command::new("promtool").arg("--version").output().is_ok();
    assert_eq!(found.is_err(), installed || std::env::var_os("CI").is_some_and(|ci| ci == "true"));
}

#[test]
fn the_scrape_job_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/scrape.yml");
    if let Some((success, said)) = promtool(&["check", "config", path], "") {
        assert!(success, "{said}");
    }
}
