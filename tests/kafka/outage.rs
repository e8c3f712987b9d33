//! Kafka that is not there, not yet there, or goes away; and the wall clock meanwhile.

use std::fs;

use churnwatch::embedded::Broker;
use churnwatch::publish::Readiness;
use churnwatch::run::Options;
use churnwatch::settings::Clock;

use super::fixture::{Fixture, PARTITIONS, Running, TOPIC, events, poll, replayed, settings};

fn reason(running: &Running) -> String {
    match &**running.instance.published().readiness.load() {
        Readiness::Ready => "ready".to_owned(),
        Readiness::NotReady(reason) => reason.clone(),
    }
}

#[test]
fn a_broker_that_is_not_there_yet_is_waited_for() {
    let fixture = Fixture::new("");
    let all = events(30, 500);
    fixture.produce(&all);
    fixture.broker.down().unwrap();
    let running = fixture.start();
    assert!(poll(|| reason(&running) == "Kafka does not answer"), "{}", reason(&running));
    assert_eq!(running.metric("churnwatch_kafka_up"), Some(0.0));
    assert_eq!(running.page(), "");
    fixture.broker.up().unwrap();
    running.await_page(&replayed(&fixture.settings.definitions(), &all));
    assert_eq!(reason(&running), "ready");
    assert_eq!(running.metric("churnwatch_kafka_up"), Some(1.0));
    running.stop();
}

#[test]
fn a_topic_that_is_not_there_yet_is_waited_for() {
    let broker = Broker::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(&broker.bootstrap_servers().unwrap(), directory.path(), "");
    settings.kafka.librdkafka.push(property("topic.metadata.refresh.interval.ms", "200"));
    let running = Running::start(Options::new(&settings));
    assert!(poll(|| reason(&running).contains("\"customer-lifecycle\" is not there")), "{}", reason(&running));
    broker.create_topic(TOPIC, PARTITIONS).unwrap();
    assert!(poll(|| reason(&running) == "ready"), "{}", reason(&running));
    running.stop();
}

fn property(name: &str, value: &str) -> churnwatch::settings::Property {
    churnwatch::settings::Property { name: name.to_owned(), value: value.to_owned(), secret: false }
}

#[test]
fn in_an_outage_the_wall_clock_stands_still_and_says_so() {
    let mut fixture = Fixture::new("");
    fixture.settings.time.clock = Clock::Wall;
    // Or the session would end first, and with it the ownership of the partitions: then nothing is published.
    fixture.settings.kafka.librdkafka.retain(|property| property.name != "session.timeout.ms");
    let all = events(31, 500);
    fixture.produce(&all);
    let running = fixture.start();
    let as_of = || running.instance.published().as_of();
    let before_start = churnwatch::run::wall_clock();
    assert!(poll(|| as_of() >= Some(before_start)), "read to the end: as of now, {:?}", as_of());
    let then = as_of();
    assert!(poll(|| as_of() > then), "time alone moves it");

    fixture.broker.down().unwrap();
    assert!(poll(|| reason(&running).contains("stand still")), "{}", reason(&running));
    let stopped = as_of();
    let page = running.page();
    let down_since = churnwatch::run::wall_clock();
    // Several rounds later it is the same page.
    assert!(poll(|| churnwatch::run::wall_clock().since(down_since).as_millis() > 4_000));
    assert_eq!((as_of(), running.page()), (stopped, page));
    fixture.broker.up().unwrap();
    assert!(poll(|| as_of() > stopped && reason(&running) == "ready"));
    running.stop();
}

#[test]
fn stopping_does_not_wait_for_a_broker_that_is_gone() {
    let fixture = Fixture::new("");
    let all = events(32, 500);
    fixture.produce(&all);
    let running = fixture.start();
    running.await_page(&replayed(&fixture.settings.definitions(), &all));
    fixture.broker.down().unwrap();
    running.stop();
    fixture.broker.up().unwrap();
    let again = fixture.start();
    again.await_page(&replayed(&fixture.settings.definitions(), &all));
    assert_eq!(again.stop().records, 0, "the final snapshots were written all the same");
}

#[test]
fn partitions_lost_in_a_long_outage_are_read_on_afterwards() {
    let fixture = Fixture::new("");
    let all = events(33, 1_000);
    fixture.produce(&all[..500]);
    let running = fixture.start();
    running.await_page(&replayed(&fixture.settings.definitions(), &all[..500]));
    fixture.broker.down().unwrap();
    // The session ends: somebody else may own the partitions now.
    assert!(poll(|| running.metric("churnwatch_partitions_assigned") == Some(0.0)));
    assert_eq!(running.page(), "", "absent, never wrong");
    fixture.broker.up().unwrap();
    fixture.produce(&all[500..]);
    running.await_page(&replayed(&fixture.settings.definitions(), &all));
    running.stop();
}

#[test]
fn a_store_that_refuses_is_counted_and_tried_again() {
    let fixture = Fixture::new("");
    let all = events(34, 1_000);
    let running = fixture.start();
    assert!(poll(|| running.metric("churnwatch_partitions_assigned") == Some(f64::from(PARTITIONS))));
    // As good as a full disk, and works for root too: files where the folders should be.
    let store = fixture.directory.path().join("snapshots");
    for partition in 0..PARTITIONS {
        let folder = store.join(format!("{TOPIC}-{partition}"));
        // A snapshot may come in between, and bring the folder back.
        assert!(poll(|| {
            fs::remove_dir_all(&folder).ok();
            fs::write(&folder, "").is_ok()
        }));
    }
    fixture.produce(&all);
    let expected = replayed(&fixture.settings.definitions(), &all);
    running.await_page(&expected);
    assert!(poll(|| running.metric("churnwatch_snapshot_failures_total") >= Some(f64::from(PARTITIONS))));
    assert_eq!((running.page(), fixture.committed().iter().sum::<i64>()), (expected, 0), "the gauges go on");

    for partition in 0..PARTITIONS {
        fs::remove_file(store.join(format!("{TOPIC}-{partition}"))).unwrap();
    }
    assert!(poll(|| fixture.committed().iter().sum::<i64>() == 1_000));
    running.stop();
}
