use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::cohort::{Dimension, DimensionRef, DimensionValue, Lifecycle, SignupPeriod, Window};
use crate::readings::{CohortName, WindowReading};
use crate::time::{Grid, Span};

fn at(rfc3339: &str) -> Instant {
    Instant::parse_rfc3339(rfc3339).unwrap()
}

fn as_of() -> Instant {
    at("2026-03-01T00:30:00Z")
}

/// By `everyone`, by plan, and by plan and month of signup; windows of 1 and 7 days.
fn definitions() -> Definitions {
    let window = |label: &str, days| Window { label: label.to_owned(), length: Span::days(days) };
    let dimension = |name: &str, value| Dimension { name: name.to_owned(), attribute: name.to_owned(), value };
    Definitions {
        grid: Grid::new(Span::HOUR).unwrap(),
        windows: vec![window("1d", 1), window("7d", 7)],
        dimensions: vec![dimension("plan", DimensionValue::Window), dimension("channel", DimensionValue::First)],
        groupings: vec![
            Grouping::default(),
            Grouping { by: vec![DimensionRef::Declared(0)] },
            Grouping { by: vec![DimensionRef::Declared(1), DimensionRef::Signup(SignupPeriod::Month)] },
        ],
        lifecycle: Lifecycle::default(),
        zone: jiff::tz::TimeZone::UTC,
        complete_since: None,
        max_cohorts: 1000,
    }
}

fn name(values: &[&str]) -> CohortName {
    values.iter().map(|&value| value.into()).collect()
}

fn customers(customers: i64) -> CohortReading {
    CohortReading { customers, windows: vec![WindowReading::default(); 2], ..Default::default() }
}

/// A cohort whose 7d window reads so.
fn in_7d(customers: i64, window: WindowReading) -> CohortReading {
    CohortReading { customers, windows: vec![WindowReading::default(), window], ..Default::default() }
}

fn lost(reason: EndReason, count: i64) -> [i64; EndReason::ALL.len()] {
    let mut lost = [0; EndReason::ALL.len()];
    lost[reason as usize] = count;
    lost
}

fn of_everyone(reading: CohortReading) -> Readings {
    by_plan_and_everyone(reading, &[])
}

fn by_plan(cohorts: &[(&str, CohortReading)]) -> Readings {
    by_plan_and_everyone(CohortReading::default(), cohorts)
}

fn by_plan_and_everyone(everyone: CohortReading, cohorts: &[(&str, CohortReading)]) -> Readings {
    let plans = cohorts.iter().map(|(plan, reading)| (name(&[plan]), reading.clone())).collect();
    Readings {
        earliest_event: Some(at("2020-01-01T00:00:00Z")),
        groupings: vec![BTreeMap::from([(vec![], everyone)]), plans, BTreeMap::new()],
        folded_before: None,
    }
}

fn page(readings: &Readings) -> String {
    cohort_page(&definitions(), readings, as_of())
}

/// The samples of a family, without its name's prefix.
fn samples(page: &str, family: &str) -> Vec<String> {
    let is_of = |line: &&str| {
        let rest = line.strip_prefix("churnwatch_").and_then(|line| line.strip_prefix(family));
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    };
    page.lines().filter(is_of).map(|line| line["churnwatch_".len()..].to_owned()).collect()
}

/// The value of a family for everyone in the 7d window.
fn in_7d_of_everyone(page: &str, family: &str) -> Option<f64> {
    let head = format!("{family}{{cohort_by=\"everyone\",window=\"7d\"}} ");
    samples(page, family).iter().find_map(|line| Some(line.strip_prefix(&head)?.parse().unwrap()))
}

#[test]
fn the_ratios_are_the_worked_examples() {
    let window = WindowReading {
        start: 107,
        retained: 99,
        lost_by_reason: lost(EndReason::Cancelled, 8),
        new: 21,
        ..Default::default()
    };
    let page = page(&of_everyone(in_7d(120, window)));
    let value = |family| in_7d_of_everyone(&page, family);
    assert_eq!(value("retention_ratio"), Some(99.0 / 107.0));
    assert_eq!(value("churn_ratio"), Some(8.0 / 107.0));
    assert_eq!(value("net_churn_ratio"), Some(-13.0 / 107.0));
    assert_eq!(value("acquisition_ratio"), Some(21.0 / 107.0));
    assert_eq!(value("exposed_churn_ratio"), Some(8.0 / 128.0));
    assert_eq!(value("lost_customers"), Some(8.0));
    assert_eq!(samples(&page, "customers"), ["customers{cohort_by=\"everyone\"} 120"]);
}

