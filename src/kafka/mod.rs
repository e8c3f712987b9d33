//! The Kafka side of the shell: partitions in, shards read to a known offset, snapshots before commits.
//!
//! One thread polls the client (`poll`: rebalances, errors, statistics; `group` decides what follows), some restore
//! shards (`restore`), workers own them and pull from their partitions' queues (`worker`), one writes snapshots
//! (`writer`), one rejected records to their topic (`dead_letters`). They exchange messages; no lock is held on the
//! path of an event.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientConfig;

use crate::own_metrics::OwnMetrics;
use crate::publish::{Published, Readiness};
use crate::settings::Kafka;

pub(crate) mod as_of;
pub(crate) mod client;
pub(crate) mod dead_letters;
pub(crate) mod emptied;
pub(crate) mod group;
pub(crate) mod held;
pub(crate) mod keeping;
pub(crate) mod lifecycle;
pub(crate) mod poll;
pub(crate) mod prefetch;
pub mod produce;
pub(crate) mod progress;
pub(crate) mod queue;
pub(crate) mod rejected;
pub(crate) mod restore;
#[cfg(test)]
mod tests;
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

/// The consumer's properties as `run` sets them for topics of so many partitions in all: a bare consumer that it is
/// measured against has to have the same.
pub fn consumer_config(kafka: &Kafka, partitions: u64) -> ClientConfig {
    client::config(kafka, Some(prefetch::Prefetch::of(kafka.prefetch_bytes, partitions)))
}

/// Whether a session, or the whole instance, goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Course {
    GoOn = 0,
    /// Drain, snapshot, commit, leave.
    Stop = 1,
    /// End without saving anything, as a crash would.
    Abort = 2,
}

/// Why the client is made anew, and with it everything that depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuild {
    /// Another instance has claimed a partition's snapshots.
    Fenced,
    /// A partition is not read although there is something to read.
    Stalled,
    /// The client says that it cannot go on.
    ClientError,
}

impl Rebuild {
    /// Every reason there is.
    pub const ALL: [Self; 3] = [Self::Fenced, Self::Stalled, Self::ClientError];

    /// Value of the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Stalled => "stalled",
            Self::ClientError => "client_error",
        }
    }
}

/// The partitions that the group has given to this instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assignment {
    /// Goes up whenever partitions come or go: numbers of an older epoch must not be published.
    pub epoch: u64,
    /// With the epoch in which each was assigned. `None` before the first assignment.
    pub partitions: Option<BTreeMap<TopicPartition, u64>>,
    /// Those of them that no worker holds yet.
    pub restoring: BTreeSet<TopicPartition>,
}

/// What lives as long as the instance, whatever becomes of its clients.
pub(crate) struct Lasting {
    pub metrics: OwnMetrics,
    pub published: Arc<Published>,
    /// Records read, whatever became of them; updated per batch.
    pub records: AtomicU64,
    pub said_unkeyed: AtomicBool,
    course: AtomicU8,
    failure: Mutex<Option<anyhow::Error>>,
}

impl Lasting {
    pub fn new(metrics: OwnMetrics, published: Arc<Published>) -> Self {
        Self {
            metrics,
            published,
            records: AtomicU64::new(0),
            said_unkeyed: AtomicBool::new(false),
            course: AtomicU8::new(Course::GoOn as u8),
            failure: Mutex::new(None),
        }
    }

    pub fn course(&self) -> Course {
        course(&self.course)
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

    /// Takes the published numbers back.
    pub fn withhold(&self, reason: &str) {
        self.published.withhold();
        self.published.readiness.store(Arc::new(Readiness::NotReady(reason.to_owned())));
    }
}

/// What the threads of one session have in common: a client and all that depends on it. Nothing here is touched
/// per event.
pub(crate) struct Shared {
    lasting: Arc<Lasting>,
    assignment: Mutex<Assignment>,
    course: AtomicU8,
    rebuild: Mutex<Option<Rebuild>>,
}

impl std::ops::Deref for Shared {
    type Target = Lasting;

    fn deref(&self) -> &Lasting {
        &self.lasting
    }
}

impl Shared {
    pub fn new(lasting: Arc<Lasting>) -> Self {
        Self {
            lasting,
            assignment: Mutex::default(),
            course: AtomicU8::new(Course::GoOn as u8),
            rebuild: Mutex::new(None),
        }
    }

    pub fn assignment(&self) -> MutexGuard<'_, Assignment> {
        self.assignment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the published numbers back: partitions come or go. A session that is over has none published.
    pub fn withhold(&self) {
        let reason = match (self.lasting.course(), self.course()) {
            (Course::GoOn, Course::Abort) => return,
            (Course::GoOn, Course::Stop) => "the Kafka client is made anew",
            (Course::GoOn, Course::GoOn) => "the consumer group is rebalancing",
            (Course::Stop | Course::Abort, _) => "ending",
        };
        self.lasting.withhold(reason);
    }

    /// The session's, which is at least as hard as the instance's.
    pub fn course(&self) -> Course {
        self.lasting.course().max(course(&self.course))
    }

    /// Ends this session alone, so that another follows; the first reason counts.
    pub fn rebuild(&self, reason: Rebuild) {
        self.rebuild.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.course.fetch_max(Course::Stop as u8, Ordering::AcqRel);
    }

    /// Why this session ends while the instance goes on.
    pub fn to_rebuild(&self) -> Option<Rebuild> {
        *self.rebuild.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whatever is still under way in this session is of no consequence any more.
    pub fn retire(&self) {
        self.course.fetch_max(Course::Abort as u8, Ordering::AcqRel);
    }
}

fn course(course: &AtomicU8) -> Course {
    match course.load(Ordering::Acquire) {
        0 => Course::GoOn,
        1 => Course::Stop,
        _ => Course::Abort,
    }
}
