//! Threads that restore shards, so that neither a worker nor the thread that polls the client waits for the store.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as Moment};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender};
use tracing::{error, info};

use super::writer::Saved;
use super::{Course, Shared, TopicPartition, as_of};
use crate::cohort::Definitions;
use crate::settings::Clock;
use crate::shard::{HashKey, Shard};
use crate::snapshot;
use crate::store::{Epoch, Store, StoreError};
use crate::time::{Instant, Span};

/// How many partitions are restored at a time: reading a snapshot is mostly waiting for the store.
pub(crate) const THREADS: usize = 4;
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// How long a restoration that nobody wants any more may go unnoticed.
const GLANCE: Duration = Duration::from_millis(50);

/// A partition to be restored.
pub(crate) struct Job {
    pub partition: TopicPartition,
    /// The epoch of the assignment in which it became ours.
    pub generation: u64,
    /// Set once nobody wants it any more.
    pub cancelled: Arc<AtomicBool>,
}

/// What became of a [`Job`]; every job has exactly one.
pub(crate) struct Restored {
    pub partition: TopicPartition,
    pub generation: u64,
    pub outcome: Outcome,
}

pub(crate) enum Outcome {
    Ready(Box<Fresh>),
    Cancelled,
    /// No retry mends it.
    Failed(anyhow::Error),
}

/// A restored shard and the claim under which its snapshots are saved.
pub(crate) struct Fresh {
    pub shard: Shard,
    pub epoch: Epoch,
    /// The snapshot that it was restored from; `None`: it begins empty.
    pub saved: Option<Saved>,
    /// Whether there were snapshots, none of which could be read.
    pub snapshots_unreadable: bool,
}

impl Fresh {
    /// An empty shard, to be read from the partition's beginning.
    pub fn empty(definitions: Arc<Definitions>, epoch: Epoch) -> anyhow::Result<Self> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).context("no randomness for the key of customer ids")?;
        let shard = Shard::new(definitions, HashKey(key));
        Ok(Self { shard, epoch, saved: None, snapshots_unreadable: false })
    }
}

/// What the threads have in common.
#[derive(Clone)]
pub(crate) struct Restorer {
    pub definitions: Arc<Definitions>,
    pub store: Store,
    /// For `--rebuild`: the partitions whose old snapshots are set aside already.
    pub rebuild: Option<Arc<Mutex<HashSet<TopicPartition>>>>,
    pub now: fn() -> Instant,
    pub clock: Clock,
    pub publish_interval: Duration,
    pub shared: Arc<Shared>,
    /// Whether the log says already that the store does not answer.
    pub store_is_away: Arc<AtomicBool>,
    pub restored: Sender<Restored>,
}

impl Restorer {
    /// Restores until nobody gives it jobs any more.
    pub fn run(&self, jobs: &Receiver<Job>) {
        for Job { partition, generation, cancelled } in jobs {
            let outcome = self.patiently(&partition, &cancelled).unwrap_or_else(Outcome::Failed);
            if self.restored.send(Restored { partition, generation, outcome }).is_err() {
                return;
            }
        }
    }

    /// Restores the partition; tries again while the store does not answer.
    fn patiently(&self, partition: &TopicPartition, cancelled: &AtomicBool) -> anyhow::Result<Outcome> {
        let unwanted = || cancelled.load(Ordering::Acquire) || self.shared.course() != Course::GoOn;
        let mut claimed = None;
        let mut retry = FIRST_RETRY;
        while !unwanted() {
            match self.attempt(partition, &mut claimed) {
                Ok(fresh) => {
                    self.shared.metrics.store_up(true);
                    if self.store_is_away.swap(false, Ordering::AcqRel) {
                        info!("the snapshot store serves again what it had refused");
                    }
                    return Ok(Outcome::Ready(Box::new(fresh)));
                }
                Err(error) => match error.downcast_ref::<StoreError>() {
                    // To end here would hand the partition to the next instance, which would end as well.
                    Some(away) if away.is_transient() => {
                        self.shared.metrics.store_up(false);
                        if !self.store_is_away.swap(true, Ordering::AcqRel) {
                            error!(
                                "cannot restore {partition}: {away}. Retrying until the store serves it; until then \
                                 there are no numbers. See to the store and its permissions, or correct snapshot.store"
                            );
                        }
                    }
                    // What a person has to decide, or a bug.
                    _ => return Err(error),
                },
            }
            let until = Moment::now() + retry;
            while !unwanted() && Moment::now() < until {
                std::thread::sleep(GLANCE);
            }
            retry = (retry * 2).min(LAST_RETRY);
        }
        Ok(Outcome::Cancelled)
    }

    fn attempt(&self, partition: &TopicPartition, claimed: &mut Option<Epoch>) -> anyhow::Result<Fresh> {
        let begun = Moment::now();
        let epoch = match *claimed {
            Some(epoch) => epoch,
            None => *claimed.insert(self.store.claim(partition)?),
        };
        self.set_aside(partition, epoch)?;
        let definitions = &self.definitions;
        let grain = Span::from_millis(self.publish_interval.as_millis() as i64);
        let as_of = |latest_event| as_of::expected_first(self.clock, (self.now)(), grain, latest_event);
        let restored = self
            .store
            .restore(partition, |mut input| snapshot::read_and_build(&mut input, definitions.clone(), as_of))?;
        self.shared.metrics.restore_failures.increment(restored.unreadable as u64);
        let Some(newest) = restored.newest else {
            let snapshots_unreadable = restored.unreadable > 0;
            return Ok(Fresh { snapshots_unreadable, ..Fresh::empty(definitions.clone(), epoch)? });
        };
        self.shared.metrics.restored(begun.elapsed());
        let next_offset = newest.header.next_offset;
        let saved = Saved { next_offset, time: (self.now)(), size_bytes: newest.size_bytes };
        Ok(Fresh { shard: newest.value, epoch, saved: Some(saved), snapshots_unreadable: false })
    }

    /// For `--rebuild`, once: what this run saves itself is as good as any.
    fn set_aside(&self, partition: &TopicPartition, epoch: Epoch) -> anyhow::Result<()> {
        let Some(rebuild) = &self.rebuild else { return Ok(()) };
        let done = || rebuild.lock().unwrap_or_else(PoisonError::into_inner);
        if !done().contains(partition) {
            self.store.set_aside(partition, epoch)?;
            done().insert(partition.clone());
        }
        Ok(())
    }
}
