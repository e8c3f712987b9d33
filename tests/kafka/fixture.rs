//! A broker, settings, a log of events, and the page that must come out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use churnwatch::cohort::Definitions;
use churnwatch::embedded::Broker;
use churnwatch::gauges;
use churnwatch::kafka::produce::Producer;
use churnwatch::proto::{
    Activity, Changed, EndReason, Ended, LifecycleEvent, Money, Renewed, Started, lifecycle_event::Event as Kind,
};
use churnwatch::run::{Instance, Options, Summary};
use churnwatch::settings::{self, Settings};
use churnwatch::shard::{HashKey, Shard};
use pbjson_types::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tempfile::TempDir;

pub const TOPIC: &str = "customer-lifecycle";
pub const PARTITIONS: i32 = 4;
/// For anything that has to happen: long, because machines are slow at times.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// 2026-01-01T00:00:00Z
const BEGIN_S: i64 = 1_767_225_600;
const DAY_S: i64 = 86_400;

pub struct Fixture {
    pub broker: Broker,
    pub directory: TempDir,
    pub settings: Settings,
}

impl Fixture {
    /// A broker with an empty topic, and settings for it; `more` is further TOML.
    pub fn new(more: &str) -> Self {
        let broker = Broker::start().unwrap();
        broker.create_topic(TOPIC, PARTITIONS).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(&broker.bootstrap_servers().unwrap(), directory.path(), more);
        Self { broker, directory, settings }
    }

    pub fn produce(&self, events: &[LifecycleEvent]) {
        produce(&self.settings, events);
    }

    /// What the group has committed, by partition; 0 where nothing.
    pub fn committed(&self) -> Vec<i64> {
        let mut config = self.settings.kafka.client_config();
        let consumer: BaseConsumer = config.set("group.id", &self.settings.kafka.group_id).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(TOPIC, 0, PARTITIONS - 1);
        let list = consumer.committed_offsets(list, PATIENCE).unwrap();
        list.elements().iter().map(|element| element.offset().to_raw().unwrap_or(0).max(0)).collect()
    }

    pub fn start(&self) -> Running {
        Running::start(Options::new(&self.settings))
    }
}

/// The configuration of most tests as TOML.
pub fn configuration(brokers: &str, directory: &Path, more: &str) -> String {
    format!(
        r#"
        [kafka]
        brokers = ["{brokers}"]
        topics = ["{TOPIC}"]
        [kafka.librdkafka]
        "session.timeout.ms" = 1500
        "heartbeat.interval.ms" = 200
        [time]
        clock = "event"
        [snapshot]
        store = "file://{}"
        interval = "1s"
        [http]
        listen = "127.0.0.1:0"
        publish_interval = "100ms"
        [[dimensions]]
        name = "plan"
        [[dimensions]]
        name = "region"
        {more}
        "#,
        directory.join("snapshots").display()
    )
}

pub fn settings(brokers: &str, directory: &Path, more: &str) -> Settings {
    settings::parse("test.toml", &configuration(brokers, directory, more), Path::new(""), [], &[]).unwrap()
}

/// Writes events to the topic, and waits until all are acknowledged.
pub fn produce(settings: &Settings, events: &[LifecycleEvent]) {
    let mut producer = Producer::new(&settings.kafka, &settings.kafka.topics[0]).unwrap();
    for event in events {
        producer.send(event).unwrap();
    }
    let delivered = producer.finish(PATIENCE, |_| {});
    assert_eq!((delivered.acknowledged, delivered.failed), (events.len() as u64, 0));
}

pub struct Running {
    pub instance: Instance,
}

impl Running {
    pub fn start(options: Options) -> Self {
        Self { instance: Instance::start(options).unwrap() }
    }

    /// The published page of cohort gauges.
    pub fn page(&self) -> String {
        self.instance.published().page().cohort_text.to_string()
    }

    /// Waits until the published page is the one expected.
    pub fn await_page(&self, expected: &str) {
        let matched = poll(|| self.page() == expected || self.instance.is_finished());
        assert!(matched && !self.instance.is_finished(), "{}", difference(&self.page(), expected));
    }

    pub fn stop(self) -> Summary {
        self.instance.stop();
        self.instance.join().unwrap()
    }

