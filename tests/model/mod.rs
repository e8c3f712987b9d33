//! The proof: random logs through the core, in random order, with repeats, over several shards, through
//! snapshots and as-of steps, and every page equal to what the naive reading of the contract says.
//!
//! `CHURNWATCH_MODEL_CASES` sets the number of logs. A failing log is shrunk, printed, and kept in
//! `tests/proptest-regressions` to be tried first from then on.

use std::cell::Cell;
use std::time::Instant as Stopwatch;

use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

use generate::{Case, Step, case};
use subject::Subject;

pub mod gauges;
pub mod generate;
pub mod naive;
pub mod page;
pub mod subject;

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/proptest-regressions/model.txt"))),
        source_file: Some(file!()),
        max_shrink_iters: 20_000,
        ..Config::default()
    })
}

fn cases() -> u32 {
    match std::env::var("CHURNWATCH_MODEL_CASES") {
        Ok(number) => number.parse().expect("CHURNWATCH_MODEL_CASES is a number of logs"),
        Err(_) => 10_000,
    }
}

#[test]
fn every_gauge_equals_the_naive_model() {
    let (logs, events, pages) = (Cell::new(0_u64), Cell::new(0_u64), Cell::new(0_u64));
    let stopwatch = Stopwatch::now();
    let result = runner(cases()).run(&case(), |case| {
        let compared = run(&case).map_err(TestCaseError::fail)?;
        logs.set(logs.get() + 1);
        events.set(events.get() + case.log.len() as u64);
        pages.set(pages.get() + compared);
        Ok(())
    });
    let seconds = stopwatch.elapsed().as_secs_f64();
    let (logs, events, pages) = (logs.get(), events.get(), pages.get());
    println!(
        "{logs} logs of {events} events, {pages} pages compared in {seconds:.1} s: {:.0} logs/s",
        logs as f64 / seconds
    );
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// Plays a case; how many pages were compared.
fn run(case: &Case) -> Result<u64, String> {
    let mut subject = Subject::new(&case.definitions, case.shards, case.key);
    let mut pages = 0;
    for step in &case.steps {
        match step {
            Step::Deliver(_) if case.log.is_empty() => {}
            Step::Deliver(i) => deliver(case, &mut subject, i.index(case.log.len()))?,
            Step::Advance(i, t) => subject.advance(i.index(case.shards), *t),
            Step::Restore(i) => subject.restore(i.index(case.shards), None)?,
            Step::Fold(i) => subject.fold(i.index(case.shards)),
            // A window longer than those folded for cannot be told any more.
            Step::Reconfigure if subject.has_folded() => {}
            Step::Reconfigure => {
                for shard in 0..case.shards {
                    subject.restore(shard, Some(&case.reconfigured))?;
                }
            }
            Step::Compare => {
                if let Some(t) = subject.as_of() {
                    subject.check(t)?;
                    pages += 1;
                }
            }
        }
    }
    for i in 0..case.log.len() {
        if !subject.delivered.contains(&case.log[i]) {
            deliver(case, &mut subject, i)?;
        }
    }
    let reached = subject.as_of();
    let rest = case.as_ofs.iter().copied().filter(|t| Some(*t) > reached);
    for t in reached.into_iter().chain(rest) {
        subject.check(t)?;
        pages += 1;
    }
    same_bytes(&mut subject)?;
    Ok(pages)
}

fn deliver(case: &Case, subject: &mut Subject, i: usize) -> Result<(), String> {
    let message = &case.log[i];
    if subject.is_old(message) && !case.beyond_horizon {
        return Ok(());
    }
    subject.deliver(message).map_err(|wrong| format!("event {i}: {wrong}"))
}

/// The same events straight through one shard under another key give the same text, to the last bit.
fn same_bytes(subject: &mut Subject) -> Result<(), String> {
    let Some(t) = subject.as_of().filter(|_| !subject.beyond_horizon) else { return Ok(()) };
    let mut straight = Subject::new(subject.definitions(), 1, [7; 16]);
    let mut in_order = subject.delivered.clone();
    in_order.sort_by_key(|m| m.event_time.as_ref().map(|at| (at.seconds, at.nanos)));
    for message in &in_order {
        straight.deliver(message)?;
    }
    let (expected, is) = (straight.page(t), subject.page(t));
    if expected == is { Ok(()) } else { Err(format!("as of {t}, straight through:\n{expected}\nbut:\n{is}")) }
}
