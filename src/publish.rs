//! What the process says to the outside: the cohort gauges' text, whether it is ready, and that it lives.
//!
//! Written by the publication loop, read by HTTP. A reader never waits for the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Moment};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::readings::Readings;
use crate::time::Instant;

/// Whether the process serves current numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// In one line: what it still waits for.
    NotReady(String),
}

/// One consistent set of numbers: the readings of every shard as of the same instant.
#[derive(Debug)]
pub struct Publication {
    pub as_of: Instant,
    pub readings: Readings,
}

/// What was last published.
pub struct Published {
    /// The exposition text of the cohort gauges; empty while there are no numbers to publish.
    pub cohort_text: ArcSwap<String>,
    pub readiness: ArcSwap<Readiness>,
    /// The numbers behind [`Self::cohort_text`]; `None` while there are none.
    pub publication: ArcSwapOption<Publication>,
    started: Moment,
    /// Milliseconds from `started` to the last sign of progress.
    progress_ms: AtomicU64,
}

impl Published {
    /// How long the publication loop may take for one round before the process counts as stuck.
    pub const STUCK_AFTER: Duration = Duration::from_secs(120);

    /// Nothing published yet, for the reason given.
    pub fn not_yet(reason: &str) -> Self {
        Self {
            cohort_text: ArcSwap::default(),
            readiness: ArcSwap::from_pointee(Readiness::NotReady(reason.to_owned())),
            publication: ArcSwapOption::empty(),
            started: Moment::now(),
            progress_ms: AtomicU64::new(0),
        }
    }

    /// The instant of the numbers published now.
    pub fn as_of(&self) -> Option<Instant> {
        self.publication.load().as_ref().map(|p| p.as_of)
    }

    /// Puts new numbers in place of the last ones.
    pub fn publish(&self, publication: Publication, cohort_text: String) {
        self.publication.store(Some(Arc::new(publication)));
        self.cohort_text.store(Arc::new(cohort_text));
        self.readiness.store(Arc::new(Readiness::Ready));
    }

    /// Takes the numbers back: absent, never wrong.
    pub fn withhold(&self, reason: &str) {
        self.cohort_text.store(Arc::default());
        self.publication.store(None);
        self.not_ready(reason);
    }

    /// Says what the process waits for, and leaves the numbers as they are.
    pub fn not_ready(&self, reason: &str) {
        self.readiness.store(Arc::new(Readiness::NotReady(reason.to_owned())));
    }

    /// Notes that the publication loop has come round.
    pub fn progressed(&self) {
        self.progress_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether the publication loop still comes round.
    pub fn healthy(&self) -> bool {
        let last = Duration::from_millis(self.progress_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last) < Self::STUCK_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn withheld_numbers_are_gone_at_once() {
        let published = Published::not_yet("starting");
        assert_eq!(**published.readiness.load(), Readiness::NotReady("starting".to_owned()));
        let as_of = Instant::from_millis(7);
        published.publish(Publication { as_of, readings: Readings::default() }, "churnwatch_customers 1\n".to_owned());
        assert_eq!((published.as_of(), &**published.readiness.load()), (Some(as_of), &Readiness::Ready));
        published.withhold("rebalancing");
        assert_eq!((published.as_of(), published.cohort_text.load().as_str()), (None, ""));
        assert_eq!(**published.readiness.load(), Readiness::NotReady("rebalancing".to_owned()));
    }
}
