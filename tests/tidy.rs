//! The style that no compiler checks: what the core may know, how long a file may be, what is never written.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines a file may have, tests apart: about 400. A longer one most likely does two things.
const MAX_LINES: usize = 420;

/// Files that are longer, and why they stay so.
const LONG_FILES: [(&str, &str); 0] = [];

/// A file of the repository.
struct File {
    /// From the root.
    path: String,
    text: String,
}

impl File {
    /// The text before the tests, which come last; none where the whole file is tests.
    fn code(&self) -> &str {
        if self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return "";
        }
        // The attributes of the tests' module count as code: a line or two.
        self.text.split("\nmod tests {").next().unwrap_or_default()
    }

    fn tests(&self) -> &str {
        &self.text[self.code().len()..]
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text files below a folder, in order of their paths; nothing that a build or a run leaves behind.
fn files(folder: &str) -> Vec<File> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.map(Result::unwrap) {
            let name = entry.file_name();
            let skipped = ["target", ".git", "data", "corpus", "artifacts"].iter().any(|s| name == *s);
            match entry.file_type().unwrap().is_dir() {
                true if !skipped => walk(&entry.path(), found),
                false if !skipped => found.push(entry.path()),
                _ => {}
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.sort();
    let file = |path: PathBuf| {
        let text = String::from_utf8(fs::read(&path).unwrap()).ok()?;
        Some(File { path: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), text })
    };
    paths.into_iter().filter_map(file).collect()
}

fn rust_files(folder: &str) -> Vec<File> {
    let files: Vec<_> = files(folder).into_iter().filter(|f| f.path.ends_with(".rs")).collect();
    assert!(!files.is_empty(), "no Rust file in {folder}");
    files
}

/// Fails with every finding, a line each.
#[track_caller]
fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// The places where a text says any of `words`, comments apart.
fn uses(path: &str, text: &str, words: &[&str]) -> Vec<String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let hits = lines.flat_map(|(i, line)| {
        let words = words.iter().filter(|word| has_word(line, word));
        words.map(move |word| format!("{path}:{}: `{word}`: {}", i + 1, line.trim()))
    });
    hits.collect()
}

/// Whether the line has the word, and not merely a longer one that contains it.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let open = |c: Option<char>| !c.is_some_and(part);
    line.match_indices(word).any(|(i, _)| {
        let (before, after) = (line[..i].chars().next_back(), line[i + word.len()..].chars().next());
        (open(before) || !word.starts_with(part)) && (open(after) || !word.ends_with(part))
    })
}

/// The modules that `lib.rs` lists under the heading.
fn modules(heading: &str) -> Vec<String> {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let section = lib.lines().skip_while(|line| !line.starts_with(&format!("// {heading}"))).skip(1);
    let section = section.take_while(|line| !line.is_empty());
    let modules: Vec<_> =
        section.filter_map(|l| Some(l.strip_prefix("pub mod ")?.trim_end_matches(';').to_owned())).collect();
    assert!(!modules.is_empty(), "src/lib.rs lists no module under `// {heading}`");
    modules
}

fn files_of(modules: &[String]) -> Vec<File> {
    let of =
        |path: &str, module: &String| path == format!("src/{module}.rs") || path.starts_with(&format!("src/{module}/"));
    rust_files("src").into_iter().filter(|f| modules.iter().any(|m| of(&f.path, m))).collect()
}

#[test]
fn the_core_does_no_io_and_knows_no_shell() {
    let outside = [
        "tokio",
        "rdkafka",
        "axum",
        "clap",
        "indicatif",
        "tracing",
        "anyhow",
        "crossbeam_channel",
        "getrandom",
        "rand",
        "rand_chacha",
        "metrics_process",
        "std::fs",
        "std::net",
        "std::env",
        "std::thread",
        "std::process",
        "std::io::stdin",
        "SystemTime",
        "std::time",
        "set_global_recorder",
        "install_recorder",
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
    ];
    let core = [modules("Words"), modules("The core")].concat();
    let mut shell = [modules("The shell"), modules("The commands")].concat();
    shell.iter_mut().for_each(|module| module.insert_str(0, "crate::"));
    let shell: Vec<&str> = shell.iter().map(String::as_str).collect();
    let files = files_of(&core);
    assert!(files.len() >= core.len(), "a module of the core has no file");
    let found = files.iter().flat_map(|f| uses(&f.path, f.code(), &[outside.as_slice(), &shell].concat()));
    // One instruction that has no effect but time; it is over there because all unsafe code is.
    none(found.filter(|finding| !finding.ends_with("`crate::native`: use crate::native::prefetch;")).collect());
}

