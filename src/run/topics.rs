//! Waits for the brokers and the topics before the client is made: how many partitions there are decides how much it
//! may read ahead.

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;

use super::{GLANCE, Options};
use crate::kafka::client::{self, Complaints, forward_log};
use crate::kafka::prefetch::count_partitions;
use crate::kafka::{Course, Lasting};
use crate::own_metrics::{ProcessState, process_page};
use crate::publish::Readiness;
use crate::settings::Kafka;

const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(500);

/// What is wrong with Kafka is said once, here as later.
pub(super) struct Asking(Arc<Complaints>);

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.hear(error.rdkafka_error_code(), reason);
    }
}

impl ConsumerContext for Asking {}

/// A client that asks and joins no group. Fails on a property that no client would accept.
pub(super) fn client(kafka: &Kafka, complaints: Arc<Complaints>) -> anyhow::Result<BaseConsumer<Asking>> {
    let mut config = client::config(kafka, None);
    config.remove("group.id");
    config.remove("group.instance.id");
    client::consumer(&config, Asking(complaints))
}

/// How many partitions the topics have, once all of them are there; `None` where the instance ends before.
pub(super) fn wait(options: &Options, lasting: &Lasting) -> anyhow::Result<Option<usize>> {
    let complaints = Arc::<Complaints>::default();
    let client = client(&options.kafka, complaints.clone())?;
    while lasting.course() == Course::GoOn {
        lasting.published.beat_of_kafka();
        lasting.published.beat();
        let (kafka_up, missing) = match count_partitions(&client, &options.kafka.topics, QUERY_TIMEOUT) {
            Ok(Ok(partitions)) => {
                complaints.mended();
                return Ok(Some(partitions));
            }
            Ok(Err(topic)) => {
                complaints.mended();
                (true, format!("the topic {topic:?} is not there"))
            }
            Err(error) => {
                complaints.hear(error.rdkafka_error_code(), &error.to_string());
                (false, "Kafka does not answer".to_owned())
            }
        };
        let state = ProcessState { kafka_up, ..ProcessState::default() };
        lasting.published.process_text.store(Arc::new(process_page(&state)));
        lasting.published.readiness.store(Arc::new(Readiness::NotReady(missing)));
        let until = Moment::now() + RETRY;
        while lasting.course() == Course::GoOn && Moment::now() < until {
            std::thread::sleep(GLANCE);
        }
    }
    Ok(None)
}
