//! One partition in its worker: the shard, its queue, and what is known of both.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
use crate::shard::{self, Counts, Outcome, Shard};
use crate::store::Epoch;
use crate::time::Instant;

/// So many records the shard is given at a time: all that the client gives at once.
const BLOCK: usize = crate::native::BATCH;

/// How many records before it is read a payload is asked for.
const AHEAD: usize = 16;

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
    /// Set once the group has let go of it. The client may fetch it for its next holder before this one hears of that, and
    /// what a holder takes from the client the other never sees.
    released: Arc<AtomicBool>,
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
    pub fn new(fresh: Fresh, generation: u64, queue: Queue, released: Arc<AtomicBool>) -> Self {
        let Fresh { shard, epoch, saved, snapshots_unreadable } = fresh;
        Self {
            phase: Phase::Restoring,
            generation,
            epoch,
            counted: shard.counts().clone(),
            shard,
            queue: Some(queue),
            released,
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

    /// Takes a batch from the queue into the shard. Returns how much of it was read: what waits for letters to be
    /// acknowledged is read first the next time.
    pub fn read(
        &mut self,
        partition: &TopicPartition,
        setup: &Setup,
        own: &Sender<Message>,
    ) -> Result<usize, ReadError> {
        if self.letters.is_full() || self.released.load(Ordering::Acquire) {
            return Ok(0);
        }
        if let Some(queue) = &mut self.queue {
            queue.refill();
        }
        let mut batch = Batch::default();
        let mut taken = 0;
        let outcome = loop {
            match self.read_block(partition, setup, own, &mut batch) {
                Ok(0) => break Ok(taken),
                Ok(count) => taken += count,
                Err(error) => break Err(error),
            }
            if self.letters.is_full() {
                break Ok(taken);
            }
        };
        self.note(&batch, setup);
        outcome
    }

    /// Takes some of the records that wait into the shard; returns how many.
    fn read_block(
        &mut self,
        partition: &TopicPartition,
        setup: &Setup,
        own: &Sender<Message>,
        batch: &mut Batch,
    ) -> Result<usize, ReadError> {
        let Some(queue) = &mut self.queue else { return Ok(0) };
        if let Some(error) = queue.take_error() {
            return Err(error.into());
        }
        let mut next_offset = self.shard.next_offset();
        let mut records = [shard::Record { payload: Ok(None), latest_event_time: None }; BLOCK];
        let mut count = 0;
        let goes_on = |record: &Record<'_>, offset| !record.is_error() && record.offset() >= offset;
        (0..AHEAD).for_each(|place| queue.ask_for(place));
        while count < BLOCK
            && let Some(record) = queue.waiting(count).filter(|record| goes_on(record, next_offset))
        {
            queue.ask_for(count + AHEAD);
            records[count] = message_of(record, setup);
            next_offset = record.offset() + 1;
            count += 1;
        }
        if count == 0 {
            // Handed over again: it is counted already.
            let again = usize::from(queue.waits());
            queue.pass(again);
            return Ok(again);
        }
        let (letters, mut failed) = (&mut self.letters, None);
        let consumed = self.shard.consume_batch(&records[..count], |place, outcome| {
            let (Outcome::Rejected(why), Some(record)) = (outcome, queue.waiting(place)) else {
                return ControlFlow::Continue(());
            };
            match setup.rejecting.take(partition, record, why, letters, own) {
                Then::ReadOn => return ControlFlow::Continue(()),
                Then::Wait => {}
                Then::Fail => failed = Some(ReadError::Rejected { offset: record.offset(), why }),
            }
            ControlFlow::Break(())
        });
        let read = consumed - usize::from(failed.is_some());
        let is_read = |place| queue.waiting(place).filter(|_| place < read);
        if let Some(last) = read.checked_sub(1).and_then(is_read) {
            self.shard.set_next_offset(last.offset() + 1);
        }
        batch.add(consumed, (0..read).filter_map(is_read));
        queue.pass(consumed);
        failed.map_or(Ok(consumed), Err)
    }

    /// Notes what was read.
    fn note(&mut self, batch: &Batch, setup: &Setup) {
        if batch.consumed > 0 {
            self.untouched = false;
            self.last_record = batch.last_record.or(self.last_record);
            self.oldest_new = self.oldest_new.or(batch.first_record);
            setup.shared.records.fetch_add(batch.consumed, Ordering::Relaxed);
        }
        if batch.unkeyed > 0 {
            setup.shared.metrics.unkeyed_records.increment(batch.unkeyed);
            if !setup.shared.said_unkeyed.swap(true, Ordering::Relaxed) {
                warn!(
                    "records without a key: all events of a customer must be in one partition, or the customer is \
                     counted once in each. Key the topic by customer_id (unkeyed_records_total counts them)"
                );
            }
        }
    }

    /// Goes on behind what the client says to have handed over, once that is read.
    pub fn pass_handed_over(&mut self) {
        if let Some(offset) = self.handed_over.take_if(|_| !self.queue.as_ref().is_some_and(Queue::waits)) {
            self.shard.set_next_offset(self.shard.next_offset().max(offset));
        }
    }
}

/// What was read at a time.
#[derive(Default)]
struct Batch {
    /// With the one, if any, that ends the process.
    consumed: u64,
    unkeyed: u64,
    first_record: Option<Instant>,
    last_record: Option<Instant>,
}

impl Batch {
    fn add<'a>(&mut self, consumed: usize, records: impl DoubleEndedIterator<Item = Record<'a>> + Clone) {
        self.consumed += consumed as u64;
        self.unkeyed += records.clone().filter(|record| !record.is_keyed()).count() as u64;
        self.first_record = self.first_record.or_else(|| records.clone().find_map(Record::time));
        self.last_record = records.rev().find_map(Record::time).or(self.last_record);
    }
}

fn message_of<'a>(record: Record<'a>, setup: &Setup) -> shard::Record<'a> {
    let schema_in_header = || record.has_header(SCHEMA_ID_HEADER);
    let message = |value| setup.framing.message(value, schema_in_header);
    shard::Record {
        payload: record.payload().map(message).transpose(),
        latest_event_time: record.time().map(|time| time + setup.max_future),
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
