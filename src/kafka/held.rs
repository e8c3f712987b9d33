//! One partition in its worker: the shard, its queue, and what is known of both.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Instant as Moment;

use crossbeam_channel::Sender;
use rdkafka::error::KafkaError;
use tracing::warn;

use super::TopicPartition;
use super::lifecycle::Phase;
use super::queue::{Queue, Record};
use super::rejected::{Then, Waiting};
use super::restore::Fresh;
use super::worker::{Message, Progress, Serialising, Setup};
use super::writer::Saved;
use crate::event::Rejection;
use crate::framing::SCHEMA_ID_HEADER;
use crate::shard::{Counts, Outcome, Shard};
use crate::store::Epoch;
use crate::time::Instant;

/// Records taken from one partition before the next one, and messages, get their turn.
const BATCH: usize = 1024;

/// Why a partition cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Client(#[from] KafkaError),
    /// The record at this offset ends the process.
    #[error("the record at offset {offset} is rejected: {why}")]
    Rejected { offset: i64, why: Rejection },
}

/// A partition that this worker holds.
pub(crate) struct Held {
    pub phase: Phase,
    /// The epoch of the assignment in which it became ours.
    pub generation: u64,
    /// The claim under which its snapshots are saved.
    pub epoch: Epoch,
    pub shard: Shard,
    pub queue: Option<Queue>,
    /// What of the shard's counts has been reported.
    pub counted: Counts,
    /// Whether there was no snapshot.
    pub from_beginning: bool,
    /// Whether there were snapshots, none of which could be read.
    pub snapshots_unreadable: bool,
    /// Whether no record has come since the assignment.
    pub untouched: bool,
    pub handed_over: Option<i64>,
    pub last_record: Option<Instant>,
    pub oldest_new: Option<Instant>,
    pub saved: Option<Saved>,
    /// Whether a snapshot is under way: being serialised, held back by letters, or at the writer.
    pub saving: bool,
    /// The part of that in which it is being serialised.
    pub serialising: Option<Serialising>,
    pub save_due: Moment,
    /// Rejected records on their way to the dead-letter topic.
    pub letters: Waiting,
}

impl Held {
    /// A restored shard and the queue that it goes on from.
    pub fn new(fresh: Fresh, generation: u64, queue: Queue) -> Self {
        let Fresh { shard, epoch, saved, snapshots_unreadable } = fresh;
        Self {
            phase: Phase::Restoring,
            generation,
            epoch,
            counted: shard.counts().clone(),
            shard,
            queue: Some(queue),
            from_beginning: saved.is_none(),
            snapshots_unreadable,
            untouched: true,
            handed_over: None,
            last_record: None,
            oldest_new: None,
            saved,
            saving: false,
            serialising: None,
            save_due: Moment::now(),
            letters: Waiting::default(),
        }
    }

    /// How far it is read.
    pub fn progress(&self, partition: &TopicPartition) -> Progress {
        Progress {
            partition: partition.clone(),
            next_offset: self.shard.next_offset(),
            last_record: self.last_record,
            latest_event: self.shard.latest_event(),
            saved: self.saved,
            waits_for_letters: self.letters.is_full(),
        }
    }

    /// Reports what the shard has counted since the last time, and adds it to `total`.
    pub fn report(&mut self, setup: &Setup, total: &mut Counts) {
        let counts = self.shard.counts();
        if *counts != self.counted {
            setup.shared.metrics.count_records(&self.counted, counts);
            add_counts(total, &self.counted, counts);
            self.counted.clone_from(counts);
        }
    }

    /// Takes a batch from the queue into the shard.
    pub fn read(
        &mut self,
        partition: &TopicPartition,
        setup: &Setup,
        own: &Sender<Message>,
    ) -> Result<usize, ReadError> {
        let Some(queue) = &mut self.queue else { return Ok(0) };
        if self.letters.is_full() {
            return Ok(0);
        }
        let (shard, letters) = (&mut self.shard, &mut self.letters);
        let mut failed = None;
        let (mut read, mut unkeyed) = (0, 0);
        let mut last_record = None;
        let mut first_record = None;
        let mut next_offset = shard.next_offset();
        let taken = queue.take(BATCH, |record| {
            // Handed over again: it is counted already.
            if record.offset < next_offset {
                return ControlFlow::Continue(());
            }
            read += 1;
            let mut then = Then::ReadOn;
            if let Outcome::Rejected(why) = consume(shard, &record, setup) {
                then = setup.rejecting.take(partition, &record, why, letters, own);
                if then == Then::Fail {
                    failed = Some(ReadError::Rejected { offset: record.offset, why });
                    return ControlFlow::Break(());
                }
            }
            next_offset = record.offset + 1;
            unkeyed += u64::from(!record.keyed);
            first_record = first_record.or(record.time);
            last_record = record.time.or(last_record);
            if then == Then::Wait { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if read > 0 {
            shard.set_next_offset(next_offset);
            self.untouched = false;
            self.last_record = last_record.or(self.last_record);
            self.oldest_new = self.oldest_new.or(first_record);
            setup.shared.records.fetch_add(read, Ordering::Relaxed);
        }
        if unkeyed > 0 {
            setup.shared.metrics.unkeyed_records.increment(unkeyed);
            if !setup.shared.said_unkeyed.swap(true, Ordering::Relaxed) {
                warn!(
                    "records without a key: all events of a customer must be in one partition, or the customer is \
                     counted once in each. Key the topic by customer_id (unkeyed_records_total counts them)"
                );
            }
        }
        failed.map_or(Ok(taken?), Err)
    }
}

fn consume(shard: &mut Shard, record: &Record<'_>, setup: &Setup) -> Outcome {
    let latest_event_time = record.time.map(|time| time + setup.max_future);
    let schema_in_header = || record.has_header(SCHEMA_ID_HEADER);
    match record.payload.map(|value| setup.framing.message(value, schema_in_header)).transpose() {
        Ok(message) => shard.consume(message, latest_event_time),
        Err(why) => shard.reject(why),
    }
}

/// Adds what was counted between `before` and `now`.
fn add_counts(total: &mut Counts, before: &Counts, now: &Counts) {
    fn add(total: &mut [u64], before: &[u64], now: &[u64]) {
        for ((total, before), now) in total.iter_mut().zip(before).zip(now) {
            *total += now - before;
        }
    }
    add(&mut total.applied, &before.applied, &now.applied);
    add(&mut total.ignored, &before.ignored, &now.ignored);
    add(&mut total.rejected, &before.rejected, &now.rejected);
    total.unchanged += now.unchanged - before.unchanged;
    total.beyond_horizon += now.beyond_horizon - before.beyond_horizon;
}

/// Adds the counts of another worker.
pub(crate) fn sum_counts(total: &mut Counts, more: &Counts) {
    add_counts(total, &Counts::default(), more);
}
