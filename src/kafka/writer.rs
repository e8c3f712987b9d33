//! The thread that makes snapshots durable, so that no worker waits for a disk.

use std::collections::BTreeMap;
use std::time::Instant as Moment;

use crossbeam_channel::{Receiver, Sender};
use tracing::{error, info, warn};

use super::worker::Message;
use super::{Shared, TopicPartition};
use crate::store::{Epoch, SaveError, Store};
use crate::time::Instant;

/// A serialised shard.
pub(crate) struct Job {
    pub partition: TopicPartition,
    pub epoch: Epoch,
    pub next_offset: i64,
    pub bytes: Vec<u8>,
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

/// A partition's snapshot is on disk: offsets below `next_offset` may be committed.
#[derive(Clone, Debug)]
pub(crate) struct Durable {
    pub partition: TopicPartition,
    pub next_offset: i64,
}

/// Writes until all workers are gone.
pub(crate) fn write_all(
    jobs: &Receiver<Job>,
    store: &Store,
    shared: &Shared,
    durable: &Sender<Durable>,
    now: fn() -> Instant,
) {
    let mut failing = false;
    let mut fenced = BTreeMap::new();
    for job in jobs {
        let size_bytes = job.bytes.len() as u64;
        let written = store.save(&job.partition, job.epoch, job.next_offset, &job.bytes);
        drop(job.bytes);
        let saved = match written {
            Ok(()) => {
                shared.metrics.snapshot_written(job.begun.elapsed());
                if std::mem::take(&mut failing) {
                    info!("snapshots are written again");
                }
                Some(Saved { next_offset: job.next_offset, time: now(), size_bytes })
            }
            Err(SaveError::Fenced { by }) => {
                shared.metrics.snapshots_fenced.increment(1);
                if fenced.insert(job.partition.clone(), by) != Some(by) {
                    warn!(
                        "another instance owns {} now: this one's snapshots of it are refused, and nothing of it is \
                         committed. If that was no rebalance, look for a second consumer group on the same \
                         snapshot.store: each needs its own",
                        job.partition
                    );
                }
                None
            }
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
                None
            }
        };
        let news = Durable { partition: job.partition.clone(), next_offset: job.next_offset };
        // Whoever does not listen any more does not need to know.
        match job.tell {
            Tell::Worker(worker) => {
                if saved.is_some() {
                    let _ = durable.send(news);
                }
                let _ = worker.send(Message::Saved { partition: job.partition, saved });
            }
            Tell::Rebalance(rebalance) => {
                if saved.is_some() {
                    let _ = rebalance.send(news);
                }
            }
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
