//! All figures of the last `make bench` in one table: beside the targets, and beside the baseline of the same kind of
//! machine. Writes `target/bench.json`; with `UPDATE_DOCS` set the tables of docs/performance.md, with
//! `UPDATE_BASELINE` set the baseline.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod sizing;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use support::figures::{Row, number, table, target};
use support::reference::meminfo;

/// In the order of the table; others come behind.
const BENCHES: [&str; 5] = ["core", "page", "memory", "snapshot", "kafka"];

/// A figure that differs from the baseline by more than this is marked.
const NOTABLE: f64 = 0.10;

/// What a figure is to be.
enum Target {
    AtMost(f64),
    /// Of the ratio to what the figure is held against.
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

use Target::{AtMost, RatioAtLeast, RatioAtMost};

/// By bench and name.
const TARGETS: [(&str, &str, Target); 15] = [
    ("core", "event, activity, 10 M customers", AtMost(250.0)),
    ("core", "event, billing, 10 M customers", AtMost(700.0)),
    ("core", "growth, 1 to 20 windows, activity", AtMost(1.05)),
    ("core", "growth, 1 to 20 windows, billing", AtMost(1.05)),
    ("core", "growth, 1 M customers to 10 M customers, activity", RatioAtMost(1.0)),
    ("core", "growth, 1 M customers to 50 M customers, activity", RatioAtMost(1.0)),
    ("memory", "customer, activity only", AtMost(80.0)),
    ("memory", "customer, monthly terms, renewed twice", AtMost(80.0)),
    ("memory", "cohort of 100 customers", AtMost(16_384.0)),
    ("page", "publication, 10 k series", AtMost(60.0)),
    ("snapshot", "longest pause, 10 M customers in 8 partitions", AtMost(50.0)),
    ("snapshot", "restored with tallies by 2 threads, 10 M customers in 8 partitions", AtMost(5.0)),
    ("kafka", "run, rate", RatioAtLeast(0.85)),
    ("kafka", "run, CPU-seconds a million events", AtMost(0.55)),
    ("kafka", "event to gauge beyond the interval, 50 % load, p99", AtMost(100.0)),
];

/// What figures may be compared between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Machine {
    cpu: String,
    cores: usize,
}

/// Everything a run found.
#[derive(Serialize)]
struct Report {
    machine: Machine,
    memory_gib: u64,
    date: String,
    commit: String,
    rows: Vec<Row>,
}

/// What may be compared of one machine's run: by bench and name.
#[derive(Serialize, Deserialize)]
struct Baseline {
    machine: Machine,
    date: String,
    commit: String,
    figures: BTreeMap<String, f64>,
}

fn main() {
    let rows = rows();
    if rows.is_empty() {
        println!("no figures: `make bench` makes them");
        return;
    }
    let report = Report {
        machine: machine(),
        memory_gib: meminfo("MemTotal:").unwrap_or_default().div_ceil(1 << 30),
        date: jiff::Timestamp::now().strftime("%F").to_string(),
        commit: commit(),
        rows,
    };
    let json = serde_json::to_string_pretty(&report).expect("a report is JSON");
    fs::write(target().join("bench.json"), json + "\n").expect("the target folder can be written to");

    let mut baselines = baselines();
    let baseline = baselines.iter().find(|baseline| baseline.machine == report.machine);
    print(&report, baseline);
    if std::env::var_os("UPDATE_BASELINE").is_some() {
        baselines.retain(|baseline| baseline.machine != report.machine);
        baselines.push(report.baseline());
        let json = serde_json::to_string_pretty(&baselines).expect("baselines are JSON");
        fs::write(baseline_file(), json + "\n").expect("the baseline can be written");
        println!("written: benches/baseline.json");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        update_docs(&report);
    }
}

