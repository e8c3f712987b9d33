//! `replay` as a function: the same events give the same bytes, and whatever is refused is named and counted.

mod command;

use std::fs;
use std::path::PathBuf;

use churnwatch::cohort::{Definitions, Dimension, DimensionRef, DimensionValue, Grouping, Lifecycle, Window};
use churnwatch::input::{EventReader, from_json};
use churnwatch::replay::{self, Options, Summary};
use churnwatch::time::{Grid, Instant, Span};
use indicatif::ProgressBar;
use prost::Message;
use tempfile::TempDir;

const EVENTS: [&str; 6] = [
    r#"{"customerId":"a","eventTime":"2026-01-01T00:00:00Z","attributes":{"plan":"pro"},"started":{"recurringAmount":{"currencyCode":"EUR","minorUnits":"1990"}}}"#,
    r#"{"customerId":"b","eventTime":"2026-01-02T00:00:00Z","attributes":{"plan":"basic"},"started":{}}"#,
    r#"{"customerId":"c","eventTime":"2026-01-03T00:00:00Z","started":{"termEndTime":"2026-03-03T00:00:00Z"}}"#,
    r#"{"customerId":"a","eventTime":"2026-02-01T00:00:00Z","changed":{"recurringAmount":{"currencyCode":"EUR","minorUnits":2990}}}"#,
    r#"{"customerId":"b","eventTime":"2026-02-02T00:00:00Z","ended":{"reason":"END_REASON_PAYMENT_FAILED"}}"#,
    r#"{"customerId":"c","eventTime":"2026-02-03T00:00:00.001Z","activity":{}}"#,
];

fn definitions() -> Definitions {
    Definitions {
        grid: Grid::new(Span::HOUR).unwrap(),
        windows: vec![Window { label: "30d".to_owned(), length: Span::days(30) }],
        dimensions: vec![Dimension {
            name: "plan".to_owned(),
            attribute: "plan".to_owned(),
            value: DimensionValue::Window,
        }],
        groupings: vec![Grouping::default(), Grouping { by: vec![DimensionRef::Declared(0)] }],
        lifecycle: Lifecycle::default(),
        zone: jiff::tz::TimeZone::UTC,
        complete_since: None,
        max_cohorts: 1_000,
    }
}

struct Replayed {
    summary: Summary,
    page: String,
    /// Without the directory of the files.
    diagnostics: String,
}

fn replay_as_of(files: &[(&str, Vec<u8>)], as_of: Option<&str>) -> Replayed {
    let directory = TempDir::new().unwrap();
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| directory.path().join(name)).collect();
    for (path, (_, content)) in paths.iter().zip(files) {
        fs::write(path, content).unwrap();
    }
    let as_of = as_of.map(|text| Instant::parse_rfc3339(text).unwrap());
    let options = Options { files: paths.clone(), as_of, ..Options::default() };
    let mut reader = EventReader::new(paths, None).unwrap();
    let mut diagnostics = Vec::new();
    let bar = ProgressBar::hidden();
    let (summary, page) = replay::replay(&definitions(), &options, &mut reader, &mut diagnostics, &bar).unwrap();
    let diagnostics = String::from_utf8(diagnostics).unwrap().replace(&format!("{}/", directory.path().display()), "");
    Replayed { summary, page, diagnostics }
}

fn replay(files: &[(&str, Vec<u8>)]) -> Replayed {
    replay_as_of(files, None)
}

fn lines(events: &[&str]) -> Vec<u8> {
    events.join("\n").into_bytes()
}

fn delimited(events: &[&str]) -> Vec<u8> {
    events.iter().flat_map(|json| from_json(json.as_bytes()).unwrap().encode_length_delimited_to_vec()).collect()
}

#[test]
fn equal_sets_of_events_give_equal_bytes() {
    let plain = replay(&[("events.jsonl", lines(&EVENTS))]);
    assert!(plain.page.contains("churnwatch_customers{cohort_by=\"everyone\"} 2\n"), "{}", plain.page);

    let mut reversed = EVENTS;
    reversed.reverse();
    let twice = [EVENTS, reversed].concat();
    let (first, second) = EVENTS.split_at(2);
    for files in [
        vec![("events.pb", delimited(&EVENTS))],
        vec![("events.jsonl", lines(&reversed))],
        vec![("events.jsonl", lines(&twice))],
        vec![("2.jsonl", lines(second)), ("1.pb", delimited(first)), ("none.jsonl", Vec::new())],
    ] {
        assert_eq!(replay(&files).page, plain.page);
    }
}

