//! What is published: the texts that scrapes are answered with, and whether the process is ready and well.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant as MonotonicInstant};

use arc_swap::ArcSwap;

use crate::own_metrics::{ProcessState, process_page};
use crate::readings::Readings;
use crate::time::Instant;
use gzip::Beginning;

pub(crate) mod backfill;
pub(crate) mod catching_up;
pub(crate) mod gzip;
pub(crate) mod rounds;
pub(crate) mod topics;

/// Asks for a publication before the interval is over.
pub(crate) struct Nudge;

/// What was published last: a reader waits for nobody.
pub struct Published {
    page: ArcSwap<Page>,
    pub readiness: ArcSwap<Readiness>,
    started: MonotonicInstant,
    last_beat_ms: AtomicU64,
    last_beat_of_kafka_ms: AtomicU64,
    /// Partitions that are not read although there is something to read.
    pub stalled_partitions: AtomicUsize,
    stalled_after: Duration,
}

/// What one scrape sees of everything that comes and goes. Swapped in whole, so that its parts always agree.
#[derive(Default)]
pub struct Page {
    /// The cohort gauges ([`crate::gauges::cohort_page`]); empty while nothing may be published.
    pub cohort_text: Arc<str>,
    /// The gauges of what comes and goes ([`process_page`]).
    pub process_text: Arc<str>,
    /// The numbers behind the cohort gauges, for who wants them as numbers; `None` while withheld.
    pub publication: Option<Publication>,
    state: ProcessState,
    compressed: OnceLock<Beginning>,
}

impl Page {
    /// With cohort gauges that cover all of the state's partitions.
    pub fn published(publication: Publication, cohort_text: String, mut state: ProcessState) -> Self {
        state.as_of = Some(publication.as_of);
        state.partitions.iter_mut().for_each(|partition| partition.published = true);
        Self {
            cohort_text: cohort_text.into(),
            process_text: process_page(&state).into(),
            publication: Some(publication),
            state,
            compressed: OnceLock::new(),
        }
    }

    /// Without cohort gauges: absent, never wrong.
    pub fn withheld(mut state: ProcessState) -> Self {
        state.as_of = None;
        state.history_start = None;
        state.partitions.iter_mut().for_each(|partition| partition.published = false);
        Self { process_text: process_page(&state).into(), state, ..Self::default() }
    }

    /// The texts compressed, once somebody has had that done.
    pub(crate) fn compressed(&self) -> Option<&Beginning> {
        self.compressed.get()
    }

    /// Compresses the texts, unless it is done. A large page takes a good part of a second.
    pub(crate) fn compress(&self) {
        self.compressed.get_or_init(|| Beginning::of(&[&self.cohort_text, &self.process_text]));
    }
}

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
            page: ArcSwap::default(),
            readiness: ArcSwap::from_pointee(Readiness::NotReady("starting".to_owned())),
            started: MonotonicInstant::now(),
            last_beat_ms: AtomicU64::new(0),
            last_beat_of_kafka_ms: AtomicU64::new(0),
            stalled_partitions: AtomicUsize::new(0),
            stalled_after,
        }
    }

    /// What a scrape is answered with.
    pub fn page(&self) -> Arc<Page> {
        self.page.load_full()
    }

    /// Replaces the page.
    pub fn swap(&self, page: Page) {
        self.page.store(Arc::new(page));
    }

    /// Takes the cohort gauges back, and with them what the page says of them.
    pub fn withhold(&self) {
        self.swap(Page::withheld(self.page.load().state.clone()));
    }

    /// What the published cohort gauges are as of.
    pub fn as_of(&self) -> Option<Instant> {
        self.page.load().publication.as_ref().map(|publication| publication.as_of)
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