#[test]
fn passing_customers_were_exposed() {
    let window = WindowReading {
        start: 10,
        retained: 9,
        lost_by_reason: lost(EndReason::Cancelled, 1),
        new: 5,
        returned: 3,
        passing: 2,
        ..Default::default()
    };
    let page = page(&of_everyone(in_7d(17, window)));
    assert_eq!(in_7d_of_everyone(&page, "exposed_churn_ratio"), Some(3.0 / 20.0));
    assert_eq!(in_7d_of_everyone(&page, "net_churn_ratio"), Some(-7.0 / 10.0));
}

#[test]
fn the_interval_is_wilsons() {
    let interval = |lost_customers: i64, start: i64| {
        let window = WindowReading {
            start,
            retained: start - lost_customers,
            lost_by_reason: lost(EndReason::Inactive, lost_customers),
            ..Default::default()
        };
        let page = page(&of_everyone(in_7d(start - lost_customers, window)));
        let value = |family| in_7d_of_everyone(&page, family).unwrap();
        (value("churn_ratio_lower"), value("churn_ratio_upper"))
    };
    // As textbooks write it: centre and half-width.
    let textbook = |x: f64, n: f64| {
        let z: f64 = 1.959963984540054;
        let p = x / n;
        let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        (centre - half, centre + half)
    };
    for (lost, start) in [(8, 107), (1, 10), (5, 10), (9, 10), (416, 2200), (1, 1_000_000)] {
        let (lower, upper) = interval(lost, start);
        let (textbook_lower, textbook_upper) = textbook(lost as f64, start as f64);
        assert!((lower - textbook_lower).abs() < 1e-14, "{lost} of {start}: {lower}, not {textbook_lower}");
        assert!((upper - textbook_upper).abs() < 1e-14, "{lost} of {start}: {upper}, not {textbook_upper}");
    }
    let (lower, upper) = interval(1, 10);
    assert_eq!((format!("{lower:.4}"), format!("{upper:.4}")), ("0.0179".to_owned(), "0.4042".to_owned()));
    for start in [1, 2, 3, 7, 10, 99, 1_000_003] {
        assert_eq!(interval(0, start).0, 0.0, "nobody of {start}");
        assert_eq!(interval(start, start).1, 1.0, "all of {start}");
    }
}

#[test]
fn a_ratio_without_a_denominator_is_absent() {
    let page = page(&of_everyone(in_7d(3, WindowReading { new: 3, ..Default::default() })));
    for family in families().filter(|family| matches!(family.source, Source::WindowRatio(_))) {
        let family = family.name.strip_prefix("churnwatch_").unwrap();
        let exposed = (family == "exposed_churn_ratio").then_some(0.0);
        assert_eq!(in_7d_of_everyone(&page, family), exposed, "{family}");
    }
    assert_eq!(in_7d_of_everyone(&page, "window_start_customers"), Some(0.0));
    assert_eq!(in_7d_of_everyone(&page, "new_customers"), Some(3.0));
}

