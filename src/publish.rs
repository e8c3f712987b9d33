//! What is published: the texts that scrapes are answered with, and whether the process is ready and well.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant as MonotonicInstant};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::readings::Readings;
use crate::time::Instant;

mod catching_up;
pub(crate) mod rounds;

/// Asks for a publication before the interval is over.
pub(crate) struct Nudge;

/// The last published texts, swapped in whole: a reader waits for nobody.
pub struct Published {
    /// The cohort gauges ([`crate::gauges::cohort_page`]); empty while nothing may be published.
    pub cohort_text: ArcSwap<String>,
    /// The gauges of what comes and goes ([`crate::own_metrics::process_page`]).
    pub process_text: ArcSwap<String>,
    pub readiness: ArcSwap<Readiness>,
    /// The numbers behind the cohort gauges, for who wants them as numbers; `None` while withheld.
    pub publication: ArcSwapOption<Publication>,
    /// Milliseconds; [`NEVER`] while nothing is published.
    as_of: AtomicI64,
    started: MonotonicInstant,
    last_beat_ms: AtomicU64,
    last_beat_of_kafka_ms: AtomicU64,
    /// Partitions that are not read although there is something to read.
    pub stalled_partitions: AtomicUsize,
    stalled_after: Duration,
}

const NEVER: i64 = i64::MIN;

/// One consistent set of numbers: every shard's as of the same instant.
#[derive(Debug)]
pub struct Publication {
    pub as_of: Instant,
    pub readings: Readings,
}

/// Whether the gauges can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// In one line: why not.
    NotReady(String),
}

impl Published {
    /// Nothing yet. Without a [`Self::beat`] for `stalled_after`, the process counts as stalled.
    pub fn new(stalled_after: Duration) -> Self {
        Self {
            cohort_text: ArcSwap::default(),
            process_text: ArcSwap::default(),
            readiness: ArcSwap::from_pointee(Readiness::NotReady("starting".to_owned())),
            publication: ArcSwapOption::empty(),
            as_of: AtomicI64::new(NEVER),
            started: MonotonicInstant::now(),
            last_beat_ms: AtomicU64::new(0),
            last_beat_of_kafka_ms: AtomicU64::new(0),
            stalled_partitions: AtomicUsize::new(0),
            stalled_after,
        }
    }

    /// Publishes the cohort gauges as of an instant.
    pub fn publish(&self, cohort_text: String, as_of: Instant) {
        self.cohort_text.store(Arc::new(cohort_text));
        self.as_of.store(as_of.as_millis(), Ordering::Relaxed);
    }

    /// Takes the cohort gauges back: absent, never wrong.
    pub fn withhold(&self) {
        self.publication.store(None);
        self.cohort_text.store(Arc::default());
        self.as_of.store(NEVER, Ordering::Relaxed);
    }

    /// What the published cohort gauges are as of.
    pub fn as_of(&self) -> Option<Instant> {
        Some(self.as_of.load(Ordering::Relaxed)).filter(|&ms| ms != NEVER).map(Instant::from_millis)
    }

    /// Says that the publication loop makes progress.
    pub fn beat(&self) {
        self.last_beat_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Says that the thread that polls the Kafka client makes progress.
    pub fn beat_of_kafka(&self) {
        self.last_beat_of_kafka_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// What is stuck, in one line, where something is.
    pub fn unwell(&self) -> Option<String> {
        let stalled = self.stalled_partitions.load(Ordering::Relaxed);
        if stalled > 0 {
            return Some(format!("{stalled} partitions are not read on although there is something to read"));
        }
        let beats = [("the publication loop", &self.last_beat_ms), ("the Kafka client", &self.last_beat_of_kafka_ms)];
        beats.into_iter().find_map(|(what, last_beat_ms)| {
            let last_beat = Duration::from_millis(last_beat_ms.load(Ordering::Relaxed));
            let silence = self.started.elapsed().saturating_sub(last_beat);
            (silence > self.stalled_after).then(|| format!("{what} made no progress for {} s", silence.as_secs()))
        })
    }
}
