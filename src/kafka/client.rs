//! The client's configuration, and what it calls back with.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use anyhow::Context as _;
use crossbeam_channel::Sender;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::{Partition, Statistics};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, TopicPartitionList};
use tracing::{debug, error, info, warn};

use super::group::Group;
use super::worker::Message;
use super::{Shared, TopicPartition};
use crate::settings::Kafka;

/// What the consumer calls back: rebalances, errors, statistics.
pub(crate) struct Events {
    pub shared: Arc<Shared>,
    pub group: Mutex<Group>,
    pub workers: Vec<Sender<Message>>,
    pub complaints: Arc<Complaints>,
    /// Set right after the consumer is made, before it subscribes.
    pub consumer: OnceLock<Weak<BaseConsumer<Events>>>,
}

/// This program's properties, then the user's.
pub(crate) fn config(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in [
        ("group.id", kafka.group_id.as_str()),
        ("client.id", "churnwatch"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        // Where to start is always said; a reset could only skip records unnoticed.
        ("auto.offset.reset", "error"),
        ("enable.partition.eof", "false"),
        ("allow.auto.create.topics", "false"),
        ("topic.metadata.refresh.interval.ms", "30000"),
        ("reconnect.backoff.max.ms", "3000"),
        ("statistics.interval.ms", "5000"),
        // The default of a second caps a consumer that catches up at a sixth of what it can do.
        ("fetch.queue.backoff.ms", "5"),
        // Per partition, because every partition has its own queue.
        ("queued.max.messages.kbytes", "16384"),
    ] {
        config.set(key, value);
    }
    for (key, value) in kafka.client_config().config_map() {
        config.set(key, value);
    }
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// Makes the consumer, so that its callbacks know it. Fails on a property that the client does not accept.
pub(crate) fn consumer(kafka: &Kafka, events: Events) -> anyhow::Result<Arc<BaseConsumer<Events>>> {
    let consumer: BaseConsumer<Events> = config(kafka)
        .create_with_context(events)
        .context("the Kafka client cannot be configured: check [kafka] and [kafka.librdkafka]")?;
    let consumer = Arc::new(consumer);
    use rdkafka::consumer::Consumer as _;
    let _ = consumer.context().consumer.set(Arc::downgrade(&consumer));
    Ok(consumer)
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward_log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        let group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values() {
                let key = TopicPartition { topic: topic.topic.as_str().into(), partition: partition.partition };
                let Some(worker) = group.worker_of_settled(&key) else { continue };
                if let Some(offset) = handed_over_up_to(partition) {
                    let _ = self.workers[worker].send(Message::HandedOver { partition: key, offset });
                }
            }
        }
        drop(group);
        self.group.lock().unwrap_or_else(PoisonError::into_inner).settle();
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.hear(error.rdkafka_error_code(), reason);
    }
}

impl ConsumerContext for Events {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        super::group::rebalance(self, consumer, err, partitions);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        // Nothing depends on it: a restart begins at the snapshot's offset.
        if let Err(error) = result {
            debug!("a commit failed, the next one will do: {error}");
        }
    }
}

/// The log position up to which the client has handed over every record, where it has nothing left: beyond the
/// last record lie the markers of transactions, which are never handed over.
fn handed_over_up_to(partition: &Partition) -> Option<i64> {
    (partition.fetchq_cnt == 0 && partition.eof_offset >= 0).then_some(partition.eof_offset)
}

/// librdkafka's own log lines: what matters of them arrives as errors, too.
pub(crate) fn forward_log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            error!(target: "librdkafka", "{facility}: {message}");
        }
        _ => debug!(target: "librdkafka", "{facility}: {message}"),
    }
}

/// What is wrong with Kafka: said once, and once more when it is mended.
#[derive(Default)]
pub(crate) struct Complaints {
    said: Mutex<Vec<RDKafkaErrorCode>>,
}

impl Complaints {
    /// Says what is wrong unless that is known already.
    pub fn hear(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        use RDKafkaErrorCode as Code;
        let kind = match code {
            Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve) => Code::AllBrokersDown,
            Some(Code::OperationTimedOut | Code::RequestTimedOut) => Code::AllBrokersDown,
            Some(code) => code,
            None => Code::Unknown,
        };
        // The worker that meets it tells more.
        if kind == Code::AutoOffsetReset {
            return;
        }
        let mut said = self.said();
        if said.contains(&kind) {
            debug!("Kafka again: {reason}");
            return;
        }
        said.push(kind);
        drop(said);
        match kind {
            Code::AllBrokersDown => warn!("cannot reach Kafka: {reason}. Retrying until it answers"),
            Code::UnknownTopicOrPartition | Code::UnknownTopic => warn!(
                "{reason}. Create the topic, keyed by customer_id, or correct kafka.topics; retrying until it is there"
            ),
            Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL => {
                warn!("Kafka refuses the connection: {reason}. Check the credentials in [kafka.librdkafka]; retrying");
            }
            Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed => {
                warn!("Kafka refuses access: {reason}. Allow this user to read the topic and the group; retrying");
            }
            _ => warn!("Kafka: {reason}. Retrying"),
        }
    }

    /// Kafka answers.
    pub fn mended(&self) {
        let mut said = self.said();
        if said.contains(&RDKafkaErrorCode::AllBrokersDown) {
            info!("Kafka answers again");
        }
        // A missing topic is no matter of reaching Kafka: it stays said until it is there.
        said.retain(|code| matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic));
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Vec<RDKafkaErrorCode>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_emptied_partition_says_what_was_handed_over() {
        let at =
            |fetchq_cnt, eof_offset| handed_over_up_to(&Partition { fetchq_cnt, eof_offset, ..Partition::default() });
        assert_eq!(at(0, 7), Some(7), "six records and the marker that ends their transaction");
        assert_eq!(at(1, 7), None, "one record still waits");
        assert_eq!(at(0, -1001), None, "the end was not seen since the assignment");
    }
}
