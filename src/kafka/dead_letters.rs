//! Rejected records into the dead-letter topic: every one kept and tried again until it is acknowledged.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant as Moment};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, select, unbounded};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use tracing::{debug, info, warn};

use super::client::forward_log;
use super::queue::Record;
use super::worker::Message;
use super::{TopicPartition, produce};
use crate::event::Rejection;
use crate::own_metrics::OwnMetrics;
use crate::settings::Kafka;

/// How long after it was refused a letter is tried again: doubled each time, up to sixteenfold.
const RETRY_AFTER: Duration = Duration::from_millis(500);
const IDLE: Duration = Duration::from_secs(60);

/// A rejected record on its way to the dead-letter topic.
pub(crate) struct Letter {
    partition: TopicPartition,
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    time_ms: Option<i64>,
    /// The record's own, then ours.
    headers: OwnedHeaders,
    size_bytes: usize,
    wanted: Weak<AtomicUsize>,
    answer: Sender<Message>,
}

impl Letter {
    /// A copy of the record. It is tried again as long as `wanted` lives, which counts the letters that have been refused and
    /// not taken since; `answer` hears that it was acknowledged.
    pub fn new(
        partition: &TopicPartition,
        record: Record<'_>,
        why: Rejection,
        wanted: Weak<AtomicUsize>,
        answer: Sender<Message>,
    ) -> Self {
        let mut headers = record.headers().unwrap_or_default();
        for (name, value) in [
            ("topic", partition.topic.to_string()),
            ("partition", partition.partition.to_string()),
            ("offset", record.offset().to_string()),
            ("class.name", why.name().to_owned()),
            ("exception.message", why.to_string()),
        ] {
            headers = headers.insert(Header { key: &format!("__connect.errors.{name}"), value: Some(&value) });
        }
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        Self {
            partition: partition.clone(),
            offset: record.offset(),
            key: record.key().map(<[u8]>::to_vec),
            value: record.payload().map(<[u8]>::to_vec),
            time_ms: record.time().map(crate::time::Instant::as_millis),
            headers,
            size_bytes: length(record.key()) + length(record.payload()) + record.headers_bytes() + size_of::<Self>(),
            wanted,
            answer,
        }
    }

    /// About what it takes in memory.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

/// Where the workers hand in their letters.
#[derive(Clone)]
pub(crate) struct Outbox {
    topic: Arc<str>,
    letters: Sender<Letter>,
}

impl Outbox {
    #[cfg(test)]
    pub(super) fn of(letters: Sender<Letter>) -> Self {
        Self { topic: "letters".into(), letters }
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The thread that delivers outlives the workers.
    pub fn send(&self, letter: Letter) {
        let _ = self.letters.send(letter);
    }
}

/// What became of the attempt to write the letter of that number.
type Outcome = (usize, Result<(), Code>);

/// Delivers what is handed in.
pub(crate) struct Delivery {
    topic: Arc<str>,
    config: ClientConfig,
    producer: ThreadedProducer<Acknowledgements>,
    letters: Receiver<Letter>,
    outcomes: (Sender<Outcome>, Receiver<Outcome>),
    metrics: OwnMetrics,
    waiting: HashMap<usize, Attempted>,
    next_number: usize,
    retries: BTreeSet<(Moment, usize)>,
    /// How many of those that wait have been refused.
    refusals: usize,
    said: Vec<Code>,
}

struct Attempted {
    letter: Letter,
    refusals: u32,
}

/// Connects when there is something to send. Fails on a property that the client does not accept.
pub(crate) fn open(kafka: &Kafka, topic: &str, metrics: OwnMetrics) -> anyhow::Result<(Outbox, Delivery)> {
    let config = produce::config(
        kafka,
        &[
            ("client.id", "churnwatch"),
            ("linger.ms", "5"),
            // A large letter is a batch of its own: refused for its size, it takes no other with it.
            ("batch.size", "16384"),
            // The brokers say what is too large.
            ("message.max.bytes", "1000000000"),
            // Then it is said, and tried again.
            ("message.timeout.ms", "30000"),
            ("topic.metadata.propagation.max.ms", "1000"),
            ("topic.metadata.refresh.interval.ms", "10000"),
            ("reconnect.backoff.max.ms", "3000"),
        ],
    );
    let outcomes = unbounded();
    let producer = producer(&config, &outcomes.0)?;
    let (sender, letters) = unbounded();
    let topic = Arc::<str>::from(topic);
    let outbox = Outbox { topic: topic.clone(), letters: sender };
    let delivery = Delivery {
        topic,
        config,
        producer,
        letters,
        outcomes,
        metrics,
        waiting: HashMap::new(),
        next_number: 0,
        retries: BTreeSet::new(),
        refusals: 0,
        said: Vec::new(),
    };
    Ok((outbox, delivery))
}

fn producer(config: &ClientConfig, outcomes: &Sender<Outcome>) -> anyhow::Result<ThreadedProducer<Acknowledgements>> {
    config
        .create_with_context(Acknowledgements { outcomes: outcomes.clone() })
        .context("the Kafka client for dead letters cannot be configured: check [kafka] and [kafka.librdkafka]")
}

impl Delivery {
    /// Delivers until all workers are gone.
    pub fn run(mut self) {
        let (letters, outcomes) = (self.letters.clone(), self.outcomes.1.clone());
        loop {
            self.retry_due();
            self.metrics.dead_letters_waiting.set(self.waiting.len() as f64);
            let due = self.retries.first().map(|(due, _)| due.saturating_duration_since(Moment::now()));
            select! {
                recv(letters) -> letter => match letter {
                    Ok(letter) => self.accept(letter),
                    Err(_) => return,
                },
                recv(outcomes) -> outcome => match outcome {
                    Ok((number, Ok(()))) => self.acknowledged(number),
                    Ok((number, Err(code))) => self.refused(number, code),
                    Err(_) => return,
                },
                default(due.unwrap_or(IDLE)) => {}
            }
        }
    }

