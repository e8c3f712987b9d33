//! A directory of snapshots: one folder a partition, one file a snapshot, the newest valid one wins.
//!
//! A file is written under a temporary name, synced and renamed, so that a snapshot is there whole or not at
//! all. Names sort by age: a sequence number, then the next offset. Not the offset first, for after a damaged
//! snapshot was passed over, or the topic read again, newer snapshots have smaller offsets for a while.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::kafka::TopicPartition;
use crate::snapshot::{Header, RestoreError};

const SUFFIX: &str = ".snapshot";
const TEMPORARY_SUFFIX: &str = ".tmp";
const SET_ASIDE_SUFFIX: &str = ".set-aside";

/// A directory in which snapshots are kept.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    keep: usize,
}

/// What restoring a partition came to.
#[derive(Debug)]
pub struct Restored<T> {
    /// The newest snapshot that could be read; `None` where there is none.
    pub newest: Option<Newest<T>>,
    /// How many newer ones could not be.
    pub unreadable: usize,
}

/// A snapshot that was read whole.
#[derive(Debug)]
pub struct Newest<T> {
    pub header: Header,
    pub value: T,
    pub size_bytes: u64,
}

/// The store holds a snapshot that must neither be used nor silently discarded.
#[derive(Debug, thiserror::Error)]
#[error(
    "the snapshot {} was made with {was}, but the configuration now says {now}: \
     configure {was} again, name another snapshot.store, or start once with `churnwatch run --rebuild`, \
     which sets the snapshots aside and reads the topic from its beginning",
    .path.display()
)]
pub struct SettingsMismatch {
    pub path: PathBuf,
    pub was: String,
    pub now: String,
}

/// Why a partition cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Settings(#[from] SettingsMismatch),
    #[error("the snapshot store, {}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "the snapshot {} has format version {version}, which this version of churnwatch does not read: run the one \
         that wrote it, or start once with `churnwatch run --rebuild`, which reads the topic from its beginning",
        .path.display()
    )]
    Version { path: PathBuf, version: u32 },
}

impl Store {
    /// Opens the directory, creating it where it is not there; `keep` snapshots of each partition are kept,
    /// at least one.
    pub fn open(directory: &Path, keep: usize) -> Result<Self, StoreError> {
        let store = Self { directory: directory.to_owned(), keep: keep.max(1) };
        fs::create_dir_all(directory).map_err(|error| store.error(directory, error))?;
        Ok(store)
    }

    /// Reads a partition's newest snapshot that `read` can read. Each one that it cannot is named in the log.
    pub fn restore<T>(
        &self,
        partition: &TopicPartition,
        mut read: impl FnMut(&mut dyn Read) -> Result<(Header, T), RestoreError>,
    ) -> Result<Restored<T>, StoreError> {
        let folder = self.folder(partition);
        self.remove_leftovers(&folder);
        let mut unreadable = 0;
        for path in self.snapshots(partition)?.into_iter().rev() {
            let attempt = File::open(&path).map_err(RestoreError::from).and_then(|file| {
                let size_bytes = file.metadata()?.len();
                let (header, value) = read(&mut BufReader::new(file))?;
                if header.topic != *partition.topic || header.partition != partition.partition {
                    let is = format!("a snapshot of {}[{}] in the wrong place", header.topic, header.partition);
                    return Err(RestoreError::Damaged(is));
                }
                Ok(Newest { header, value, size_bytes })
            });
            match attempt {
                Ok(newest) => return Ok(Restored { newest: Some(newest), unreadable }),
                Err(RestoreError::Settings { was, now }) => return Err(SettingsMismatch { path, was, now }.into()),
                // Nothing is wrong with the snapshot: to go on without it would lose what it holds.
                Err(RestoreError::Io(error)) => return Err(self.error(&path, error)),
                Err(RestoreError::Version(version)) => return Err(StoreError::Version { path, version }),
                Err(error) => {
                    unreadable += 1;
                    warn!(
                        "the snapshot {} {error}: the one before it is used, or the topic read from its \
                         beginning where there is none",
                        path.display()
                    );
                }
            }
        }
        Ok(Restored { newest: None, unreadable })
    }

