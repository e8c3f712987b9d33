//! The records of one partition, in order: the one place that takes them from the client.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;

use super::TopicPartition;
use super::client::Events;
use crate::time::Instant;

/// What a shard needs of a record.
pub(crate) struct Record<'a> {
    pub offset: i64,
    pub keyed: bool,
    /// The Kafka timestamp.
    pub time: Option<Instant>,
    /// `None`: a tombstone.
    pub payload: Option<&'a [u8]>,
}

/// A partition's queue, split from the consumer's.
pub(crate) struct Queue {
    source: Source,
}

enum Source {
    Client(PartitionQueue<Events>),
    #[cfg(test)]
    Tape(super::tests::Tape),
}

impl Queue {
    /// Splits the partition's queue. To be called before the partition is assigned: the client then never
    /// forwards its records to the consumer's own queue, where they would overtake those in here.
    pub fn split(
        consumer: &Arc<BaseConsumer<Events>>,
        partition: &TopicPartition,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Option<Self> {
        let mut queue = consumer.split_partition_queue(&partition.topic, partition.partition)?;
        queue.set_nonempty_callback(wake);
        Some(Self { source: Source::Client(queue) })
    }

    #[cfg(test)]
    pub(super) fn of_tape(tape: super::tests::Tape) -> Self {
        Self { source: Source::Tape(tape) }
    }

    /// Hands over what is there, at most `max` records, without waiting for more. Returns how many.
    pub fn take(&mut self, max: usize, mut each: impl FnMut(Record<'_>)) -> Result<usize, KafkaError> {
        let queue = match &mut self.source {
            Source::Client(queue) => queue,
            #[cfg(test)]
            Source::Tape(tape) => return Ok(tape.take(max, each)),
        };
        for taken in 0..max {
            let Some(message) = queue.poll(Duration::ZERO) else { return Ok(taken) };
            let message = message?;
            each(Record {
                offset: message.offset(),
                keyed: message.key().is_some_and(|key| !key.is_empty()),
                time: message.timestamp().to_millis().map(Instant::from_millis),
                payload: message.payload(),
            });
        }
        Ok(max)
    }
}
