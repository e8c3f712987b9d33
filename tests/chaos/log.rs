//! The log: events with repeats and late ones, written in parts, and what they amount to.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Moment};

use churnwatch::cohort::Definitions;
use churnwatch::gauges;
use churnwatch::proto::{Activity, LifecycleEvent, Started, lifecycle_event::Event as Kind};
use churnwatch::shard::{HashKey, Shard};
use churnwatch::time::Instant;
use pbjson_types::Timestamp;
use prost::Message as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use crate::kafka::fixture::event;
use crate::support::apache_kafka;

/// 2026-01-01T00:00:00Z
const BEGIN_S: i64 = 1_767_225_600;
/// Parts follow each other so closely that even one read late is well within the longest window.
const PART_S: i64 = 12 * 3_600;
/// How late an event may come; repeats are of the last events only, so they come no later.
const LATE_S: i64 = 2 * 86_400;
const REPEATED_FROM: usize = 5_000;
const PATIENCE: Duration = Duration::from_secs(180);

/// What has been written so far, where, and what it amounts to.
pub struct Log {
    pub topic: String,
    pub file: PathBuf,
    random: ChaCha8Rng,
    customers: usize,
    partitions: i32,
    parts: i64,
    written: usize,
    recent: VecDeque<LifecycleEvent>,
    shard: Shard,
    out: BufWriter<File>,
    producer: ThreadedProducer<Deliveries>,
}

impl Log {
    pub fn new(
        seed: u64,
        servers: &str,
        topic: &str,
        partitions: i32,
        customers: usize,
        definitions: &Definitions,
        file: PathBuf,
    ) -> Self {
        let mut config = apache_kafka::client(servers);
        for (key, value) in [
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("partitioner", "murmur2_random"),
            ("linger.ms", "20"),
            ("compression.type", "lz4"),
            // What was not acknowledged by then is written again: an event that is there twice counts once.
            ("message.timeout.ms", "30000"),
        ] {
            config.set(key, value);
        }
        Self {
            topic: topic.to_owned(),
            out: BufWriter::new(File::create(&file).unwrap()),
            file,
            random: ChaCha8Rng::seed_from_u64(seed),
            customers,
            partitions,
            parts: 0,
            written: 0,
            recent: VecDeque::new(),
            shard: Shard::new(Arc::new(definitions.clone()), HashKey([7; 16])),
            producer: config.create_with_context(Deliveries::default()).unwrap(),
        }
    }

    /// The instant at which the last part ends.
    pub fn as_of(&self) -> Instant {
        Instant::from_millis((BEGIN_S + self.parts * PART_S) * 1_000)
    }

    /// Begins another part: until it ends, no instance's as-of can be its end.
    pub fn begin_part(&mut self) {
        self.parts += 1;
    }

    /// Writes some events of the part.
    pub fn write(&mut self, count: usize) {
        let begin_s = BEGIN_S + (self.parts - 1) * PART_S;
        for _ in 0..count {
            let event = if !self.recent.is_empty() && self.random.random_ratio(1, 50) {
                self.recent[self.random.random_range(0..self.recent.len())].clone()
            } else {
                let late_s = if self.random.random_ratio(1, 20) { self.random.random_range(0..LATE_S) } else { 0 };
                let at_s = (begin_s + self.random.random_range(1..PART_S) - late_s).max(BEGIN_S);
                let mut event = event(&mut self.random, self.written, at_s, self.customers * 4);
                if self.random.random_ratio(1, 4) {
                    // Nothing else is known of this customer: without this one event, every count misses one.
                    event.customer_id = format!("once-{}", self.written);
                    event.event = Some(Kind::Started(Started::default()));
                }
                event
            };
            self.written += 1;
            self.append(&event, None);
            self.recent.push_back(event);
            if self.recent.len() > REPEATED_FROM {
                self.recent.pop_front();
            }
        }
    }

    /// Writes one event of each customer.
    pub fn write_each_customer_once(&mut self) {
        let begin_s = BEGIN_S + (self.parts - 1) * PART_S;
        for number in 0..self.customers {
            let mut event = event(&mut self.random, self.written, begin_s, 4);
            event.customer_id = format!("customer-{number}");
            self.written += 1;
            self.append(&event, None);
        }
    }

    /// Ends the part: the last event of every partition is at one and the same instant, later than all before, so
    /// that all instances then stand at the same as-of. Returns once everything written is acknowledged.
    pub fn end_part(&mut self) {
        for partition in 0..self.partitions {
            let tick = LifecycleEvent {
                event_id: format!("tick-{partition}-{}", self.parts),
                customer_id: format!("tick-{partition}"),
                event_time: Some(Timestamp { seconds: self.as_of().as_millis() / 1_000, nanos: 0 }),
                event: Some(Kind::Activity(Activity {})),
                ..LifecycleEvent::default()
            };
            // Behind everything of this part.
            self.append(&tick, Some(partition));
        }
        self.await_acknowledgements();
    }

    fn append(&mut self, event: &LifecycleEvent, partition: Option<i32>) {
        self.shard.consume_message(event, None);
        let payload = event.encode_length_delimited_to_vec();
        self.out.write_all(&payload).unwrap();
        self.send(Record { key: event.customer_id.clone(), payload: event.encode_to_vec(), partition });
    }

    fn send(&self, record: Record) {
        let deadline = Moment::now() + PATIENCE;
        let mut opaque = Box::new(record);
        loop {
            let Record { key, payload, partition } = (*opaque).clone();
            let mut message = BaseRecord::with_opaque_to(&self.topic, opaque).key(&key).payload(&payload);
            message.partition = partition;
            match self.producer.send(message) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    assert!(Moment::now() < deadline, "the brokers take no records any more");
                    opaque = back.delivery_opaque;
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("cannot send: {error}"),
            }
        }
    }

    fn await_acknowledgements(&self) {
        let deadline = Moment::now() + PATIENCE;
        loop {
            let _ = self.producer.flush(Duration::from_millis(500));
            let refused = std::mem::take(&mut *self.producer.context().refused.lock().unwrap());
            if refused.is_empty() && self.producer.in_flight_count() == 0 {
                return;
            }
            assert!(Moment::now() < deadline, "the brokers do not acknowledge what is written");
            refused.into_iter().for_each(|record| self.send(record));
        }
    }

    /// The page that one instance with all partitions has to show now.
    pub fn page(&mut self, definitions: &Definitions) -> String {
        let as_of = self.as_of();
        self.shard.advance(as_of);
        gauges::cohort_page(definitions, &self.shard.readings(), as_of)
    }

    /// How many events there are, repeats and ticks included.
    pub fn len(&self) -> usize {
        self.written + (self.parts * i64::from(self.partitions)) as usize
    }

    /// The file with everything written.
    pub fn flushed(&mut self) -> &PathBuf {
        self.out.flush().unwrap();
        &self.file
    }
}

/// What was sent, kept until it is acknowledged.
#[derive(Clone)]
struct Record {
    key: String,
    payload: Vec<u8>,
    partition: Option<i32>,
}

/// Keeps what was not acknowledged: it may or may not be there.
#[derive(Default)]
struct Deliveries {
    refused: Mutex<Vec<Record>>,
}

impl ClientContext for Deliveries {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Record>;

    fn delivery(&self, result: &DeliveryResult<'_>, record: Box<Record>) {
        if result.is_err() {
            self.refused.lock().unwrap().push(*record);
        }
    }
}
