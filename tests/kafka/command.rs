//! The binary itself: `import`, `run` and `snapshot inspect`, ended by signals, gently and not.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use churnwatch::proto::LifecycleEvent;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::fixture::{Fixture, PATIENCE, TOPIC, configuration, difference, events, poll, replayed, settings};
use super::reading::GROUPINGS;
use crate::support::cdnow;
use crate::support::process::{Run, churnwatch};

/// Waits until the page of metrics holds the expected text.
pub fn await_page(run: &Run, expected: &str) {
    let mut last = String::new();
    let matched = poll(|| {
        last = run.metrics().unwrap_or_default();
        last.contains(expected)
    });
    assert!(matched, "{}", difference(&last, expected));
}

fn write_config(fixture: &Fixture, more: &str) -> PathBuf {
    let path = fixture.directory.path().join("churnwatch.toml");
    let brokers = fixture.broker.bootstrap_servers().unwrap();
    fs::write(&path, configuration(&brokers, fixture.directory.path(), more)).unwrap();
    path
}

#[test]
fn imported_events_are_served_and_sigterm_saves_them() {
    let fixture = Fixture::new(GROUPINGS);
    let config = write_config(&fixture, GROUPINGS);
    let events = events(40, 3_000);
    let file = fixture.directory.path().join("events.jsonl");
    let lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    fs::write(&file, lines.join("\n") + "\n{\"customerId\":\"x\",\"activity\":{}}\nnonsense\n").unwrap();

    let import = churnwatch().args(["import", "--config"]).arg(&config).arg(&file).output().unwrap();
    let said = String::from_utf8(import.stderr).unwrap();
    assert!(import.status.success() && import.stdout.is_empty(), "{said}");
    assert!(said.contains("3002 events read, 3000 sent and acknowledged, 2 refused"), "{said}");
    assert!(said.contains("events.jsonl:3001: ") && said.contains("events.jsonl:3002: "), "{said}");

    let run = Run::start(&config);
    await_page(&run, &replayed(&fixture.settings.definitions(), &events));
    assert!(run.metrics().unwrap().contains("churnwatch_unkeyed_records_total 0\n"));
    assert_eq!(run.terminate().code(), Some(0));

    let mut offsets = 0;
    for folder in fs::read_dir(fixture.directory.path().join("snapshots")).unwrap() {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder.unwrap().path()).unwrap().map(|e| e.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "snapshot"));
        let newest = files.iter().max().unwrap();
        let inspect = churnwatch().args(["snapshot", "inspect", "--config"]).arg(&config).arg(newest).output().unwrap();
        let said = String::from_utf8(inspect.stdout).unwrap();
        assert!(inspect.status.success() && said.contains("valid        yes"), "{said}");
        let offset = said.lines().find_map(|line| line.trim().strip_prefix("next offset")).unwrap();
        offsets += offset.trim().parse::<i64>().unwrap();
    }
    assert_eq!(offsets, 3_000, "the final snapshots cover everything");
    assert_eq!(fixture.committed().iter().sum::<i64>(), 3_000);
}

#[test]
fn an_import_without_its_topic_fails_and_says_what_to_do() {
    let fixture = Fixture::new("");
    let config = write_config(&fixture, "");
    let file = fixture.directory.path().join("events.jsonl");
    fs::write(&file, "{\"customerId\":\"x\",\"eventTime\":\"2026-01-01T00:00:00Z\",\"activity\":{}}\n").unwrap();
    let import = churnwatch().args(["import", "--topic", "elsewhere", "--config"]).arg(&config).arg(&file).output();
    let import = import.unwrap();
    let said = String::from_utf8(import.stderr).unwrap();
    assert_eq!(import.status.code(), Some(1), "{said}");
    assert!(said.contains("\"elsewhere\" is not there: create it"), "{said}");
}

