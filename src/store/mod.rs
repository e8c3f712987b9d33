//! Snapshots that outlive the instance: one folder a partition, one file a snapshot, the newest valid one wins.
//!
//! Whoever owns a partition claims it first, with an epoch greater than any before. A snapshot's name begins with its
//! owner's epoch, nothing is ever overwritten, and an owner who sees a greater epoch than its own has been fenced:
//! it saves and removes nothing any more. What it may still have written in between sorts below its successor's.

mod directory;
mod error;
mod files;
mod name;
mod objects;
#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tracing::{info, warn};

use crate::kafka::TopicPartition;
use crate::settings::{self, StoreUrl};
use crate::snapshot::{Header, RestoreError};

use directory::Directory;
pub use error::{SaveError, SettingsMismatch, StoreError};
use files::{Created, Files};
pub use name::Epoch;
use name::{Age, Listing, Name};
use objects::Objects;

/// How often a name that is taken, or a file that vanishes, is answered by looking again.
const ATTEMPTS: usize = 10;

/// Where snapshots are kept. Calls block.
#[derive(Clone, Debug)]
pub struct Store {
    files: Arc<dyn Files>,
    keep: usize,
    /// Whether it was seen to refuse to overwrite.
    checked: Arc<AtomicBool>,
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

impl Store {
    /// Opens the store, creating its directory where it is not there; an object store is not asked anything yet.
    pub fn open(snapshot: &settings::Snapshot) -> Result<Self, StoreError> {
        Self::open_with(snapshot, &[])
    }

    /// As [`Self::open`], with options of an object store that go over those of the environment: named as its variables
    /// are, in lower case.
    pub fn open_with(snapshot: &settings::Snapshot, options: &[(&str, &str)]) -> Result<Self, StoreError> {
        let files: io::Result<Arc<dyn Files>> = match &snapshot.store {
            StoreUrl::Directory(path) => Directory::open(path).map(|directory| Arc::new(directory) as _),
            StoreUrl::Objects(url) => Objects::open(url, options).map(|objects| Arc::new(objects) as _),
        };
        let files = files.map_err(|error| StoreError::Refused { place: snapshot.store.to_string(), error })?;
        Ok(Self::over(files, snapshot.keep))
    }

    fn over(files: Arc<dyn Files>, keep: usize) -> Self {
        Self { files, keep: keep.max(1), checked: Arc::default() }
    }

    /// Whether the store answers, lists, and refuses to overwrite, without which a claim would mean nothing.
    pub fn check(&self) -> Result<(), StoreError> {
        const ROOT: &str = "";
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| StoreError::of_check(self.files.place(ROOT, ""), io::Error::other(error)))?;
        let name = format!("probe-{:016x}", u64::from_ne_bytes(random));
        let create = || self.files.create(ROOT, &name, &[Bytes::from_static(b"probe")]);
        // Taken the first time already: by an attempt of ours whose answer was lost.
        let again = create().and_then(|_| create());
        let removed = self.files.remove(ROOT, &name);
        let refused = |error| StoreError::of_check(self.files.place(ROOT, &name), error);
        if again.map_err(refused)? == Created::New {
            return Err(StoreError::Overwrites { place: self.files.place(ROOT, "") });
        }
        removed.and_then(|()| self.files.list(ROOT)).map_err(refused)?;
        self.checked.store(true, Ordering::Release);
        Ok(())
    }

    /// Claims a partition: from now on what an earlier claim saves is refused.
    pub fn claim(&self, partition: &TopicPartition) -> Result<Epoch, StoreError> {
        if !self.checked.load(Ordering::Acquire) {
            self.check()?;
        }
        let folder = folder(partition);
        let epoch = Epoch(self.list(&folder)?.epoch().0.saturating_add(1));
        let name = Name::Claim(epoch).to_string();
        match self.create(&folder, &name, &[])? {
            Created::New => {
                self.files.tidy(&folder, epoch);
                Ok(epoch)
            }
            // Perhaps by the rightful owner, while this one was slow: not tried again before it is known to be wanted.
            Created::TakenAlready => {
                let contended = io::Error::new(io::ErrorKind::ResourceBusy, "claimed by another at the same moment");
                Err(self.error(&folder, &name, contended))
            }
        }
    }

    /// Reads a partition's newest snapshot that `read` can read. Each one that it cannot is named in the log.
    pub fn restore<T>(
        &self,
        partition: &TopicPartition,
        mut read: impl FnMut(&mut dyn Read) -> Result<(Header, T), RestoreError>,
    ) -> Result<Restored<T>, StoreError> {
        let folder = folder(partition);
        let mut unreadable = Vec::new();
        'listing: for _ in 0..ATTEMPTS {
            for name in self.list(&folder)?.snapshots().into_iter().rev() {
                if unreadable.contains(&name) {
                    continue;
                }
                match self.read(partition, &folder, name, &mut read) {
                    Ok(Some(newest)) => return Ok(Restored { newest: Some(newest), unreadable: unreadable.len() }),
                    Ok(None) => unreadable.push(name),
                    // An owner before has just removed it, so there is a newer one.
                    Err(StoreError::Unavailable { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                        continue 'listing;
                    }
                    Err(error) => return Err(error),
                }
            }
            return Ok(Restored { newest: None, unreadable: unreadable.len() });
        }
        let contended = io::Error::new(io::ErrorKind::ResourceBusy, "snapshots vanish while they are read");
        Err(self.error(&folder, "", contended))
    }