    /// The value of one series of the process's own metrics.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = format!("{}{}", self.instance.metrics().page(), self.instance.published().page().process_text);
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

/// Whether the condition came true in time.
pub fn poll(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Moment::now() + PATIENCE;
    while !condition() {
        if Moment::now() > deadline {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    true
}

/// The first lines in which two pages differ.
pub fn difference(is: &str, expected: &str) -> String {
    let first = is.lines().zip(expected.lines()).find(|(a, b)| a != b);
    let (lines, expected_lines) = (is.lines().count(), expected.lines().count());
    format!("{lines} lines, expected {expected_lines}; the first difference is {first:#?}")
}

/// What `replay` makes of the same events.
pub fn replayed(definitions: &Definitions, events: &[LifecycleEvent]) -> String {
    let mut shard = Shard::new(Arc::new(definitions.clone()), HashKey([7; 16]));
    for event in events {
        shard.consume_message(event, None);
    }
    let as_of = shard.latest_event().unwrap();
    shard.advance(as_of);
    gauges::cohort_page(definitions, &shard.readings(), as_of)
}

/// A log of all kinds of events over some 90 days, in order of time, with repeats and late ones; none so old by then that folding
/// hides what it does, which alone may count otherwise than in a replay.
pub fn events(seed: u64, count: usize) -> Vec<LifecycleEvent> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut events: Vec<LifecycleEvent> = Vec::with_capacity(count);
    for number in 0..count {
        if number > 0 && random.random_ratio(1, 50) {
            let ten_days = count / 9;
            let repeated = events[random.random_range(number.saturating_sub(ten_days)..number)].clone();
            events.push(repeated);
            continue;
        }
        let late_s = if random.random_ratio(1, 20) { random.random_range(0..10 * DAY_S) } else { 0 };
        let at_s = (BEGIN_S + (number as i64 * 90 * DAY_S) / count as i64 - late_s).max(BEGIN_S);
        events.push(event(&mut random, number, at_s, count));
    }
    events
}

/// Such a log whose second half happens at its end: every partition then has events of its last instant, and several
/// instances, each with the partitions of its own, stand at the same as-of.
pub fn ending_together(seed: u64, count: usize) -> Vec<LifecycleEvent> {
    let mut all = events(seed, count / 2);
    let last = all.last().unwrap().event_time.unwrap().seconds;
    let mut ends = events(seed + 1, count / 2);
    ends.iter_mut().for_each(|event| event.event_time.as_mut().unwrap().seconds = last);
    all.extend(ends);
    all
}

/// An event of any kind at an instant, of one of `count` / 4 customers.
pub fn event(random: &mut ChaCha8Rng, number: usize, at_s: i64, count: usize) -> LifecycleEvent {
    let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let minor_units = random.random_range(1..100) * 100;
    let amount = Some(Money { currency_code: "EUR".to_owned(), minor_units });
    let kind = match random.random_range(0..10) {
        0..=3 => Kind::Started(Started {
            recurring_amount: amount,
            term_end_time: if random.random_bool(0.5) { time(at_s + 30 * DAY_S) } else { None },
            trial: random.random_ratio(1, 10),
        }),
        4..=5 => Kind::Renewed(Renewed { term_end_time: time(at_s + 30 * DAY_S) }),
        6 => Kind::Changed(Changed { recurring_amount: amount }),
        7 => Kind::Activity(Activity {}),
        _ => Kind::Ended(Ended {
            reason: EndReason::try_from(random.random_range(0..10)).unwrap().into(),
            effective_time: if random.random_bool(0.3) { time(at_s + 5 * DAY_S) } else { None },
        }),
    };
    let mut attributes = BTreeMap::new();
    if random.random_ratio(2, 3) {
        attributes.insert("plan".to_owned(), ["basic", "plus", "business"][random.random_range(0..3)].to_owned());
        attributes.insert("region".to_owned(), ["eu", "us"][random.random_range(0..2)].to_owned());
    }
    LifecycleEvent {
        event_id: format!("e{number}"),
        customer_id: format!("customer-{}", random.random_range(0..count / 4 + 1)),
        event_time: time(at_s),
        attributes,
        event: Some(kind),
        ..LifecycleEvent::default()
    }
}
