use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn partition() -> TopicPartition {
    TopicPartition { topic: "events".into(), partition: 3 }
}

/// A snapshot in these tests is its next offset in decimal; anything else is damaged.
fn read(input: &mut dyn Read) -> Result<(Header, i64), RestoreError> {
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    if text == "other settings" {
        return Err(RestoreError::Settings { was: "time.zone = UTC".into(), now: "time.zone = Asia/Tokyo".into() });
    }
    if text == "newer" {
        return Err(RestoreError::Version(9));
    }
    let offset: i64 = text.parse().map_err(|_| RestoreError::Damaged(format!("{text:?}")))?;
    Ok((Header { topic: "events".into(), partition: 3, next_offset: offset, customers: 0 }, offset))
}

fn restored(store: &Store) -> (Option<i64>, usize) {
    let restored = store.restore(&partition(), read).unwrap();
    (restored.newest.map(|newest| newest.value), restored.unreadable)
}

/// A store in a directory, and an owner's claim.
struct Fixture {
    _directory: tempfile::TempDir,
    folder: PathBuf,
    store: Store,
    epoch: Epoch,
}

impl Fixture {
    fn new(keep: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("not/there/yet");
        let snapshot = settings::Snapshot { directory: path.clone(), interval: Duration::ZERO, keep };
        let store = Store::open(&snapshot).unwrap();
        let epoch = store.claim(&partition()).unwrap();
        Self { folder: path.join("events-3"), _directory: directory, store, epoch }
    }

    fn save(&self, offset: i64, text: &str) {
        self.store.save(&partition(), self.epoch, offset, text.as_bytes()).unwrap();
    }

    /// Sorted.
    fn names(&self) -> Vec<String> {
        let mut names = self.store.directory.list("events-3").unwrap();
        names.sort();
        names
    }

    fn newest(&self) -> PathBuf {
        self.folder.join(self.store.list("events-3").unwrap().snapshots().last().unwrap().to_string())
    }
}

#[test]
fn the_newest_is_restored_and_only_some_are_kept() {
    let fixture = Fixture::new(3);
    assert_eq!(restored(&fixture.store), (None, 0));
    for offset in (0..12).chain([1_000_000, 500]) {
        fixture.save(offset, &offset.to_string());
    }
    assert_eq!(restored(&fixture.store), (Some(500), 0), "the newest, not the furthest");
    assert_eq!(fixture.store.list("events-3").unwrap().snapshots().len(), 3);
    let elsewhere = TopicPartition { partition: 4, ..partition() };
    assert!(fixture.store.restore(&elsewhere, read).unwrap().newest.is_none());
}

#[test]
fn the_one_before_is_used_where_the_newest_cannot_be_read() {
    let fixture = Fixture::new(5);
    fixture.save(10, "10");
    fixture.save(20, "torn");
    fixture.save(30, "");
    fixture.save(40, "40");
    let misplaced = fixture.newest();
    let foreign = TopicPartition { partition: 4, ..partition() };
    let folder = fixture.folder.with_file_name("events-4");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(&misplaced, folder.join(misplaced.file_name().unwrap())).unwrap();
    fs::remove_file(misplaced).unwrap();

    assert_eq!(restored(&fixture.store), (Some(10), 2));
    let restored = fixture.store.restore(&foreign, read).unwrap();
    assert!(restored.newest.is_none() && restored.unreadable == 1);
}