    fn accept(&mut self, letter: Letter) {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting.insert(number, Attempted { letter, refusals: 0 });
        self.attempt(number);
    }

    fn retry_due(&mut self) {
        let now = Moment::now();
        while let Some((_, number)) = self.retries.first().copied().filter(|(due, _)| *due <= now) {
            self.retries.pop_first();
            match self.waiting.get(&number) {
                Some(attempted) if attempted.letter.wanted.strong_count() > 0 => self.attempt(number),
                Some(_) => drop(self.settle(number)),
                None => {}
            }
        }
    }

    fn attempt(&mut self, number: usize) {
        let Some(Attempted { letter, .. }) = self.waiting.get(&number) else { return };
        let record: BaseRecord<'_, [u8], [u8], usize> = BaseRecord {
            topic: &self.topic,
            partition: None,
            payload: letter.value.as_deref(),
            key: letter.key.as_deref(),
            timestamp: letter.time_ms,
            headers: Some(letter.headers.clone()),
            delivery_opaque: number,
        };
        if let Err((error, _)) = self.producer.send(record) {
            self.refused(number, error.rdkafka_error_code().unwrap_or(Code::Fail));
        }
    }

    fn acknowledged(&mut self, number: usize) {
        let Some(Attempted { letter, refusals }) = self.settle(number) else { return };
        if refusals > 0 && self.refusals == 0 {
            info!("the dead-letter topic {:?} has taken all that it had refused", self.topic);
        }
        self.metrics.dead_letters.increment(1);
        let _ = letter.answer.send(Message::Delivered { partition: letter.partition, offset: letter.offset });
    }

    /// Nothing more is to be done for the letter.
    fn settle(&mut self, number: usize) -> Option<Attempted> {
        let attempted = self.waiting.remove(&number)?;
        if attempted.refusals > 0 {
            self.refusals -= 1;
            if let Some(refused) = attempted.letter.wanted.upgrade() {
                refused.fetch_sub(1, Ordering::Relaxed);
            }
            if self.refusals == 0 {
                self.said.clear();
            }
        }
        Some(attempted)
    }

    fn refused(&mut self, number: usize, code: Code) {
        // Of a client that was made anew: it was put in for another attempt then.
        if matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
            return;
        }
        self.complain(number, code);
        self.try_again(number);
        if self.producer.client().fatal_error().is_some() {
            self.begin_anew();
        }
    }

