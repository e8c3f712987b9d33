//! Instructions an event, from payload to tallies, held to the figures in `tests/instructions.txt`: no noise fails
//! it, and no slow change passes.
//!
//! Callgrind counts a shard that takes in N events and one that takes in 2 N of the same seeded log, with the same past and
//! the same payloads made before; the difference is what N events take. `UPDATE_INSTRUCTIONS=1` writes the figures anew.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the figures are what it is for")]

use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use churnwatch::shard::{HashKey, Shard};
use log::{Log, Mix};

#[allow(dead_code, reason = "the benches need more of it")]
#[path = "../benches/support/log.rs"]
mod log;

/// More instructions than this above the committed figure are a slower hot path, fewer ask for a new figure.
const TOLERANCE: f64 = 0.05;
const CUSTOMERS: u64 = 10_000;
const EVENTS: u64 = 10 * BATCH;
const BATCH: u64 = 1024;
/// Between two publications.
const BATCHES: usize = 10;

fn main() -> ExitCode {
    // Cargo asks every test binary for its list.
    if std::env::args().any(|arg| arg == "--list") {
        println!("instructions: test");
        return ExitCode::SUCCESS;
    }
    if let Ok(counted) = std::env::var("INSTRUCTIONS_OF") {
        run(&counted);
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("instructions: skipped, valgrind is not installed");
        let refused = std::env::var("CI").is_ok_and(|ci| !ci.is_empty());
        return if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let found = Mix::ALL.map(|mix| (mix, an_event(mix)));
    if std::env::var_os("UPDATE_INSTRUCTIONS").is_some() {
        std::fs::write(file(), text(&found)).expect("the figures can be written");
    }
    let committed = std::fs::read_to_string(file()).unwrap_or_default();
    println!("{:<10} {:>24} {:>12} {:>8}", "mix", "instructions an event", "committed", "change");
    let failed = found.iter().filter(|(mix, now)| !holds(*mix, *now, &committed)).count();
    println!("{} passed, {failed} failed", found.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether a figure is the committed one, within the tolerance; says so if not.
fn holds(mix: Mix, now: f64, committed: &str) -> bool {
    let name = mix.name();
    let before = committed.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    let Some(before) = before else {
        println!("{name:<10} {now:>24.1} {:>12} no figure is committed: UPDATE_INSTRUCTIONS=1 writes it", "none");
        return false;
    };
    let change = now / before - 1.0;
    println!("{name:<10} {now:>24.1} {before:>12.1} {:>+7.2}%", change * 100.0);
    if change > TOLERANCE {
        println!("  slower: `callgrind_annotate {}` tells where", counts_file(name, 2 * EVENTS).display());
    } else if change < -TOLERANCE {
        println!("  faster: keep it so, commit the figures that UPDATE_INSTRUCTIONS=1 writes");
    }
    change.abs() <= TOLERANCE
}

/// What callgrind counts: a shard that takes in so many of the log's events.
fn run(counted: &str) {
    let (mix, events) = counted.split_once(' ').expect("a mix and a number");
    let mix = Mix::ALL.into_iter().find(|known| known.name() == mix).expect("a mix");
    let events: usize = events.parse().expect("a number of events");
    let mut log = Log::new(mix, CUSTOMERS);
    let mut shard = Shard::new(log::definitions(5, 4), HashKey([7; 16]));
    for event in log.past() {
        shard.consume_message(&event, None);
    }
    shard.advance(log.now());
    // All of them, however many are taken in: making them is to cancel out.
    let payloads = log.take(2 * EVENTS);
    let records = payloads.records();
    for publication in records[..events].chunks(BATCHES * BATCH as usize) {
        for batch in publication.chunks(BATCH as usize) {
            shard.consume_batch(batch, |_, _| ControlFlow::Continue(()));
        }
        if let Some(latest) = shard.latest_event() {
            shard.advance(latest);
            shard.fold_before_windows_of(latest);
        }
    }
    let counts = shard.counts();
    let judged = counts.applied.iter().sum::<u64>() + counts.unchanged;
    assert!(judged >= events as u64, "all events are valid: {counts:?}");
}

fn an_event(mix: Mix) -> f64 {
    std::thread::scope(|scope| {
        let few = scope.spawn(|| counted(mix.name(), EVENTS));
        let many = counted(mix.name(), 2 * EVENTS);
        (many - few.join().expect("the other count")) as f64 / EVENTS as f64
    })
}

/// All instructions of a process that runs so many events.
fn counted(mix: &str, events: u64) -> u64 {
    let this = std::env::current_exe().expect("a running binary has a path");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", counts_file(mix, events).display()))
        .arg(this)
        .env("INSTRUCTIONS_OF", format!("{mix} {events}"))
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{mix}, {events} events: {said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("callgrind tells no count: {said}"))
}

fn counts_file(mix: &str, events: u64) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.{mix}-{events}.out"))
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions.txt")
}

fn text(found: &[(Mix, f64)]) -> String {
    let mut text = String::new();
    for (mix, instructions) in found {
        let _ = writeln!(text, "{} {instructions:.1}", mix.name());
    }
    text
}
