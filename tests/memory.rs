//! Bytes per customer and per cohort, all in, as the operating system counts them.
//!
//! A binary of its own: resident memory is the process's, and no other test may share it. `MEMORY_CUSTOMERS` sets
//! how many customers there are (default one million).

#![expect(clippy::print_stdout, reason = "the measurements are what it is for")]

use std::process::ExitCode;
use std::sync::Arc;

use churnwatch::cohort::{Definitions, Dimension, DimensionRef, DimensionValue, Grouping, Lifecycle, Window};
use churnwatch::proto::{
    Activity, Changed, EndReason, Ended, LifecycleEvent, Money, Renewed, Started, lifecycle_event::Event,
};
use churnwatch::shard::{HashKey, Shard};
use churnwatch::time::{Grid, Instant, Span};

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One subscription and two dimensions.
const LIMIT_BYTES_PER_CUSTOMER: f64 = 96.0;
/// Some of them with two subscriptions, other plans, pauses, months of renewals.
const LIMIT_BYTES_REALISTIC: f64 = 120.0;
/// A cohort of 100 customers, windows up to 90 days, step one hour.
const LIMIT_BYTES_PER_COHORT: f64 = 16.0 * 1024.0;

const DAY: i64 = Span::DAY.as_millis();
/// 2026-01-01T00:00Z
const NEW_YEAR: i64 = 1_767_225_600_000;

/// Bytes, of so many customers.
pub type Measure = fn(usize) -> f64;

/// What is measured, and the most it may be.
pub const ROWS: [(&str, f64, Measure); 5] = [
    ("customer, activity only", LIMIT_BYTES_PER_CUSTOMER, |n| of_customers(n, activity, 0.0)),
    ("customer, monthly terms, renewed twice", LIMIT_BYTES_PER_CUSTOMER, |n| of_customers(n, monthly, 0.0)),
    ("customer, yearly term, named subscription", LIMIT_BYTES_PER_CUSTOMER, |n| of_customers(n, yearly, 0.0)),
    ("customer, realistic mix", LIMIT_BYTES_REALISTIC, |n| of_customers(n, realistic, 0.2)),
    ("cohort of 100 customers", LIMIT_BYTES_PER_COHORT, |n| of_cohorts(n / 1000)),
];

