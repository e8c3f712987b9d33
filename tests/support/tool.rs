//! Programs that tests call and that need not be installed.

use std::io::Write;
use std::process::Command;

/// A command that runs the program, where it is installed. Where it is not, that is a failure in CI and said aloud
/// elsewhere, with the Debian package that has it.
#[track_caller]
pub fn command(program: &str, package: &str, what: &str) -> Option<Command> {
    if Command::new(program).arg("--version").output().is_ok() {
        return Some(Command::new(program));
    }
    assert!(!is_ci(), "{program} is not installed: apt-get install {package}");
    // Not by a macro: the test harness would swallow it.
    let message = format!("NOT RUN: {what}, for want of {program}: apt-get install {package}\n");
    let _ = std::io::stderr().write_all(message.as_bytes());
    None
}

/// Whether nothing may be left out.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| ci == "true")
}