#[test]
fn a_window_that_starts_before_the_history_is_absent() {
    let window_complete = |definitions: &Definitions, earliest_event, folded_before, as_of| {
        let window = WindowReading { start: 1, retained: 1, ..Default::default() };
        let reading = CohortReading { customers: 1, windows: vec![window; 2], ..Default::default() };
        let readings = Readings { earliest_event, folded_before, ..of_everyone(reading) };
        let page = cohort_page(definitions, &readings, as_of);
        let complete = samples(&page, "window_complete");
        let starts = samples(&page, "window_start_customers");
        // The window's numbers are there exactly where it is said to be complete.
        let said: Vec<_> = complete.iter().filter(|line| line.ends_with(" 1")).collect();
        assert_eq!(said.len(), starts.len());
        for (said, start) in said.iter().zip(starts) {
            assert!(start.contains(&said["window_complete{".len()..said.len() - "} 1".len()]), "{said} {start}");
        }
        let bit = |line: String| line.ends_with(" 1");
        complete.into_iter().map(bit).collect::<Vec<_>>()
    };
    let definitions = definitions();
    let late = as_of();

    // The window of 7 days starts at 22 Feb, 00:00: the boundary at or before 00:30.
    let since = |earliest: &str| window_complete(&definitions, Some(at(earliest)), None, late);
    assert_eq!(since("2026-02-22T00:00:00Z"), [true, true]);
    assert_eq!(since("2026-02-22T00:00:00.001Z"), [true, false]);
    assert_eq!(since("2026-02-28T00:00:00Z"), [true, false]);
    assert_eq!(since("2026-02-28T00:00:00.001Z"), [false, false]);

    // Without any event nothing is known about completeness, unless it is configured.
    assert!(window_complete(&definitions, None, None, late).is_empty());
    let configured = |since: &str| Definitions { complete_since: Some(at(since)), ..definitions.clone() };
    assert_eq!(window_complete(&configured("2026-02-22T00:00:00Z"), None, None, late), [true, true]);
    let early = Some(at("2020-01-01T00:00:00Z"));
    assert_eq!(window_complete(&configured("2026-02-22T00:00:01Z"), early, None, late), [true, false]);

    // Folded history is as good as none.
    let folded = |before: &str| window_complete(&definitions, early, Some(at(before)), late);
    assert_eq!(folded("2026-02-22T00:00:00Z"), [true, true]);
    assert_eq!(folded("2026-02-22T01:00:00Z"), [true, false]);

    // There is no boundary before 1970.
    let at_the_first = |as_of: &str| window_complete(&definitions, Some(Instant::EARLIEST_EVENT), None, at(as_of));
    assert_eq!(at_the_first("1970-01-02T00:00:00Z"), [true, false]);
    assert_eq!(at_the_first("1970-01-01T23:59:59.999Z"), [false, false]);
}

#[test]
fn a_cohort_of_nothing_but_zeros_is_absent() {
    let gone =
        in_7d(0, WindowReading { start: 1, lost_by_reason: lost(EndReason::Cancelled, 1), ..Default::default() });
    let readings = by_plan(&[("empty", customers(0)), ("full", customers(2)), ("gone", gone)]);
    let plans = ["customers{cohort_by=\"plan\",plan=\"full\"} 2", "customers{cohort_by=\"plan\",plan=\"gone\"} 0"];
    assert_eq!(samples(&page(&readings), "customers"), plans);

    // What is in a window that is not exported does not count.
    let readings = Readings { earliest_event: Some(at("2026-02-25T00:00:00Z")), ..readings };
    assert_eq!(samples(&page(&readings), "customers"), plans[..1]);
}

#[test]
fn reasons_are_those_of_any_complete_window_of_the_cohort() {
    let mut reading = customers(0);
    reading.windows[0].lost_by_reason = lost(EndReason::Cancelled, 1);
    reading.windows[1].lost_by_reason = lost(EndReason::Cancelled, 2);
    reading.windows[1].lost_by_reason[EndReason::PaymentFailed as usize] = 3;
    let readings = by_plan(&[("a", reading), ("b", customers(1))]);
    let sample = |window: &str, reason: &str, class: &str, value| {
        format!(
            "lost_customers_by_reason{{cohort_by=\"plan\",plan=\"a\",window=\"{window}\",reason=\"{reason}\",class=\"{class}\"}} {value}"
        )
    };
    let expected = [
        sample("1d", "cancelled", "voluntary", 1),
        sample("1d", "payment_failed", "involuntary", 0),
        sample("7d", "cancelled", "voluntary", 2),
        sample("7d", "payment_failed", "involuntary", 3),
    ];
    assert_eq!(samples(&page(&readings), "lost_customers_by_reason"), expected);

    let readings = Readings { earliest_event: Some(at("2026-02-25T00:00:00Z")), ..readings };
    assert_eq!(samples(&page(&readings), "lost_customers_by_reason"), expected[..1]);
}

