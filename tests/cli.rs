//! The binary as people call it: exit codes, what goes to which stream, and what help says.

use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;

use crate::support::golden::assert_golden;

fn churnwatch(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("churnwatch").unwrap();
    command.args(args).env_clear();
    command
}

/// Standard output and standard error.
fn streams(assert: &Assert) -> (String, String) {
    let output = assert.get_output();
    (String::from_utf8(output.stdout.clone()).unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[test]
fn validate_prints_what_the_configuration_amounts_to() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    let text = "[kafka]\ntopics = ['events']\nlibrdkafka.sasl.password = 'hunter2'\n\
                [[dimensions]]\nname = 'plan'\n[[groupings]]\nby = ['plan', 'signup_month']\n";
    std::fs::write(&file, text).unwrap();
    let assert = churnwatch(&["validate"]).env("CHURNWATCH_CONFIG", &file).assert().code(0);
    let (out, err) = streams(&assert);
    for line in [
        "topics      events",
        "librdkafka  sasl.password=<redacted>",
        "windows     1d, 7d, 30d, starting every 1h; at most 1000 cohorts a grouping",
        "groupings   everyone; plan,signup_month",
        "OK",
    ] {
        assert!(out.lines().any(|l| l == line), "{line} in {out}");
    }
    assert_eq!(err, "");
    assert!(!out.contains("hunter2"), "{out}");
}

#[test]
fn a_wrong_configuration_is_exit_code_2_with_everything_that_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    std::fs::write(&file, "[kafka]\ntopic = 'x'\n[windows]\nstep = '1y'\n").unwrap();
    let assert = churnwatch(&["validate", "--config", file.to_str().unwrap(), "--topic", "a b"])
        .env("CHURNWATCH__HTTP__LISTEN", "x")
        .assert()
        .code(2);
    let (out, err) = streams(&assert);
    assert_eq!(out, "");
    for part in ["c.toml:2:1", "did you mean `topics`?", "c.toml:4:8", "--topic: ", "CHURNWATCH__HTTP__LISTEN: "] {
        assert!(err.contains(part), "{part} in {err}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for args in
        [vec![], vec!["frobnicate"], vec!["validate", "--frobnicate"], vec!["validate", "-q", "-v"], vec!["replay"]]
    {
        let (out, err) = streams(&churnwatch(&args).assert().code(2));
        assert!(out.is_empty() && err.contains("--help"), "{args:?}: {out}{err}");
    }
    let (_, err) = streams(&churnwatch(&["validate", "-c", "/nowhere.toml"]).assert().code(2));
    assert_eq!(err.lines().count(), 1, "{err}");
}

#[test]
fn a_failure_is_exit_code_1_and_one_line() {
    let (out, err) = streams(&churnwatch(&["validate"]).env("RUST_LOG", "a=b=c").assert().code(1));
    assert!(out.is_empty() && err.starts_with("error: RUST_LOG is not a filter: "), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
}

#[test]
fn help_names_every_command_with_examples() {
    let (help, _) = streams(&churnwatch(&["--help"]).assert().code(0));
    let commands = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let commands: Vec<_> = commands.filter_map(|l| l.split_whitespace().next()).filter(|c| *c != "help").collect();
    assert!(commands.contains(&"validate"), "{help}");
    for command in commands {
        let (help, _) = streams(&churnwatch(&[command, "--help"]).assert().code(0));
        assert!(help.contains("Examples:") || help.contains("Commands:"), "{command}: {help}");
    }
}

#[test]
fn the_command_line_is_documented() {
    let mut text = "# The command line\n\n\
         <!-- What --help says: UPDATE_DOCS=1 cargo test --test it cli -->\n"
        .to_owned();
    let mut describe = |command: &[&str]| {
        let (help, _) = streams(&churnwatch(&[command, &["--help"]].concat()).assert().code(0));
        let title = [&["churnwatch"], command].concat().join(" ");
        text += &format!("\n## `{title}`\n\n```text\n{}\n```\n", help.trim_end());
        let listed = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
        let names = listed.filter_map(|l| l.split_whitespace().next().map(str::to_owned));
        names.filter(|name| name != "help").collect::<Vec<_>>()
    };
    for command in describe(&[]) {
        for inner in describe(&[&command]) {
            describe(&[&command, &inner]);
        }
    }
    assert_golden("docs/cli.md", &text);
}

#[test]
fn config_prints_what_is_in_force_and_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    let text = "[kafka]\ntopics = ['events']\nlibrdkafka.sasl.password = 'hunter2'\n[windows]\nlengths = ['7d']\n";
    std::fs::write(&file, text).unwrap();
    let printed = |file: &Path| {
        let config = churnwatch(&["config", "--brokers", "a:1,b:2", "--config", file.to_str().unwrap()])
            .env("CHURNWATCH__WINDOWS__STEP", "1d")
            .assert()
            .code(0);
        streams(&config)
    };
    let (out, err) = printed(&file);
    for line in [
        r#"brokers = ["a:1", "b:2"]"#,
        r#"topics = ["events"]"#,
        r#""sasl.password" = "<redacted>""#,
        r#"lengths = ["7d"]"#,
        r#"step = "1d""#,
        "# workers: not set",
        r#"listen = "0.0.0.0:8642""#,
    ] {
        assert!(out.lines().any(|l| l == line), "{line} in {out}");
    }
    assert!(!out.contains("hunter2") && err.is_empty(), "{err}");
    let again = directory.path().join("again.toml");
    std::fs::write(&again, &out).unwrap();
    assert_eq!(printed(&again).0, out, "it reads back as it is");
}

#[test]
fn every_command_has_a_manual_page() {
    let (page, _) = streams(&churnwatch(&["man"]).assert().code(0));
    assert!(page.contains(".TH churnwatch 1") && page.contains(".SH SUBCOMMANDS"), "{page}");
    let directory = tempfile::tempdir().unwrap();
    let (out, err) = streams(&churnwatch(&["man", "--directory", directory.path().to_str().unwrap()]).assert().code(0));
    assert_eq!((out.as_str(), err.as_str()), ("", ""));
    // A folder of its own is made.
    let deeper = directory.path().join("man/man1");
    churnwatch(&["man", "--directory", deeper.to_str().unwrap()]).assert().code(0);
    let (out, err) = streams(&churnwatch(&["man", "--directory", "/proc/nowhere"]).assert().code(1));
    assert!(out.is_empty() && err.starts_with("error: cannot write manual pages into /proc/nowhere: "), "{err}");
    assert!(deeper.join("churnwatch-run.1").exists() && !deeper.join("churnwatch-help.1").exists());
    for name in ["churnwatch", "churnwatch-run", "churnwatch-validate", "churnwatch-snapshot-inspect"] {
        let page = std::fs::read_to_string(directory.path().join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
    }
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (out, _) = streams(&churnwatch(&["completions", shell]).assert().code(0));
        assert!(out.contains("check-connectivity"), "{shell}");
    }
    let (script, _) = streams(&churnwatch(&["completions", "bash"]).assert().code(0));
    let ask = "source /dev/stdin; COMP_WORDS=(churnwatch r) COMP_CWORD=1; _churnwatch churnwatch r churnwatch; echo ${COMPREPLY[@]}";
    let offered = Command::new("bash").args(["-c", ask]).write_stdin(script).assert().code(0);
    assert_eq!(streams(&offered).0, "run replay\n");
}

#[test]
fn the_reference_configuration_is_valid() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.toml");
    let from_file = streams(&churnwatch(&["validate", "-c", file.to_str().unwrap()]).assert().code(0));
    assert_eq!(from_file, streams(&churnwatch(&["validate"]).assert().code(0)));
}

#[test]
fn log_lines_are_text_or_json() {
    let (out, text) = streams(&churnwatch(&["validate", "-v"]).assert().code(0));
    assert!(text.lines().any(|l| l.contains("DEBUG") && l.contains("churnwatch starts")), "{text}");
    let json = streams(&churnwatch(&["validate", "-v", "--log-format", "json"]).assert().code(0));
    let line: serde_json::Value = serde_json::from_str(json.1.lines().next().unwrap()).unwrap();
    assert_eq!((&line["level"], &line["message"]), (&"DEBUG".into(), &"churnwatch starts".into()));
    assert_eq!(json.0, out);
    for (arguments, code, words) in [
        (&["run"][..], 2, "no topic to read"),
        (&["config", "--topic", "a b"], 2, "--topic: "),
        (&["replay", "/nowhere.jsonl"], 1, "/nowhere.jsonl: cannot be read"),
    ] {
        let json = [arguments, &["--log-format", "json"]].concat();
        let (_, err) = streams(&churnwatch(&json).assert().code(code));
        let line: serde_json::Value = serde_json::from_str(&err).unwrap_or_else(|e| panic!("{e}: {err}"));
        assert_eq!(line["level"], "ERROR");
        assert!(line["message"].as_str().unwrap().contains(words), "{err}");
        let (_, err) = streams(&churnwatch(&json).env("RUST_LOG", "off").assert().code(code));
        assert!(err.contains(words), "the reason is said in any case: {err}");
    }
    assert_eq!(streams(&churnwatch(&["validate"]).assert().code(0)).1, "");
    assert_eq!(streams(&churnwatch(&["validate", "-v"]).env("RUST_LOG", "off").assert().code(0)).1, "");
}

#[test]
fn the_example_of_the_readme_works() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let block = |language: &str| {
        let (_, rest) = readme.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0.lines().map(|line| format!("{}\n", line.trim())).collect::<String>()
    };
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("churnwatch.toml"), block("toml")).unwrap();
    std::fs::write(directory.path().join("events.jsonl"), block("json")).unwrap();
    let run = |arguments: &[&str]| {
        let assert = churnwatch(arguments).current_dir(directory.path()).assert().code(0);
        streams(&assert).0
    };
    assert!(
        run(&["validate", "--config", "churnwatch.toml"]).contains("groupings   everyone; plan,region; signup_month\n")
    );
    let page =
        run(&["replay", "--strict", "--config", "churnwatch.toml", "--as-of", "2026-03-02T00:00:00Z", "events.jsonl"]);
    // The one whose payment failed is gone since the first of March; the visitor is here.
    for line in [
        r#"churnwatch_customers{cohort_by="everyone"} 1"#,
        r#"churnwatch_lost_customers_by_reason{cohort_by="everyone",window="7d",reason="payment_failed",class="involuntary"} 1"#,
    ] {
        assert!(page.lines().any(|l| l == line), "{line} in {page}");
    }
}
