//! How much the client may read ahead: a total, divided among the partitions before the client is made.

/// What a user may set instead, for each partition.
pub(crate) const QUEUED_KBYTES: &str = "queued.max.messages.kbytes";

/// Below this a partition would be fetched in crumbs.
const LEAST_BYTES_PER_PARTITION: u64 = 64 << 10;
/// Of a partition's share, what one fetch brings: far less than may wait, compressed as it is. A partition whose queue one
/// fetch fills is left out of the next, which may be of partitions read to their end, and waits for their records.
const FETCHES_PER_SHARE: u64 = 32;
const LEAST_BYTES_PER_FETCH: u64 = LEAST_BYTES_PER_PARTITION / 2;
/// With larger ones records have left the processor's caches before anybody reads them.
const MOST_BYTES_PER_FETCH: u64 = 256 << 10;
/// What the client accepts; as records it is fewer than it accepts of those.
const MOST_QUEUED_KBYTES: u64 = 2_097_151;
/// A record may wait for each of so many bytes. The client needs twice as much for one, besides its own bytes.
const BYTES_PER_RECORD: u64 = 512;

/// The client's limits for each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefetch {
    /// Nothing is fetched while so much is queued.
    queued_kbytes: u64,
    /// Nor while so many records are.
    queued_records: u64,
    /// What one fetch may bring on top, unless a producer's batch is larger.
    fetch_bytes: u64,
}

impl Prefetch {
    /// Divides a total among partitions, any number of which may be this instance's.
    pub fn of(total_bytes: u64, partitions: u64) -> Self {
        let each = (total_bytes / partitions.max(1)).max(LEAST_BYTES_PER_PARTITION);
        let fetch_bytes = (each / FETCHES_PER_SHARE).clamp(LEAST_BYTES_PER_FETCH, MOST_BYTES_PER_FETCH);
        let queued_kbytes = ((each - fetch_bytes) >> 10).min(MOST_QUEUED_KBYTES);
        Self { queued_kbytes, queued_records: (queued_kbytes << 10) / BYTES_PER_RECORD, fetch_bytes }
    }

    /// As properties of the client.
    pub fn properties(self) -> [(&'static str, String); 3] {
        [
            (QUEUED_KBYTES, self.queued_kbytes.to_string()),
            ("queued.min.messages", self.queued_records.to_string()),
            ("fetch.message.max.bytes", self.fetch_bytes.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant as Moment};

    use rdkafka::client::ClientContext;
    use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
    use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
    use rdkafka::statistics::Statistics;
    use rdkafka::{Offset, TopicPartitionList};

    use super::*;
    use crate::embedded::Broker;
    use crate::kafka::client::config;
    use crate::settings::Settings;

    #[test]
    fn the_total_holds_until_partitions_would_starve() {
        let total = 64 << 20;
        for partitions in [1, 2, 3, 12, 100, 1_000] {
            let Prefetch { queued_kbytes, fetch_bytes, queued_records } = Prefetch::of(total, partitions);
            let all = ((queued_kbytes << 10) + fetch_bytes) * partitions;
            assert!(all <= total && all > total / 2, "{partitions}: {all}");
            assert!(queued_records * BYTES_PER_RECORD <= queued_kbytes << 10);
        }
        for partitions in [1, 4, 32] {
            let Prefetch { queued_records, fetch_bytes, .. } = Prefetch::of(32 << 20, partitions);
            assert!(
                fetch_bytes / 50 < queued_records,
                "{partitions}: small records, compressed, fill the queue at once"
            );
        }
        let least = Prefetch { queued_kbytes: 32, queued_records: 64, fetch_bytes: 32 << 10 };
        assert_eq!(Prefetch::of(total, 100_000), least);
        assert_eq!(Prefetch::of(total, 0), Prefetch::of(total, 1));
        let most = Prefetch::of(u64::MAX, 1);
        assert_eq!((most.queued_kbytes, most.queued_records), (MOST_QUEUED_KBYTES, 4_194_302));
    }

    /// What lies in the client's queues, as it says itself.
    #[derive(Default)]
    struct Queued {
        bytes: AtomicU64,
        statistics: AtomicU64,
    }

    impl ClientContext for Queued {
        fn stats(&self, statistics: Statistics) {
            let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
            self.bytes.store(partitions.map(|partition| partition.fetchq_size).sum(), Ordering::Relaxed);
            self.statistics.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl ConsumerContext for Queued {}

    #[test]
    fn a_backlog_in_many_partitions_is_not_read_ahead_beyond_the_total() {
        const PARTITIONS: i32 = 40;
        const TOTAL_BYTES: u64 = 8 << 20;
        let broker = Broker::start().unwrap();
        broker.create_topic("t", PARTITIONS).unwrap();
        let mut settings = Settings::default().kafka;
        settings.brokers = vec![broker.bootstrap_servers().unwrap()];
        // Five times the total, in batches that fit: the broker gives one whole, however large.
        let producer: ThreadedProducer<_> = settings.client_config().set("batch.size", "16384").create().unwrap();
        let payload = [7; 8 << 10];
        for record in 0..5 * TOTAL_BYTES / payload.len() as u64 {
            let partition = (record % PARTITIONS as u64) as i32;
            let record = BaseRecord::<(), [u8]>::to("t").partition(partition).payload(&payload);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(60)).unwrap();

        let mut config = config(&settings, Some(Prefetch::of(TOTAL_BYTES, PARTITIONS as u64)));
        config.set("statistics.interval.ms", "100");
        let consumer: Arc<BaseConsumer<Queued>> = Arc::new(config.create_with_context(Queued::default()).unwrap());
        let mut list = TopicPartitionList::new();
        // Queues of their own, as `run` has them, that nobody reads.
        let queues: Vec<_> = (0..PARTITIONS)
            .map(|partition| {
                list.add_partition_offset("t", partition, Offset::Beginning).unwrap();
                consumer.split_partition_queue("t", partition).unwrap()
            })
            .collect();
        consumer.assign(&list).unwrap();
        // Until it has been full for a while: the same in twenty statistics.
        let (mut last, mut same, deadline) = ((0, 0), 0, Moment::now() + Duration::from_secs(60));
        while same < 20 && Moment::now() < deadline {
            assert!(consumer.poll(Duration::from_millis(50)).is_none(), "records come in their own queues");
            let queued = consumer.context();
            let now = (queued.statistics.load(Ordering::Relaxed), queued.bytes.load(Ordering::Relaxed));
            if now.0 != last.0 {
                same = if now.1 == last.1 && now.1 > 0 { same + 1 } else { 0 };
                last = now;
            }
        }
        assert!(same == 20 && last.1 > TOTAL_BYTES / 4 && last.1 <= TOTAL_BYTES, "{} of {TOTAL_BYTES}", last.1);
        drop(queues);
    }
}