#[test]
fn every_record_is_counted_once() {
    let twice = [EVENTS, EVENTS].concat();
    let replayed = replay(&[("events.jsonl", lines(&twice))]);
    let counts = &replayed.summary.counts;
    assert_eq!(counts.applied, [3, 0, 1, 1, 1]);
    assert_eq!(counts.unchanged, 6);
    assert_eq!((replayed.summary.records(), replayed.summary.refused(), replayed.summary.customers), (12, 0, 3));
    assert_eq!(replayed.diagnostics, "");
}

#[test]
fn what_is_refused_is_named_and_counted_and_does_not_stop_the_rest() {
    let mut events = EVENTS.to_vec();
    events.insert(1, r#"{"customerId":"d","evenTime":"2026-01-01T00:00:00Z"}"#);
    events.insert(3, r#"{"eventTime":"2026-01-01T00:00:00Z","started":{}}"#);
    events.insert(4, "");
    events.push(r#"{"customerId":"d","eventTime":"2026-01-01T00:00:00Z"}"#);
    events.push(r#"{"customerId":"d","started":{}}"#);
    let torn = [delimited(&EVENTS[..1]), b"\x02\xff\xff".to_vec(), b"\x09torn".to_vec()].concat();
    let replayed = replay(&[("bad.jsonl", lines(&events)), ("torn.pb", torn)]);

    let named: Vec<_> = replayed.diagnostics.lines().collect();
    assert_eq!(named.len(), 5, "{named:?}");
    assert!(named[0].starts_with("bad.jsonl:2: unknown field `evenTime`, expected one of"), "{}", named[0]);
    assert_eq!(named[1], "bad.jsonl:4: customer_id is empty: set it to the id the topic is keyed by");
    assert_eq!(named[2], "bad.jsonl:11: event_time is missing: set it to when the event happened");
    assert!(named[3].starts_with("torn.pb: record 2 at byte "), "{}", named[3]);
    let framing = "the file ends after 4 of the message's 9 bytes; the rest of the file is not read";
    assert!(named[4].starts_with("torn.pb: record 3 at byte ") && named[4].ends_with(framing), "{}", named[4]);

    let text = replayed.summary.to_string();
    let words: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(words[0].starts_with("events read 13 in "), "{text}");
    assert_eq!(
        words[1..],
        [
            "applied 6",
            "unchanged 1",
            "ignored 1 unknown_kind 1",
            "rejected 2 missing_customer_id 1, missing_event_time 1",
            "unreadable 3",
            "customers 3",
            "as of 2026-02-03T00:00:00.001Z",
        ]
    );
    assert_eq!(replayed.summary.refused(), 5);
    assert_eq!(replayed.page, replay(&[("events.jsonl", lines(&EVENTS))]).page);
}

#[test]
fn only_the_first_refusals_are_named() {
    let replayed = replay(&[("bad.jsonl", lines(&["nonsense"; 30]))]);
    let named: Vec<_> = replayed.diagnostics.lines().collect();
    assert_eq!(named.len(), 21);
    assert_eq!(named[19], "bad.jsonl:20: not a line of JSON: expected ident (column 2)");
    assert_eq!(named[20], "more of them follow, and are only counted");
    assert_eq!(replayed.summary.unreadable, 30);
}

#[test]
fn without_an_event_the_page_is_empty() {
    for (as_of, content) in [(None, ""), (Some("2026-01-01T00:00:00Z"), "{}")] {
        let replayed = replay_as_of(&[("events.jsonl", content.into())], as_of);
        assert_eq!(replayed.page, "");
        let text = replayed.summary.to_string();
        assert!(text.ends_with("as of        nothing: no event was accepted, so the page is empty\n"), "{text}");
    }
}

#[test]
fn as_of_an_earlier_instant_later_events_do_not_count() {
    let as_of = Some("2026-02-02T00:59:59.999+01:00");
    let replayed = replay_as_of(&[("events.jsonl", lines(&EVENTS))], as_of);
    let without = replay_as_of(&[("events.jsonl", lines(&EVENTS[..4]))], as_of);
    assert_eq!(replayed.page, without.page);
    assert_ne!(replayed.page, replay(&[("events.jsonl", lines(&EVENTS))]).page);
    let text = replayed.summary.to_string();
    let last = "as of        2026-02-01T23:59:59.999Z (the latest event is of 2026-02-03T00:00:00.001Z)\n";
    assert!(text.ends_with(last), "{text}");

    // An ending counts at its very instant, and not a millisecond before.
    let customers = |as_of| {
        let page = replay_as_of(&[("events.jsonl", lines(&EVENTS))], Some(as_of)).page;
        let line = page.lines().find(|line| line.starts_with("churnwatch_customers{cohort_by=\"everyone\"}")).unwrap();
        line.rsplit_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(customers("2026-02-01T23:59:59.999Z"), "3");
    assert_eq!(customers("2026-02-02T00:00:00Z"), "2");
}
