//! Events into a topic, every one acknowledged by all replicas in sync.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use prost::Message as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, Message as _};

use super::client::{Complaints, forward_log};
use crate::proto::LifecycleEvent;
use crate::settings::Kafka;

/// A producer into one topic: keyed by customer id, and the record's timestamp is the event's time.
///
/// The event's time, because `event_time_in_future` and the as-of of a consumer that is behind both compare
/// with the record's timestamp: an imported past is then read as it would have been at the time.
pub struct Producer {
    producer: ThreadedProducer<Deliveries>,
    topic: String,
    sent: u64,
}

/// What every producer here has in common, then `ours`, then the user's properties. Those of a consumer among them
/// are none of a producer's business, and ignored.
pub(crate) fn config(kafka: &Kafka, ours: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    let common = [
        ("acks", "all"),
        ("enable.idempotence", "true"),
        // Java clients' choice of a key's partition: a customer's events stay in one partition.
        ("partitioner", "murmur2_random"),
        ("compression.type", "lz4"),
        ("allow.auto.create.topics", "false"),
    ];
    for (key, value) in common.iter().chain(ours) {
        config.set(*key, *value);
    }
    kafka.configure(&mut config);
    config
}

/// How many records were acknowledged, and how many were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    pub acknowledged: u64,
    pub failed: u64,
}

impl Producer {
    /// A producer that connects when there is something to send.
    pub fn new(kafka: &Kafka, topic: &str) -> anyhow::Result<Self> {
        let ours = [("client.id", "churnwatch-import"), ("linger.ms", "20"), ("message.timeout.ms", "60000")];
        let producer = config(kafka, &ours)
            .create_with_context(Deliveries::default())
            .context("the Kafka client cannot be configured: check [kafka] and [kafka.librdkafka]")?;
        Ok(Self { producer, topic: topic.to_owned(), sent: 0 })
    }

    /// Fails unless the brokers know the topic.
    pub fn check_topic(&self, patience: Duration) -> anyhow::Result<()> {
        let metadata = match self.producer.client().fetch_metadata(Some(&self.topic), patience) {
            Ok(metadata) => metadata,
            Err(error) => bail!(
                "no answer about {:?} within {} s: {error}; check kafka.brokers, the network, and security.protocol and \
                 sasl.* of [kafka.librdkafka]",
                self.topic,
                patience.as_secs(),
            ),
        };
        if metadata.topics().iter().all(|topic| topic.partitions().is_empty()) {
            bail!("the topic {:?} is not there: create it, or name another one with --topic", self.topic);
        }
        Ok(())
    }

    /// Sends an event, waiting while the client's queue is full. Returns the size of the record.
    pub fn send(&mut self, event: &LifecycleEvent) -> anyhow::Result<usize> {
        self.send_as(event, None)
    }

    /// As [`Self::send`], in the given bytes: they may hold fields unknown here.
    pub fn send_as(&mut self, event: &LifecycleEvent, payload: Option<&[u8]>) -> anyhow::Result<usize> {
        let encoded;
        let payload = match payload {
            Some(payload) => payload,
            None => {
                encoded = event.encode_to_vec();
                &encoded
            }
        };
        self.send_record(Some(event.customer_id.as_bytes()), payload, time_ms(event))
    }

    /// Sends any record; `time_ms` is its timestamp, now if `None`.
    pub fn send_record(&mut self, key: Option<&[u8]>, payload: &[u8], time_ms: Option<i64>) -> anyhow::Result<usize> {
        let topic = self.topic.clone();
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&topic).payload(payload);
        record.key = key;
        record.timestamp = time_ms;
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => bail!("cannot send to {topic:?}: {error}"),
            }
        }
        self.sent += 1;
        Ok(payload.len() + key.map_or(0, <[u8]>::len))
    }

    /// How many records were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// What has become of them so far.
    pub fn delivered(&self) -> Delivered {
        let deliveries = self.producer.context();
        Delivered {
            acknowledged: deliveries.acknowledged.load(Ordering::Acquire),
            failed: deliveries.failed.load(Ordering::Acquire),
        }
    }

    /// Why the first of those failed that did.
    pub fn first_failure(&self) -> Option<String> {
        self.producer.context().first_failure.get().cloned()
    }

    /// Waits until every record has been acknowledged or has failed, at most for `patience`; `tell` is called
    /// now and then.
    pub fn finish(&self, patience: Duration, mut tell: impl FnMut(Delivered)) -> Delivered {
        let deadline = Instant::now() + patience;
        loop {
            // Flushing also spares the linger time.
            let _ = self.producer.flush(Duration::from_millis(100));
            let delivered = self.delivered();
            tell(delivered);
            if delivered.acknowledged + delivered.failed >= self.sent || Instant::now() >= deadline {
                return delivered;
            }
        }
    }
}

/// The event's time in whole milliseconds, where it has one that Kafka can carry.
fn time_ms(event: &LifecycleEvent) -> Option<i64> {
    let time = event.event_time.as_ref()?;
    let ms = i128::from(time.seconds) * 1000 + i128::from(time.nanos.div_euclid(1_000_000));
    i64::try_from(ms).ok().filter(|ms| *ms >= 0)
}

/// Counts acknowledgements.
#[derive(Default)]
struct Deliveries {
    acknowledged: AtomicU64,
    failed: AtomicU64,
    first_failure: std::sync::OnceLock<String>,
    complaints: Arc<Complaints>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.hear(error.rdkafka_error_code(), reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        match result {
            Ok(_) => {
                self.complaints.mended();
                self.acknowledged.fetch_add(1, Ordering::Release);
            }
            Err((error, message)) => {
                let _ = self.first_failure.set(format!("{error} ({})", message.topic()));
                self.failed.fetch_add(1, Ordering::Release);
            }
        }
    }
}