#[test]
fn a_snapshot_that_is_not_damaged_is_never_passed_over() {
    let fixture = Fixture::new(5);
    fixture.save(10, "10");
    fixture.save(20, "newer");
    let newer = fixture.newest();
    let error = fixture.store.restore(&partition(), read).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(newer.to_str().unwrap()) && message.contains("--rebuild"), "{message}");
    assert!(!error.is_transient());
    fs::remove_file(&newer).unwrap();
    // A folder opens as a file does, and then cannot be read.
    fs::create_dir(&newer).unwrap();
    let error = fixture.store.restore(&partition(), read).unwrap_err();
    assert!(error.to_string().contains(newer.to_str().unwrap()), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn other_settings_are_an_error_that_names_both_and_the_remedy() {
    let mut fixture = Fixture::new(5);
    fixture.save(10, "10");
    fixture.save(20, "other settings");
    let path = fixture.newest();
    let message = fixture.store.restore(&partition(), read).unwrap_err().to_string();
    for part in [path.to_str().unwrap(), "time.zone = UTC", "time.zone = Asia/Tokyo", "--rebuild"] {
        assert!(message.contains(part), "{message}");
    }
    fixture.epoch = fixture.store.claim(&partition()).unwrap();
    fixture.store.set_aside(&partition(), fixture.epoch).unwrap();
    assert_eq!(restored(&fixture.store), (None, 0));
    assert!(path.exists());
    fixture.save(5, "5");
    assert_eq!(
        fixture.names(),
        ["0000000002-0000000001-00000000000000000005.snapshot", "claim-0000000002"],
        "what was set aside is gone"
    );
}

#[test]
fn an_owner_before_is_fenced_and_touches_nothing() {
    let fixture = Fixture::new(1);
    fixture.save(10, "10");
    let before = fixture.names();
    let later = fixture.store.claim(&partition()).unwrap();
    let fenced = fixture.store.save(&partition(), fixture.epoch, 20, b"20").unwrap_err();
    assert!(matches!(fenced, SaveError::Fenced { by } if by == later), "{fenced}");
    assert_eq!(fixture.names(), [before, vec!["claim-0000000002".to_owned()]].concat());
    assert_eq!(restored(&fixture.store), (Some(10), 0));

    fixture.store.save(&partition(), later, 15, b"15").unwrap();
    assert_eq!(restored(&fixture.store), (Some(15), 0));
    assert_eq!(fixture.names(), ["0000000002-0000000001-00000000000000000015.snapshot", "claim-0000000002"]);
}

#[test]
fn snapshots_from_before_there_were_claims_are_the_oldest() {
    let fixture = Fixture::new(2);
    for name in ["0000000008-00000000000000000070.snapshot", "0000000009-00000000000000000080.snapshot"] {
        fs::write(fixture.folder.join(name), "80").unwrap();
    }
    assert_eq!(restored(&fixture.store), (Some(80), 0));
    fixture.save(60, "60");
    assert_eq!(restored(&fixture.store), (Some(60), 0));
    assert!(!fixture.names().contains(&"0000000008-00000000000000000070.snapshot".to_owned()), "pruned");
}

#[test]
fn what_a_crash_left_is_removed_and_never_read() {
    let fixture = Fixture::new(5);
    fixture.save(10, "10");
    let leftover = fixture.folder.join("0000000001-0000000002-00000000000000000020.snapshot.tmp");
    fs::write(&leftover, "20").unwrap();
    assert_eq!(restored(&fixture.store), (Some(10), 0));
    fixture.store.claim(&partition()).unwrap();
    assert!(!leftover.exists());
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let fixture = Fixture::new(5);
    fixture.save(10, "10");
    let before = fixture.names();
    // The temporary name is taken by a directory, as good as a disk that refuses.
    let taken = fixture.folder.join("0000000001-0000000002-00000000000000000020.snapshot.tmp");
    fs::create_dir(&taken).unwrap();
    let error = fixture.store.save(&partition(), fixture.epoch, 20, b"20").unwrap_err();
    assert!(matches!(error, SaveError::Unavailable(_)), "{error}");
    fs::remove_dir(&taken).unwrap();
    assert_eq!(restored(&fixture.store), (Some(10), 0));
    assert_eq!(fixture.names(), before);
}

#[test]
fn any_topic_is_a_file_name() {
    assert_eq!(escaped("customer.lifecycle_v1-a"), "customer.lifecycle_v1-a");
    assert_eq!(escaped("../é"), "..%2F%C3%A9");
}
