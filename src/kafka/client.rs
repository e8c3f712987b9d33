//! The client's configuration, and what it calls back with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::{Partition, Statistics};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tracing::{debug, error, info, warn};

use super::emptied::Seen;
use super::group::{Client, Group};
use super::prefetch::{Prefetch, QUEUED_KBYTES};
use super::writer::Durable;
use super::{Shared, TopicPartition};
use crate::settings::Kafka;

/// What the consumer calls back: rebalances, errors, statistics.
pub(crate) struct Events {
    pub shared: Arc<Shared>,
    group: Mutex<Group>,
    pub complaints: Arc<Complaints>,
    pub session_timeout: Duration,
}

impl Events {
    pub fn new(shared: Arc<Shared>, group: Group, complaints: Arc<Complaints>, session_timeout: Duration) -> Self {
        Self { shared, group: Mutex::new(group), complaints, session_timeout }
    }

    /// Only the thread that polls the client asks for it.
    pub fn group(&self) -> MutexGuard<'_, Group> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This program's properties, then the user's. `prefetch` is left out where it is not known yet.
pub(crate) fn config(kafka: &Kafka, prefetch: Option<Prefetch>) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in [
        ("group.id", kafka.group_id.as_str()),
        ("client.id", "churnwatch"),
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
        // A broker answers what is asked on one connection in turn. Behind a fetch that waits for records of partitions
        // that are read to their end wait the others, if their queues were full when it was sent, and the question for
        // end offsets of every publication.
        ("fetch.wait.max.ms", "20"),
    ] {
        config.set(key, value);
    }
    // Under the newer protocol the brokers assign.
    if kafka.group_protocol() == "classic" {
        config.set("partition.assignment.strategy", "cooperative-sticky");
    }
    let users = kafka.client_config();
    // Who sets the one limit means it, and it would be none beside the others.
    for (key, value) in
        prefetch.filter(|_| users.get(QUEUED_KBYTES).is_none()).into_iter().flat_map(Prefetch::properties)
    {
        config.set(key, value);
    }
    kafka.configure(&mut config);
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// Makes the consumer. Fails on a property that the client does not accept.
pub(crate) fn consumer<C: ConsumerContext>(config: &ClientConfig, context: C) -> anyhow::Result<BaseConsumer<C>> {
    config
        .create_with_context(context)
        .context("the Kafka client cannot be configured: check [kafka] and [kafka.librdkafka]")
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward_log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        let fetches = |broker: i32| {
            let found = statistics.brokers.values().find(|found| found.nodeid == broker);
            found.and_then(|found| found.req.get("Fetch").copied()).unwrap_or(0)
        };
        let mut group = self.group();
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values() {
                let key = TopicPartition { topic: topic.topic.as_str().into(), partition: partition.partition };
                group.observed(key, seen(partition, fetches(partition.broker)));
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.hear(error.rdkafka_error_code(), reason);
    }
}

impl ConsumerContext for Events {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        super::poll::rebalance(self, consumer, err, partitions);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        // Nothing depends on it: a restart begins at the snapshot's offset.
        if let Err(error) = result {
            debug!("a commit failed, the next one will do: {error}");
        }
    }
}

/// The client refuses what follows from its own rebalance: a new one knows better.
#[derive(Debug, thiserror::Error)]
#[error("the Kafka client does not {asked}: {error}")]
pub(crate) struct Refused {
    asked: &'static str,
    error: KafkaError,
}

impl Client for BaseConsumer<Events> {
    fn add(&self, partitions: &[(TopicPartition, Option<i64>)]) -> anyhow::Result<()> {
        let refused = |error| Refused { asked: "take its assignment", error };
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (partition, offset) in partitions {
            let offset = offset.map_or(Offset::Beginning, Offset::Offset);
            list.add_partition_offset(&partition.topic, partition.partition, offset).map_err(refused)?;
        }
        Ok(self.incremental_assign(&list).map_err(refused)?)
    }

    fn remove(&self, partitions: &[TopicPartition]) -> anyhow::Result<()> {
        let refused = |error| Refused { asked: "let go of its assignment", error };
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&partition.topic, partition.partition);
        }
        let unassigned = match self.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.incremental_unassign(&list),
            // Out of the group there is no protocol, and nothing that could stay.
            RebalanceProtocol::Eager | RebalanceProtocol::None => self.unassign(),
        };
        Ok(unassigned.map_err(refused)?)
    }

    fn commit_covered(&self, durable: &[Durable]) {
        let mut list = TopicPartitionList::with_capacity(durable.len());
        for Durable { partition, next_offset, .. } in durable {
            let offset = Offset::Offset(*next_offset);
            if let Err(error) = list.add_partition_offset(&partition.topic, partition.partition, offset) {
                debug!("cannot commit {partition}: {error}");
            }
        }
        // For others to look at: a restart begins at the snapshot.
        if let Err(error) = self.commit(&list, CommitMode::Async) {
            debug!("a commit failed, the next one will do: {error}");
        }
    }

    fn has_lost_everything(&self) -> bool {
        self.assignment_lost()
    }
}

/// What of a partition's statistics tells how far its records have been handed over.
fn seen(partition: &Partition, fetches: i64) -> Seen {
    Seen {
        active: partition.fetch_state == "active",
        emptied_up_to: (partition.fetchq_cnt == 0 && partition.eof_offset >= 0).then_some(partition.eof_offset),
        broker: partition.broker,
        fetches,
    }
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
        let at = |fetchq_cnt, eof_offset| {
            let partition = Partition { fetchq_cnt, eof_offset, fetch_state: "active".into(), ..Partition::default() };
            seen(&partition, 9)
        };
        let all = Seen { active: true, emptied_up_to: Some(7), broker: 0, fetches: 9 };
        assert_eq!(at(0, 7), all, "six records and the marker that ends their transaction");
        assert_eq!(at(1, 7), Seen { emptied_up_to: None, ..all }, "one record still waits");
        assert_eq!(at(0, -1001), Seen { emptied_up_to: None, ..all }, "the end was not seen yet");
    }
}