#[test]
fn what_is_waited_for_is_said_with_its_cause() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("churnwatch.toml");
    let broker = churnwatch::embedded::Broker::start().unwrap();
    let brokers = broker.bootstrap_servers().unwrap();
    let properties = "[kafka.librdkafka]\n'security.protocol' = 'SSL'\n";
    let absent = "the topic \"customer-lifecycle\" is not there. Create the topic";
    for (brokers, properties, words) in [
        ("127.0.0.1:1", "[kafka.librdkafka]\n", "127.0.0.1:1 failed: Connection refused"),
        (&brokers, properties, "in state SSL_HANDSHAKE"),
        (&brokers, "[kafka.librdkafka]\n", absent),
    ] {
        let text = configuration(brokers, directory.path(), "");
        fs::write(&config, text.replace("[kafka.librdkafka]\n", properties)).unwrap();
        let run = Run::start(&config);
        assert!(poll(|| run.said().contains(words)), "{}", run.said());
        assert_eq!(run.said().matches(" WARN ").count(), 1, "{}", run.said());
        assert_eq!(run.terminate().code(), Some(0));
    }
}

#[test]
fn records_without_a_key_are_counted_and_said() {
    let fixture = Fixture::new("");
    let mut producer = churnwatch::kafka::produce::Producer::new(&fixture.settings.kafka, TOPIC).unwrap();
    let event = prost::Message::encode_to_vec(&events(41, 1)[0]);
    for _ in 0..3 {
        producer.send_record(None, &event, None).unwrap();
    }
    producer.send_record(Some(b"key"), b"\xff", None).unwrap();
    assert_eq!(producer.finish(PATIENCE, |_| {}).acknowledged, 4);
    let running = fixture.start();
    assert!(poll(|| running.metric("churnwatch_unkeyed_records_total") == Some(3.0)));
    assert!(poll(|| running.metric("churnwatch_events_rejected_total{reason=\"undecodable\"}") == Some(1.0)));
    assert_eq!(running.stop().records, 4);
}

/// Real purchases, and how they are to be counted.
const PURCHASES: &str = "
    [[groupings]]
    by = ['signup_month']
    [lifecycle]
    inactivity_timeout = '90d'";

/// The whole data set where `CHURNWATCH_CDNOW` names its file, else a part of it, twenty times over.
fn purchases() -> Vec<LifecycleEvent> {
    let mut purchases = match std::env::var("CHURNWATCH_CDNOW") {
        Ok(path) => cdnow::parse(&fs::read_to_string(path).unwrap()),
        Err(_) => (0..20)
            .flat_map(|copy| {
                let named = move |mut purchase: cdnow::Purchase| {
                    purchase.customer = format!("{}-{copy}", purchase.customer);
                    purchase
                };
                cdnow::parse(cdnow::SAMPLE).into_iter().map(named)
            })
            .collect(),
    };
    purchases.sort_by_key(|purchase| purchase.day);
    purchases.iter().map(cdnow::Purchase::event).collect()
}

#[test]
fn twenty_kills_change_no_number() {
    const KILLS: usize = 20;
    let seed: u64 = match std::env::var("CHURNWATCH_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => churnwatch::run::wall_clock().as_millis() as u64,
    };
    println!("CHURNWATCH_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);

    let fixture = Fixture::new(PURCHASES);
    let config = write_config(&fixture, PURCHASES);
    let events = purchases();

    let mut read_by_the_killed = 0.0;
    for part in events.chunks(events.len() / KILLS + 1) {
        let run = Run::start(&config);
        let (half, rest) = part.split_at(part.len() / 2);
        fixture.produce(half);
        // The dead one before it has to leave the group first: half of the kills come while nothing is assigned
        // yet or only just, the others among records and snapshots.
        if random.random_bool(0.5) {
            poll(|| records(&run) > 0.0);
        }
        fixture.produce(rest);
        std::thread::park_timeout(Duration::from_millis(random.random_range(0..1_500)));
        read_by_the_killed += records(&run);
        run.kill();
    }
    assert!(read_by_the_killed > 0.0, "no kill came in the midst of anything");

    let settings = settings(&fixture.broker.bootstrap_servers().unwrap(), fixture.directory.path(), PURCHASES);
    let run = Run::start(&config);
    await_page(&run, &replayed(&settings.definitions(), &events));
    assert!(records(&run) < events.len() as f64, "the last one went on from snapshots");
    assert_eq!(run.terminate().code(), Some(0));
}

/// How many records a process has read and counted.
fn records(run: &Run) -> f64 {
    let metrics = run.metrics().unwrap_or_default();
    let counted = ["churnwatch_events_total{", "churnwatch_events_unchanged_total "];
    let lines = metrics.lines().filter(|line| counted.iter().any(|family| line.starts_with(family)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
