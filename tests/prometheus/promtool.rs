//! The rules by promtool: they are valid, and its unit tests pass.

use crate::metrics::promtool::promtool;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");

#[test]
fn the_rules_are_valid() {
    if let Some((success, said)) = promtool(&["check", "rules", &format!("{DEPLOY}/rules/churnwatch.rules.yml")], "") {
        assert!(success, "{said}");
    }
}

#[test]
fn the_unit_tests_of_the_rules_pass() {
    let mut files: Vec<_> = std::fs::read_dir(format!("{DEPLOY}/tests")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let Some((success, said)) = promtool(&["test", "rules", file.to_str().unwrap()], "") else { return };
        assert!(success && said.contains("SUCCESS"), "{said}");
    }
}
