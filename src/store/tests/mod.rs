//! The store over both backends.

mod interleavings;

use std::fs;
use std::time::Duration;

use object_store::memory::InMemory;

use super::*;

fn partition() -> TopicPartition {
    TopicPartition { topic: "events".into(), partition: 3 }
}

const FOLDER: &str = "events-3";

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

/// A store, and an owner's claim.
struct Fixture {
    directory: tempfile::TempDir,
    store: Store,
    epoch: Epoch,
}

impl Fixture {
    fn new(in_directory: bool, keep: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = if in_directory {
            let store = StoreUrl::Directory(directory.path().join("not/there/yet"));
            Store::open(&settings::Snapshot { store, interval: Duration::ZERO, keep }).unwrap()
        } else {
            let objects = Objects::over(Arc::new(InMemory::new()), "a/prefix".into(), "memory://a/prefix").unwrap();
            Store::over(Arc::new(objects), keep)
        };
        let epoch = store.claim(&partition()).unwrap();
        Self { directory, store, epoch }
    }

    fn folder(&self) -> std::path::PathBuf {
        self.directory.path().join("not/there/yet").join(FOLDER)
    }

    fn save(&self, offset: i64, text: &str) {
        self.store.save(&partition(), self.epoch, offset, vec![Bytes::copy_from_slice(text.as_bytes())]).unwrap();
    }

    /// Makes a file as somebody else would.
    fn put(&self, folder: &str, name: &str, text: &'static str) {
        assert_eq!(
            self.store.files.create(folder, name, &[Bytes::from_static(text.as_bytes())]).unwrap(),
            Created::New
        );
    }

    fn restored(&self) -> (Option<i64>, usize) {
        let restored = self.store.restore(&partition(), read).unwrap();
        (restored.newest.map(|newest| newest.value), restored.unreadable)
    }

    fn refused(&self) -> StoreError {
        let error = self.store.restore(&partition(), read).unwrap_err();
        assert!(!error.is_transient(), "{error}");
        error
    }

    /// Sorted.
    fn names(&self) -> Vec<String> {
        let mut names = self.store.files.list(FOLDER).unwrap();
        names.sort();
        names
    }

    fn newest(&self) -> String {
        self.store.list(FOLDER).unwrap().snapshots().last().unwrap().to_string()
    }
}

/// Runs the check on a directory and on an object store.
fn check(keep: usize, check: impl Fn(&mut Fixture)) {
    check(&mut Fixture::new(true, keep));
    check(&mut Fixture::new(false, keep));
}

#[test]
fn the_newest_is_restored_and_only_some_are_kept() {
    check(3, |fixture| {
        assert_eq!(fixture.restored(), (None, 0));
        for offset in (0..12).chain([1_000_000, 500]) {
            fixture.save(offset, &offset.to_string());
        }
        assert_eq!(fixture.restored(), (Some(500), 0), "the newest, not the furthest");
        assert_eq!(fixture.store.list(FOLDER).unwrap().snapshots().len(), 3);
        let elsewhere = TopicPartition { partition: 4, ..partition() };
        assert!(fixture.store.restore(&elsewhere, read).unwrap().newest.is_none());
        assert_eq!(fixture.store.files.list("").unwrap(), folders(fixture), "no probe stays");
    });
}

/// A directory lists its folders, an object store has none.
fn folders(fixture: &Fixture) -> Vec<String> {
    if fixture.folder().exists() { vec![FOLDER.to_owned()] } else { Vec::new() }
}

#[test]
fn the_one_before_is_used_where_the_newest_cannot_be_read() {
    check(5, |fixture| {
        fixture.save(10, "10");
        fixture.save(20, "torn");
        fixture.save(30, "");
        assert_eq!(fixture.restored(), (Some(10), 2));
        fixture.put("events-4", "0000000001-0000000004-00000000000000000040.snapshot", "40");
        let foreign = TopicPartition { partition: 4, ..partition() };
        let restored = fixture.store.restore(&foreign, read).unwrap();
        assert!(restored.newest.is_none() && restored.unreadable == 1);
    });
}

#[test]
fn a_snapshot_that_is_not_damaged_is_never_passed_over() {
    check(5, |fixture| {
        fixture.save(10, "10");
        fixture.save(20, "newer");
        let message = fixture.refused().to_string();
        let place = fixture.store.files.place(FOLDER, &fixture.newest());
        assert!(message.contains(&place) && message.contains("--rebuild"), "{message}");
    });
    let fixture = Fixture::new(true, 5);
    fixture.save(10, "10");
    // A folder opens as a file does, and then cannot be read.
    let newer = fixture.folder().join("0000000001-0000000002-00000000000000000020.snapshot");
    fs::create_dir(&newer).unwrap();
    let error = fixture.store.restore(&partition(), read).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(newer.to_str().unwrap()), "{error}");
}

#[test]
fn other_settings_are_an_error_that_names_both_and_the_remedy() {
    check(5, |fixture| {
        fixture.save(10, "10");
        fixture.save(20, "other settings");
        let message = fixture.refused().to_string();
        for part in [fixture.newest().as_str(), "time.zone = UTC", "time.zone = Asia/Tokyo", "--rebuild"] {
            assert!(message.contains(part), "{message}");
        }
        fixture.epoch = fixture.store.claim(&partition()).unwrap();
        fixture.store.set_aside(&partition(), fixture.epoch).unwrap();
        assert_eq!(fixture.restored(), (None, 0));
        assert_eq!(fixture.names().len(), 5, "two snapshots, two claims and the mark");
        fixture.save(5, "5");
        let left = ["0000000002-0000000001-00000000000000000005.snapshot", "claim-0000000002"];
        assert_eq!(fixture.names(), left, "what was set aside is gone");
    });
}

