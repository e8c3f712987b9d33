//! The proof: random logs through the core, in random order, with repeats, over several shards, through
//! snapshots and as-of steps, and every page equal to what the naive reading of the contract says.
//!
//! `CHURNWATCH_MODEL_CASES` sets the number of logs. A failing log is shrunk, printed, and kept in
//! `tests/proptest-regressions` to be tried first from then on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant as Stopwatch;

use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

use generate::{Case, Step, case};
use subject::Subject;

pub mod gauges;
pub mod generate;
pub mod naive;
pub mod page;
pub mod subject;
mod told;

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

/// What a run went through.
#[derive(Default)]
struct Tally {
    logs: u64,
    events: u64,
    pages: u64,
    went_through: BTreeMap<&'static str, u64>,
    told: BTreeMap<String, u64>,
}

#[test]
#[expect(clippy::print_stdout, reason = "what a run went through is worth reading")]
fn every_gauge_equals_the_naive_model() {
    let tally = RefCell::new(Tally::default());
    let stopwatch = Stopwatch::now();
    let result = runner(cases()).run(&case(), |case| {
        let played = play(&case).map_err(TestCaseError::fail)?;
        let mut tally = tally.borrow_mut();
        tally.logs += 1;
        tally.events += case.log.len() as u64;
        tally.pages += played.compared;
        for (what, n) in played.went_through {
            *tally.went_through.entry(what).or_default() += n;
        }
        for (family, n) in played.told {
            *tally.told.entry(family).or_default() += n;
        }
        Ok(())
    });
    let seconds = stopwatch.elapsed().as_secs_f64();
    let Tally { logs, events, pages, went_through, told } = tally.into_inner();
    println!(
        "{logs} logs of {events} events, {pages} pages compared in {seconds:.1} s: {:.0} logs/s",
        logs as f64 / seconds
    );
    println!("went through {went_through:?}");
    println!("not zero in so many pages: {told:?}");
    if let Err(failure) = result {
        panic!("{failure}");
    }
    // A generator that no longer provokes something would prove nothing of it.
    if logs >= 1000 {
        for what in PROVOKED {
            let n = went_through.get(what).copied().unwrap_or(0);
            assert!(n * 100 >= logs, "{what}: {n} in {logs} logs only");
        }
        for family in FAMILIES {
            let n = told.get(*family).copied().unwrap_or(0);
            assert!(n * 100 >= pages, "{family} was told by {n} of {pages} pages only");
        }
    }
}

const PROVOKED: &[&str] = &[
    "repeats",
    "late events",
    "restores",
    "restores under other definitions",
    "foldings",
    "events after folding",
    "events beyond the horizon",
];

/// Every family that the logs must bring to life.
const FAMILIES: &[&str] = &[
    "customers",
    "window_complete",
    "folded_cohorts",
    "window_start_customers",
    "retained_customers",
    "lost_customers",
    "lost_customers_by_reason",
    "new_customers",
    "returned_customers",
    "moved_in_customers",
    "moved_out_customers",
    "passing_customers",
    "bounced_customers",
    "recurring_revenue",
    "window_start_recurring_revenue",
    "lost_recurring_revenue",
    "contraction_recurring_revenue",
    "expansion_recurring_revenue",
    "new_recurring_revenue",
    "returned_recurring_revenue",
];

/// Plays a case to its end.
fn play(case: &Case) -> Result<Subject, String> {
    let mut subject = Subject::new(&case.definitions, case.shards, case.key);
    let deliveries = case.log.iter().enumerate().flat_map(|(i, entry)| entry.moments.iter().map(move |m| (*m, Err(i))));
    let mut timeline: Vec<(u16, Result<Step, usize>)> = deliveries.collect();
    timeline.extend(case.steps.iter().map(|(moment, step)| (*moment, Ok(*step))));
    timeline.sort_by_key(|(moment, _)| *moment);
    for (_, what) in timeline {
        match what {
            Err(i) => deliver(case, &mut subject, i)?,
            Ok(step) => take(step, case, &mut subject)?,
        }
    }
    for i in (0..case.log.len()).filter(|i| case.log[*i].moments.is_empty()) {
        deliver(case, &mut subject, i)?;
    }
    let reached = subject.as_of();
    let rest = case.as_ofs.iter().copied().filter(|t| Some(*t) > reached);
    for t in reached.into_iter().chain(rest) {
        subject.check(t)?;
    }
    same_bytes(&mut subject)?;
    Ok(subject)
}

fn take(step: Step, case: &Case, subject: &mut Subject) -> Result<(), String> {
    match step {
        Step::Advance(i, t) => subject.advance(i.index(case.shards), t),
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
            }
        }
    }
    Ok(())
}

fn deliver(case: &Case, subject: &mut Subject, i: usize) -> Result<(), String> {
    let message = &case.log[i].message;
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