    /// Writes a snapshot. When this returns it is durable, and the oldest beyond `keep` are gone.
    pub fn save(&self, partition: &TopicPartition, next_offset: i64, bytes: &[u8]) -> io::Result<PathBuf> {
        let folder = self.folder(partition);
        if !folder.is_dir() {
            fs::create_dir_all(&folder)?;
            sync_directory(&self.directory)?;
        }
        let sequence = last_sequence(&folder)? + 1;
        let path = folder.join(format!("{sequence:010}-{next_offset:020}{SUFFIX}"));
        let temporary = path.with_extension(format!("{}{TEMPORARY_SUFFIX}", std::process::id()));
        let written = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            sync_directory(&folder)
        })();
        if let Err(error) = written {
            // What a full disk needs most is this file's room.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.prune(partition);
        Ok(path)
    }

    /// Takes a partition's snapshots out of use without deleting them: they go once a new one is durable.
    pub fn set_aside(&self, partition: &TopicPartition) -> Result<(), StoreError> {
        for path in self.snapshots(partition)? {
            let mut aside = path.clone().into_os_string();
            aside.push(SET_ASIDE_SUFFIX);
            fs::rename(&path, &aside).map_err(|error| self.error(&path, error))?;
            info!("set aside the snapshot {}", path.display());
        }
        Ok(())
    }

    /// A partition's snapshots, the oldest first.
    pub fn snapshots(&self, partition: &TopicPartition) -> Result<Vec<PathBuf>, StoreError> {
        let folder = self.folder(partition);
        let mut paths = Vec::new();
        match fs::read_dir(&folder) {
            Ok(entries) => {
                for entry in entries {
                    let path = entry.map_err(|error| self.error(&folder, error))?.path();
                    if has_suffix(&path, SUFFIX) {
                        paths.push(path);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.error(&folder, error)),
        }
        paths.sort();
        Ok(paths)
    }

    fn folder(&self, partition: &TopicPartition) -> PathBuf {
        self.directory.join(format!("{}-{}", escaped(&partition.topic), partition.partition))
    }

    /// Nobody but the partition's owner writes in its folder: what is temporary there was left by a crash.
    fn remove_leftovers(&self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if has_suffix(&entry.path(), TEMPORARY_SUFFIX) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removing is tidying: a file that stays is tried again after the next snapshot.
    fn prune(&self, partition: &TopicPartition) {
        let mut old = self.snapshots(partition).unwrap_or_default();
        old.truncate(old.len().saturating_sub(self.keep));
        let aside = fs::read_dir(self.folder(partition)).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in aside.filter(|path| has_suffix(path, SET_ASIDE_SUFFIX)).chain(old) {
            if let Err(error) = fs::remove_file(&path) {
                warn!("cannot remove the old snapshot {}: {error}", path.display());
            }
        }
    }

    fn error(&self, path: &Path, error: io::Error) -> StoreError {
        StoreError::Io { path: path.to_owned(), error }
    }
}

fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(suffix))
}

/// The largest sequence number of a snapshot, those set aside included; 0 where there is none.
fn last_sequence(folder: &Path) -> io::Result<u64> {
    let mut last = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let sequence = name.split('-').next().and_then(|digits| digits.parse().ok());
        if !name.ends_with(TEMPORARY_SUFFIX) {
            last = last.max(sequence.unwrap_or(0));
        }
    }
    Ok(last)
}

