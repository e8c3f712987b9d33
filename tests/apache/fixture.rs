//! A topic of its own in a cluster that others use, too.

use std::sync::atomic::{AtomicU32, Ordering};

use churnwatch::proto::LifecycleEvent;
use churnwatch::run::Options;
use churnwatch::settings::{Property, Settings};
use tempfile::TempDir;

use crate::kafka::fixture::{PARTITIONS, Running, produce, settings};
use crate::support::apache_kafka;

/// No event of the log is beyond the horizon, whenever it comes again.
pub const LONG_WINDOWS: &str = "
    [[groupings]]
    by = ['plan', 'region']
    [[groupings]]
    by = ['signup_month']
    [windows]
    lengths = ['7d', '120d']";

pub struct Fixture {
    pub servers: String,
    pub directory: TempDir,
    pub settings: Settings,
}

impl Fixture {
    /// An empty topic, and settings for it; `more` is further TOML.
    pub fn new(servers: &str, more: &str) -> Self {
        static TOPICS: AtomicU32 = AtomicU32::new(0);
        let number = TOPICS.fetch_add(1, Ordering::Relaxed);
        // A given cluster may hold the topics of earlier runs.
        let topic = format!("churnwatch-{}-{number}", churnwatch::run::wall_clock().as_millis());
        apache_kafka::create_topic(servers, &topic, PARTITIONS);
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings(&servers.replace(',', "\", \""), directory.path(), more);
        settings.kafka.group_id = topic.clone();
        settings.kafka.topics = vec![topic];
        let mut fixture = Self { servers: servers.to_owned(), directory, settings };
        // A busy machine must not end sessions.
        fixture.set("session.timeout.ms", "10000");
        fixture
    }

    /// Sets a property of the Kafka client.
    pub fn set(&mut self, name: &str, value: &str) {
        set(&mut self.settings, name, value);
    }

    pub fn topic(&self) -> &str {
        &self.settings.kafka.topics[0]
    }

    pub fn produce(&self, events: &[LifecycleEvent]) {
        produce(&self.settings, events);
    }

    pub fn start(&self) -> Running {
        Running::start(Options::new(&self.settings))
    }
}

/// Sets a property of the Kafka client.
pub fn set(settings: &mut Settings, name: &str, value: &str) {
    settings.kafka.librdkafka.retain(|property| property.name != name);
    let (name, value) = (name.to_owned(), value.to_owned());
    settings.kafka.librdkafka.push(Property { name, value, secret: false });
}
