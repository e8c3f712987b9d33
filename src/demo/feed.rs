//! Produces the population's events into the embedded broker: the past as fast as it is read, then life at the
//! pace of simulated time.

use std::iter::Peekable;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant as Moment};

use anyhow::{Context, bail};
use prost::Message;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use super::delivery::{Deliveries, Delivery, event_time};
use super::population::{LIVE, OPENING, Population};
use crate::embedded::Pace;
use crate::time::{Instant, Span};

/// Deliveries on their way into one topic.
pub struct Feed<'a> {
    producer: ThreadedProducer<Acknowledgements>,
    topic: &'a str,
    deliveries: Peekable<Deliveries<Population>>,
    progress: &'a Progress,
}

/// How far a [`Feed`] has come; shared with whoever shows it.
#[derive(Default)]
pub struct Progress {
    produced: AtomicU64,
    /// How many of them are of the past, before [`LIVE`], and the largest event time of those; once it is known.
    past: OnceLock<(u64, Instant)>,
    /// Milliseconds.
    latest_event: AtomicI64,
}

/// What the broker said of the records produced.
#[derive(Default)]
struct Acknowledgements {
    received: AtomicU64,
    first_error: Mutex<Option<KafkaError>>,
}

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => _ = self.received.fetch_add(1, Ordering::Relaxed),
            Err((error, _)) => {
                let mut first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| error.clone());
            }
        }
    }
}

impl Progress {
    /// How many records have been produced.
    pub fn produced(&self) -> u64 {
        self.produced.load(Ordering::Relaxed)
    }

    /// Whether numbers as of an instant, published by whoever has read so many records, cover all of the past.
    pub fn is_past_covered(&self, as_of: Instant, records: u64) -> bool {
        let past = self.past.get();
        past.is_some_and(|&(produced, latest_event)| records >= produced && as_of >= latest_event)
    }

    /// The largest event time produced.
    pub fn latest_event(&self) -> Instant {
        Instant::from_millis(self.latest_event.load(Ordering::Relaxed))
    }
}

impl<'a> Feed<'a> {
    /// For so long nothing may be consumed while records wait.
    const PATIENCE: Duration = Duration::from_secs(30);
    const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
    /// How often life goes on; at the default pace, a quarter of a simulated hour.
    const TICK: Duration = Duration::from_millis(10);

    /// A feed from the beginning of the population's book.
    pub fn new(
        mut client: ClientConfig,
        topic: &'a str,
        deliveries: Deliveries<Population>,
        progress: &'a Progress,
    ) -> anyhow::Result<Self> {
        let producer = client
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .create_with_context(Acknowledgements::default())
            .context("cannot start the demo's producer")?;
        Ok(Self { producer, topic, deliveries: deliveries.peekable(), progress })
    }

    /// Produces the book, all at once: nothing may be published before it is read, or the first numbers would
    /// be those of years ago.
    pub fn produce_book(&mut self) -> anyhow::Result<()> {
        while let Some(delivery) = self.deliveries.next_if(|delivery| delivery.at < OPENING) {
            self.produce(&delivery)?;
        }
        self.flush()
    }

    /// Produces the weeks before [`LIVE`], then life at `speed` a second, until it is asked to stop, waiting
    /// wherever it would run ahead of the consumer. `consumed` counts all records that were read.
    pub fn produce_life(mut self, speed: Span, consumed: impl Fn() -> u64, stop: &AtomicBool) -> anyhow::Result<()> {
        let book = self.progress.produced();
        let mut pace = Pace::new(|| consumed().saturating_sub(book));
        let mut live_since = None;
        let mut now = LIVE;
        while !stop.load(Ordering::Relaxed) {
            let Some(delivery) = self.deliveries.next_if(|delivery| delivery.at < now) else {
                let since = *live_since.get_or_insert_with(|| {
                    self.progress.past.get_or_init(|| (self.progress.produced(), self.progress.latest_event()));
                    Moment::now()
                });
                std::thread::sleep(Self::TICK);
                now = LIVE + Span::from_millis((speed.as_millis() as f64 * since.elapsed().as_secs_f64()) as i64);
                continue;
            };
            let size_bytes = self.produce(&delivery)?;
            if !pace.sent(size_bytes, Self::PATIENCE) {
                bail!("the consumer has read nothing for {} s while records wait", Self::PATIENCE.as_secs());
            }
        }
        self.flush()
    }

    /// Hands a record to the client; says how large it is.
    fn produce(&self, Delivery { event, .. }: &Delivery) -> anyhow::Result<usize> {
        let payload = event.encode_to_vec();
        let mut record = BaseRecord::to(self.topic).key(&event.customer_id).payload(&payload);
        while let Err((error, refused)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error).context("cannot produce into the embedded Kafka broker");
            }
            std::thread::sleep(Duration::from_millis(1));
            record = refused;
        }
        self.progress.produced.fetch_add(1, Ordering::Relaxed);
        self.progress.latest_event.fetch_max(event_time(event).as_millis(), Ordering::Relaxed);
        Ok(event.customer_id.len() + payload.len())
    }

    /// Waits until the broker has acknowledged everything.
    fn flush(&self) -> anyhow::Result<()> {
        self.producer.flush(Self::FLUSH_TIMEOUT).context("the embedded Kafka broker does not answer")?;
        let acknowledgements = self.producer.context();
        let first_error = acknowledgements.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &*first_error {
            bail!("the embedded Kafka broker refused a record: {error}");
        }
        let (produced, received) = (self.progress.produced(), acknowledgements.received.load(Ordering::Relaxed));
        if produced != received {
            bail!("the embedded Kafka broker acknowledged {received} of {produced} records");
        }
        Ok(())
    }
}
