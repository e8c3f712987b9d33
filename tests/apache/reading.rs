//! From a topic to the page: much of it, compressed in every way, imported twice.

use std::fs;
use std::path::Path;
use std::time::Duration;

use churnwatch::import::{Summary, import};
use churnwatch::input::EventReader;
use churnwatch::settings::Kafka;
use churnwatch::validate::check_topics;
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
        let imported = import_from(&file, &settings.kafka, fixture.topic()).unwrap();
        assert_eq!((imported.sent, imported.delivered.acknowledged, imported.refused), (5_000, 5_000, 0));
        crate::support::until("read", || running.instance.records() == times * 5_000);
        running.await_page(&expected);
    }
    let counts = running.stop().counts;
    assert!(counts.unchanged >= 5_000, "{counts:?}");
}

fn import_from(file: &Path, kafka: &Kafka, topic: &str) -> Result<Summary, String> {
    let mut reader = EventReader::new(vec![file.to_owned()], None).unwrap();
    let imported = import(kafka, topic, &mut reader, &mut Vec::new(), &ProgressBar::hidden());
    imported.map_err(|error| format!("{error:#}"))
}

/// The default of brokers keeps seven days, and goes by the records' own time.
#[test]
fn nothing_is_imported_that_the_topic_would_delete() {
    let Some(servers) = apache_kafka::shared("nothing_is_imported_that_the_topic_would_delete") else { return };
    let fixture = Fixture::new(servers, LONG_WINDOWS);
    let file = fixture.directory.path().join("events.jsonl");
    let now = churnwatch::run::wall_clock();
    let event = |time| format!("{{\"customerId\":\"c\",\"eventTime\":\"{time}\",\"activity\":{{}}}}\n");
    fs::write(&file, [event(now.to_string()), event("2020-02-02T00:00:00Z".to_owned())].concat()).unwrap();
    for (name, properties, expected, checked) in [
        (
            "week",
            &[("retention.ms", "604800000")][..],
            Err("events.jsonl:2: the event is of 2020-02-02"),
            "kept for 7d",
        ),
        ("stamped", &[("message.timestamp.type", "LogAppendTime")], Ok(2), "kept for 7d"),
        ("compacted", &[("cleanup.policy", "compact")], Err(" is compacted, so that only the last"), "is compacted"),
        ("ever", &[("retention.ms", "-1")], Ok(2), "1 partition, records kept for ever\n"),
    ] {
        let topic = format!("{}-{name}", fixture.topic());
        apache_kafka::create_topic_with(servers, &topic, 1, properties);
        let imported = import_from(&file, &fixture.settings.kafka, &topic);
        match (&imported, expected) {
            (Ok(summary), Ok(count)) => assert_eq!(summary.delivered.acknowledged, count, "{name}"),
            (Err(error), Err(words)) => assert!(error.contains(words), "{name}: {error}"),
            _ => panic!("{name}: {imported:?}"),
        }
        let mut kafka = fixture.settings.kafka.clone();
        kafka.topics = vec![topic];
        let mut said = Vec::new();
        let result = check_topics(&kafka, Duration::from_secs(30), &mut said);
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(checked) && result.is_ok() == (name != "compacted"), "{name}: {said}");
    }
}
