//! Waits for the brokers and the topics before the client is made: how many partitions there are decides how much it
//! may read ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Moment};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{GLANCE, Options};
use crate::kafka::client::{self, Complaints, forward_log};
use crate::kafka::{Course, Lasting};
use crate::own_metrics::ProcessState;
use crate::publish::topics::Topics;
use crate::publish::{Page, Readiness};
use crate::settings::Kafka;

const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(500);
/// How many of the client's events are looked through after a failure.
const POLLS: usize = 100;

/// What is wrong with Kafka is said once, here as later.
pub(super) struct Asking {
    complaints: Arc<Complaints>,
    /// Whether the client has said why Kafka does not answer.
    knows_why: AtomicBool,
}

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That no broker is left follows from what was wrong with each.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.knows_why.store(true, Ordering::Release);
            self.complaints.hear(error.rdkafka_error_code(), reason);
        }
    }
}

impl ConsumerContext for Asking {}

/// A client that asks and joins no group. Fails on a property that no client would accept.
pub(super) fn client(kafka: &Kafka, complaints: Arc<Complaints>) -> anyhow::Result<BaseConsumer<Asking>> {
    let mut config = client::config(kafka, None);
    config.remove("group.id");
    config.remove("group.instance.id");
    client::consumer(&config, Asking { complaints, knows_why: AtomicBool::new(false) })
}

/// The topics, once all of them are there; `None` where the instance ends before.
pub(super) fn wait(options: &Options, lasting: &Lasting) -> anyhow::Result<Option<Topics>> {
    let complaints = Arc::<Complaints>::default();
    let client = client(&options.kafka, complaints.clone())?;
    let mut topics = Topics::new(options.kafka.topics.clone());
    let mut said = None;
    while lasting.course() == Course::GoOn {
        lasting.published.beat_of_kafka();
        lasting.published.beat();
        let asked = topics.ask(&client, QUERY_TIMEOUT);
        if asked.is_ok() {
            client.context().knows_why.store(false, Ordering::Release);
        }
        let reason = match (&asked, topics.missing()) {
            (Err(error), _) => {
                // The client knows better what is wrong than the call that fails, and tells it while polled.
                (0..POLLS).for_each(|_| drop(client.poll(Duration::ZERO)));
                if !client.context().knows_why.load(Ordering::Acquire) {
                    complaints.hear(error.rdkafka_error_code(), &error.to_string());
                }
                "Kafka does not answer".to_owned()
            }
            (Ok(()), Some(topic)) => {
                complaints.mended();
                let (code, reason) = match topics.is_forbidden(topic) {
                    true => (
                        RDKafkaErrorCode::TopicAuthorizationFailed,
                        format!("the topic {topic:?} is not for this user"),
                    ),
                    false => (RDKafkaErrorCode::UnknownTopicOrPartition, format!("the topic {topic:?} is not there")),
                };
                if said.as_ref() != Some(&reason) {
                    complaints.hear(Some(code), &reason);
                    said = Some(reason.clone());
                }
                reason
            }
            (Ok(()), None) => {
                complaints.mended();
                return Ok(Some(topics));
            }
        };
        let state = ProcessState { kafka_up: asked.is_ok(), ..ProcessState::default() };
        lasting.published.swap(Page::withheld(state));
        lasting.published.readiness.store(Arc::new(Readiness::NotReady(reason)));
        let until = Moment::now() + RETRY;
        while lasting.course() == Course::GoOn && Moment::now() < until {
            std::thread::sleep(GLANCE);
        }
    }
    Ok(None)
}
