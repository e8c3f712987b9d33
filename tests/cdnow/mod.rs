//! Real purchases through replay: every number equals the one that SQLite computed, and the one that follows
//! from the definitions, customer by customer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use churnwatch::cohort::{Definitions, DimensionRef, Grouping, Lifecycle, SignupPeriod, Window};
use churnwatch::input::EventReader;
use churnwatch::replay::{self, Options};
use churnwatch::time::{Grid, Instant, Span};
use indicatif::ProgressBar;
use tempfile::TempDir;

use crate::support::cdnow;

const TIMEOUT_DAYS: i64 = 90;
const WINDOW_DAYS: [i64; 3] = [7, 30, 90];
const EXPECTED: &str = include_str!("../fixtures/cdnow/expected.txt");

fn definitions() -> Definitions {
    Definitions {
        grid: Grid::new(Span::DAY).unwrap(),
        windows: WINDOW_DAYS.map(|days| Window { label: format!("{days}d"), length: Span::days(days) }).into(),
        dimensions: Vec::new(),
        groupings: vec![Grouping::default(), Grouping { by: vec![DimensionRef::Signup(SignupPeriod::Month)] }],
        lifecycle: Lifecycle { inactivity_timeout: Some(Span::days(TIMEOUT_DAYS)), grace_period: Span::ZERO },
        zone: jiff::tz::TimeZone::UTC,
        complete_since: None,
        max_cohorts: 1_000,
    }
}

/// The numbers that are not zero, by family, cohort (`-` is everyone) and window.
type Numbers = BTreeMap<(String, String, String), i64>;

const FAMILIES: [&str; 8] = [
    "customers",
    "window_start_customers",
    "retained_customers",
    "lost_customers",
    "new_customers",
    "returned_customers",
    "passing_customers",
    "bounced_customers",
];

/// The sample as a file of events.
struct Sample {
    directory: TempDir,
    purchases: Vec<cdnow::Purchase>,
}

impl Sample {
    fn new() -> Self {
        let purchases = cdnow::parse(cdnow::SAMPLE);
        let lines: Vec<_> = purchases.iter().map(|p| serde_json::to_string(&p.event()).unwrap()).collect();
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("purchases.jsonl"), lines.join("\n")).unwrap();
        Self { directory, purchases }
    }

    fn replay(&self, as_of: Option<Instant>) -> (replay::Summary, String) {
        let files = vec![self.directory.path().join("purchases.jsonl")];
        let options = Options { files: files.clone(), as_of, ..Options::default() };
        let mut reader = EventReader::new(files, None).unwrap();
        let mut diagnostics = Vec::new();
        let replayed =
            replay::replay(&definitions(), &options, &mut reader, &mut diagnostics, &ProgressBar::hidden()).unwrap();
        assert_eq!(String::from_utf8(diagnostics).unwrap(), "");
        replayed
    }

    fn numbers(&self, day: i64) -> Numbers {
        numbers_of_page(&self.replay(Some(Instant::from_millis(day * Span::DAY.as_millis()))).1)
    }

    /// From the definitions, for each customer by itself.
    fn naive(&self, t: i64) -> Numbers {
        let mut days_of: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
        for purchase in self.purchases.iter().filter(|p| p.day_number() <= t) {
            days_of.entry(&purchase.customer).or_default().insert(purchase.day_number());
        }
        let month_of: BTreeMap<&str, String> =
            self.purchases.iter().rev().map(|p| (p.customer.as_str(), p.day.strftime("%Y-%m").to_string())).collect();
        let history_start = self.purchases.iter().map(cdnow::Purchase::day_number).min().unwrap();

        let mut numbers = Numbers::new();
        for (customer, days) in days_of {
            for cohort in ["-", &month_of[customer]] {
                let mut count = |family: &str, window: &str, holds: bool| {
                    if holds {
                        *numbers.entry((family.to_owned(), cohort.to_owned(), window.to_owned())).or_default() += 1;
                    }
                };
                let active_at = |x: i64| days.iter().any(|&day| day <= x && x < day + TIMEOUT_DAYS);
                count("customers", "", active_at(t));
                for length in WINDOW_DAYS {
                    let s = t - length;
                    if s < history_start {
                        continue;
                    }
                    let (then, now) = (active_at(s), active_at(t));
                    let known = days.first().is_some_and(|&first| first <= s);
                    let window = format!("{length}d");
                    count("window_start_customers", &window, then);
                    count("retained_customers", &window, then && now);
                    count("lost_customers", &window, then && !now);
                    count("new_customers", &window, now && !known);
                    count("returned_customers", &window, now && !then && known);
                    count("passing_customers", &window, !then && !now && (s..=t).any(active_at));
                    count("bounced_customers", &window, then && now && !(s..=t).all(active_at));
                }
            }
        }
        numbers
    }
}