    fn try_again(&mut self, number: usize) {
        let Some(attempted) = self.waiting.get_mut(&number) else { return };
        if attempted.refusals == 0 {
            self.refusals += 1;
            if let Some(refused) = attempted.letter.wanted.upgrade() {
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        let wait = RETRY_AFTER * (1 << attempted.refusals.min(4));
        attempted.refusals = attempted.refusals.saturating_add(1);
        self.retries.insert((Moment::now() + wait, number));
    }

    /// An idempotent producer that has lost count of what it sent takes nothing more.
    fn begin_anew(&mut self) {
        match producer(&self.config, &self.outcomes.0) {
            Ok(producer) => {
                self.producer = producer;
                self.retries.clear();
                let numbers: Vec<usize> = self.waiting.keys().copied().collect();
                numbers.into_iter().for_each(|number| self.try_again(number));
            }
            Err(error) => debug!("no new client for dead letters yet: {error:#}"),
        }
    }

    fn complain(&mut self, number: usize, code: Code) {
        let Some(Attempted { letter: Letter { partition, offset, .. }, .. }) = self.waiting.get(&number) else {
            return;
        };
        let topic = &self.topic;
        if self.said.contains(&code) {
            debug!("the dead-letter topic {topic:?} does not take {partition}@{offset}: {code}");
            return;
        }
        warn!(
            "the dead-letter topic {topic:?} does not take the rejected record {partition}@{offset}: {code}. {}. It is \
             kept and tried again; until it is taken, no snapshot of {partition} is written \
             (churnwatch_dead_letters_waiting)",
            remedy(code)
        );
        self.said.push(code);
    }
}

fn remedy(code: Code) -> &'static str {
    match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            "Create the topic, or correct kafka.dead_letter_topic"
        }
        Code::TopicAuthorizationFailed => "Allow this user to write to it",
        Code::ClusterAuthorizationFailed => "Allow this user IdempotentWrite on the cluster",
        Code::MessageSizeTooLarge => {
            "Raise the topic's max.message.bytes somewhat above that of the topic the record is from"
        }
        Code::MessageTimedOut => "See whether its brokers can be reached, and enough replicas are in sync",
        _ => "See the brokers' log",
    }
}

/// Passes on what becomes of each attempt.
struct Acknowledgements {
    outcomes: Sender<Outcome>,
}

impl ClientContext for Acknowledgements {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward_log(level, facility, message);
    }

    // What matters of it comes back with the letters.
    fn error(&self, error: KafkaError, reason: &str) {
        debug!("the client for dead letters: {error}: {reason}");
    }
}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
        };
        let _ = self.outcomes.send((number, outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::Broker;
    use crate::{native, settings};

    fn settings_of(broker: &Broker) -> Kafka {
        let brokers = broker.bootstrap_servers().unwrap();
        // Those of a consumer among the properties do not matter.
        let text = format!("[kafka]\nbrokers = [{brokers:?}]\nlibrdkafka.session.timeout.ms = 6000");
        settings::parse("", &text, "".as_ref(), [], &[]).unwrap().kafka
    }

    fn letter(wanted: &Arc<AtomicUsize>, answer: &Sender<Message>) -> Letter {
        Letter {
            partition: TopicPartition { topic: "events".into(), partition: 3 },
            offset: 7,
            key: None,
            value: Some(b"\xff".to_vec()),
            time_ms: None,
            headers: OwnedHeaders::new(),
            size_bytes: 1,
            wanted: Arc::downgrade(wanted),
            answer: answer.clone(),
        }
    }

    #[test]
    fn a_client_that_cannot_go_on_is_made_anew() {
        use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        let broker = Broker::start().unwrap();
        broker.create_topic("letters", 1).unwrap();
        let metrics = OwnMetrics::new();
        let (outbox, delivery) = open(&settings_of(&broker), "letters", metrics.clone()).unwrap();
        native::fail(delivery.producer.client(), RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
        let delivering = std::thread::spawn(move || delivery.run());
        let (wanted, (answer, answers)) = (Arc::<AtomicUsize>::default(), unbounded());
        outbox.send(letter(&wanted, &answer));
        let acknowledged = answers.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(matches!(acknowledged, Message::Delivered { partition, offset: 7 } if partition.partition == 3));
        assert_eq!(wanted.load(Ordering::Relaxed), 0, "it was refused in between");
        drop(outbox);
        delivering.join().unwrap();
        assert!(metrics.page().contains("churnwatch_dead_letters_total 1\n"));
    }

    #[test]
    fn what_nobody_waits_for_is_not_tried_for_ever() {
        let broker = Broker::start().unwrap();
        let metrics = OwnMetrics::new();
        let (outbox, delivery) = open(&settings_of(&broker), "missing", metrics.clone()).unwrap();
        let delivering = std::thread::spawn(move || delivery.run());
        let (wanted, (answer, answers)) = (Arc::<AtomicUsize>::default(), unbounded());
        outbox.send(letter(&wanted, &answer));
        let within_a_minute = |condition: &dyn Fn() -> bool| {
            let deadline = Moment::now() + Duration::from_secs(60);
            while !condition() && Moment::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            condition()
        };
        assert!(within_a_minute(&|| wanted.load(Ordering::Relaxed) == 1));
        drop(wanted);
        assert!(within_a_minute(&|| metrics.page().contains("churnwatch_dead_letters_waiting 0\n")));
        assert!(answers.is_empty());
        drop(outbox);
        delivering.join().unwrap();
    }
}