#[test]
fn words_know_no_core() {
    let core: Vec<_> = modules("The core").iter().map(|module| format!("crate::{module}")).collect();
    let core: Vec<&str> = core.iter().map(String::as_str).collect();
    none(files_of(&modules("Words")).iter().flat_map(|f| uses(&f.path, f.code(), &core)).collect());
}

#[test]
fn every_module_is_listed_under_its_heading() {
    let listed = ["Words", "The core", "The shell", "The commands"].map(modules).concat();
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared =
        lib.lines().filter(|line| line.trim_start().starts_with("pub mod ") || line.trim_start().starts_with("mod "));
    assert_eq!(declared.count(), listed.len());
}

#[test]
fn one_module_alone_is_unsafe() {
    let found = |f: &File| [uses(&f.path, f.code(), &["unsafe", "unsafe_code"]), uses(&f.path, f.tests(), &["unsafe"])];
    let (native, others): (Vec<_>, Vec<_>) =
        rust_files("src").into_iter().partition(|f| f.path.starts_with("src/native/"));
    none(others.iter().flat_map(found).flatten().collect());
    assert!(native.iter().flat_map(found).flatten().count() > 10, "src/native has moved");
}

#[test]
fn files_stay_short() {
    let mut findings = Vec::new();
    for file in rust_files("src") {
        let lines = file.code().lines().count();
        match (lines > MAX_LINES, LONG_FILES.iter().any(|(path, _)| *path == file.path)) {
            (true, false) => {
                findings.push(format!("{} has {lines} lines: split it, or list it with a reason", file.path));
            }
            (false, true) => findings.push(format!("{} has only {lines} lines: take it off the list", file.path)),
            _ => {}
        }
    }
    none(findings);
}

#[test]
fn every_file_says_what_it_is_for() {
    let files = [rust_files("src"), rust_files("tests")].concat_files();
    let silent = files.iter().filter(|f| !f.text.starts_with("//!") && !f.path.ends_with("/tests.rs"));
    none(silent.map(|f| format!("{} does not begin with a `//!` line", f.path)).collect());
}

#[test]
fn nothing_is_left_unfinished() {
    // The words are put together here so that this file does not find itself.
    let words = ["todo", "unimplemented", "dbg"].map(|word| format!("{word}!"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let files = [rust_files("src"), rust_files("tests")].concat_files();
    none(files.iter().flat_map(|f| uses(&f.path, &f.text, &words)).collect());
}

#[test]
fn tests_wait_for_conditions_and_not_for_time() {
    let words = ["sleep"].map(|word| format!("{word}("));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let files = [rust_files("src"), rust_files("tests")].concat_files();
    none(files.iter().flat_map(|f| uses(&f.path, f.tests(), &words)).collect());
}

#[test]
fn names_say_what_a_thing_is() {
    let mut findings = Vec::new();
    for file in [rust_files("src"), rust_files("tests")].concat_files() {
        for (i, line) in file.text.lines().enumerate() {
            let words: Vec<&str> =
                line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
            let defined = words
                .windows(2)
                .filter(|w| ["struct", "enum", "trait", "type", "mod", "fn"].contains(&w[0]))
                .map(|w| w[1]);
            let vague =
                |name: &&str| ["Manager", "Service", "Helper", "Factory", "_v2"].iter().any(|v| name.ends_with(v));
            findings.extend(defined.filter(vague).map(|name| format!("{}:{}: {name}", file.path, i + 1)));
        }
    }
    none(findings);
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    let paths = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let outside = "../".to_owned() + "shared";
    let found = |f: &File| {
        let lines = f.text.lines().enumerate();
        let bad = lines.filter(|(_, l)| l.contains(&outside) || paths.iter().any(|p| is_absolute(l, p)));
        bad.map(|(i, l)| format!("{}:{}: {}", f.path, i + 1, l.trim())).collect::<Vec<_>>()
    };
    none(files(".").iter().flat_map(found).collect());
}

/// Whether the path stands in the line as an absolute one, not as a part of a longer one or of a URL.
fn is_absolute(line: &str, path: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "._-/}$~".contains(c);
    line.match_indices(path).any(|(i, _)| !line[..i].chars().next_back().is_some_and(inside))
}

#[test]
fn every_file_of_tests_is_part_of_the_one_binary() {
    let main = fs::read_to_string(root().join("tests/main.rs")).unwrap();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let missing = fs::read_dir(root().join("tests")).unwrap().map(Result::unwrap).filter_map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        let is_module = name.ends_with(".rs") || entry.path().join("mod.rs").exists();
        let module = name.trim_end_matches(".rs").to_owned();
        let own_binary = manifest.contains(&format!("path = \"tests/{name}\""));
        (is_module && !own_binary && !main.lines().any(|l| l == format!("mod {module};"))).then_some(module)
    });
    none(missing.map(|module| format!("tests/main.rs lacks `mod {module};`: nothing of it runs")).collect());
}

