//! `churnwatch replay` as it is typed.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use tempfile::TempDir;

use super::{EVENTS, delimited, lines, replay};

/// The definitions of the other tests as a file.
const CONFIGURATION: &str = r#"
windows = { lengths = ["30d"], step = "1h" }
dimensions = [{ name = "plan", attribute = "plan" }]
groupings = [{ by = ["plan"] }]
"#;

struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        let directory = Self(TempDir::new().unwrap());
        directory.write("churnwatch.toml", CONFIGURATION.as_bytes());
        directory
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn replay(&self, args: &[&str], stdin: &[u8]) -> Assert {
        Command::new(env!("CARGO_BIN_EXE_churnwatch"))
            .args(["replay", "--config", "churnwatch.toml"])
            .args(args)
            .current_dir(self.0.path())
            .env_clear()
            .write_stdin(stdin)
            .assert()
    }
}

fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn only_the_page_goes_to_standard_output() {
    let directory = Directory::new();
    directory.write("events.jsonl", &lines(&EVENTS));
    directory.write("events.pb", &delimited(&EVENTS));
    let expected = replay(&[("events.jsonl", lines(&EVENTS))]).page;
    for (args, stdin) in [
        (vec!["events.jsonl"], Vec::new()),
        (vec!["events.jsonl", "events.pb"], Vec::new()),
        (vec!["-"], lines(&EVENTS)),
        (vec!["--format", "protobuf", "-"], delimited(&EVENTS)),
        (vec!["--as-of", "2026-02-03T01:00:00.001+01:00", "-"], lines(&EVENTS)),
    ] {
        let replayed = directory.replay(&args, &stdin).code(0);
        assert!(stdout(&replayed) == expected, "{args:?}: {}", stdout(&replayed));
        assert!(stderr(&replayed).contains("as of        2026-02-03T00:00:00.001Z\n"), "{}", stderr(&replayed));
    }
}

#[test]
fn strict_fails_where_something_is_refused() {
    let directory = Directory::new();
    let bad = [EVENTS.as_slice(), &["nonsense"]].concat();
    let lenient = directory.replay(&["-"], &lines(&bad)).code(0);
    assert!(stdout(&lenient).starts_with("# HELP churnwatch_customers "));

    let strict = directory.replay(&["--strict", "-"], &lines(&bad)).code(1);
    assert_eq!(stdout(&strict), "");
    let text = stderr(&strict);
    assert!(text.starts_with("standard input:7: not a line of JSON: expected ident (column 2)\n"), "{text}");
    assert!(text.ends_with("error: 1 refused, and --strict is given: no page is printed\n"), "{text}");

    directory.replay(&["--strict", "-"], &lines(&EVENTS)).code(0);
}

#[test]
fn what_cannot_be_read_ends_it_with_one_line() {
    let directory = Directory::new();
    directory.write("events.jsonl", &lines(&EVENTS));
    directory.write("events.txt", &lines(&EVENTS));
    for (file, code, message) in [
        ("absent.jsonl", 1, "error: absent.jsonl: cannot be read: No such file or directory"),
        ("events.txt", 2, "error: events.txt: the name does not say its format: add --format jsonl or"),
    ] {
        let failed = directory.replay(&["events.jsonl", file], b"").code(code);
        assert_eq!(stdout(&failed), "");
        let text = stderr(&failed);
        assert!(text.starts_with(message) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn what_postgresql_makes_by_the_query_of_the_docs_is_read() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let query = read("tests/fixtures/postgresql/export.sh");
    assert!(read("docs/operations.md").contains(&format!("```sh\n{query}")), "customers.jsonl is of another query");

    let directory = Directory::new();
    directory.write("customers.jsonl", read("tests/fixtures/postgresql/customers.jsonl").as_bytes());
    let assert = directory.replay(&["--strict", "--as-of", "2026-02-10T00:00:00Z", "customers.jsonl"], b"").success();
    let (page, said) = (stdout(&assert), stderr(&assert));
    assert!(said.contains("\n  applied               4\n"), "{said}");
    // One has two subscriptions, plans by number; the other one cancelled, and left at the end of the term.
    for line in [
        r#"churnwatch_customers{cohort_by="everyone"} 1"#,
        r#"churnwatch_lost_customers{cohort_by="everyone",window="30d"} 1"#,
        r#"churnwatch_lost_customers{cohort_by="plan",plan="2",window="30d"} 1"#,
        r#"churnwatch_lost_customers_by_reason{cohort_by="everyone",window="30d",reason="cancelled",class="voluntary"} 1"#,
    ] {
        assert!(page.lines().any(|l| l == line), "{line} in {page}");
    }
}
