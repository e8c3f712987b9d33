//! One Kafka partition's share of the whole: decode → history → tally, and what a snapshot saves.
//!
//! A rebalance moves shards, nothing else.

use std::sync::Arc;

use crate::cohort::Definitions;
use crate::event::{Event, Ignored, Kind, Rejection};
use crate::proto::LifecycleEvent;
use crate::readings::Readings;
use crate::time::Instant;

/// The secret under which customer ids are hashed; chosen at random for a new shard, kept in its snapshots.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The history is different now.
    Applied,
    /// A duplicate, or superseded by what is known already.
    Unchanged,
    Ignored(Ignored),
    Rejected(Rejection),
}

/// How many records had which outcome. Every record read is counted exactly once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By [`Kind::index`].
    pub applied: [u64; Kind::NAMES.len()],
    pub unchanged: u64,
    /// By position in [`Ignored::ALL`].
    pub ignored: [u64; Ignored::ALL.len()],
    /// By position in [`Rejection::ALL`].
    pub rejected: [u64; Rejection::ALL.len()],
    /// Of the applied and unchanged: those so old that folding hides their exact effect.
    pub beyond_horizon: u64,
}

/// Histories, tallies and the next offset of one partition.
pub struct Shard {
    definitions: Arc<Definitions>,
    counts: Counts,
    next_offset: i64,
}

impl Shard {
    /// An empty shard, whose records are read from offset 0 on.
    pub fn new(definitions: Arc<Definitions>, _key: HashKey) -> Self {
        Self { definitions, counts: Counts::default(), next_offset: 0 }
    }

    /// Takes in one record's payload (`None`: a tombstone) and counts what became of it. An event later
    /// than `latest_event_time` is rejected; `None` accepts any.
    pub fn consume(&mut self, _payload: Option<&[u8]>, _latest_event_time: Option<Instant>) -> Outcome {
        todo!()
    }

    /// As [`Self::consume`], for an event that is decoded already.
    pub fn consume_message(&mut self, _message: &LifecycleEvent, _latest_event_time: Option<Instant>) -> Outcome {
        todo!()
    }

    /// Applies one validated event. Uncounted: that is for [`Self::consume`].
    fn apply(&mut self, _event: &Event<'_>) -> Outcome {
        todo!()
    }

    /// Moves the as-of to `t`, builds the tallies where there are none, and lets everything run out that
    /// runs out by then. An earlier `t` than the last is ignored: as-of never goes backwards.
    pub fn advance(&mut self, _t: Instant) {
        todo!()
    }

    /// From now on history that no window as of `as_of` or later needs may be folded. The caller promises
    /// to publish nothing as of an earlier instant.
    pub fn fold_before_windows_of(&mut self, _as_of: Instant) {
        todo!()
    }

    /// The instant the tallies stand at: that of the last [`Self::advance`].
    pub fn as_of(&self) -> Option<Instant> {
        todo!()
    }

    /// The largest `event_time` accepted so far.
    pub fn latest_event(&self) -> Option<Instant> {
        todo!()
    }

    /// The numbers as of [`Self::as_of`]; nothing before the first [`Self::advance`].
    pub fn readings(&self) -> Readings {
        todo!()
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many customers have a history here.
    pub fn tracked_customers(&self) -> usize {
        todo!()
    }

    /// How many cohorts have a tally here, over all groupings.
    pub fn tracked_cohorts(&self) -> usize {
        todo!()
    }

    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }

    /// The offset of the first record that is not in the histories yet.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    pub fn set_next_offset(&mut self, offset: i64) {
        self.next_offset = offset;
    }
}
