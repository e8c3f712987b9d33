//! A Kafka broker inside the process, for the demo and the tests: librdkafka's mock cluster.
//!
//! It keeps 5 MiB or 100,000 batches per partition and silently drops the oldest beyond that, so whoever
//! produces into it must not run ahead of the consumer: [`Pace`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::native;

/// One broker of an in-process cluster, gone when dropped.
pub struct Broker {
    /// The client inside which librdkafka runs the cluster.
    host: BaseProducer,
}

impl Broker {
    /// Starts the broker on a free local port.
    pub fn start() -> anyhow::Result<Self> {
        let host: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .set_log_level(RDKafkaLogLevel::Error)
            .create()
            .context("cannot start the embedded Kafka broker")?;
        native::join_groups_at_once(host.client());
        Ok(Self { host })
    }

    fn cluster(&self) -> anyhow::Result<MockCluster<'_, DefaultProducerContext>> {
        self.host.client().mock_cluster().context("the embedded Kafka broker is gone")
    }

    /// What clients connect to.
    pub fn bootstrap_servers(&self) -> anyhow::Result<String> {
        Ok(self.cluster()?.bootstrap_servers())
    }

    /// Creates a topic; an existing one is an error.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        self.cluster()?
            .create_topic(topic, partitions, 1)
            .with_context(|| format!("cannot create the topic {topic:?} in the embedded Kafka broker"))
    }

    /// Cuts all connections and refuses new ones until [`Self::up`].
    pub fn down(&self) -> anyhow::Result<()> {
        self.cluster()?.broker_down(1).context("cannot take the embedded Kafka broker down")
    }

    /// Answers so many fetches with an error; everything else works on.
    pub fn refuse_fetches(&self, count: usize) -> anyhow::Result<()> {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR;
        self.cluster()?.request_errors(RDKafkaApiKey::Fetch, &vec![error; count]);
        Ok(())
    }

    /// Undoes [`Self::refuse_fetches`].
    pub fn answer_fetches(&self) -> anyhow::Result<()> {
        self.cluster()?.clear_request_errors(RDKafkaApiKey::Fetch);
        Ok(())
    }

    /// Answers the next requests to write with these errors, each once, and no others.
    pub fn refuse_writes(&self, errors: &[RDKafkaRespErr]) -> anyhow::Result<()> {
        let cluster = self.cluster()?;
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        cluster.request_errors(RDKafkaApiKey::Produce, errors);
        Ok(())
    }

    /// Undoes [`Self::down`].
    pub fn up(&self) -> anyhow::Result<()> {
        self.cluster()?.broker_up(1).context("cannot bring the embedded Kafka broker up")
    }

    /// Lets every answer wait for so long.
    pub fn answer_after(&self, round_trip: Duration) -> anyhow::Result<()> {
        let slowed = self.cluster()?.broker_round_trip_time(1, round_trip);
        slowed.context("cannot slow the embedded Kafka broker down")
    }
}

/// Keeps a producer from overrunning what the embedded broker keeps.
pub struct Pace<Consumed> {
    consumed: Consumed,
    /// Sizes of the records that are on the way, the oldest first, and their sum.
    ahead: VecDeque<usize>,
    bytes_ahead: usize,
    sent: u64,
}

impl<Consumed: FnMut() -> u64> Pace<Consumed> {
    /// At most this many records and bytes are on the way, over all partitions: even one record a batch and
    /// all in one partition, that is well inside what the broker keeps.
    const RECORDS_AHEAD: usize = 20_000;
    const BYTES_AHEAD: usize = 2 << 20;

    /// `consumed` says how many of the records sent have been consumed.
    pub fn new(consumed: Consumed) -> Self {
        Self { consumed, ahead: VecDeque::new(), bytes_ahead: 0, sent: 0 }
    }

    /// Notes a record sent, and waits while too many are on the way. `false` if nothing was consumed for
    /// `patience`: the consumer has stopped, or the broker lost records.
    #[must_use]
    pub fn sent(&mut self, bytes: usize, patience: Duration) -> bool {
        self.sent += 1;
        self.ahead.push_back(bytes);
        self.bytes_ahead += bytes;
        let mut stalled_since = Instant::now();
        while self.ahead.len() > Self::RECORDS_AHEAD || self.bytes_ahead > Self::BYTES_AHEAD {
            let on_the_way = self.sent.saturating_sub((self.consumed)()) as usize;
            let arrived = self.ahead.len().saturating_sub(on_the_way);
            if arrived > 0 {
                self.bytes_ahead -= self.ahead.drain(..arrived).sum::<usize>();
                stalled_since = Instant::now();
            } else if stalled_since.elapsed() > patience {
                return false;
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        true
    }

    /// How many records were sent.
    pub fn sent_records(&self) -> u64 {
        self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_waits_for_the_consumer_and_gives_up_on_a_dead_one() {
        let mut consumed = 0;
        let mut alive = Pace::new(move || {
            consumed += 1_000;
            consumed
        });
        assert!((0..100_000).all(|_| alive.sent(100, Duration::from_secs(5))));
        assert_eq!(alive.sent_records(), 100_000);

        let mut dead = Pace::new(|| 0);
        let accepted = (0..100_000).take_while(|_| dead.sent(200, Duration::from_millis(5))).count();
        assert_eq!(accepted as u64, Pace::<fn() -> u64>::BYTES_AHEAD as u64 / 200);
    }
}