/// Kafka's own rules make a topic a safe file name; this holds where a broker is laxer.
fn escaped(topic: &str) -> String {
    let mut name = String::new();
    for byte in topic.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

/// Makes a renamed or created name durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
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

    fn save(store: &Store, offset: i64, text: &str) -> PathBuf {
        store.save(&partition(), offset, text.as_bytes()).unwrap()
    }

    fn store(keep: usize) -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("not/there/yet"), keep).unwrap();
        (directory, store)
    }

    #[test]
    fn the_newest_is_restored_and_only_some_are_kept() {
        let (_directory, store) = store(3);
        let nothing = store.restore(&partition(), read).unwrap();
        assert!(nothing.newest.is_none() && nothing.unreadable == 0);
        for offset in (0..12).chain([1_000_000, 500]) {
            save(&store, offset, &offset.to_string());
        }
        assert_eq!(
            store.restore(&partition(), read).unwrap().newest.unwrap().value,
            500,
            "the newest, not the furthest"
        );
        assert_eq!(store.snapshots(&partition()).unwrap().len(), 3);
        let elsewhere = TopicPartition { partition: 4, ..partition() };
        assert!(store.restore(&elsewhere, read).unwrap().newest.is_none());
    }

    #[test]
    fn the_one_before_is_used_where_the_newest_cannot_be_read() {
        let (_directory, store) = store(5);
        save(&store, 10, "10");
        save(&store, 20, "torn");
        save(&store, 30, "");
        let misplaced = save(&store, 40, "40");
        let foreign = TopicPartition { partition: 4, ..partition() };
        fs::create_dir_all(store.folder(&foreign)).unwrap();
        fs::copy(&misplaced, store.folder(&foreign).join(misplaced.file_name().unwrap())).unwrap();
        fs::remove_file(misplaced).unwrap();

        let restored = store.restore(&partition(), read).unwrap();
        assert_eq!((restored.newest.unwrap().value, restored.unreadable), (10, 2));
        let restored = store.restore(&foreign, read).unwrap();
        assert!(restored.newest.is_none() && restored.unreadable == 1);
    }

    #[test]
    fn a_snapshot_that_is_not_damaged_is_never_passed_over() {
        let (_directory, store) = store(5);
        save(&store, 10, "10");
        let newer = save(&store, 20, "newer");
        let message = store.restore(&partition(), read).unwrap_err().to_string();
        assert!(message.contains(newer.to_str().unwrap()) && message.contains("--rebuild"), "{message}");
        fs::remove_file(&newer).unwrap();
        // A folder opens as a file does, and then cannot be read.
        fs::create_dir(&newer).unwrap();
        let message = store.restore(&partition(), read).unwrap_err().to_string();
        assert!(message.contains(newer.to_str().unwrap()), "{message}");
    }

    #[test]
    fn other_settings_are_an_error_that_names_both_and_the_remedy() {
        let (_directory, store) = store(5);
        save(&store, 10, "10");
        let path = save(&store, 20, "other settings");
        let message = store.restore(&partition(), read).unwrap_err().to_string();
        for part in [path.to_str().unwrap(), "time.zone = UTC", "time.zone = Asia/Tokyo", "--rebuild"] {
            assert!(message.contains(part), "{message}");
        }
        store.set_aside(&partition()).unwrap();
        assert!(store.restore(&partition(), read).unwrap().newest.is_none());
        save(&store, 5, "5");
        assert_eq!(fs::read_dir(store.folder(&partition())).unwrap().count(), 1, "what was set aside is gone");
    }

    #[test]
    fn what_a_crash_left_is_removed_and_never_read() {
        let (_directory, store) = store(5);
        save(&store, 10, "10");
        let leftover = store.folder(&partition()).join("0000000002-00000000000000000020.77.tmp");
        fs::write(&leftover, "20").unwrap();
        assert_eq!(store.restore(&partition(), read).unwrap().newest.unwrap().value, 10);
        assert!(!leftover.exists());
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let (_directory, store) = store(5);
        save(&store, 10, "10");
        // The temporary name is taken by a directory, as good as a disk that refuses.
        let name = format!("0000000002-00000000000000000020.{}.tmp", std::process::id());
        let taken = store.folder(&partition()).join(name);
        fs::create_dir(&taken).unwrap();
        store.save(&partition(), 20, b"20").unwrap_err();
        fs::remove_dir(&taken).unwrap();
        assert_eq!(store.restore(&partition(), read).unwrap().newest.unwrap().value, 10);
        assert_eq!(fs::read_dir(store.folder(&partition())).unwrap().count(), 1);
    }

    #[test]
    fn any_topic_is_a_file_name() {
        assert_eq!(escaped("customer.lifecycle_v1-a"), "customer.lifecycle_v1-a");
        assert_eq!(escaped("../é"), "..%2F%C3%A9");
    }
}
