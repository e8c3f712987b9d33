//! Nothing is published before every assigned partition has been read to the end offset seen at assignment.

use std::collections::BTreeMap;

use crate::kafka::TopicPartition;
use crate::kafka::worker::Progress;

/// Which of the assigned partitions have been read to the end offset seen at assignment.
#[derive(Default)]
pub(crate) struct CatchingUp {
    /// With the epoch of the assignment that each belongs to.
    goals: BTreeMap<TopicPartition, (u64, Goal)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    End(i64),
    Reached,
}

impl CatchingUp {
    /// Whether the partition's end is still to be asked for.
    pub fn lacks(&self, partition: &TopicPartition) -> bool {
        !self.goals.contains_key(partition)
    }

    /// The end offset seen at the assignment of an epoch.
    pub fn set(&mut self, partition: TopicPartition, epoch: u64, end: i64) {
        self.goals.insert(partition, (epoch, Goal::End(end)));
    }

    /// Forgets what is not assigned any more, or was assigned anew.
    pub fn keep(&mut self, assigned: &BTreeMap<TopicPartition, u64>) {
        self.goals.retain(|partition, (epoch, _)| assigned.get(partition) == Some(epoch));
    }

    /// How many records are still to be read before all may be published; `None` where not every end is known.
    pub fn remaining(&mut self, assigned: &BTreeMap<TopicPartition, u64>, progress: &[Progress]) -> Option<u64> {
        for progress in progress {
            if let Some((_, goal)) = self.goals.get_mut(&progress.partition)
                && matches!(*goal, Goal::End(end) if progress.next_offset >= end)
            {
                *goal = Goal::Reached;
            }
        }
        assigned
            .keys()
            .map(|partition| {
                let next = || progress.iter().find(|p| p.partition == *partition).map_or(0, |p| p.next_offset);
                match self.goals.get(partition)?.1 {
                    Goal::Reached => Some(0),
                    Goal::End(end) => Some(end.saturating_sub(next()).max(1) as u64),
                }
            })
            .sum()
    }

    /// The ends that are not reached yet.
    pub fn ends(&self) -> BTreeMap<TopicPartition, i64> {
        let end = |goal: &Goal| if let Goal::End(end) = goal { Some(*end) } else { None };
        self.goals.iter().filter_map(|(partition, (_, goal))| Some((partition.clone(), end(goal)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(partition: &TopicPartition, next_offset: i64) -> Progress {
        Progress {
            partition: partition.clone(),
            next_offset,
            last_record: None,
            latest_event: None,
            saved: None,
            waits_for_letters: false,
        }
    }

    #[test]
    fn nothing_may_be_published_before_every_partition_has_caught_up_once() {
        let [a, b] = [0, 1].map(|partition| TopicPartition { topic: "t".into(), partition });
        let assigned = BTreeMap::from([(a.clone(), 1), (b.clone(), 1)]);
        let mut catching_up = CatchingUp::default();
        assert_eq!(catching_up.remaining(&assigned, &[]), None);
        catching_up.set(a.clone(), 1, 10);
        assert_eq!(catching_up.remaining(&assigned, &[progress(&a, 10)]), None, "the end of b is unknown");
        catching_up.set(b.clone(), 1, 5);
        assert_eq!(catching_up.remaining(&assigned, &[progress(&a, 10), progress(&b, 2)]), Some(3));
        assert_eq!(catching_up.ends(), BTreeMap::from([(b.clone(), 5)]));
        assert_eq!(catching_up.remaining(&assigned, &[progress(&b, 6)]), Some(0));
        // b goes and comes back: it has to catch up again, a need not.
        let assigned = BTreeMap::from([(a, 1), (b.clone(), 3)]);
        catching_up.keep(&assigned);
        assert_eq!(catching_up.remaining(&assigned, &[]), None);
        catching_up.set(b.clone(), 3, 0);
        assert_eq!(
            catching_up.remaining(&assigned, &[progress(&b, 0)]),
            Some(0),
            "an empty partition has no end to reach"
        );
    }
}
