//! What `promtool` says, where it is installed.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::tool;

/// Asserts that `promtool check metrics` finds nothing.
#[track_caller]
pub fn check_metrics(text: &str) {
    if let Some((success, said)) = promtool(&["check", "metrics"], text) {
        assert!(success && said.is_empty(), "promtool check metrics:\n{said}");
    }
}

/// Whether promtool succeeds, and what it says; nothing where there is no promtool ([`tool::command`]).
#[track_caller]
pub fn promtool(args: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = tool::command("promtool", "prometheus", &format!("promtool {args:?}"))?;
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Some((output.status.success(), said))
}

#[test]
fn promtool_finds_what_is_wrong() {
    let found = std::panic::catch_unwind(|| check_metrics("# TYPE a_total gauge\na_total 1\n"));
    let installed = Command::new("promtool").arg("--version").output().is_ok();
    assert_eq!(found.is_err(), installed || tool::is_ci());
}

#[test]
fn the_scrape_job_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/scrape.yml");
    if let Some((success, said)) = promtool(&["check", "config", path], "") {
        assert!(success, "{said}");
    }
}
