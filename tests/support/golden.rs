//! Files in the repository that code generates: compared, or written with `UPDATE_DOCS=1`.

use std::path::Path;

/// Asserts that the file at `path` (from the repository's root) holds `text`. With `UPDATE_DOCS=1` in the
/// environment it is written instead.
#[track_caller]
pub fn assert_golden(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some_and(|v| v == "1") {
        std::fs::write(&file, text).unwrap_or_else(|e| panic!("cannot write {path}: {e}"));
        return;
    }
    let found = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("cannot read {path}: {e}; {REMEDY}"));
    if let Some((number, (found, expected))) =
        found.lines().zip(text.lines()).enumerate().find(|(_, (found, expected))| found != expected)
    {
        panic!("{path} is stale at line {}:\n  in the file: {found}\n  generated:   {expected}\n{REMEDY}", number + 1);
    }
    assert!(found == text, "{path} is stale: it has {} bytes, and {} are generated; {REMEDY}", found.len(), text.len());
}

const REMEDY: &str = "`UPDATE_DOCS=1 cargo test --test it` writes it anew; look at the difference before you commit it";
