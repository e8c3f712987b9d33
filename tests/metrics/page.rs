//! A page with every family on it, from numbers made by hand.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use churnwatch::cohort::{
    Definitions, Dimension, DimensionRef, DimensionValue, Grouping, Lifecycle, SignupPeriod, Window,
};
use churnwatch::event::{Currency, EndReason};
use churnwatch::gauges::{cohort_page, families, history_start};
use churnwatch::own_metrics::{OwnMetrics, PartitionState, ProcessState, Tracked, process_page};
use churnwatch::readings::{CohortName, CohortReading, Readings, WindowReading, WindowRevenue};
use churnwatch::shard::Counts;
use churnwatch::time::{Grid, Instant, Span};

use super::promtool::check_metrics;

/// Windows of 7 and 30 days; by plan and region.
pub fn definitions() -> Definitions {
    let window = |label: &str, days| Window { label: label.to_owned(), length: Span::days(days) };
    let dimension =
        |name: &str| Dimension { name: name.to_owned(), attribute: name.to_owned(), value: DimensionValue::Window };
    let by = |by: &[DimensionRef]| Grouping { by: by.to_vec() };
    Definitions {
        grid: Grid::new(Span::HOUR).unwrap(),
        windows: vec![window("7d", 7), window("30d", 30)],
        dimensions: vec![dimension("plan"), dimension("region")],
        groupings: vec![
            by(&[]),
            by(&[DimensionRef::Declared(0)]),
            by(&[DimensionRef::Declared(0), DimensionRef::Declared(1)]),
            by(&[DimensionRef::Signup(SignupPeriod::Month)]),
        ],
        lifecycle: Lifecycle::default(),
        zone: jiff::tz::TimeZone::UTC,
        complete_since: None,
        max_cohorts: 1000,
    }
}

/// The first of semantics' worked examples, in one cohort of each grouping.
fn readings() -> Readings {
    let eur = Currency::from_code("EUR").unwrap();
    let mut lost_by_reason = [0; EndReason::ALL.len()];
    lost_by_reason[EndReason::Cancelled as usize] = 6;
    lost_by_reason[EndReason::PaymentFailed as usize] = 2;
    let revenue = WindowRevenue {
        start: 107_000,
        lost: 8_000,
        contraction: 2_000,
        expansion: 5_000,
        new: 21_000,
        returned: 1_500,
    };
    let month = WindowReading {
        start: 107,
        retained: 99,
        lost_by_reason,
        new: 19,
        returned: 2,
        moved_in: 1,
        moved_out: 1,
        passing: 3,
        bounced: 4,
        revenue: BTreeMap::from([(eur, revenue)]),
    };
    let week = WindowReading { start: 120, retained: 120, ..Default::default() };
    let reading = CohortReading {
        customers: 120,
        recurring_revenue: BTreeMap::from([(eur, 124_500)]),
        windows: vec![week, month],
    };
    let names: [&[&str]; 4] = [&[], &["basic"], &["basic", "eu"], &["2025-11"]];
    let cohort = |values: &[&str]| -> CohortName { values.iter().map(|&value| value.into()).collect() };
    Readings {
        earliest_event: Some(Instant::parse_rfc3339("2025-11-03T08:00:00Z").unwrap()),
        groupings: names.map(|name| BTreeMap::from([(cohort(name), reading.clone())])).into(),
        folded_before: None,
    }
}

/// The whole of `/metrics`, with a sample of every family.
pub fn full_page() -> String {
    let as_of = Instant::parse_rfc3339("2026-02-01T10:00:00Z").unwrap();
    let (definitions, readings) = (definitions(), readings());
    let own = OwnMetrics::new();
    let counts = Counts { applied: [128, 340, 12, 0, 9], unchanged: 31, ..Default::default() };
    own.count_records(&Counts::default(), &counts);
    own.published(Duration::from_millis(18), [Duration::from_millis(2_300)]);
    own.snapshot_written(Duration::from_millis(120));
    own.snapshot_serialised(Duration::from_millis(2));
    own.restored(Duration::from_millis(85));
    own.store_up(true);
    own.web_config_read(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_940_000)));
    own.web_certificate(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_777_716_000)));
    let partition = PartitionState {
        topic: "customer-events".to_owned(),
        partition: 0,
        published: true,
        lag: Some(0),
        lag_time: Some(Duration::ZERO),
        snapshot_time: Some(Instant::parse_rfc3339("2026-02-01T09:59:40Z").unwrap()),
        snapshot_size_bytes: Some(9_216),
    };
    let state = ProcessState {
        as_of: Some(as_of),
        history_start: history_start(&definitions, &readings),
        tracked: Some(Tracked { customers: 138, cohorts: 4 }),
        kafka_up: true,
        stalled_partitions: 0,
        partitions: vec![partition],
        topics: BTreeMap::from([("customer-events".to_owned(), 1)]),
    };
    [cohort_page(&definitions, &readings, as_of), process_page(&state), own.page()].concat()
}

