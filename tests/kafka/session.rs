//! What ends a client but not the instance, and what a store that hangs holds up: the partitions that it is asked for.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use churnwatch::kafka::TopicPartition;
use churnwatch::run::Options;
use churnwatch::settings::StoreUrl;
use churnwatch::store::Store;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::fixture::{Fixture, PARTITIONS, PATIENCE, Running, TOPIC, events, poll, replayed};
use super::rebalance::assigned;

fn partition(partition: i32) -> TopicPartition {
    TopicPartition { topic: TOPIC.into(), partition }
}

fn rebuilds(running: &Running, reason: &str) -> f64 {
    running.metric(&format!("churnwatch_client_rebuilds_total{{reason=\"{reason}\"}}")).unwrap()
}

/// The end offset of every partition.
fn ends(fixture: &Fixture) -> Vec<i64> {
    let consumer: BaseConsumer = fixture.settings.kafka.client_config().create().unwrap();
    (0..PARTITIONS).map(|partition| consumer.fetch_watermarks(TOPIC, partition, PATIENCE).unwrap().1).collect()
}

#[test]
fn who_is_fenced_commits_nothing_more_and_begins_again() {
    let fixture = Fixture::new("");
    let all = events(50, 2_000);
    fixture.produce(&all[..1_000]);
    let running = fixture.start();
    let definitions = fixture.settings.definitions();
    running.await_page(&replayed(&definitions, &all[..1_000]));
    assert!(poll(|| fixture.committed() == ends(&fixture)));
    let before = fixture.committed();

    // As another instance does that takes the partition over.
    Store::open(&fixture.settings.snapshot).unwrap().claim(&partition(1)).unwrap();
    fixture.produce(&all[1_000..]);
    assert!(poll(|| {
        // Until it has claimed the partition itself again, in another session.
        let committed = fixture.committed()[1];
        let fenced = rebuilds(&running, "fenced") > 0.0;
        assert!(fenced || committed == before[1]);
        fenced
    }));
    running.await_page(&replayed(&definitions, &all));
    assert!(poll(|| fixture.committed() == ends(&fixture)), "it owns the partition again, and says how far it is");
    assert_eq!(running.metric("churnwatch_snapshot_failures_total"), Some(0.0), "nothing is wrong with the store");
    running.stop();
    let again = fixture.start();
    again.await_page(&replayed(&definitions, &all));
    assert_eq!(again.stop().records, 0);
}

#[test]
fn a_partition_that_stands_still_is_noticed_and_the_client_made_anew() {
    let mut fixture = Fixture::new("");
    fixture.settings.kafka.stall_timeout = Duration::from_secs(2);
    let all = events(51, 2_000);
    fixture.produce(&all[..1_000]);
    let running = fixture.start();
    let definitions = fixture.settings.definitions();
    running.await_page(&replayed(&definitions, &all[..1_000]));
    assert_eq!(running.metric("churnwatch_stalled_partitions"), Some(0.0));

    fixture.broker.refuse_fetches(100_000).unwrap();
    fixture.produce(&all[1_000..]);
    assert!(poll(|| running.instance.published().unwell().is_some_and(|what| what.contains("not read on"))));
    assert!(poll(|| running.metric("churnwatch_stalled_partitions") > Some(0.0)));
    assert!(poll(|| rebuilds(&running, "stalled") >= 1.0));
    fixture.broker.answer_fetches().unwrap();
    running.await_page(&replayed(&definitions, &all));
    assert!(poll(|| running.instance.published().unwell().is_none()), "{:?}", running.instance.published().unwell());
    assert!(poll(|| running.metric("churnwatch_stalled_partitions") == Some(0.0)));
    assert_eq!((rebuilds(&running, "fenced"), rebuilds(&running, "client_error")), (0.0, 0.0));
    running.stop();
}

#[test]
fn a_store_that_hangs_holds_up_only_the_partitions_that_come() {
    let mut fixture = Fixture::new("");
    let session = fixture.settings.kafka.librdkafka.iter_mut().find(|property| property.name == "session.timeout.ms");
    session.unwrap().value = "5000".to_owned();
    let all = events(52, 3_000);
    fixture.produce(&all[..1_000]);
    let definitions = fixture.settings.definitions();
    let staying = fixture.start();
    staying.await_page(&replayed(&definitions, &all[..1_000]));
    // The other one has a store of its own, which does not hang.
    let mut others = fixture.settings.clone();
    others.snapshot.store = StoreUrl::Directory(fixture.directory.path().join("others"));
    let leaving = Running::start(Options::new(&others));
    let half = f64::from(PARTITIONS) / 2.0;
    assert!(poll(|| assigned(&staying) == half && assigned(&leaving) == half));

    let lag = |partition: &i32| {
        staying.metric(&format!("churnwatch_kafka_consumer_lag{{topic=\"{TOPIC}\",partition=\"{partition}\"}}"))
    };
    assert!(poll(|| (0..PARTITIONS).filter(|partition| lag(partition).is_some()).count() == half as usize));
    let (stay, come): (Vec<i32>, Vec<i32>) = (0..PARTITIONS).partition(|partition| lag(partition).is_some());
    // Whoever opens a pipe for reading waits until somebody writes.
    let pipes: BTreeMap<i32, _> = come
        .iter()
        .map(|&partition| {
            let folder = fixture.directory.path().join(format!("snapshots/{TOPIC}-{partition}"));
            let newest = folder.join(format!("{:010}-{:010}-{:020}.snapshot", 1_000, 1, 1));
            assert!(Command::new("mkfifo").arg(&newest).status().unwrap().success());
            (partition, newest)
        })
        .collect();
    leaving.stop();
    let readiness = || format!("{:?}", staying.instance.published().readiness.load());
    assert!(poll(|| readiness().contains("restoring: 2 partitions to go")), "{}", readiness());

    fixture.produce(&all[1_000..]);
    let (ends, reached) = (ends(&fixture), |committed: &[i64], partition: i32| committed[partition as usize]);
    assert!(poll(|| {
        let committed = fixture.committed();
        stay.iter().all(|&partition| reached(&committed, partition) == ends[partition as usize])
    }));
    assert_eq!(assigned(&staying), half, "they are still not there");
    assert_eq!(staying.page(), "", "nor are any numbers");

    for pipe in pipes.values() {
        File::options().write(true).open(pipe).unwrap().write_all(b"no snapshot").unwrap();
        fs::remove_file(pipe).unwrap();
    }
    staying.await_page(&replayed(&definitions, &all));
    assert_eq!(assigned(&staying), f64::from(PARTITIONS));
    staying.stop();
}

#[test]
fn a_partition_that_the_store_refuses_is_waited_for() {
    let fixture = Fixture::new("");
    let all = events(53, 1_000);
    fixture.produce(&all);
    let snapshots = fixture.directory.path().join("snapshots");
    // As good as a folder without permission, and works for root too.
    let refused = snapshots.join(format!("{TOPIC}-1"));
    fs::create_dir_all(&snapshots).unwrap();
    fs::write(&refused, "").unwrap();
    let running = fixture.start();
    let readiness = || format!("{:?}", running.instance.published().readiness.load());
    assert!(poll(|| readiness().contains("restoring: 1 partitions to go")), "{}", readiness());
    assert!(poll(|| running.instance.records() > 0), "the others are read");
    assert_eq!(running.page(), "");
    fs::remove_file(&refused).unwrap();
    running.await_page(&replayed(&fixture.settings.definitions(), &all));
    running.stop();
}
