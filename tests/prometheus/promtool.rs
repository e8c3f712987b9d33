//! The rules by promtool: they are valid, and its unit tests pass.

use crate::metrics::promtool::promtool;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");

#[test]
fn the_rules_are_valid() {
    for file in files("rules") {
        // Lint: no two rules record or raise the same.
        let Some((success, said)) = promtool(&["check", "rules", "--lint-fatal", &file], "") else { return };
        assert!(success, "{said}");
    }
}

#[test]
fn the_unit_tests_of_the_rules_pass() {
    // Each takes some seconds of one core.
    std::thread::scope(|scope| {
        for file in files("tests") {
            scope.spawn(move || {
                let Some((success, said)) = promtool(&["test", "rules", &file], "") else { return };
                assert!(success && said.contains("SUCCESS"), "{said}");
            });
        }
    });
}

/// The files in a folder of deploy/prometheus, in order.
fn files(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(format!("{DEPLOY}/{folder}")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.map(|path| path.to_str().unwrap().to_owned()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}