#[test]
fn an_owner_before_is_fenced_and_touches_nothing() {
    check(1, |fixture| {
        fixture.save(10, "10");
        let before = fixture.names();
        let later = fixture.store.claim(&partition()).unwrap();
        let fenced = fixture.store.save(&partition(), fixture.epoch, 20, vec![Bytes::from_static(b"20")]).unwrap_err();
        assert!(matches!(fenced, SaveError::Fenced { by } if by == later), "{fenced}");
        assert_eq!(fixture.names(), [before, vec!["claim-0000000002".to_owned()]].concat());
        assert_eq!(fixture.restored(), (Some(10), 0));

        fixture.store.save(&partition(), later, 15, vec![Bytes::from_static(b"15")]).unwrap();
        assert_eq!(fixture.restored(), (Some(15), 0));
        let left = ["0000000002-0000000001-00000000000000000015.snapshot", "claim-0000000002"];
        assert_eq!(fixture.names(), left);
    });
}

/// A claim that comes second is tried again, as whoever still wants the partition does.
fn claimed_in_the_end(store: &Store) -> Epoch {
    loop {
        match store.claim(&partition()) {
            Ok(epoch) => return epoch,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

#[test]
fn claims_at_once_differ() {
    check(1, |fixture| {
        let store = &fixture.store;
        let mut epochs: Vec<Epoch> = std::thread::scope(|scope| {
            let claims: Vec<_> = (0..3).map(|_| scope.spawn(|| [(); 3].map(|()| claimed_in_the_end(store)))).collect();
            claims.into_iter().flat_map(|claim| claim.join().unwrap()).collect()
        });
        epochs.sort();
        epochs.dedup();
        assert_eq!(epochs.len(), 9, "{epochs:?}");
    });
}

#[test]
fn snapshots_from_before_there_were_claims_are_the_oldest() {
    check(2, |fixture| {
        fixture.put(FOLDER, "0000000008-00000000000000000070.snapshot", "70");
        fixture.put(FOLDER, "0000000009-00000000000000000080.snapshot", "80");
        assert_eq!(fixture.restored(), (Some(80), 0));
        fixture.save(60, "60");
        assert_eq!(fixture.restored(), (Some(60), 0));
        assert_eq!(fixture.names()[0], "0000000001-0000000001-00000000000000000060.snapshot");
        assert_eq!(fixture.names()[1], "0000000009-00000000000000000080.snapshot", "the one before that is pruned");
    });
}

#[test]
fn what_a_crash_left_is_removed_and_never_read() {
    let fixture = Fixture::new(true, 5);
    fixture.save(10, "10");
    let leftover = fixture.folder().join("0000000001-0000000002-00000000000000000020.snapshot.0a1b.tmp");
    fs::write(&leftover, "20").unwrap();
    assert_eq!(fixture.restored(), (Some(10), 0));
    fixture.store.claim(&partition()).unwrap();
    assert!(!leftover.exists());
}

#[test]
fn a_name_is_never_given_twice_and_nothing_temporary_stays() {
    check(1, |fixture| {
        fixture.put("f", "n", "first");
        assert_eq!(
            fixture.store.files.create("f", "n", &[Bytes::from_static(b"second")]).unwrap(),
            Created::TakenAlready
        );
        let (size_bytes, mut input) = fixture.store.files.read("f", "n").unwrap();
        let mut text = String::new();
        input.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), size_bytes), ("first", 5));
        assert_eq!(fixture.store.files.list("f").unwrap(), ["n"]);
    });
}

#[test]
fn a_large_snapshot_comes_back_whole() {
    check(1, |fixture| {
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 251) as u8).collect();
        let parts = bytes.chunks(999_999).map(Bytes::copy_from_slice).collect();
        fixture.store.save(&partition(), fixture.epoch, 1, parts).unwrap();
        let restored = fixture.store.restore(&partition(), |input| {
            let mut read = Vec::new();
            input.read_to_end(&mut read)?;
            Ok((Header { topic: "events".into(), partition: 3, next_offset: 1, customers: 0 }, read))
        });
        let newest = restored.unwrap().newest.unwrap();
        assert!(newest.value == bytes && newest.size_bytes == 5_000_000);
    });
}

#[test]
fn a_store_that_refuses_everything_is_not_waited_for() {
    let error = |kind: io::ErrorKind| StoreError::of_check("there".to_owned(), kind.into()).is_transient();
    use io::ErrorKind as K;
    assert!([K::TimedOut, K::ConnectionRefused, K::StorageFull, K::ResourceBusy].into_iter().all(error));
    assert!(![K::PermissionDenied, K::NotADirectory, K::InvalidInput, K::Unsupported].into_iter().any(error));
}

#[test]
fn one_folder_that_refuses_is_waited_for() {
    let fixture = Fixture::new(true, 1);
    let elsewhere = TopicPartition { partition: 4, ..partition() };
    fs::write(fixture.folder().with_file_name("events-4"), "").unwrap();
    assert!(fixture.store.claim(&elsewhere).unwrap_err().is_transient());
    assert!(fixture.store.restore(&elsewhere, read).unwrap_err().is_transient());
    fs::remove_file(fixture.folder().with_file_name("events-4")).unwrap();
    fixture.store.claim(&elsewhere).unwrap();
}

#[test]
fn any_topic_is_a_file_name() {
    assert_eq!(escaped("customer.lifecycle_v1-a"), "customer.lifecycle_v1-a");
    assert_eq!(escaped("../é"), "..%2F%C3%A9");
}
