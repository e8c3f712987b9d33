//! The Kafka side of the shell: partitions in, shards read to a known offset, snapshots before commits.
//!
//! One thread polls the client (`group`: rebalances, errors, statistics), workers own the shards and pull
//! from their partitions' queues (`worker`), one writes snapshots (`writer`), one rejected records to their topic
//! (`dead_letters`). They exchange messages; no lock is held on the path of an event.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::own_metrics::OwnMetrics;
use crate::publish::{Published, Readiness};

pub(crate) mod as_of;
pub(crate) mod client;
pub(crate) mod dead_letters;
pub(crate) mod group;
pub(crate) mod held;
pub(crate) mod lifecycle;
pub mod produce;
pub(crate) mod queue;
pub(crate) mod rejected;
pub(crate) mod worker;
pub(crate) mod writer;

/// One partition of one topic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// Whether an instance goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Course {
    GoOn = 0,
    /// Drain, snapshot, commit, leave.
    Stop = 1,
    /// End without saving anything, as a crash would.
    Abort = 2,
}

/// The partitions that the group has given to this instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assignment {
    /// Goes up whenever partitions come or go: numbers of an older epoch must not be published.
    pub epoch: u64,
    /// With the epoch in which each was assigned. `None` before the first assignment.
    pub partitions: Option<BTreeMap<TopicPartition, u64>>,
}

/// What the threads of one instance have in common. Nothing here is touched per event.
pub(crate) struct Shared {
    pub metrics: OwnMetrics,
    pub published: Arc<Published>,
    /// Records read, whatever became of them; updated per batch.
    pub records: AtomicU64,
    pub said_unkeyed: AtomicBool,
    assignment: Mutex<Assignment>,
    course: AtomicU8,
    failure: Mutex<Option<anyhow::Error>>,
}

impl Shared {
    pub fn new(metrics: OwnMetrics, published: Arc<Published>) -> Self {
        Self {
            metrics,
            published,
            records: AtomicU64::new(0),
            said_unkeyed: AtomicBool::new(false),
            assignment: Mutex::default(),
            course: AtomicU8::new(Course::GoOn as u8),
            failure: Mutex::new(None),
        }
    }

    pub fn assignment(&self) -> MutexGuard<'_, Assignment> {
        self.assignment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the published numbers back: partitions come or go.
    pub fn withhold(&self) {
        let reason = match self.course() {
            Course::GoOn => "the consumer group is rebalancing",
            Course::Stop | Course::Abort => "ending",
        };
        self.published.withhold();
        self.published.readiness.store(Arc::new(Readiness::NotReady(reason.to_owned())));
    }

    pub fn course(&self) -> Course {
        match self.course.load(Ordering::Acquire) {
            0 => Course::GoOn,
            1 => Course::Stop,
            _ => Course::Abort,
        }
    }

    /// The harder of the two courses holds.
    pub fn set_course(&self, course: Course) {
        self.course.fetch_max(course as u8, Ordering::AcqRel);
    }

    /// Ends the instance with an error that no retry can mend; the first one is told.
    pub fn fail(&self, error: anyhow::Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.set_course(Course::Stop);
    }

    pub fn take_failure(&self) -> Option<anyhow::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
