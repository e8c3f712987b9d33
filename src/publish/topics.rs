//! How many partitions the topics have: what the numbers of all instances together must cover.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant as Moment};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaRespErr;

use crate::kafka::TopicPartition;

/// Partitions are hardly ever added, and every question is a request to a broker.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// The subscribed topics.
pub(crate) struct Topics {
    names: Vec<String>,
    /// What Kafka told last; a topic that is not there has 0.
    partitions: BTreeMap<String, u64>,
    /// Those that Kafka tells nothing of, for want of a permission.
    forbidden: BTreeSet<String>,
    next_question: Option<Moment>,
}

impl Topics {
    pub fn new(names: Vec<String>) -> Self {
        Self { names, partitions: BTreeMap::new(), forbidden: BTreeSet::new(), next_question: None }
    }

    /// Asks again where the last answer is old. An error changes nothing.
    pub fn refresh(&mut self, consumer: &BaseConsumer<impl ConsumerContext>, timeout: Duration) -> KafkaResult<()> {
        if self.next_question.is_some_and(|due| Moment::now() < due) {
            return Ok(());
        }
        self.ask(consumer, timeout)
    }

    /// Asks Kafka.
    pub fn ask(&mut self, consumer: &BaseConsumer<impl ConsumerContext>, timeout: Duration) -> KafkaResult<()> {
        for name in &self.names {
            let metadata = consumer.fetch_metadata(Some(name), timeout)?;
            let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else { continue };
            match topic.error() {
                Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) => {
                    self.forbidden.insert(name.clone());
                }
                _ => drop(self.forbidden.remove(name)),
            }
            let gone = matches!(topic.error(), None | Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART));
            // Another error, such as a missing permission, tells nothing of the topic.
            if gone || !topic.partitions().is_empty() {
                self.partitions.insert(name.clone(), topic.partitions().len() as u64);
            }
        }
        self.next_question = Some(Moment::now() + ASK_EVERY);
        Ok(())
    }

    /// The first topic that is not there, as far as Kafka tells.
    pub fn missing(&self) -> Option<&str> {
        self.names.iter().map(String::as_str).find(|&name| self.partitions.get(name).is_none_or(|&count| count == 0))
    }

    /// Whether Kafka refused to tell of the topic.
    pub fn is_forbidden(&self, topic: &str) -> bool {
        self.forbidden.contains(topic)
    }

    /// The partitions of all topics together.
    pub fn total(&self) -> u64 {
        self.partitions.values().sum()
    }

    /// The partitions of each topic: an assigned one is there, also where it was added after the last answer.
    pub fn partitions<'a>(&self, assigned: impl IntoIterator<Item = &'a TopicPartition>) -> BTreeMap<String, u64> {
        let mut partitions = self.partitions.clone();
        for assigned in assigned {
            if let Some(count) = partitions.get_mut(&*assigned.topic) {
                *count = (*count).max(assigned.partition as u64 + 1);
            }
        }
        partitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_added_partition_is_counted_as_soon_as_it_is_assigned() {
        let mut topics = Topics::new(vec!["t".to_owned(), "u".to_owned(), "v".to_owned()]);
        assert_eq!(topics.missing(), Some("t"));
        topics.partitions = BTreeMap::from([("t".to_owned(), 4), ("u".to_owned(), 0)]);
        assert_eq!(topics.missing(), Some("u"));
        let assigned =
            [("t", 1), ("t", 5), ("v", 2)].map(|(topic, partition)| TopicPartition { topic: topic.into(), partition });
        let partitions = topics.partitions(&assigned);
        assert_eq!(partitions, BTreeMap::from([("t".to_owned(), 6), ("u".to_owned(), 0)]), "nothing is known of v");
    }
}
