//! What a worker tells the publication loop.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant as Moment;

use super::{Held, Numbers, TopicPartition, Worker};
use crate::shard::Shard;
use crate::time::Instant;

impl Worker {
    /// Brings the tallies to `t`, of those partitions that the round is about.
    pub(in crate::kafka) fn advance(&mut self, t: Instant, of: &BTreeMap<TopicPartition, u64>) -> Numbers {
        let mut numbers = Numbers::none();
        let asked = self.held.iter_mut().filter(|(partition, _)| of.contains_key(partition));
        let mut asked: Vec<&mut Held> = asked.map(|(_, held)| held).collect();
        build(asked.iter_mut().map(|held| &mut held.shard), t, self.setup.builders);
        for held in asked {
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

/// Builds the tallies of those shards that have none, side by side: where a topic was read for the first time that is
/// everybody's, nothing else can go on, and there are no numbers before.
fn build<'a>(shards: impl Iterator<Item = &'a mut Shard>, t: Instant, threads: usize) {
    let without: Vec<_> = shards.filter(|shard| shard.as_of().is_none()).collect();
    let threads = threads.min(without.len());
    if threads < 2 {
        return;
    }
    let next = Mutex::new(without.into_iter());
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(shard) = take() {
                    shard.advance(t);
                }
            });
        }
    });
}