#[test]
fn revenue_is_in_major_units_and_never_mixes_currencies() {
    let [eur, jpy, bhd] = ["EUR", "JPY", "BHD"].map(|code| Currency::from_code(code).unwrap());
    let mut reading = customers(2);
    reading.recurring_revenue = BTreeMap::from([(eur, 1999), (jpy, 500)]);
    reading.windows[1].revenue = BTreeMap::from([
        (eur, WindowRevenue { start: 10_000, lost: 1_000, contraction: 1_000, expansion: 1_000, new: 0, returned: 0 }),
        (bhd, WindowRevenue { new: 1_234, ..Default::default() }),
    ]);
    let page = page(&of_everyone(reading));
    let of = |currency: &str, value: &str| format!("{{cohort_by=\"everyone\",currency=\"{currency}\"}} {value}");
    assert_eq!(
        samples(&page, "recurring_revenue"),
        [of("BHD", "0"), of("EUR", "19.99"), of("JPY", "500")].map(|sample| format!("recurring_revenue{sample}"))
    );
    let value = |family: &str, window: &str, currency: &str| {
        let labels = format!("{{cohort_by=\"everyone\",window=\"{window}\",currency=\"{currency}\"}} ");
        let value = |line: &String| Some(line.strip_prefix(&format!("{family}{labels}"))?.parse::<f64>().unwrap());
        samples(&page, family).iter().find_map(value)
    };
    assert_eq!(value("window_start_recurring_revenue", "7d", "EUR"), Some(100.0));
    assert_eq!(value("window_start_recurring_revenue", "1d", "EUR"), Some(0.0));
    assert_eq!(value("new_recurring_revenue", "7d", "BHD"), Some(1.234));
    assert_eq!(value("new_recurring_revenue", "7d", "JPY"), Some(0.0));
    assert_eq!(value("gross_revenue_churn_ratio", "7d", "EUR"), Some(0.2));
    assert_eq!(value("net_revenue_churn_ratio", "7d", "EUR"), Some(0.1));
    assert_eq!(value("gross_revenue_retention_ratio", "7d", "EUR"), Some(0.8));
    assert_eq!(value("net_revenue_retention_ratio", "7d", "EUR"), Some(0.9));
    assert_eq!(value("gross_revenue_churn_ratio", "1d", "EUR"), None);
    assert_eq!(value("gross_revenue_churn_ratio", "7d", "JPY"), None);
}

#[test]
fn a_currency_of_an_incomplete_window_alone_is_absent() {
    let eur = Currency::from_code("EUR").unwrap();
    let mut reading = customers(1);
    reading.windows[1].revenue = BTreeMap::from([(eur, WindowRevenue { start: 1, ..Default::default() })]);
    let readings = Readings { earliest_event: Some(at("2026-02-25T00:00:00Z")), ..of_everyone(reading) };
    assert!(!page(&readings).contains("EUR"));
}

#[test]
fn sums_beyond_what_floats_hold_are_divided_once() {
    let eur = Currency::from_code("EUR").unwrap();
    let start = i128::from(i64::MAX) * 4;
    let mut reading = customers(1);
    reading.windows[1].revenue = BTreeMap::from([(eur, WindowRevenue { start, lost: start, ..Default::default() })]);
    let page = page(&of_everyone(reading));
    assert!(samples(&page, "gross_revenue_churn_ratio")[0].ends_with("} 1"));
    assert!(samples(&page, "gross_revenue_retention_ratio")[0].ends_with("} 0"));
}

#[test]
fn nobody_moves_where_nobody_can() {
    let moved = WindowReading { start: 1, retained: 1, moved_in: 1, moved_out: 1, ..Default::default() };
    let readings = Readings {
        earliest_event: Some(at("2020-01-01T00:00:00Z")),
        groupings: [vec![], name(&["basic"]), name(&["ads", "2026-01"])]
            .map(|name| BTreeMap::from([(name, in_7d(1, moved.clone()))]))
            .into(),
        folded_before: None,
    };
    let page = page(&readings);
    for family in ["moved_in_customers", "moved_out_customers"] {
        let of_plan =
            |window, value| format!("{family}{{cohort_by=\"plan\",plan=\"basic\",window=\"{window}\"}} {value}");
        assert_eq!(samples(&page, family), [of_plan("1d", 0), of_plan("7d", 1)]);
    }
    assert_eq!(samples(&page, "bounced_customers").len(), 3 * 2);
}

