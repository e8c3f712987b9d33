//! What goes wrong between churnwatch and its snapshots, and whether to try again.

use std::io;

use super::Epoch;

/// The store holds a snapshot that must neither be used nor silently discarded.
#[derive(Debug, thiserror::Error)]
#[error(
    "the snapshot {place} was made with {was}, but the configuration now says {now}: \
     configure {was} again, name another snapshot.store, or start once with `churnwatch run --rebuild`, \
     which sets the snapshots aside and reads the topic from its beginning"
)]
pub struct SettingsMismatch {
    pub place: String,
    pub was: String,
    pub now: String,
}

/// Why a partition cannot be claimed or restored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Settings(#[from] SettingsMismatch),
    /// It does not answer, or not now, or not for this partition.
    #[error("the snapshot store does not serve {place} at the moment: {error}")]
    Unavailable { place: String, error: io::Error },
    /// It says no to everything.
    #[error(
        "the snapshot store, {place}: {error}; correct snapshot.store, or let this process list, create, read and \
         remove there"
    )]
    Refused { place: String, error: io::Error },
    /// It would let an instance that lost a partition write over the snapshots of the one that has it.
    #[error(
        "the snapshot store, {place}: it wrote over an object that was to be created only if absent (If-None-Match), \
         and so cannot keep two instances apart: use a store that honours conditional writes"
    )]
    Overwrites { place: String },
    #[error(
        "the snapshot {place} has format version {version}, which this version of churnwatch does not read: run the \
         one that wrote it, or start once with `churnwatch run --rebuild`, which reads the topic from its beginning"
    )]
    Version { place: String, version: u32 },
}

impl StoreError {
    /// Whether the same call may succeed later, without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// From trying the store as a whole.
    pub(super) fn of_check(place: String, error: io::Error) -> Self {
        if is_transient(error.kind()) { Self::Unavailable { place, error } } else { Self::Refused { place, error } }
    }
}

/// Why a snapshot is not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Somebody else has claimed the partition since: nothing of this claim counts any more.
    #[error("the partition was claimed anew since (claim {})", .by.0)]
    Fenced { by: Epoch },
    /// It is worth trying again later.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// What a network, a server or a full disk does and stops doing; no permission, no folder and a broken disk stay.
fn is_transient(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::TimedOut
            | K::Interrupted
            | K::WouldBlock
            | K::ResourceBusy
            | K::StaleNetworkFileHandle
            | K::StorageFull
            | K::QuotaExceeded
            | K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::NotConnected
            | K::BrokenPipe
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::NetworkDown
    )
}
