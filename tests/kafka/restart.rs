//! What a restart goes on from, and what it never reads twice.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use churnwatch::run::{Instance, Options};
use churnwatch::snapshot;
use churnwatch::store::StoreError;

use super::fixture::{Fixture, PARTITIONS, Running, events, poll, replayed, settings};
use super::reading::GROUPINGS;

/// Each partition's snapshots, the oldest first.
fn snapshots(fixture: &Fixture) -> Vec<Vec<PathBuf>> {
    let list = |directory: PathBuf| {
        let mut paths: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let is_snapshot = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "snapshot");
    let folders = list(fixture.directory.path().join("snapshots")).into_iter();
    folders.map(|folder| list(folder).into_iter().filter(is_snapshot).collect()).collect()
}

#[test]
fn a_graceful_restart_reads_on_from_its_snapshots() {
    let fixture = Fixture::new(GROUPINGS);
    let all = events(2, 4_000);
    fixture.produce(&all[..3_000]);
    let first = fixture.start();
    first.await_page(&replayed(&fixture.settings.definitions(), &all[..3_000]));
    assert_eq!(first.stop().records, 3_000);
    // The group knows as much as the snapshots.
    assert_eq!(fixture.committed().iter().sum::<i64>(), 3_000);

    fixture.produce(&all[3_000..]);
    let second = fixture.start();
    second.await_page(&replayed(&fixture.settings.definitions(), &all));
    assert_eq!(second.stop().records, 1_000, "nothing before the snapshots is read again");
}

#[test]
fn a_crash_loses_nothing_and_counts_nothing_twice() {
    let fixture = Fixture::new(GROUPINGS);
    let all = events(3, 4_000);
    fixture.produce(&all[..2_000]);
    let first = fixture.start();
    first.await_page(&replayed(&fixture.settings.definitions(), &all[..2_000]));
    // Periodic snapshots have to come by themselves.
    let saved = || snapshots(&fixture).iter().filter(|partition| !partition.is_empty()).count();
    assert!(poll(|| saved() == PARTITIONS as usize));
    fixture.produce(&all[2_000..]);
    assert!(poll(|| first.instance.records() > 2_000));
    first.instance.abort();
    let read = first.instance.join().unwrap().records;

    let second = fixture.start();
    let expected = replayed(&fixture.settings.definitions(), &all);
    second.await_page(&expected);
    let again = second.stop().records;
    assert!(again < 4_000 && read + again >= 4_000, "{read} read, then {again}");
    // And once more from what that one left.
    let third = fixture.start();
    third.await_page(&expected);
    assert_eq!(third.stop().records, 0);
}

#[test]
fn the_snapshot_before_is_used_where_the_newest_is_damaged() {
    let fixture = Fixture::new(GROUPINGS);
    let all = events(4, 3_000);
    let definitions = fixture.settings.definitions();
    fixture.produce(&all[..2_000]);
    let first = fixture.start();
    first.await_page(&replayed(&definitions, &all[..2_000]));
    first.stop();
    fixture.produce(&all[2_000..]);
    let second = fixture.start();
    second.await_page(&replayed(&definitions, &all));
    second.stop();

    for partition in snapshots(&fixture) {
        let newest = partition.last().unwrap();
        assert!(partition.len() >= 2, "{partition:?}");
        let mut bytes = fs::read(newest).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(newest, bytes).unwrap();
    }
    let third = fixture.start();
    third.await_page(&replayed(&definitions, &all));
    assert_eq!(third.metric("churnwatch_restore_failures_total"), Some(f64::from(PARTITIONS)));
    assert_eq!(third.stop().records, 1_000);
}

#[test]
fn other_windows_and_groupings_need_no_record_to_be_read_again() {
    let fixture = Fixture::new(GROUPINGS);
    let all = events(5, 3_000);
    fixture.produce(&all);
    let first = fixture.start();
    first.await_page(&replayed(&fixture.settings.definitions(), &all));
    first.stop();

    let more = "
        [[groupings]]
        by = ['region']
        [[groupings]]
        by = ['plan', 'signup_week']
        [windows]
        lengths = ['3d', '14d']
        step = '30m'";
    let brokers = fixture.broker.bootstrap_servers().unwrap();
    let changed = settings(&brokers, fixture.directory.path(), more);
    let second = Running::start(Options::new(&changed));
    second.await_page(&replayed(&changed.definitions(), &all));
    assert_eq!(second.stop().records, 0);
}

#[test]
fn settings_that_histories_depend_on_are_refused_until_rebuilt() {
    let fixture = Fixture::new("");
    let all = events(6, 500);
    fixture.produce(&all);
    let first = fixture.start();
    first.await_page(&replayed(&fixture.settings.definitions(), &all));
    first.stop();

    let brokers = fixture.broker.bootstrap_servers().unwrap();
    let changed = settings(&brokers, fixture.directory.path(), "[lifecycle]\ngrace_period = '3d'");
    let refused = Instance::start(Options::new(&changed)).unwrap().join().unwrap_err();
    assert!(matches!(refused.downcast_ref(), Some(StoreError::Settings(_))), "{refused:#}");

    let rebuilt = Running::start(Options { rebuild: true, ..Options::new(&changed) });
    rebuilt.await_page(&replayed(&changed.definitions(), &all));
    assert_eq!(rebuilt.stop().records, 500);
    let after = Running::start(Options::new(&changed));
    after.await_page(&replayed(&changed.definitions(), &all));
    assert_eq!(after.stop().records, 0);
}

#[test]
fn an_offset_is_committed_only_behind_a_durable_snapshot() {
    let mut fixture = Fixture::new("");
    fixture.settings.snapshot.interval = Duration::from_millis(50);
    let all = events(7, 6_000);
    let running = fixture.start();
    let mut seen = 0;
    for part in all.chunks(300) {
        fixture.produce(part);
        seen += part.len() as u64;
        assert!(poll(|| running.instance.records() >= seen));
        // Committed first: what is durable only grows.
        let committed = fixture.committed();
        for (partition, offset) in committed.into_iter().enumerate().filter(|(_, offset)| *offset > 0) {
            let durable = newest_offset(&fixture, partition);
            assert!(offset <= durable, "partition {partition}: {offset} committed, {durable} durable");
        }
    }
    assert!(poll(|| fixture.committed().iter().sum::<i64>() == 6_000), "{:?}", fixture.committed());
    running.stop();
}

/// The next offset of a partition's newest snapshot; one that is pruned while this looks is older.
fn newest_offset(fixture: &Fixture, partition: usize) -> i64 {
    let folder = fixture.directory.path().join(format!("snapshots/{}-{partition}", super::fixture::TOPIC));
    let files = fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|e| fs::File::open(e.path()).ok());
    files.filter_map(|mut file| Some(snapshot::read_header(&mut file).ok()?.next_offset)).max().unwrap_or(0)
}

#[test]
fn records_that_retention_deleted_are_an_error_and_no_guess() {
    let fixture = Fixture::new("");
    let all = events(8, 400);
    fixture.produce(&all);
    let first = fixture.start();
    first.await_page(&replayed(&fixture.settings.definitions(), &all));
    first.stop();

    // The same snapshots with a topic that ends before them.
    let other = Fixture::new("");
    let brokers = other.broker.bootstrap_servers().unwrap();
    let moved = settings(&brokers, fixture.directory.path(), "");
    let error = Instance::start(Options::new(&moved)).unwrap().join().unwrap_err().to_string();
    for part in ["customer-lifecycle[", "--rebuild", "retention"] {
        assert!(error.contains(part), "{error}");
    }
}
