//! Records as they are on the wire, byte by byte: names of headers need not be UTF-8, and null is not empty.

#![allow(unsafe_code, reason = "rdkafka gives out the names of headers as strings, and panics where they are none")]

use std::ptr::{null, null_mut};
use std::time::{Duration, Instant as Moment};

use churnwatch::settings::Kafka;
use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR as OK;
use rdkafka::{Offset, TopicPartitionList};

use super::fixture::PATIENCE;

pub type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub time_ms: i64,
    pub headers: Headers,
}

impl Record {
    /// The value of the header's last occurrence, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rfind(|(key, _)| key == name.as_bytes())?;
        str::from_utf8(value.as_deref()?).ok()
    }

    /// Where a dead letter says that it comes from.
    pub fn origin(&self) -> (i32, i64) {
        let number = |name: &str| self.header(name).unwrap().parse::<i64>().unwrap();
        (number("__connect.errors.partition") as i32, number("__connect.errors.offset"))
    }
}

/// Writes the records, one after the other.
pub fn write(kafka: &Kafka, topic: &str, records: &[Record]) {
    let producer: BaseProducer = kafka.client_config().set("enable.idempotence", "true").create().unwrap();
    let topic = std::ffi::CString::new(topic).unwrap();
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or((null(), 0), |b| (b.as_ptr(), b.len()));
    for record in records {
        let ((key, key_length), (value, value_length)) = (bytes(&record.key), bytes(&record.value));
        // SAFETY: every pointer is to something that lives as long as the call, which copies it; the headers are
        // owned by the client once it has taken them.
        let code = unsafe {
            let headers = native::rd_kafka_headers_new(record.headers.len());
            for (name, content) in &record.headers {
                let (content, length) = bytes(content);
                let added = native::rd_kafka_header_add(
                    headers,
                    name.as_ptr().cast(),
                    name.len() as isize,
                    content.cast(),
                    length as isize,
                );
                assert_eq!(added, OK);
            }
            native::rd_kafka_producev(
                producer.client().native_ptr(),
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC,
                topic.as_ptr(),
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
                record.partition,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
                native::RD_KAFKA_MSG_F_COPY,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
                key,
                key_length,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
                value,
                value_length,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP,
                record.time_ms,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
                headers,
                native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
            )
        };
        assert_eq!(code, OK);
    }
    producer.flush(PATIENCE).unwrap();
}

/// All records of a topic, by partition and offset.
pub fn read(kafka: &Kafka, topic: &str, partitions: i32) -> Vec<Record> {
    let consumer: BaseConsumer = kafka.client_config().set("group.id", "reads-everything").create().unwrap();
    let mut records = Vec::new();
    for partition in 0..partitions {
        let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let deadline = Moment::now() + PATIENCE;
        let mut next = 0;
        while next < end {
            assert!(Moment::now() < deadline, "{topic}[{partition}] ends at {end}, read to {next}");
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message.unwrap();
            next = message.offset() + 1;
            records.push(Record {
                partition,
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                time_ms: message.timestamp().to_millis().unwrap(),
                headers: headers(&message),
            });
        }
    }
    records
}

fn headers(message: &BorrowedMessage<'_>) -> Headers {
    let mut found = Vec::new();
    // SAFETY: the message owns its headers and outlives this; names end in a zero, values have the length told.
    unsafe {
        let mut headers = null_mut();
        if native::rd_kafka_message_headers(message.ptr(), &mut headers) != OK {
            return found;
        }
        let (mut name, mut value, mut size) = (null(), null(), 0);
        while native::rd_kafka_header_get_all(headers, found.len(), &mut name, &mut value, &mut size) == OK {
            let content = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size).to_vec());
            found.push((std::ffi::CStr::from_ptr(name).to_bytes().to_vec(), content));
        }
    }
    found
}
