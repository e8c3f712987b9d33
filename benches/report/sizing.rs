//! How large a machine has to be: formulas over the figures of the same run, so that anybody can check and change them.

use std::fmt::Write;

use super::support::figures::{Row, number};

/// `kafka.prefetch_bytes` by default.
const PREFETCH_BYTES: f64 = (32 << 20) as f64;
/// `http.publish_interval` by default.
const PUBLISH_INTERVAL_MS: f64 = 5_000.0;
/// `snapshot.keep` by default.
const SNAPSHOTS_KEPT: f64 = 3.0;

/// What the run has found; not a number where it has not.
struct Measured {
    customer_bytes: f64,
    cohort_bytes: f64,
    snapshot_bytes: f64,
    million_events_s: f64,
    rate: f64,
    ten_million_restored_s: f64,
    series_per_cohort: f64,
    ms_per_series: f64,
}

/// A deployment.
struct Plan {
    customers: f64,
    events_per_s: f64,
    partitions: f64,
    instances: f64,
    cores: f64,
    cohorts: f64,
    snapshot_interval_s: f64,
}

const PLANS: [Plan; 2] = [
    Plan {
        customers: 1e8,
        events_per_s: 50_000.0,
        partitions: 32.0,
        instances: 1.0,
        cores: 4.0,
        cohorts: 1_000.0,
        snapshot_interval_s: 600.0,
    },
    Plan {
        customers: 1e9,
        events_per_s: 500_000.0,
        partitions: 256.0,
        instances: 8.0,
        cores: 4.0,
        cohorts: 1_000.0,
        snapshot_interval_s: 600.0,
    },
];

/// A plan's number, by symbol.
type Choice = (&'static str, &'static str, fn(&Plan) -> f64);

/// What follows, how, and in which unit; of one instance unless it says otherwise.
type Line = (&'static str, &'static str, &'static str, fn(&Plan, &Measured) -> f64);

const LINES: [Line; 12] = [
    ("histories", "C · b / I", "GB", |p, m| p.customers * m.customer_bytes / p.instances / 1e9),
    ("tallies, at most: a cohort may be in every partition", "K · k · P / I", "GB", |p, m| {
        p.cohorts * m.cohort_bytes * p.partitions / p.instances / 1e9
    }),
    ("read ahead", "32 MiB", "GB", |_, _| PREFETCH_BYTES / 1e9),
    ("snapshots under way, one a worker", "N · C · s / P", "GB", |p, m| snapshots_under_way(p, m) / 1e9),
    ("**memory**, with a quarter in reserve", "1.25 · sum of these", "GB", |p, m| {
        let tallies = p.cohorts * m.cohort_bytes * p.partitions / p.instances;
        let histories = p.customers * m.customer_bytes / p.instances;
        1.25 * (histories + tallies + PREFETCH_BYTES + snapshots_under_way(p, m)) / 1e9
    }),
    ("**cores** for events", "E · c / I / 10⁶", "cores", |p, m| {
        p.events_per_s * m.million_events_s / p.instances / 1e6
    }),
    ("cores for publications", "K · j · g / 5,000", "cores", |p, m| {
        p.cohorts * m.series_per_cohort * m.ms_per_series / PUBLISH_INTERVAL_MS
    }),
    ("snapshots written", "C · s / I / T", "MB/s", |p, m| {
        p.customers * m.snapshot_bytes / p.instances / p.snapshot_interval_s / 1e6
    }),
    ("in the snapshot store, all instances", "3 · C · s", "GB", |p, m| {
        SNAPSHOTS_KEPT * p.customers * m.snapshot_bytes / 1e9
    }),
    ("restart: restoring", "r · C / I / 10⁷", "s", |p, m| {
        m.ten_million_restored_s * p.customers / p.instances / 1e7
    }),
    ("restart: reading again, at most", "T · E / I / (v − E / I)", "s", |p, m| {
        let events_per_s = p.events_per_s / p.instances;
        p.snapshot_interval_s * events_per_s / (m.rate - events_per_s)
    }),
    ("series in Prometheus, before the rules, all instances", "I · K · j", "series", |p, m| {
        p.instances * p.cohorts * m.series_per_cohort
    }),
];

fn snapshots_under_way(plan: &Plan, measured: &Measured) -> f64 {
    plan.cores * plan.customers * measured.snapshot_bytes / plan.partitions
}

/// What was measured, and what follows from it.
pub fn markdown(rows: &[Row]) -> String {
    let find = |bench: &str, name: &str| {
        rows.iter().find(|row| row.bench == bench && row.name == name).map_or(f64::NAN, |row| row.value)
    };
    let measured = Measured {
        customer_bytes: find("memory", "customer, realistic mix"),
        cohort_bytes: find("memory", "cohort of 100 customers"),
        snapshot_bytes: find("snapshot", "bytes a customer, 10 M customers in 8 partitions"),
        million_events_s: find("kafka", "run, CPU-seconds a million events"),
        rate: find("kafka", "run, rate"),
        ten_million_restored_s: find("snapshot", "restored with tallies by 2 threads, 10 M customers in 8 partitions"),
        series_per_cohort: find("page", "series a cohort with 3 windows, 10 k series"),
        ms_per_series: find("page", "publication, 10 k series") / find("page", "series exactly, 10 k series"),
    };
    let mut text = "| measured above | | |\n|---|---|---:|\n".to_owned();
    for (symbol, what, value) in [
        ("b", "bytes a customer, realistic mix", measured.customer_bytes),
        ("k", "bytes a cohort of 100 customers in one partition", measured.cohort_bytes),
        ("s", "bytes a customer in a snapshot", measured.snapshot_bytes),
        ("c", "CPU-seconds a million events, the client's included", measured.million_events_s),
        ("v", "events a second that one worker reads", measured.rate),
        ("r", "seconds to restore 10 M customers", measured.ten_million_restored_s),
        ("j", "series a cohort with three windows", measured.series_per_cohort),
        ("g", "milliseconds a series published", measured.ms_per_series),
    ] {
        let _ = writeln!(text, "| {symbol} | {what} | {} |", known(value));
    }
    text.push_str("\n| chosen | | one machine | past one machine |\n|---|---|---:|---:|\n");
    let chosen: [Choice; 7] = [
        ("C", "customers there ever were", |p| p.customers),
        ("E", "events a second", |p| p.events_per_s),
        ("P", "partitions", |p| p.partitions),
        ("I", "instances", |p| p.instances),
        ("N", "cores of each, a worker on each", |p| p.cores),
        ("K", "cohorts over all groupings", |p| p.cohorts),
        ("T", "seconds between snapshots (`snapshot.interval`)", |p| p.snapshot_interval_s),
    ];
    for (symbol, what, of) in chosen {
        let [one, past] = PLANS.each_ref().map(|plan| whole(of(plan)));
        let _ = writeln!(text, "| {symbol} | {what} | {one} | {past} |");
    }
    text.push_str("\n| follows, for each instance | formula | one machine | past one machine |\n|---|---|---:|---:|\n");
    for (what, formula, unit, of) in LINES {
        let [one, past] = PLANS.each_ref().map(|plan| match of(plan, &measured) {
            value if value.is_finite() => format!("{} {unit}", number(value)),
            _ => known(f64::NAN),
        });
        let _ = writeln!(text, "| {what} | {formula} | {one} | {past} |");
    }
    text
}

/// Of a number without a fraction.
fn whole(value: f64) -> String {
    if value < 1000.0 { value.to_string() } else { number(value) }
}

fn known(value: f64) -> String {
    if value.is_finite() { number(value) } else { "not measured".to_owned() }
}
