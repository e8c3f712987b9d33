//! Partitions that are let go of as soon as their last letters are acknowledged.

use std::time::{Duration, Instant as Moment};

use tracing::warn;

use super::{Held, TopicPartition, Worker};
use crate::kafka::rejected::Waiting;

/// How long a rebalance, or the end, waits for the dead-letter topic: well inside what it waits for the snapshots.
const PATIENCE: Duration = Duration::from_secs(8);

/// A partition that is not read any more, with its last snapshot.
pub(super) struct Leaving {
    partition: TopicPartition,
    letters: Waiting,
    deadline: Moment,
}

impl Worker {
    /// Keeps what waits for letters until they are acknowledged; drops the rest.
    pub(super) fn leave(&mut self, partition: &TopicPartition, held: Held) {
        if held.letters.holds_back() {
            let deadline = Moment::now() + PATIENCE;
            self.leaving.push(Leaving { partition: partition.clone(), letters: held.letters, deadline });
        }
    }

    /// Sends snapshots off that waited for nothing but this letter.
    pub(super) fn delivered(&mut self, partition: &TopicPartition, offset: i64) {
        let held = self.held.get_mut(partition).map(|held| &mut held.letters);
        let leaving = self.leaving.iter_mut().filter(|leaving| leaving.partition == *partition);
        for letters in leaving.map(|leaving| &mut leaving.letters).chain(held) {
            if let Some(snapshot) = letters.acknowledge(offset) {
                let _ = self.setup.writer.send(snapshot);
            }
        }
        self.leaving.retain(|leaving| leaving.letters.holds_back());
    }

    /// Lets go of what waits for too long, unsaved: whoever reads on from the snapshot before meets the same records.
    pub(super) fn give_up_overdue(&mut self) {
        self.leaving.retain(|Leaving { partition, deadline, .. }| {
            let waits = Moment::now() < *deadline;
            if !waits {
                warn!(
                    "rejected records of {partition} are not in the dead-letter topic: it is let go of without a \
                     snapshot, and read again from the one before"
                );
            }
            waits
        });
    }
}
