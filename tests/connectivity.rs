//! `validate --check-connectivity` against a broker: what it says about each topic.

use std::time::Duration;

use churnwatch::settings::{self, Kafka};
use churnwatch::validate::check_topics;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaRespErr;

fn kafka(brokers: &str, topics: &[&str]) -> Kafka {
    let text = format!(
        "[kafka]\nbrokers = [{brokers:?}]\ntopics = {topics:?}\ndead_letter_topic = 'rejects'\nlibrdkafka.allow.auto.create.topics = false"
    );
    settings::parse("", &text, "".as_ref(), [], &[]).unwrap().kafka
}

fn check(kafka: &Kafka, timeout: Duration) -> (Result<(), String>, String) {
    let mut out = Vec::new();
    let result = check_topics(kafka, timeout, &mut out).map_err(|e| format!("{e:#}"));
    (result, String::from_utf8(out).unwrap())
}

#[test]
fn topics_that_are_there_are_counted() {
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    cluster.create_topic("events", 4, 1).unwrap();
    cluster.create_topic("more", 1, 1).unwrap();
    cluster.create_topic("rejects", 2, 1).unwrap();
    let (result, out) = check(&kafka(&cluster.bootstrap_servers(), &["events", "more"]), Duration::from_secs(10));
    assert_eq!(result, Ok(()));
    assert!(
        out.contains("events: 4 partitions\n")
            && out.contains("more: 1 partition\n")
            && out.contains("rejects: 2 partitions\n"),
        "{out}"
    );
}

#[test]
fn a_topic_in_error_is_named_with_the_remedy() {
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    for topic in ["events", "secret", "headless"] {
        cluster.create_topic(topic, 2, 1).unwrap();
    }
    cluster.topic_error("secret", RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    cluster.partition_leader("headless", 1, None).unwrap();
    let topics = ["events", "evnts", "secret", "headless"];
    let (result, out) = check(&kafka(&cluster.bootstrap_servers(), &topics), Duration::from_secs(10));
    assert_eq!(result.unwrap_err(), "4 of 5 topics cannot be used");
    let lines: Vec<_> = out.lines().skip(1).map(|l| l.trim_start_matches("topic").trim_start()).collect();
    assert_eq!(
        lines,
        [
            "events: 2 partitions",
            "evnts: does not exist; create it, or correct kafka.topics: did you mean events?",
            "secret: not permitted; grant the user Describe and Read on it",
            "headless: partitions without a leader: 1; look at the brokers",
            "rejects: does not exist; create it",
        ]
    );
}

#[test]
fn an_unreachable_broker_is_named_with_the_cause() {
    let (result, _) = check(&kafka("127.0.0.1:1", &["events"]), Duration::from_secs(2));
    let error = result.unwrap_err();
    for part in ["no answer from 127.0.0.1:1 within 2 s", "Connection refused", "check kafka.brokers"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}