    /// `None` where the snapshot is damaged.
    fn read<T>(
        &self,
        partition: &TopicPartition,
        folder: &str,
        name: Name,
        read: &mut impl FnMut(&mut dyn Read) -> Result<(Header, T), RestoreError>,
    ) -> Result<Option<Newest<T>>, StoreError> {
        let name = name.to_string();
        let attempt = self.files.read(folder, &name).map_err(RestoreError::Io).and_then(|(size_bytes, mut input)| {
            let (header, value) = read(&mut input)?;
            if header.topic != *partition.topic || header.partition != partition.partition {
                let is = format!("a snapshot of {}[{}] in the wrong place", header.topic, header.partition);
                return Err(RestoreError::Damaged(is));
            }
            Ok(Newest { header, value, size_bytes })
        });
        let place = || self.files.place(folder, &name);
        match attempt {
            Ok(newest) => Ok(Some(newest)),
            Err(RestoreError::Settings { was, now }) => Err(SettingsMismatch { place: place(), was, now }.into()),
            // Nothing is wrong with the snapshot: to go on without it would lose what it holds.
            Err(RestoreError::Io(error)) => Err(self.error(folder, &name, error)),
            Err(RestoreError::Version(version)) => Err(StoreError::Version { place: place(), version }),
            Err(error @ RestoreError::Damaged(_)) => {
                warn!(
                    "the snapshot {} {error}: the one before it is used, or the topic read from its \
                     beginning where there is none",
                    place()
                );
                Ok(None)
            }
        }
    }

    /// Writes a snapshot, of its parts in their order. When this returns it is durable, nobody had claimed the partition since, and the oldest
    /// beyond `keep` are gone.
    pub fn save(
        &self,
        partition: &TopicPartition,
        epoch: Epoch,
        next_offset: i64,
        parts: Vec<Bytes>,
    ) -> Result<(), SaveError> {
        let folder = folder(partition);
        let mut sequence = 0;
        let mut created = Created::TakenAlready;
        for _ in 0..ATTEMPTS {
            // Taken: an attempt of ours that failed as it seemed, and came through after all.
            sequence = self.unfenced(&folder, epoch)?.last_sequence(epoch).max(sequence) + 1;
            let name = Name::Snapshot(Age { epoch, sequence, next_offset }).to_string();
            created = self.create(&folder, &name, &parts)?;
            if created == Created::New {
                break;
            }
        }
        if created == Created::TakenAlready {
            let taken = io::Error::new(io::ErrorKind::ResourceBusy, "every name for the next snapshot is taken");
            return Err(self.error(&folder, "", taken).into());
        }
        // Only now: who claims later than this listing restores what was just written.
        let listing = self.unfenced(&folder, epoch)?;
        drop(parts);
        self.prune(&folder, &listing.outdated(epoch, self.keep));
        Ok(())
    }

    /// Takes what was saved before the claim out of use without deleting it: it goes once a new one is durable.
    pub fn set_aside(&self, partition: &TopicPartition, epoch: Epoch) -> Result<(), StoreError> {
        let folder = folder(partition);
        let before = self.list(&folder)?.snapshots().len();
        let name = Name::SetAside(epoch).to_string();
        self.create(&folder, &name, &[])?;
        info!("set aside {before} snapshots of {partition}: {} says so", self.files.place(&folder, &name));
        Ok(())
    }

    fn list(&self, folder: &str) -> Result<Listing, StoreError> {
        let names = self.files.list(folder).map_err(|error| self.error(folder, "", error))?;
        Ok(Listing::new(names))
    }

    /// What the folder holds, as long as the claim is the greatest.
    fn unfenced(&self, folder: &str, epoch: Epoch) -> Result<Listing, SaveError> {
        let listing = self.list(folder)?;
        let by = listing.epoch();
        if by > epoch { Err(SaveError::Fenced { by }) } else { Ok(listing) }
    }

    /// Removing is tidying: what stays is tried again after the next snapshot.
    fn prune(&self, folder: &str, names: &[Name]) {
        for name in names.iter().map(Name::to_string) {
            match self.files.remove(folder, &name) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    warn!("cannot remove the old {}: {error}", self.files.place(folder, &name));
                    return;
                }
            }
        }
    }

    fn create(&self, folder: &str, name: &str, parts: &[Bytes]) -> Result<Created, StoreError> {
        self.files.create(folder, name, parts).map_err(|error| self.error(folder, name, error))
    }

    /// The store as a whole was seen to work: what goes wrong in one folder must not end the instance, for the next one
    /// that is given the partition would end, too, until none is left.
    fn error(&self, folder: &str, name: &str, error: io::Error) -> StoreError {
        StoreError::Unavailable { place: self.files.place(folder, name), error }
    }
}

fn folder(partition: &TopicPartition) -> String {
    format!("{}-{}", escaped(&partition.topic), partition.partition)
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
