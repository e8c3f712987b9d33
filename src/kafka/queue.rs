//! The records of one partition, in order: the one place that takes them from the client.

use std::ffi::CStr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, OwnedHeaders};

use super::TopicPartition;
use super::client::Events;
use crate::time::Instant;

/// What a shard needs of a record, and a dead letter.
pub(crate) struct Record<'a> {
    pub offset: i64,
    pub keyed: bool,
    /// The Kafka timestamp.
    pub time: Option<Instant>,
    /// `None`: a tombstone.
    pub payload: Option<&'a [u8]>,
    /// `None` where a test made the record.
    pub message: Option<&'a BorrowedMessage<'a>>,
}

impl Record<'_> {
    /// `None` is another thing than an empty key.
    pub fn key(&self) -> Option<&[u8]> {
        self.message?.key()
    }

    /// A copy of the headers.
    pub fn headers(&self) -> Option<OwnedHeaders> {
        self.message?.headers().map(BorrowedHeaders::detach)
    }

    /// Whether there is a header of that name.
    pub fn has_header(&self, name: &CStr) -> bool {
        let mut found = false;
        self.each_header(|key, _| found |= key == name);
        found
    }

    /// How long the headers are, names and values.
    pub fn headers_bytes(&self) -> usize {
        let mut bytes = 0;
        self.each_header(|key, value_bytes| bytes += key.count_bytes() + value_bytes);
        bytes
    }

    /// The name of each header, and how long its value is.
    #[allow(unsafe_code, reason = "rdkafka's own iterator panics at a header whose name is not UTF-8")]
    fn each_header(&self, mut each: impl FnMut(&CStr, usize)) {
        use rdkafka::bindings::{rd_kafka_header_get_all, rd_kafka_message_headers};
        use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR as FOUND;
        let Some(message) = self.message else { return };
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message lives as long as `self`, owns its headers and gives out names that end in a zero; what
        // is written to are variables of this function.
        unsafe {
            if rd_kafka_message_headers(message.ptr(), &mut headers) != FOUND {
                return;
            }
            let (mut name, mut value, mut value_bytes) = (std::ptr::null(), std::ptr::null(), 0);
            let mut at = 0;
            while rd_kafka_header_get_all(headers, at, &mut name, &mut value, &mut value_bytes) == FOUND {
                each(CStr::from_ptr(name), value_bytes);
                at += 1;
            }
        }
    }
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

    /// Hands over what is there, at most `max` records, without waiting for more; none after one at which `each`
    /// breaks. Returns how many.
    pub fn take(
        &mut self,
        max: usize,
        mut each: impl FnMut(Record<'_>) -> ControlFlow<()>,
    ) -> Result<usize, KafkaError> {
        #[allow(clippy::infallible_destructuring_match, reason = "tests have another source")]
        let queue = match &mut self.source {
            Source::Client(queue) => queue,
            #[cfg(test)]
            Source::Tape(tape) => return Ok(tape.take(max, each)),
        };
        for taken in 0..max {
            let Some(message) = queue.poll(Duration::ZERO) else { return Ok(taken) };
            let message = message?;
            let next = each(Record {
                offset: message.offset(),
                keyed: message.key().is_some_and(|key| !key.is_empty()),
                time: message.timestamp().to_millis().map(Instant::from_millis),
                payload: message.payload(),
                message: Some(&message),
            });
            if next.is_break() {
                return Ok(taken + 1);
            }
        }
        Ok(max)
    }
}
