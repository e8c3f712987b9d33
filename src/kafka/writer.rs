//! The thread that makes snapshots durable, so that no worker waits for a disk.

use std::time::Instant as Moment;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use tracing::{error, info};

use super::worker::Message;
use super::{Shared, TopicPartition};
use crate::store::{Epoch, SaveError, Store};
use crate::time::Instant;

/// A serialised shard.
pub(crate) struct Job {
    pub partition: TopicPartition,
    /// The epoch of the assignment that the shard belongs to.
    pub generation: u64,
    /// The claim to the partition's snapshots.
    pub epoch: Epoch,
    pub next_offset: i64,
    /// The snapshot, in the parts in which it was serialised.
    pub parts: Vec<Bytes>,
    pub begun: Moment,
    pub tell: Tell,
}

/// Who waits for a snapshot to be durable.
pub(crate) enum Tell {
    /// The worker that goes on reading; the offset is then committed.
    Worker(Sender<Message>),
    /// The rebalance that lets go of the partition, and commits itself.
    Rebalance(Sender<Durable>),
}

/// A partition's snapshot is in the store: offsets below `next_offset` may be committed.
#[derive(Clone, Debug)]
pub(crate) struct Durable {
    pub partition: TopicPartition,
    pub generation: u64,
    pub next_offset: i64,
}

/// What the thread that polls the client hears of a snapshot.
pub(crate) enum News {
    Durable(Durable),
    /// Another instance has claimed the partition's snapshots.
    Fenced {
        partition: TopicPartition,
        generation: u64,
    },
}

/// Writes until all workers are gone.
pub(crate) fn write_all(
    jobs: &Receiver<Job>,
    store: &Store,
    shared: &Shared,
    news: &Sender<News>,
    now: fn() -> Instant,
) {
    let mut failing = false;
    for mut job in jobs {
        let parts = std::mem::take(&mut job.parts);
        let size_bytes = parts.iter().map(|part| part.len() as u64).sum();
        let written = store.save(&job.partition, job.epoch, job.next_offset, parts);
        shared.metrics.store_up(!matches!(written, Err(SaveError::Unavailable(_))));
        match &written {
            Ok(()) => {
                shared.metrics.snapshot_written(job.begun.elapsed());
                if std::mem::take(&mut failing) {
                    info!("snapshots are written again");
                }
            }
            // The group says what it means, where it means anything.
            Err(SaveError::Fenced { .. }) => shared.metrics.snapshots_fenced.increment(1),
            Err(SaveError::Unavailable(error)) => {
                shared.metrics.snapshot_failures.increment(1);
                if !std::mem::replace(&mut failing, true) {
                    error!(
                        "cannot write the snapshot of {}: {error}. The gauges go on, and it is tried again every \
                         snapshot.interval; a restart would read from the last good snapshot. Make room, or \
                         see to the permissions of snapshot.store",
                        job.partition
                    );
                }
            }
        }
        let saved = |next_offset| Saved { next_offset, time: now(), size_bytes };
        tell(job, written, saved, news);
    }
}

/// Tells what became of a snapshot to whom it concerns. Whoever does not listen any more does not need to know.
pub(crate) fn tell(job: Job, written: Result<(), SaveError>, saved: impl FnOnce(i64) -> Saved, news: &Sender<News>) {
    let Job { partition, generation, next_offset, .. } = job;
    match (written, job.tell) {
        (Ok(()), Tell::Rebalance(rebalance)) => {
            let _ = rebalance.send(Durable { partition, generation, next_offset });
        }
        // It has been let go of: its next owner has claimed it, and starts from the snapshot before.
        (Err(_), Tell::Rebalance(_)) => {}
        (Ok(()), Tell::Worker(worker)) => {
            let durable = Durable { partition: partition.clone(), generation, next_offset };
            let _ = news.send(News::Durable(durable));
            let _ = worker.send(Message::Saved { partition, generation, saved: Some(saved(next_offset)) });
        }
        (Err(error), Tell::Worker(worker)) => {
            if matches!(error, SaveError::Fenced { .. }) {
                let _ = news.send(News::Fenced { partition: partition.clone(), generation });
            }
            let _ = worker.send(Message::Saved { partition, generation, saved: None });
        }
    }
}

/// What is known of a durable snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saved {
    pub next_offset: i64,
    pub time: Instant,
    pub size_bytes: u64,
}