#[test]
fn the_smallest_cohorts_add_up_in_other() {
    let definitions = Definitions { max_cohorts: 2, ..definitions() };
    let plan = |plan: &str, value: i64| format!("customers{{cohort_by=\"plan\",plan=\"{plan}\"}} {value}");
    let folded = |value: i64| format!("folded_cohorts{{cohort_by=\"plan\"}} {value}");
    let check = |cohorts: &[(&str, i64)], expected: &[String], folded_cohorts: i64| {
        let cohorts: Vec<_> = cohorts.iter().map(|(plan, count)| (*plan, customers(*count))).collect();
        let page = cohort_page(&definitions, &by_plan(&cohorts), as_of());
        assert_eq!(samples(&page, "customers"), expected);
        assert_eq!(samples(&page, "folded_cohorts")[2], folded(folded_cohorts), "{cohorts:?}");
        assert_eq!(samples(&page, "folded_cohorts").len(), 3);
    };
    check(&[("a", 1), ("b", 2)], &[plan("a", 1), plan("b", 2)], 0);
    check(&[("a", 1), ("b", 2), ("c", 3), ("d", 1)], &[plan("b", 2), plan("c", 3), plan("other", 2)], 2);
    // Ties go by the labels.
    check(&[("c", 1), ("b", 1), ("a", 1)], &[plan("a", 1), plan("b", 1), plan("other", 1)], 1);
    // A cohort of zeros neither takes a place nor counts as folded.
    check(&[("a", 0), ("b", 2), ("c", 3)], &[plan("b", 2), plan("c", 3)], 0);
    // Customers who really are in a cohort of that name are in the same series, once.
    check(&[("a", 1), ("other", 5)], &[plan("a", 1), plan("other", 5)], 0);
    check(&[("a", 2), ("b", 1), ("other", 5)], &[plan("a", 2), plan("other", 6)], 1);
    check(&[("a", 2), ("b", 3), ("other", 1)], &[plan("a", 2), plan("b", 3), plan("other", 1)], 1);
}

#[test]
fn what_is_folded_adds_up_in_every_number() {
    let definitions = Definitions { max_cohorts: 1, ..definitions() };
    let eur = Currency::from_code("EUR").unwrap();
    let leaving = |count: i64| {
        let revenue = WindowRevenue { start: i128::from(count) * 100, lost: 100, ..Default::default() };
        let window = WindowReading {
            start: count,
            retained: count - 1,
            lost_by_reason: lost(EndReason::Cancelled, 1),
            revenue: BTreeMap::from([(eur, revenue)]),
            ..Default::default()
        };
        in_7d(count - 1, window)
    };
    let readings = by_plan(&[("a", customers(100)), ("b", leaving(10)), ("c", leaving(30))]);
    let page = cohort_page(&definitions, &readings, as_of());
    let other = |family: &str, rest: &str, value: &str| {
        let sample = format!("{family}{{cohort_by=\"plan\",plan=\"other\",window=\"7d\"{rest}}} {value}");
        assert!(samples(&page, family).contains(&sample), "{sample} in {:?}", samples(&page, family));
    };
    other("churn_ratio", "", "0.05");
    other("lost_customers_by_reason", ",reason=\"cancelled\",class=\"voluntary\"", "2");
    other("gross_revenue_churn_ratio", ",currency=\"EUR\"", "0.05");
}

#[test]
fn everyone_is_never_folded() {
    let definitions = Definitions { max_cohorts: 0, ..definitions() };
    let page = cohort_page(&definitions, &by_plan_and_everyone(customers(1), &[("a", customers(1))]), as_of());
    let expected = ["customers{cohort_by=\"everyone\"} 1", "customers{cohort_by=\"plan\",plan=\"other\"} 1"];
    assert_eq!(samples(&page, "customers"), expected);
    let folded = ["channel,signup_month\"} 0", "everyone\"} 0", "plan\"} 1"];
    assert_eq!(samples(&page, "folded_cohorts"), folded.map(|rest| format!("folded_cohorts{{cohort_by=\"{rest}")));
}