#[test]
fn every_dependency_is_used() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let source: String = rust_files("src").into_iter().map(|f| f.text).collect();
    let section = manifest.lines().skip_while(|l| *l != "[dependencies]").skip(1).take_while(|l| !l.starts_with('['));
    let names =
        section.filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(" = ")).map(|(name, _)| name.trim());
    // Used by generated code alone.
    let generated = ["pbjson", "serde"];
    let unused = names.filter(|n| !generated.contains(n) && !has_word(&source, &n.replace('-', "_")));
    none(unused.map(|name| format!("nothing in src uses {name}: remove it from Cargo.toml")).collect());
}

#[test]
fn every_dependency_has_its_reason() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let manifest = read("Cargo.toml");
    let section = |name: &str| {
        let lines =
            manifest.lines().skip_while(|l| *l != format!("[{name}]")).skip(1).take_while(|l| !l.starts_with('['));
        let names = lines.filter(|l| !l.starts_with('#')).filter_map(|l| Some(l.split_once(" = ")?.0.to_owned()));
        names.collect::<Vec<_>>()
    };
    let mut wanted = ["dependencies", "build-dependencies", "dev-dependencies"].map(section).concat();
    let page = read("docs/dependencies.md");
    let rows = page.lines().filter_map(|l| l.strip_prefix("| `")?.split_once("` |"));
    let mut explained: Vec<String> = rows.filter(|(_, why)| why.len() > 20).map(|(name, _)| name.to_owned()).collect();
    wanted.sort();
    explained.sort();
    assert!(wanted.len() > 40, "{wanted:?}");
    assert_eq!(explained, wanted, "docs/dependencies.md has a line with a reason for each, and no other");
}

/// Concatenation, by value.
trait ConcatFiles {
    fn concat_files(self) -> Vec<File>;
}

impl<const N: usize> ConcatFiles for [Vec<File>; N] {
    fn concat_files(self) -> Vec<File> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn the_sizes_to_reckon_with_are_those_measured() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (reckoned, measured) = (read("docs/operations.md"), read("docs/performance.md"));
    // The first number of a row's second cell.
    let figure = |page: &str, row: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("| {row} | ")));
        let line = line.unwrap_or_else(|| panic!("there is no row `{row}`"));
        let digits = line.split([' ', '|']).next().unwrap_or_default().replace(',', "");
        digits.parse::<f64>().unwrap_or_else(|error| panic!("`{row}`: {error}: {line}"))
    };
    let rows = [
        ("a customer with `activity` only", "customer, activity only"),
        ("a customer with monthly terms, renewed twice", "customer, monthly terms, renewed twice"),
        ("a customer with a yearly term and a named subscription", "customer, yearly term, named subscription"),
        ("a customer of a realistic mix, up to a fifth of them beyond the record", "customer, realistic mix"),
        ("a cohort of 100 customers, windows up to 90 days, step one hour", "cohort of 100 customers"),
    ];
    let mut figures: Vec<_> =
        rows.iter().map(|(ours, theirs)| (*ours, figure(&reckoned, ours), figure(&measured, theirs))).collect();
    let events = "events a second on a core, the Kafka client's work included";
    let cpu_seconds = figure(&measured, "run, CPU-seconds a million events");
    figures.push((events, figure(&reckoned, events), 1e6 / cpu_seconds));
    let off = figures.into_iter().filter(|(_, ours, theirs)| (ours / theirs - 1.0).abs() > 0.15);
    none(off.map(|(row, ours, theirs)| format!("docs/operations.md: {row}: {ours}, measured {theirs:.1}")).collect());
}

#[test]
fn the_checks_find_what_they_look_for() {
    assert_eq!(
        uses("f", "// tokio\nuse tokio::net;\nlet tokio_like = 1;", &["tokio"]),
        ["f:2: `tokio`: use tokio::net;"]
    );
    assert_eq!(uses("f", "let x = std::time::Instant::now();\nuse crate::time::Instant;", &["std::time"]).len(), 1);
    assert!(is_absolute("see /srv/x", "/srv/") && !is_absolute("https://a/srv/x", "/srv/"));
    let file = File { path: "src/a.rs".into(), text: "//! A.\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n".into() };
    assert_eq!((file.code().lines().count(), file.tests().contains("mod tests")), (4, true));
}
