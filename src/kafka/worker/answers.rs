//! What a worker tells the publication loop.

use std::collections::BTreeMap;
use std::time::Instant as Moment;

use super::{Numbers, TopicPartition, Worker};
use crate::time::Instant;

impl Worker {
    /// Brings the tallies to `t`, of those partitions that the round is about.
    pub(in crate::kafka) fn advance(&mut self, t: Instant, of: &BTreeMap<TopicPartition, u64>) -> Numbers {
        let mut numbers = Numbers::none();
        for (_, held) in self.held.iter_mut().filter(|(partition, _)| of.contains_key(partition)) {
            held.shard.advance(t);
            let readings = held.shard.readings();
            numbers.tracked_cohorts += readings.cohorts() as u64;
            numbers.readings.add(readings);
            numbers.tracked_customers += held.shard.tracked_customers() as u64;
            numbers.oldest_new.extend(held.oldest_new.take());
        }
        numbers
    }

    /// Answers whoever waited for something to be read that has been read, or has waited long enough.
    pub(super) fn answer_reached(&mut self) {
        let now = Moment::now();
        let held = &self.held;
        self.pending.retain(|reach| {
            let reached = held
                .iter()
                .all(|(partition, held)| reach.ends.get(partition).is_none_or(|&end| held.shard.next_offset() >= end));
            if !reached && now < reach.deadline {
                return true;
            }
            let asked = held.iter().filter(|(partition, _)| reach.of.contains_key(partition));
            let _ = reach.reply.send(asked.map(|(partition, held)| held.progress(partition)).collect());
            false
        });
    }
}