fn main() -> ExitCode {
    // Cargo asks every test binary for its list.
    if std::env::args().any(|arg| arg == "--list") {
        println!("memory: test");
        return ExitCode::SUCCESS;
    }
    let customers = std::env::var("MEMORY_CUSTOMERS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    if measures_a_row(customers) {
        return ExitCode::SUCCESS;
    }
    println!("{:<44} {:>12} {:>10}", format!("{customers} customers"), "bytes each", "at most");
    let mut failed = 0;
    for (row, (what, limit, _)) in ROWS.iter().enumerate() {
        let bytes = in_a_process_of_its_own(row, customers);
        println!("{what:<44} {bytes:>12.1} {limit:>10}");
        failed += usize::from(bytes > *limit);
    }
    println!("{} passed, {failed} failed", ROWS.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether this process is one that [`in_a_process_of_its_own`] has started, which is done then.
pub fn measures_a_row(customers: usize) -> bool {
    let row = std::env::var("MEMORY_ROW").ok().and_then(|row| ROWS.get(row.parse::<usize>().ok()?));
    if let Some((_, _, measure)) = row {
        println!("{}", measure(customers));
    }
    row.is_some()
}

/// What one measurement gave back to the allocator would make the next one look small.
pub fn in_a_process_of_its_own(row: usize, customers: usize) -> f64 {
    let this = std::env::current_exe().expect("a running binary has a path");
    let mut again = std::process::Command::new(this);
    again.env("MEMORY_ROW", row.to_string()).env("MEMORY_CUSTOMERS", customers.to_string());
    // What it gives back to the system a moment later by itself is not to be measured in that moment.
    again.env("MIMALLOC_PURGE_DELAY", "0");
    let output = again.output().expect("it runs again");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("row {row}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn definitions() -> Arc<Definitions> {
    let dimension = |name: &str| Dimension { name: name.into(), attribute: name.into(), value: DimensionValue::Window };
    Arc::new(Definitions {
        grid: Grid::new(Span::HOUR).expect("an hour is a step"),
        windows: [1, 7, 30, 90].map(|n| Window { label: format!("{n}d"), length: Span::days(n) }).to_vec(),
        dimensions: vec![dimension("plan"), dimension("region")],
        groupings: vec![
            Grouping::default(),
            Grouping { by: vec![DimensionRef::Declared(0), DimensionRef::Declared(1)] },
        ],
        lifecycle: Lifecycle { inactivity_timeout: Some(Span::days(60)), grace_period: Span::days(3) },
        zone: jiff::tz::TimeZone::UTC,
        complete_since: None,
        max_cohorts: 1000,
    })
}

/// Resident bytes per customer after some months of events, with tallies and deadlines standing.
fn of_customers(customers: usize, events: fn(usize) -> Vec<LifecycleEvent>, most_spilled: f64) -> f64 {
    let mut shard = Shard::new(definitions(), HashKey([7; 16]));
    let before = resident_bytes();
    shard.advance(Instant::from_millis(NEW_YEAR));
    for n in 0..customers {
        for event in events(n) {
            shard.consume_message(&event, None);
        }
    }
    let as_of = Instant::from_millis(NEW_YEAR + 80 * DAY);
    shard.fold_before_windows_of(as_of);
    shard.advance(as_of);
    let bytes = resident_bytes().saturating_sub(before) as f64 / customers as f64;
    assert_eq!(shard.tracked_customers(), customers);
    let spilled = shard.spilled_customers() as f64 / customers as f64;
    assert!(spilled <= most_spilled, "the common customer fits its record: {spilled} do not");
    bytes
}

/// Bytes of a cohort of 100 customers of the billing kind: what its tallies take beyond what its customers do.
fn of_cohorts(cohorts: usize) -> f64 {
    let mut shard = Shard::new(definitions(), HashKey([7; 16]));
    let events = |n: usize| {
        monthly(n).into_iter().chain(leaving(n)).map(move |mut event| {
            if let Some(plan) = event.attributes.get_mut("plan") {
                *plan = format!("plan-{}", n % cohorts);
                event.attributes.remove("region");
            }
            event
        })
    };
    for n in 0..cohorts * 100 {
        for event in events(n) {
            shard.consume_message(&event, None);
        }
    }
    let before = resident_bytes();
    shard.advance(Instant::from_millis(NEW_YEAR + 90 * DAY));
    let bytes = resident_bytes().saturating_sub(before) as f64 / cohorts as f64;
    assert_eq!(shard.readings().cohorts(), cohorts + 1);
    bytes
}

fn event(n: usize, subscription: bool, ms: i64, what: Event) -> LifecycleEvent {
    LifecycleEvent {
        customer_id: format!("customer-{n:09}"),
        subscription_id: if subscription { format!("subscription-{n}") } else { String::new() },
        event_time: Some(timestamp(ms)),
        event: Some(what),
        ..LifecycleEvent::default()
    }
}

fn timestamp(ms: i64) -> pbjson_types::Timestamp {
    pbjson_types::Timestamp { seconds: ms.div_euclid(1000), nanos: (ms.rem_euclid(1000) * 1_000_000) as i32 }
}

fn with_attributes(mut event: LifecycleEvent, n: usize) -> LifecycleEvent {
    event.attributes.insert("plan".into(), ["basic", "plus", "business"][n % 3].into());
    event.attributes.insert("region".into(), ["eu", "us", "apac", "latam"][n / 3 % 4].into());
    event
}

/// Spread over a month to the millisecond, so that nothing is cheaper than it would be.
fn offset(n: usize) -> i64 {
    NEW_YEAR - 20 * DAY + (n as i64).wrapping_mul(7_919_000_003).rem_euclid(30 * DAY)
}

fn started(n: usize, subscription: bool, days: i64) -> LifecycleEvent {
    let start = offset(n);
    let amount = Money { currency_code: "EUR".into(), minor_units: 999 + (n % 40) as i64 * 100 };
    let term_end_time = Some(timestamp(start + days * DAY));
    let what = Started { recurring_amount: Some(amount), term_end_time, trial: false };
    with_attributes(event(n, subscription, start, Event::Started(what)), n)
}

fn monthly(n: usize) -> Vec<LifecycleEvent> {
    let renewed = |i| {
        let at = offset(n) + 30 * DAY * i - 3_600_000;
        let term_end_time = Some(timestamp(offset(n) + 30 * DAY * (i + 1)));
        event(n, false, at, Event::Renewed(Renewed { term_end_time }))
    };
    vec![started(n, false, 30), renewed(1), renewed(2)]
}

fn yearly(n: usize) -> Vec<LifecycleEvent> {
    vec![started(n, true, 365)]
}

fn activity(n: usize) -> Vec<LifecycleEvent> {
    let sign = |day: i64| event(n, false, offset(n) + day * DAY, Event::Activity(Activity {}));
    vec![with_attributes(sign(0), n), sign(9), sign(31), sign(60)]
}

/// Of twenty customers ten pay monthly, four only show signs of life, two pay yearly; one each has changed plan and
/// amount, left and come back, has a second subscription, and comes so seldom that every sign of life is kept.
fn realistic(n: usize) -> Vec<LifecycleEvent> {
    let at = |day: i64| offset(n) + day * DAY;
    match n % 20 {
        0..=9 => monthly(n),
        10..=13 => activity(n),
        14..=15 => yearly(n),
        16 => {
            let recurring_amount = Some(Money { currency_code: "EUR".into(), minor_units: 4_900 });
            let upgrade = event(n, false, at(40), Event::Changed(Changed { recurring_amount }));
            let mut events = monthly(n);
            events.push(with_attributes(upgrade, n + 1));
            events
        }
        17 => {
            let ended = Ended { reason: EndReason::PaymentFailed.into(), effective_time: None };
            let mut again = started(n, false, 90);
            again.event_time = Some(timestamp(at(62)));
            let mut events = monthly(n);
            events.extend([event(n, false, at(50), Event::Ended(ended)), again]);
            events
        }
        18 => [monthly(n), yearly(n)].concat(),
        _ => {
            (0..3).map(|i| event(n, false, at(i * 61 - 122), Event::Activity(Activity {}))).chain(activity(n)).collect()
        }
    }
}

/// One in ten leaves.
fn leaving(n: usize) -> Option<LifecycleEvent> {
    let reason = EndReason::Cancelled.into();
    let what = Event::Ended(Ended { reason, effective_time: None });
    (n / 7).is_multiple_of(10).then(|| event(n, false, offset(n) + 70 * DAY, what))
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells resident memory in /proc/self/statm");
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("the second number is resident pages");
    pages * 4096
}
