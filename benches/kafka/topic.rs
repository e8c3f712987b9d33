//! A topic and what is written to it.

use std::time::Duration;

use churnwatch::proto::LifecycleEvent;
use prost::Message;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use crate::stream::{EVENTS_A_SECOND, Stream};

const PATIENCE: Duration = Duration::from_secs(120);
/// The plan of those that come last, one in each partition.
pub const LAST: &str = "last";

pub struct Topic {
    pub servers: String,
    pub name: String,
    pub partitions: i32,
}

impl Topic {
    pub fn new(servers: &str, name: &str, partitions: i32) -> Self {
        Self { servers: servers.to_owned(), name: name.to_owned(), partitions }
    }

    /// A client that says nothing but where.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    /// Writes so many events that end now, each to where `partition` says for its customer, and one more in each partition.
    /// Returns how many there are in all.
    pub fn fill(&self, events: u64, customers: u64, partition: impl Fn(u64) -> i32) -> u64 {
        let now_ms = churnwatch::run::wall_clock().as_millis();
        let begin_ms = now_ms - (events * 1000 / EVENTS_A_SECOND) as i64;
        let mut stream = Stream::new(1, customers);
        let mut writer = Writer::new(self);
        for number in 0..events {
            let at_ms = begin_ms + (number * 1000 / EVENTS_A_SECOND) as i64;
            let (customer, event) = stream.next(at_ms);
            writer.send(partition(customer), &event, at_ms);
        }
        self.end(&mut writer, &mut stream, now_ms);
        self.expect(events + self.partitions as u64)
    }

    /// Writes the start of every customer, before the longest window, and one more in each partition.
    pub fn start_all(&self, customers: u64) -> u64 {
        let now_ms = churnwatch::run::wall_clock().as_millis();
        let start_ms = now_ms - 35 * 86_400_000;
        let mut stream = Stream::new(2, customers);
        let mut writer = Writer::new(self);
        for customer in 0..customers {
            let event = stream.start(customer, start_ms);
            writer.send(self.partition(customer), &event, now_ms);
        }
        self.end(&mut writer, &mut stream, now_ms);
        self.expect(customers + self.partitions as u64)
    }

    pub fn partition(&self, customer: u64) -> i32 {
        (customer % self.partitions as u64) as i32
    }

    fn end(&self, writer: &mut Writer, stream: &mut Stream, at_ms: i64) {
        for partition in 0..self.partitions {
            writer.send(partition, &stream.started(format!("{LAST}-{partition}"), LAST, at_ms), at_ms);
        }
        writer.finish();
    }

    /// Fails unless the topic holds so many records: the embedded broker drops silently what is too much for it.
    fn expect(&self, records: u64) -> u64 {
        let client: BaseConsumer = self.client().create().expect("a client");
        let held = |partition| client.fetch_watermarks(&self.name, partition, PATIENCE).expect("the broker answers");
        let ends: Vec<_> = (0..self.partitions).map(held).collect();
        let (low, high) = ends.iter().fold((0, 0), |sum, end| (sum.0 + end.0, sum.1 + end.1));
        assert_eq!((low, high), (0, records as i64), "the topic does not hold all of it");
        records
    }
}

/// A producer of large batches, compressed with lz4.
pub struct Writer {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    payload: Vec<u8>,
    bytes: u64,
    records: u64,
}

impl Writer {
    pub fn new(topic: &Topic) -> Self {
        Self::with(topic, "50")
    }

    /// With batches that wait so many milliseconds.
    pub fn with(topic: &Topic, linger_ms: &str) -> Self {
        let mut config = topic.client();
        for (key, value) in [
            ("compression.type", "lz4"),
            ("linger.ms", linger_ms),
            ("batch.num.messages", "10000"),
            ("batch.size", "1000000"),
            ("queue.buffering.max.messages", "1000000"),
            ("queue.buffering.max.kbytes", "1000000"),
            ("acks", "1"),
        ] {
            config.set(key, value);
        }
        let producer = config.create().expect("a producer");
        Self { producer, topic: topic.name.clone(), payload: Vec::new(), bytes: 0, records: 0 }
    }

    /// Waits while the client's queue is full.
    pub fn send(&mut self, partition: i32, event: &LifecycleEvent, at_ms: i64) {
        self.payload.clear();
        event.encode(&mut self.payload).expect("a vector takes any length");
        self.bytes += (self.payload.len() + event.customer_id.len()) as u64;
        self.records += 1;
        let mut record = BaseRecord::to(&self.topic)
            .partition(partition)
            .key(&event.customer_id)
            .payload(&self.payload)
            .timestamp(at_ms);
        while let Err((error, back)) = self.producer.send(record) {
            let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            assert!(full, "cannot write to the topic: {error}");
            record = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How many were handed to the client.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes a record, key and value.
    pub fn bytes_a_record(&self) -> f64 {
        self.bytes as f64 / self.records as f64
    }

    pub fn finish(&mut self) {
        self.producer.flush(PATIENCE).expect("all is acknowledged in time");
    }
}