#[test]
fn every_family_of_the_table_is_on_a_full_page_once_and_no_other() {
    let page = full_page();
    let lines = |prefix: &str| -> Vec<String> {
        let rest = page.lines().filter_map(|line| line.strip_prefix(prefix));
        let mut lines: Vec<_> = rest.map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let expected = |line: &dyn Fn(&churnwatch::gauges::Family) -> String| -> Vec<String> {
        let mut lines: Vec<_> = families().map(line).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines("# TYPE "), expected(&|family| format!("{} {}", family.name, family.kind().name())));
    assert_eq!(lines("# HELP "), expected(&|family| format!("{} {}", family.name, family.help)));
}

#[test]
fn promtool_finds_nothing_on_a_full_page() {
    check_metrics(&full_page());
}

#[test]
fn promtool_reads_hostile_label_values() {
    let mut readings = readings();
    let reading = readings.groupings[1].values().next().unwrap().clone();
    for value in ["", "\"", "\\", "\\\\", "\\\"", "\n", "\\n", "\0", "a\"} 1\nx{a=\"", "é", "\u{1F600}"] {
        readings.groupings[1].insert(vec![value.into()], reading.clone());
    }
    let as_of = Instant::parse_rfc3339("2026-02-01T10:00:00Z").unwrap();
    check_metrics(&cohort_page(&definitions(), &readings, as_of));
}

#[test]
fn the_series_of_a_revoked_partition_are_gone() {
    let partition = |partition| PartitionState {
        topic: "customer-events".to_owned(),
        partition,
        published: false,
        lag: Some(1),
        lag_time: Some(Duration::from_secs(2)),
        snapshot_time: Some(Instant::from_millis(i64::from(partition) * 1_000)),
        snapshot_size_bytes: Some(10),
    };
    let state = |partitions: &[i32]| ProcessState {
        partitions: partitions.iter().map(|&p| partition(p)).collect(),
        ..Default::default()
    };
    let has = |page: &str, line: &str| page.lines().any(|l| l == line);

    let both = process_page(&state(&[7, 8]));
    assert!(has(&both, "churnwatch_kafka_consumer_lag{topic=\"customer-events\",partition=\"8\"} 1"), "{both}");
    assert!(has(&both, "churnwatch_partitions_assigned 2"));
    // The partition whose snapshot is oldest is the one to worry about.
    assert!(has(&both, "churnwatch_snapshot_last_success_timestamp_seconds 7"));
    assert!(has(&both, "churnwatch_snapshot_size_bytes 20"));

    let one = process_page(&state(&[8]));
    assert!(!one.contains("partition=\"7\"") && has(&one, "churnwatch_snapshot_last_success_timestamp_seconds 8"));

    let none = process_page(&state(&[]));
    assert!(!none.contains("partition=") && !none.contains("snapshot"), "{none}");
    assert!(!none.contains("tracked_"), "what is not known is not 0: {none}");
    assert!(has(&none, "churnwatch_partitions_assigned 0") && has(&none, "churnwatch_kafka_up 0"));

    // One partition without a snapshot: there is no time as of which all is safe.
    let mut state = state(&[7, 8]);
    state.partitions[0].snapshot_time = None;
    assert!(!process_page(&state).contains("snapshot_last_success"));
}

#[test]
fn counters_start_at_zero_and_count_what_a_shard_counted() {
    let own = OwnMetrics::new();
    let value = |own: &OwnMetrics, series: &str| -> u64 {
        let page = own.page();
        let line = page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("no {series} in {page}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    let all: Vec<String> = own.page().lines().filter(|l| l.starts_with("churnwatch_")).map(str::to_owned).collect();
    let counters: Vec<_> = all.iter().filter(|line| line.contains("_total")).collect();
    assert_eq!(counters.len(), 5 + 1 + 2 + 7 + 1 + 1 + 1 + 1 + 1 + 1 + 3, "{counters:?}");
    assert!(counters.iter().all(|line| line.ends_with(" 0")), "{counters:?}");

    let mut before = Counts { applied: [10, 0, 0, 0, 0], ..Default::default() };
    before.rejected[2] = 4;
    let mut now = before.clone();
    now.applied = [12, 1, 0, 0, 5];
    now.unchanged = 3;
    now.ignored[1] = 6;
    now.rejected[2] = 11;
    now.beyond_horizon = 1;
    own.count_records(&before, &now);
    own.unkeyed_records.increment(8);
    for (series, expected) in [
        ("churnwatch_events_total{kind=\"started\"}", 2),
        ("churnwatch_events_total{kind=\"renewed\"}", 1),
        ("churnwatch_events_total{kind=\"ended\"}", 5),
        ("churnwatch_events_unchanged_total", 3),
        ("churnwatch_events_ignored_total{reason=\"unknown_kind\"}", 6),
        ("churnwatch_events_ignored_total{reason=\"tombstone\"}", 0),
        ("churnwatch_events_rejected_total{reason=\"customer_id_too_long\"}", 7),
        ("churnwatch_beyond_horizon_events_total", 1),
        ("churnwatch_unkeyed_records_total", 8),
    ] {
        assert_eq!(value(&own, series), expected, "{series}");
    }
}

#[test]
fn the_time_from_event_to_gauge_is_a_histogram() {
    let own = OwnMetrics::new();
    let buckets = |own: &OwnMetrics| {
        let page = own.page();
        let lines = page.lines().filter(|line| line.starts_with("churnwatch_event_to_gauges_seconds_"));
        lines.map(|line| line["churnwatch_event_to_gauges_seconds_".len()..].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(buckets(&own).last().unwrap(), "count 0");
    own.published(Duration::from_secs(1), [0.3, 4.0, 4.5, 90_000.0].map(Duration::from_secs_f64));
    let lines = buckets(&own);
    for line in
        ["bucket{le=\"0.25\"} 0", "bucket{le=\"0.5\"} 1", "bucket{le=\"5\"} 3", "bucket{le=\"+Inf\"} 4", "count 4"]
    {
        assert!(lines.contains(&line.to_owned()), "{line} in {lines:?}");
    }
    assert!(own.page().contains("churnwatch_publication_duration_seconds 1\n"));
}

#[test]
fn the_process_has_its_standard_metrics() {
    let page = OwnMetrics::new().page();
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_threads", "process_start_time_seconds"] {
        let line = page.lines().find(|line| line.starts_with(&format!("{name} ")));
        let value: f64 = line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next().unwrap().parse().unwrap();
        assert!(value > 0.0, "{name} is {value}");
    }
}
