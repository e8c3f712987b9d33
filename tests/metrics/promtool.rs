//! `promtool check metrics`, where it is installed.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

/// Asserts that `promtool check metrics` finds nothing. Where there is no promtool, that is a failure in CI
/// and said aloud elsewhere.
#[track_caller]
pub fn check_metrics(text: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = match command.spawn() {
        Ok(promtool) => promtool,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!is_ci, "promtool is not installed: apt-get install prometheus");
            // Not by a macro: the test harness would swallow it.
            let _ = std::io::stderr()
                .write_all(b"NOT RUN: `promtool check metrics`, for want of promtool: apt-get install prometheus\n");
            return;
        }
        Err(error) => panic!("promtool cannot be run: {error}"),
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.is_empty(), "promtool check metrics: {}\n{said}", output.status);
}

#[test]
fn promtool_finds_what_is_wrong() {
    let found = std::panic::catch_unwind(|| check_metrics("# TYPE a_total gauge\na_total 1\n"));
    let installed = Command::new("promtool").arg("--version").output().is_ok();
    assert_eq!(found.is_err(), installed || std::env::var_os("CI").is_some_and(|ci| ci == "true"));
}