#[test]
fn hostile_values_stay_apart_and_inside_their_quotes() {
    let hostile = [
        "",
        " ",
        "\"",
        "\\",
        "\\\\",
        "\\\"",
        "\n",
        "\\n",
        "\\\n",
        "a\"} 1\nx{a=\"",
        "\r",
        "é",
        "{",
        "#",
        "\0",
        "a",
        "a\0",
    ];
    let cohorts: Vec<_> = hostile.iter().zip(1..).map(|(plan, count)| (*plan, customers(count))).collect();
    let page = page(&by_plan(&cohorts));
    let read_back: Vec<(String, i64)> = samples(&page, "customers")
        .iter()
        .map(|line| {
            let rest = line.strip_prefix("customers{cohort_by=\"plan\",plan=\"").unwrap();
            let (escaped, count) = rest.rsplit_once("\"} ").unwrap();
            (unescaped(escaped), count.parse().unwrap())
        })
        .collect();
    let mut expected: Vec<_> = hostile.iter().zip(1..).map(|(plan, count)| ((*plan).to_owned(), count)).collect();
    expected.sort();
    assert_eq!(read_back, expected);
}

/// By the exposition format's three escapes; anything else would be a mistake.
fn unescaped(value: &str) -> String {
    let mut chars = value.chars();
    let mut text = String::new();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next() {
                Some('\\') => '\\',
                Some('"') => '"',
                Some('n') => '\n',
                other => panic!("\\{other:?} in {value}"),
            },
            '"' | '\n' => panic!("unescaped in {value}"),
            c => c,
        });
    }
    text
}

#[test]
fn series_are_sorted_by_label_values_and_families_as_in_the_table() {
    let readings =
        by_plan_and_everyone(customers(9), &[("a b", customers(1)), ("a", customers(2)), ("a!", customers(3))]);
    let page = page(&readings);
    let plans: Vec<_> =
        samples(&page, "customers").iter().map(|line| line.split('"').nth_back(1).unwrap().to_owned()).collect();
    assert_eq!(plans, ["everyone", "a", "a b", "a!"]);

    let types: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let position = |line: &&str| families().position(|family| line.split(' ').next() == Some(family.name)).unwrap();
    assert!(types.iter().map(position).is_sorted(), "{types:?}");
    assert_eq!(types.iter().collect::<BTreeSet<_>>().len(), types.len());
}

#[test]
fn equal_readings_give_equal_bytes() {
    let cohorts: Vec<_> = (0..200).map(|i| (format!("plan {i}"), customers(i))).collect();
    let cohorts: Vec<_> = cohorts.iter().map(|(plan, reading)| (plan.as_str(), reading.clone())).collect();
    let readings = by_plan(&cohorts);
    let first = page(&readings);
    for _ in 0..5 {
        assert_eq!(page(&readings.clone()), first);
    }
}

#[test]
fn nothing_at_all_is_a_page_of_no_folded_cohorts() {
    let page = cohort_page(&definitions(), &Readings::default(), as_of());
    assert_eq!(page.lines().filter(|line| !line.starts_with('#')).count(), 3);
    assert_eq!(samples(&page, "folded_cohorts").len(), 3);
}

#[test]
fn the_table_names_every_metric_once_and_by_the_conventions() {
    let names: BTreeSet<_> = families().map(|family| family.name).collect();
    assert_eq!(names.len(), families().count());
    for family in families() {
        let name = family.name;
        assert!(name.starts_with("churnwatch_") || name.starts_with("process_"), "{name}");
        assert!(!family.help.is_empty() && !family.unit.is_empty(), "{name}");
        assert_eq!(name.ends_with("_total"), family.kind() == Type::Counter, "{name}");
        assert_eq!(family.unit.starts_with("ratio"), name.contains("_ratio"), "{name}");
        assert_eq!(
            family.unit.starts_with("seconds since"),
            name.ends_with("time_seconds") || name.ends_with("timestamp_seconds"),
            "{name}"
        );
    }
}