fn rows() -> Vec<Row> {
    let mut files: Vec<PathBuf> = fs::read_dir(target().join("bench"))
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    let place = |path: &Path| {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        (BENCHES.iter().position(|bench| *bench == name).unwrap_or(BENCHES.len()), name)
    };
    files.sort_by_key(|path| place(path));
    let read = |path: PathBuf| -> Vec<Row> {
        let text = fs::read_to_string(&path).expect("a file just listed can be read");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    files.into_iter().flat_map(read).collect()
}

impl Row {
    fn key(&self) -> String {
        format!("{}: {}", self.bench, self.name)
    }

    /// What it is to be, in words, and whether it is.
    fn target(&self) -> Option<(String, bool)> {
        let (.., target) = TARGETS.iter().find(|(bench, name, _)| (*bench, *name) == (&*self.bench, &*self.name))?;
        let ratio = self.ratio().unwrap_or(f64::NAN);
        Some(match target {
            AtMost(limit) => (format!("≤ {} {}", number(*limit), self.unit), self.value <= *limit),
            RatioAtMost(limit) => (format!("ratio ≤ {limit}"), ratio <= *limit),
            RatioAtLeast(limit) => (format!("ratio ≥ {limit}"), ratio >= *limit),
        })
    }

    fn met(&self) -> String {
        match self.target() {
            Some((target, true)) => format!("{target}: met"),
            Some((target, false)) => format!("{target}: NOT met"),
            None => String::new(),
        }
    }
}

impl Report {
    fn baseline(&self) -> Baseline {
        let figures = self.rows.iter().filter_map(|row| Some((row.key(), rounded(row.comparable()?)))).collect();
        Baseline { machine: self.machine.clone(), date: self.date.clone(), commit: self.commit.clone(), figures }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn print(report: &Report, baseline: Option<&Baseline>) {
    let mut table = table(&["", "value", "unit", "against", "ratio", "to baseline", "target"]);
    for row in &report.rows {
        let against = row.against.as_ref().map(|a| format!("{} ({})", number(a.value), a.name)).unwrap_or_default();
        let ratio = row.ratio().map(number).unwrap_or_default();
        let before = baseline.and_then(|baseline| baseline.figures.get(&row.key()));
        let change = before.zip(row.comparable()).map(|(before, now)| now / before);
        let change = change.map(|c| format!("× {c:.2}{}", if (c - 1.0).abs() > NOTABLE { " !" } else { "" }));
        table.add_row([
            row.key(),
            number(row.value),
            row.unit.clone(),
            against,
            ratio,
            change.unwrap_or_default(),
            row.met(),
        ]);
    }
    println!("{table}\n");
    let Machine { cpu, cores } = &report.machine;
    println!("{cpu}, {cores} cores, {} GiB; {}, commit {}", report.memory_gib, report.date, report.commit);
    match baseline {
        Some(baseline) => println!("baseline: the same kind of machine, {}, commit {}", baseline.date, baseline.commit),
        None => println!("benches/baseline.json knows no machine of this kind: nothing is compared (`make baseline`)"),
    }
    let missing = TARGETS
        .iter()
        .filter(|(bench, name, _)| !report.rows.iter().any(|row| (&*row.bench, &*row.name) == (*bench, *name)));
    for (bench, name, _) in missing {
        println!("not measured in this run: {bench}: {name}");
    }
}

/// When the figures of a bench were written.
fn measured_on(bench: &str) -> String {
    let file = fs::metadata(target().join("bench").join(format!("{bench}.json")));
    let time = file.and_then(|file| file.modified()).ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
    time.map_or_else(|| "unknown".to_owned(), |time| time.strftime("%F %R UTC").to_string())
}

fn machine() -> Machine {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim())
    };
    // The name alone is often that of a whole generation.
    let cpu = format!("{}, family {} model {}", field("model name"), field("cpu family"), field("model"));
    Machine { cpu, cores: std::thread::available_parallelism().map_or(1, usize::from) }
}

fn commit() -> String {
    let git = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let text = git.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

fn baseline_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/baseline.json")
}

fn baselines() -> Vec<Baseline> {
    let Ok(text) = fs::read_to_string(baseline_file()) else { return Vec::new() };
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("benches/baseline.json: {e}"))
}

/// Puts the tables between the two marks.
fn update_docs(report: &Report) {
    const BEGIN: &str = "<!-- figures: written by `UPDATE_DOCS=1 make bench` -->\n";
    const END: &str = "<!-- end of figures -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let text = fs::read_to_string(&path).expect("docs/performance.md can be read");
    let (before, rest) = text.split_once(BEGIN).expect("docs/performance.md has the mark before the figures");
    let (_, after) = rest.split_once(END).expect("docs/performance.md has the mark behind the figures");
    fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", markdown(report))).expect("it can be written");
    println!("written: the figures in docs/performance.md");
}

fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let Machine { cpu, cores } = &report.machine;
    let _ = writeln!(
        text,
        "\nMachine: {cpu}; {cores} cores, {} GiB. Tables of {}, commit {}. Command: `make bench`.",
        report.memory_gib, report.date, report.commit
    );
    let mut bench = "";
    for row in &report.rows {
        if bench != row.bench {
            bench = &row.bench;
            let _ = writeln!(
                text,
                "\n### {bench}\n\nMeasured {}.\n\n| what | value | held against | ratio | target |\n|---|---:|---|---:|---|",
                measured_on(bench)
            );
        }
        let against = row.against.as_ref().map(|a| format!("{}: {}", a.name, number(a.value))).unwrap_or_default();
        let ratio = row.ratio().map(number).unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} | {} {} | {against} | {ratio} | {} |",
            row.name,
            number(row.value),
            row.unit,
            row.met()
        );
    }
    let _ = writeln!(text, "\n### Sizing\n\n{}", sizing::markdown(&report.rows));
    text
}
