//! What becomes of rejected records, and what of a partition has to wait for their letters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use anyhow::anyhow;
use crossbeam_channel::Sender;
use tracing::warn;

use super::TopicPartition;
use super::dead_letters::{Letter, Outbox};
use super::queue::Record;
use super::worker::Message;
use super::writer::Job;
use crate::event::Rejection;

/// A partition is not read on while more letters than these wait for their acknowledgement.
const MAX_WAITING: usize = 1_000;
const MAX_WAITING_BYTES: usize = 4 << 20;

/// What becomes of rejected records. Clones are of the same process.
#[derive(Clone)]
pub(crate) struct Rejecting {
    mode: Mode,
    /// By position in [`Rejection::ALL`]: whether a record has been named for it.
    said: Arc<[AtomicBool; Rejection::ALL.len()]>,
}

#[derive(Clone)]
pub(crate) enum Mode {
    Skip,
    Fail,
    DeadLetter(Outbox),
}

/// How reading goes on after a rejected record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    ReadOn,
    /// Not before letters have been acknowledged.
    Wait,
    /// Not at all, and the record does not count as read.
    Fail,
}

impl Rejecting {
    pub fn new(mode: Mode) -> Self {
        Self { mode, said: Arc::default() }
    }

    /// Does what is to be done about a rejected record.
    pub fn take(
        &self,
        partition: &TopicPartition,
        record: Record<'_>,
        why: Rejection,
        waiting: &mut Waiting,
        answer: &Sender<Message>,
    ) -> Then {
        if matches!(self.mode, Mode::Fail) {
            return Then::Fail;
        }
        if !self.said[why as usize].swap(true, Ordering::Relaxed) {
            self.say(partition, record.offset(), why);
        }
        if let Mode::DeadLetter(outbox) = &self.mode {
            let letter = Letter::new(partition, record, why, waiting.refused(), answer.clone());
            waiting.add(record.offset(), letter.size_bytes());
            outbox.send(letter);
        }
        if waiting.is_full() { Then::Wait } else { Then::ReadOn }
    }

    fn say(&self, partition: &TopicPartition, offset: i64, why: Rejection) {
        let then = match &self.mode {
            Mode::Skip | Mode::Fail => "It counts nowhere; a kafka.dead_letter_topic would keep it".to_owned(),
            Mode::DeadLetter(outbox) => format!("It goes to the dead-letter topic {:?}", outbox.topic()),
        };
        warn!(
            "{partition}@{offset} is rejected: {why}. {then}. Further records with this reason are counted \
             (churnwatch_events_rejected_total) and not named: correct their producer"
        );
    }
}

/// Why an instance ends at a rejected record.
pub(crate) fn failure(partition: &TopicPartition, offset: i64, why: Rejection) -> anyhow::Error {
    anyhow!(
        "{partition}@{offset} is rejected: {why}. Nothing from it on has been counted, and a restart ends here again. \
         Correct its producer; then, to go on past the record, start with kafka.on_rejected = \"skip\", or with a \
         kafka.dead_letter_topic that keeps it"
    )
}

/// A partition's letters that are not acknowledged yet. No snapshot that covers one of them may be written.
#[derive(Default)]
pub(crate) struct Waiting {
    size_bytes: BTreeMap<i64, usize>,
    bytes: usize,
    /// A snapshot that covers some of them.
    held_back: Option<Job>,
    /// How many of them the dead-letter topic has refused. They are tried again only as long as this lives: whoever reads
    /// the partition next writes them anew.
    refused: Arc<AtomicUsize>,
}

impl Waiting {
    fn refused(&self) -> Weak<AtomicUsize> {
        Arc::downgrade(&self.refused)
    }

    fn add(&mut self, offset: i64, size_bytes: usize) {
        self.bytes += size_bytes - self.size_bytes.insert(offset, size_bytes).unwrap_or(0);
    }

    pub fn is_empty(&self) -> bool {
        self.size_bytes.is_empty()
    }

    /// Whether the dead-letter topic has refused some of them.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed) > 0
    }

    /// Whether the partition is not to be read on for now.
    pub fn is_full(&self) -> bool {
        self.size_bytes.len() >= MAX_WAITING || self.bytes >= MAX_WAITING_BYTES
    }

    /// Gives the snapshot back if it may be written, else holds it back in place of an earlier one.
    pub fn pass(&mut self, snapshot: Job) -> Option<Job> {
        self.held_back = Some(snapshot);
        self.release()
    }

    /// The record's letter is acknowledged. Returns the snapshot that may be written now.
    pub fn acknowledge(&mut self, offset: i64) -> Option<Job> {
        self.bytes -= self.size_bytes.remove(&offset).unwrap_or(0);
        self.release()
    }

    /// Whether a snapshot is held back.
    pub fn holds_back(&self) -> bool {
        self.held_back.is_some()
    }

    /// Drops the snapshot that is held back; whether there was one.
    pub fn drop_held_back(&mut self) -> bool {
        self.held_back.take().is_some()
    }

    fn release(&mut self) -> Option<Job> {
        let oldest = self.size_bytes.first_key_value().map(|(&offset, _)| offset);
        self.held_back.take_if(|snapshot| oldest.is_none_or(|oldest| snapshot.next_offset <= oldest))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant as Moment;

    use super::*;
    use crate::kafka::writer::Tell;
    use crate::store::Epoch;

    fn snapshot(next_offset: i64) -> Job {
        let (worker, _) = crossbeam_channel::unbounded();
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        Job {
            partition,
            generation: 1,
            epoch: Epoch(1),
            next_offset,
            parts: Vec::new(),
            begun: Moment::now(),
            tell: Tell::Worker(worker),
        }
    }

    #[test]
    fn a_snapshot_waits_for_the_letters_it_covers_and_for_no_others() {
        let mut waiting = Waiting::default();
        waiting.add(3, 10);
        waiting.add(5, 10);
        assert!(waiting.pass(snapshot(3)).is_some(), "it ends before the first of them");
        assert!(waiting.pass(snapshot(6)).is_none() && waiting.holds_back());
        waiting.add(8, 10);
        assert!(waiting.acknowledge(5).is_none(), "3 is still on its way");
        assert_eq!(waiting.acknowledge(3).map(|job| job.next_offset), Some(6), "8 does not matter to it");
        assert!(!waiting.holds_back() && !waiting.is_empty());
        assert!(waiting.acknowledge(8).is_none() && waiting.is_empty());
        assert!(waiting.acknowledge(8).is_none(), "told twice");
        assert_eq!(waiting.bytes, 0);
    }

    #[test]
    fn too_many_letters_or_bytes_stop_the_reading() {
        let mut waiting = Waiting::default();
        (0..MAX_WAITING as i64 - 1).for_each(|offset| waiting.add(offset, 1));
        assert!(!waiting.is_full());
        waiting.add(10, 1);
        assert!(!waiting.is_full(), "the same record again");
        waiting.add(MAX_WAITING as i64, 1);
        assert!(waiting.is_full());
        waiting.acknowledge(0);
        assert!(!waiting.is_full());
        waiting.add(0, MAX_WAITING_BYTES);
        assert!(waiting.is_full());
    }
}