fn numbers_of_page(page: &str) -> Numbers {
    let mut numbers = Numbers::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.strip_prefix("churnwatch_").unwrap().split_once('{').unwrap();
        let (labels, value) = rest.split_once("} ").unwrap();
        let label = |wanted: &str| {
            labels.split(',').find_map(|label| label.strip_prefix(wanted)?.strip_prefix("=\"")?.strip_suffix('"'))
        };
        if FAMILIES.contains(&name) && value != "0" {
            let cohort = label("signup_month").unwrap_or("-");
            assert_eq!(label("cohort_by").unwrap() == "everyone", cohort == "-", "{line}");
            let key = (name.to_owned(), cohort.to_owned(), label("window").unwrap_or_default().to_owned());
            assert_eq!(numbers.insert(key, value.parse().unwrap()), None, "{line}");
        }
    }
    numbers
}

/// SQLite's numbers by day; `customers`, which has no window, stands there once for every window.
fn numbers_of_sqlite() -> BTreeMap<i64, Numbers> {
    let mut by_day: BTreeMap<i64, Numbers> = BTreeMap::new();
    let mut lines = EXPECTED.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let header = lines.next().unwrap();
    assert_eq!(header[4..], FAMILIES);
    for columns in lines {
        let day = Instant::parse_rfc3339(&format!("{}T00:00:00Z", columns[0])).unwrap().as_millis() / 86_400_000;
        let numbers = by_day.entry(day).or_default();
        for (family, value) in header.iter().zip(&columns).skip(4) {
            let window = if *family == "customers" { "" } else { columns[1] };
            let value: i64 = value.parse().unwrap();
            if value != 0 {
                numbers.insert(((*family).to_owned(), columns[3].to_owned(), window.to_owned()), value);
            }
        }
    }
    by_day
}

#[test]
fn replay_gives_the_numbers_that_sqlite_computed() {
    let sample = Sample::new();
    let expected = numbers_of_sqlite();
    assert_eq!(expected.len(), 5);
    for (day, expected) in expected {
        assert_eq!(sample.numbers(day), expected, "day {day}");
    }
}

#[test]
fn replay_gives_the_numbers_that_follow_from_the_definitions() {
    let sample = Sample::new();
    let first = sample.purchases.iter().map(cdnow::Purchase::day_number).min().unwrap();
    let last = sample.purchases.iter().map(cdnow::Purchase::day_number).max().unwrap();
    // Beyond the last purchase too: time alone moves the numbers until nobody is left.
    for day in (first..last + 2 * TIMEOUT_DAYS).step_by(11).chain([last]) {
        assert_eq!(sample.numbers(day), sample.naive(day), "day {day}");
    }
}

#[test]
fn every_purchase_counts_once() {
    let sample = Sample::new();
    let (summary, page) = sample.replay(None);
    assert_eq!(summary.records(), sample.purchases.len() as u64);
    // Several purchases on a day say the same.
    let distinct: BTreeSet<_> = sample.purchases.iter().map(|p| (&p.customer, p.day)).collect();
    assert_eq!(summary.counts.applied.iter().sum::<u64>(), distinct.len() as u64);
    assert_eq!(summary.counts.unchanged, (sample.purchases.len() - distinct.len()) as u64);
    assert_eq!((summary.refused(), summary.customers), (0, 196));
    let last = sample.purchases.iter().map(cdnow::Purchase::day_number).max().unwrap();
    assert_eq!(summary.as_of, Some(Instant::from_millis(last * Span::DAY.as_millis())));
    assert_eq!(numbers_of_page(&page), sample.naive(last));
}
