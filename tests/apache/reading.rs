//! From a topic to the page: much of it, compressed in every way, imported twice.

use std::fs;

use churnwatch::import::import;
use churnwatch::input::EventReader;
use indicatif::ProgressBar;

use super::fixture::{Fixture, LONG_WINDOWS, set};
use crate::kafka::fixture::{events, replayed};
use crate::support::apache_kafka;

#[test]
fn the_page_of_a_long_log_is_that_of_replay() {
    let Some(servers) = apache_kafka::shared("the_page_of_a_long_log_is_that_of_replay") else { return };
    let fixture = Fixture::new(servers, LONG_WINDOWS);
    let all = events(50, 40_000);
    fixture.produce(&all);
    let running = fixture.start();
    running.await_page(&replayed(&fixture.settings.definitions(), &all));
    let summary = running.stop();
    let counted = summary.counts.applied.iter().sum::<u64>() + summary.counts.unchanged;
    assert_eq!((summary.records, counted), (40_000, 40_000));
}

#[test]
fn every_compression_is_read() {
    let Some(servers) = apache_kafka::shared("every_compression_is_read") else { return };
    let mut fixture = Fixture::new(servers, LONG_WINDOWS);
    let all = events(51, 5_000);
    for (part, codec) in all.chunks(1_000).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        fixture.set("compression.type", codec);
        fixture.produce(part);
    }
    let running = fixture.start();
    running.await_page(&replayed(&fixture.settings.definitions(), &all));
    assert_eq!(running.stop().records, 5_000);
}

#[test]
fn an_import_and_the_same_again_count_once() {
    let Some(servers) = apache_kafka::shared("an_import_and_the_same_again_count_once") else { return };
    let fixture = Fixture::new(servers, LONG_WINDOWS);
    let all = events(52, 5_000);
    let file = fixture.directory.path().join("events.jsonl");
    let lines: Vec<String> = all.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    fs::write(&file, lines.join("\n")).unwrap();
    let expected = replayed(&fixture.settings.definitions(), &all);

    let mut settings = fixture.settings.clone();
    set(&mut settings, "compression.type", "zstd");
    let running = fixture.start();
    for times in 1..=2 {
        let mut reader = EventReader::new(vec![file.clone()], None).unwrap();
        let bar = ProgressBar::hidden();
        let imported = import(&settings.kafka, fixture.topic(), &mut reader, &mut Vec::new(), &bar).unwrap();
        assert_eq!((imported.sent, imported.delivered.acknowledged, imported.refused), (5_000, 5_000, 0));
        crate::support::until("read", || running.instance.records() == times * 5_000);
        running.await_page(&expected);
    }
    let counts = running.stop().counts;
    assert!(counts.unchanged >= 5_000, "{counts:?}");
}
