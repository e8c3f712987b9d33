//! `churnwatch run`: the whole path, wired in the direction in which data flows.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cohort::Definitions;
use crate::kafka;
use crate::publish::Published;
use crate::time::{Instant, Span};

/// What decides the instant of the published numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The wall clock for a partition read to its end, else the timestamp of the last record read from it;
    /// the smallest over the partitions.
    Wall,
    /// The largest `event_time` accepted.
    Event,
}

/// Where snapshots go, and how often.
#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    pub directory: PathBuf,
    pub interval: Duration,
    /// How many of each partition's are kept; at least one.
    pub keep: usize,
}

/// All that an instance is told.
#[derive(Clone, Debug)]
pub struct Options {
    pub definitions: Arc<Definitions>,
    pub kafka: kafka::Options,
    pub clock: Clock,
    /// `time.max_future`
    pub max_future: Span,
    pub snapshots: SnapshotOptions,
    pub publish_interval: Duration,
    /// Sets the snapshots aside and reads the topics from their beginning.
    pub rebuild: bool,
    /// The wall clock.
    pub now: fn() -> Instant,
}

/// What an instance did, known once it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records read, whatever became of them.
    pub records: u64,
    pub counts: crate::shard::Counts,
}

/// A running consumer with its publication loop: everything of `run` but HTTP and signals.
pub struct Instance {
    published: Arc<Published>,
}

impl Instance {
    /// Starts reading. Fails on what no retry can mend, such as an unknown client property; a broker that is
    /// not there is waited for.
    pub fn start(_options: Options) -> anyhow::Result<Self> {
        todo!()
    }

    /// What HTTP serves.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// How many records were read so far, whatever became of them.
    pub fn records(&self) -> u64 {
        todo!()
    }

    /// Whether it has ended, or failed: [`Self::join`] says why.
    pub fn is_finished(&self) -> bool {
        todo!()
    }

    /// Asks it to end in good order: drain, snapshot, commit, leave the group. Returns at once.
    pub fn stop(&self) {
        todo!()
    }

    /// Ends it as a crash would: nothing is saved. Returns at once.
    pub fn abort(&self) {
        todo!()
    }

    /// Waits for the end.
    pub fn join(self) -> anyhow::Result<Summary> {
        todo!()
    }
}

/// The wall clock of the machine.
pub fn wall_clock() -> Instant {
    Instant::from_millis(jiff::Timestamp::now().as_millisecond())
}
