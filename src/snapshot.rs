//! The snapshot codec: a shard's histories and next offset, as bytes and back.

use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::cohort::Definitions;
use crate::shard::Shard;

/// What a snapshot says about itself, readable without restoring it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub topic: String,
    pub partition: i32,
    pub next_offset: i64,
    pub customers: u64,
}

/// Why a snapshot cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Torn, flipped, or never a snapshot: use the one before.
    #[error("is damaged: {0}")]
    Damaged(String),
    #[error("has format version {0}, which this version of churnwatch does not read")]
    Version(u32),
    /// Made under settings that the histories depend on.
    #[error("was made with {was}, but the configuration now says {now}")]
    Settings { was: String, now: String },
}

/// Writes the shard of one partition. Canonical: equal shards give equal bytes.
pub fn write(_shard: &Shard, _topic: &str, _partition: i32, _out: &mut impl Write) -> io::Result<()> {
    todo!()
}

/// Reads back what [`write`] wrote. Never panics and never allocates beyond the input's size, whatever the bytes.
pub fn read(_input: &mut impl Read, _definitions: Arc<Definitions>) -> Result<(Header, Shard), RestoreError> {
    todo!()
}

/// Reads the header alone.
pub fn read_header(_input: &mut impl Read) -> Result<Header, RestoreError> {
    todo!()
}
