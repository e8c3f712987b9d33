//! The records of one partition, in order: the one place that takes them from the client.

use std::ffi::CStr;
use std::sync::Arc;

use rdkafka::client::ClientContext as _;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;

use super::TopicPartition;
use super::client::Events;
use crate::native::{Message, PartitionQueue, prefetch};
use crate::time::Instant;

/// What a shard needs of a record, and a dead letter.
#[derive(Clone, Copy)]
pub(crate) enum Record<'a> {
    Client(&'a Message),
    #[cfg(test)]
    Tape {
        offset: i64,
        payload: &'a [u8],
    },
}

impl<'a> Record<'a> {
    fn message(self) -> Option<&'a Message> {
        match self {
            Self::Client(message) => Some(message),
            #[cfg(test)]
            Self::Tape { .. } => None,
        }
    }

    /// Whether it is none: an error that stands between the records.
    pub fn is_error(self) -> bool {
        self.message().is_some_and(Message::is_error)
    }

    pub fn offset(self) -> i64 {
        match self {
            Self::Client(message) => message.offset(),
            #[cfg(test)]
            Self::Tape { offset, .. } => offset,
        }
    }

    /// `None`: a tombstone.
    pub fn payload(self) -> Option<&'a [u8]> {
        match self {
            Self::Client(message) => message.payload(),
            #[cfg(test)]
            Self::Tape { payload, .. } => Some(payload),
        }
    }

    /// `None` is another thing than an empty key.
    pub fn key(self) -> Option<&'a [u8]> {
        self.message()?.key()
    }

    /// Whether it has a key that says something.
    pub fn is_keyed(self) -> bool {
        match self {
            Self::Client(message) => message.key().is_some_and(|key| !key.is_empty()),
            #[cfg(test)]
            Self::Tape { .. } => true,
        }
    }

    /// The Kafka timestamp.
    pub fn time(self) -> Option<Instant> {
        self.message()?.time_ms().map(Instant::from_millis)
    }

    /// A copy of the headers.
    pub fn headers(self) -> Option<OwnedHeaders> {
        self.message()?.headers()
    }

    /// Whether there is a header of that name.
    pub fn has_header(self, name: &CStr) -> bool {
        let mut found = false;
        self.each_header(|key, _| found |= key == name);
        found
    }

    /// How long the headers are, names and values.
    pub fn headers_bytes(self) -> usize {
        let mut bytes = 0;
        self.each_header(|key, value_bytes| bytes += key.count_bytes() + value_bytes);
        bytes
    }

    fn each_header(self, each: impl FnMut(&CStr, usize)) {
        if let Some(message) = self.message() {
            message.each_header(each);
        }
    }
}

/// A partition's queue, split from the consumer's, and what was taken from it and not read yet.
pub(crate) struct Queue {
    source: Source,
    /// So many of those taken last are read.
    read: usize,
}

enum Source {
    Client(PartitionQueue<Events>),
    #[cfg(test)]
    Tape {
        tape: super::tests::Tape,
        taken: Vec<(i64, Vec<u8>)>,
    },
}

impl Queue {
    /// Splits the partition's queue. To be called before the partition is assigned: the client then never
    /// forwards its records to the consumer's own queue, where they would overtake those in here.
    pub fn split(
        consumer: &Arc<BaseConsumer<Events>>,
        partition: &TopicPartition,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Option<Self> {
        let queue = PartitionQueue::split(consumer, &partition.topic, partition.partition, wake)?;
        Some(Self { source: Source::Client(queue), read: 0 })
    }

    #[cfg(test)]
    pub(super) fn of_tape(tape: super::tests::Tape) -> Self {
        Self { source: Source::Tape { tape, taken: Vec::new() }, read: 0 }
    }

    /// Takes a batch from the client, without waiting for one, unless some of the last waits.
    pub fn refill(&mut self) {
        if self.waits() {
            return;
        }
        match &mut self.source {
            Source::Client(queue) => {
                queue.take();
            }
            #[cfg(test)]
            Source::Tape { tape, taken } => *taken = tape.take(),
        }
    }

    /// Whether there are records that were taken from the client and are not read.
    pub fn waits(&self) -> bool {
        self.waiting(0).is_some()
    }

    /// Of those that wait the one so many places behind the first.
    pub fn waiting(&self, place: usize) -> Option<Record<'_>> {
        match &self.source {
            Source::Client(queue) => queue.taken().get(self.read + place).map(Record::Client),
            #[cfg(test)]
            Source::Tape { taken, .. } => {
                let (offset, payload) = taken.get(self.read + place)?;
                Some(Record::Tape { offset: *offset, payload })
            }
        }
    }

    /// Asks for a payload that will be read soon: it lies in the cache of the processor that has unpacked it.
    #[inline(always)]
    pub fn ask_for(&self, place: usize) {
        if let Some([first, .., last]) = self.waiting(place).and_then(Record::payload) {
            prefetch(first);
            prefetch(last);
        }
    }

    /// So many of those that wait are read.
    pub fn pass(&mut self, count: usize) {
        self.read += count;
        if !self.waits() {
            self.give_back();
        }
    }

    /// At once, while they are in the processor's cache.
    fn give_back(&mut self) {
        self.read = 0;
        match &mut self.source {
            Source::Client(queue) => queue.give_back(),
            #[cfg(test)]
            Source::Tape { taken, .. } => taken.clear(),
        }
    }

    /// The error, where the first of those that wait is one: then it is passed, and told as other errors of the
    /// client are.
    pub fn take_error(&mut self) -> Option<KafkaError> {
        let (code, reason) = self.waiting(0)?.message()?.error()?;
        self.pass(1);
        match &self.source {
            Source::Client(queue) => queue.context().error(KafkaError::Global(code), &reason),
            #[cfg(test)]
            Source::Tape { .. } => {}
        }
        Some(KafkaError::MessageConsumption(code))
    }
}
