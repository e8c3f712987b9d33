//! A catch-up that takes long says how it comes along.

use std::fs;
use std::time::Duration;

use churnwatch::settings::Property;

use super::fixture::{Fixture, configuration, events, poll};
use crate::support::process::Run;

/// A topic that a slow broker hands out in many small portions, and a process that reads it.
fn long_catch_up(start: fn(&std::path::Path) -> Run) -> (Fixture, Run) {
    let mut fixture = Fixture::new("");
    // The embedded broker hands out what was produced together, and no more, whatever the client asks for.
    let (name, value) = ("batch.num.messages".to_owned(), "10".to_owned());
    fixture.settings.kafka.librdkafka.push(Property { name, value, secret: false });
    fixture.produce(&events(60, 5_000));
    let config = fixture.directory.path().join("churnwatch.toml");
    let text = configuration(&fixture.broker.bootstrap_servers().unwrap(), fixture.directory.path(), "");
    // A member whose heartbeats take this long needs time.
    fs::write(&config, text.replace("\"session.timeout.ms\" = 1500", "\"session.timeout.ms\" = 20000")).unwrap();
    fixture.broker.answer_after(Duration::from_millis(300)).unwrap();
    let run = start(&config);
    (fixture, run)
}

#[test]
fn in_the_log_it_is_a_line_now_and_then_and_one_at_the_end() {
    let (fixture, run) = long_catch_up(Run::start);
    assert!(poll(|| run.said().contains(" %, ")), "{}", run.said());
    fixture.broker.answer_after(Duration::ZERO).unwrap();
    assert!(poll(|| run.said().contains("caught up: ")), "{}", run.said());
    let said = run.said();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("catching up: ")).collect();
    assert_eq!(lines.len(), 1, "the next would have come a minute later: {said}");
    assert!(lines[0].contains(" records to go, ") && lines[0].ends_with(" left"), "{}", lines[0]);
}

#[test]
fn on_a_terminal_it_is_a_bar_that_makes_room_for_the_log() {
    let (fixture, run) = long_catch_up(Run::on_terminal);
    assert!(poll(|| run.said().contains(" records to go, ")), "{}", run.said());
    let before = run.said();
    assert!(!before.contains("catching up: "), "a bar and no line");
    fixture.broker.down().unwrap();
    let since = || run.said().split_off(before.len());
    assert!(poll(|| since().contains("cannot reach Kafka")), "{}", since());
    let said = since();
    let line = said.lines().find(|line| line.contains("cannot reach Kafka")).unwrap();
    // The bar that stood in the line was wiped.
    let (_, line) = line.rsplit_once("\u{1b}[2K").unwrap_or_else(|| panic!("nothing wiped: {said:?}"));
    assert!(line.trim_start_matches('\r').starts_with("20") && !line.contains("catching up"), "{line:?}");
}
