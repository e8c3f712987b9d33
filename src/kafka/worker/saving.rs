//! Snapshots while records go on coming: a slice between two batches, one partition after the other.

use std::io;
use std::time::{Duration, Instant as Moment};

use crossbeam_channel::Sender;
use tracing::error;

use super::{Durable, Held, Job, Message, Phase, Setup, TopicPartition, Worker};
use crate::kafka::writer::Tell;
use crate::snapshot::Slices;

/// A snapshot that is being serialised.
pub(crate) struct Serialising {
    slices: Slices,
    begun: Moment,
    longest_pause: Duration,
}

impl Worker {
    /// Serialises the next slice of the snapshots that are due; whether there is more of them.
    pub(in crate::kafka) fn save_due(&mut self) -> bool {
        let begun = Moment::now();
        let mut due: Vec<_> =
            self.held.iter_mut().filter_map(|(p, held)| held.has_to_save(begun).then_some((p, held))).collect();
        // What is begun is finished first; then it is the turn of whoever waits for longest.
        due.sort_by_key(|(_, held)| (held.serialising.is_none(), held.save_due));
        let mut budget_bytes = self.setup.slice_bytes;
        for (partition, held) in due {
            if let Err(error) = held.save_on(partition, &self.setup, &self.own, begun, &mut budget_bytes) {
                complain(partition, &error);
                held.shard.thaw();
                held.saving = false;
            }
            if budget_bytes == 0 {
                return true;
            }
        }
        false
    }
}

impl Held {
    fn has_to_save(&mut self, now: Moment) -> bool {
        if self.phase != Phase::Reading {
            return false;
        }
        if self.cannot_save_yet() {
            self.give_up_saving();
            return false;
        }
        self.serialising.is_some() || (now >= self.save_due && !self.saving)
    }

    /// Whether no snapshot is worth serialising: the dead-letter topic has refused what it would cover.
    fn cannot_save_yet(&mut self) -> bool {
        let waits = !self.letters.is_empty() && self.letters.is_refused();
        if waits && self.letters.drop_held_back() {
            self.saving = false;
        }
        waits
    }

    /// Serialises the next slice of a snapshot, and hands the last one to the writer. `now` is when the pause began.
    fn save_on(
        &mut self,
        partition: &TopicPartition,
        setup: &Setup,
        own: &Sender<Message>,
        now: Moment,
        budget_bytes: &mut usize,
    ) -> io::Result<()> {
        if self.serialising.is_none() {
            self.save_due = now + setup.snapshot_interval;
            if let Some(saved) = &mut self.saved
                && saved.next_offset == self.shard.next_offset()
            {
                saved.time = (setup.now)();
                return Ok(());
            }
        }
        let mut serialising = self.serialise(partition)?;
        let done = serialising.slices.step(&mut self.shard, budget_bytes)?;
        serialising.longest_pause = serialising.longest_pause.max(now.elapsed());
        if !done {
            self.serialising = Some(serialising);
            return Ok(());
        }
        setup.shared.metrics.snapshot_serialised(serialising.longest_pause);
        self.saving = self.hand_over(serialising, partition, &setup.writer, Tell::Worker(own.clone()))?;
        Ok(())
    }

    /// Serialises what is left at once and hands it to the writer, for whoever lets go of the partition: it covers
    /// everything read.
    pub(super) fn save_last(
        &mut self,
        partition: &TopicPartition,
        setup: &Setup,
        reply: Sender<Durable>,
    ) -> io::Result<()> {
        let covered = |serialising: &Serialising| serialising.slices.next_offset() == self.shard.next_offset();
        if !self.serialising.as_ref().is_some_and(covered) {
            self.give_up_saving();
        }
        let serialising = self.serialise(partition)?;
        self.hand_over(serialising, partition, &setup.writer, Tell::Rebalance(reply))?;
        Ok(())
    }

    /// The snapshot that is under way, or a new one.
    fn serialise(&mut self, partition: &TopicPartition) -> io::Result<Serialising> {
        if let Some(serialising) = self.serialising.take() {
            return Ok(serialising);
        }
        let slices = Slices::begin(&mut self.shard, &partition.topic, partition.partition)?;
        self.saving = true;
        Ok(Serialising { slices, begun: Moment::now(), longest_pause: Duration::ZERO })
    }

    /// Hands a snapshot to the writer, at once or when the letters of what it covers are acknowledged; whether there
    /// is a writer.
    fn hand_over(
        &mut self,
        serialising: Serialising,
        partition: &TopicPartition,
        writer: &Sender<Job>,
        tell: Tell,
    ) -> io::Result<bool> {
        let Serialising { slices, begun, .. } = serialising;
        let next_offset = slices.next_offset();
        let parts = slices.finish(&mut self.shard)?;
        let (partition, generation, epoch) = (partition.clone(), self.generation, self.epoch);
        let job = Job { partition, generation, epoch, next_offset, parts, begun, tell };
        Ok(self.letters.pass(job).is_none_or(|job| writer.send(job).is_ok()))
    }

    /// Gives up the snapshot that is being serialised.
    pub(super) fn give_up_saving(&mut self) {
        if let Some(serialising) = self.serialising.take() {
            serialising.slices.abandon(&mut self.shard);
            self.saving = false;
        }
    }
}

/// Writing into memory fails only where there is a bug, and what was written is then not sent.
pub(super) fn complain(partition: &TopicPartition, error: &io::Error) {
    error!("cannot serialise the shard of {partition}: {error}: please report this bug");
}
