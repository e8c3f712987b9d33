//! Producers that write in transactions: what is aborted is no event, and the markers between are no records.

use churnwatch::proto::LifecycleEvent;
use churnwatch::publish::Readiness;
use prost::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::fixture::{Fixture, LONG_WINDOWS};
use crate::kafka::fixture::{PATIENCE, events, poll, replayed};
use crate::support::apache_kafka;

/// A producer that writes in transactions.
struct Transactional<'a> {
    producer: BaseProducer,
    topic: &'a str,
}

impl<'a> Transactional<'a> {
    fn new(fixture: &'a Fixture) -> Self {
        let mut config = apache_kafka::client(&fixture.servers);
        let producer: BaseProducer =
            config.set("transactional.id", fixture.topic()).set("partitioner", "murmur2_random").create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        Self { producer, topic: fixture.topic() }
    }

    /// Begins a transaction, and has the brokers acknowledge these events in it.
    fn begin(&self, events: &[LifecycleEvent]) {
        self.producer.begin_transaction().unwrap();
        for event in events {
            let payload = event.encode_to_vec();
            let record = BaseRecord::to(self.topic).key(event.customer_id.as_bytes()).payload(&payload);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(PATIENCE).unwrap();
    }

    fn commit(&self) {
        self.producer.commit_transaction(PATIENCE).unwrap();
    }

    fn abort(&self) {
        self.producer.abort_transaction(PATIENCE).unwrap();
    }
}

#[test]
fn aborted_events_do_not_count_and_markers_are_read_past() {
    let Some(servers) = apache_kafka::shared("aborted_events_do_not_count_and_markers_are_read_past") else { return };
    let mut fixture = Fixture::new(servers, LONG_WINDOWS);
    fixture.settings.snapshot.interval = std::time::Duration::from_millis(200);
    let definitions = fixture.settings.definitions();
    let all = events(80, 6_000);
    let parts: Vec<&[LifecycleEvent]> = all.chunks(1_000).collect();
    let producer = Transactional::new(&fixture);
    producer.begin(parts[0]);
    producer.commit();
    producer.begin(parts[1]);
    producer.abort();

    // Ends in markers, of which no record tells.
    let running = fixture.start();
    let is_ready = || **running.instance.published().readiness.load() == Readiness::Ready;
    running.await_page(&replayed(&definitions, parts[0]));
    assert!(poll(is_ready));

    producer.begin(parts[2]);
    producer.commit();
    let mut committed = parts[0].to_vec();
    committed.extend_from_slice(parts[2]);
    running.await_page(&replayed(&definitions, &committed));

    // An open transaction holds back what comes after it, until it ends.
    producer.begin(parts[3]);
    fixture.produce(parts[4]);
    assert_eq!(running.page(), replayed(&definitions, &committed));
    producer.abort();
    committed.extend_from_slice(parts[4]);
    running.await_page(&replayed(&definitions, &committed));
    assert_eq!(running.instance.records(), committed.len() as u64);

    // The markers count as read: no lag is left, and a restart has nothing to do.
    let lags: Vec<String> = (0..crate::kafka::fixture::PARTITIONS)
        .map(|partition| {
            let topic = fixture.topic();
            format!("churnwatch_kafka_consumer_lag{{topic=\"{topic}\",partition=\"{partition}\"}}")
        })
        .collect();
    assert!(poll(|| lags.iter().all(|lag| running.metric(lag) == Some(0.0))), "{lags:?}");
    running.stop();
    let after = fixture.start();
    after.await_page(&replayed(&definitions, &committed));
    assert!(poll(|| **after.instance.published().readiness.load() == Readiness::Ready));
    assert_eq!(after.stop().records, 0);
}

#[test]
fn an_instance_that_starts_while_a_transaction_is_open_is_ready_once_it_ends() {
    let test = "an_instance_that_starts_while_a_transaction_is_open_is_ready_once_it_ends";
    let Some(servers) = apache_kafka::shared(test) else { return };
    let fixture = Fixture::new(servers, LONG_WINDOWS);
    let definitions = fixture.settings.definitions();
    let all = events(81, 3_000);
    fixture.produce(&all[..2_000]);
    let producer = Transactional::new(&fixture);
    producer.begin(&all[2_000..]);
    let running = fixture.start();
    assert!(poll(|| running.instance.records() == 2_000));
    producer.commit();
    running.await_page(&replayed(&definitions, &all));
    assert!(poll(|| **running.instance.published().readiness.load() == Readiness::Ready));
    running.stop();
}
