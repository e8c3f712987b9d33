//! How long the brokers keep a topic's records, asked before records from the past are written to it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::anyhow;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigEntry, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use tracing::debug;

use super::client::forward_log;
use crate::settings::{Kafka, duration};
use crate::time::{Instant, Span};

/// Why a topic that is compacted cannot be used, and what to do.
pub const COMPACTED: &str =
    "is compacted, so that only the last event of each customer stays in it; set cleanup.policy=delete for it";

/// What a topic's configuration makes of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// For how long after its timestamp a record is kept; `None`: for ever.
    pub retention: Option<Duration>,
    /// Whether only the last record of each key stays.
    pub compacted: bool,
    /// Whether the broker stamps records with the time at which they arrive.
    pub stamps: bool,
}

impl Keeping {
    /// Asks the brokers. What they do not tell is left out: not every user may ask, nor does every broker know.
    pub fn ask(kafka: &Kafka, topics: &[&str], timeout: Duration) -> BTreeMap<String, Self> {
        Self::try_ask(kafka, topics, timeout).unwrap_or_else(|error| {
            debug!("how long the topics keep their records is not known: {error:#}");
            BTreeMap::new()
        })
    }

    fn try_ask(kafka: &Kafka, topics: &[&str], timeout: Duration) -> anyhow::Result<BTreeMap<String, Self>> {
        let mut config = kafka.client_config();
        config.set_log_level(RDKafkaLogLevel::Emerg);
        let client: AdminClient<Silent> = config.create_with_context(Silent)?;
        let topics: Vec<ResourceSpecifier<'_>> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let options = AdminOptions::new().request_timeout(Some(timeout));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let mut known = BTreeMap::new();
        for told in runtime.block_on(client.describe_configs(&topics, &options))? {
            let told = told.map_err(|code| anyhow!("{code}"))?;
            let keeping = Self::of(&told.entry_map())?;
            if let OwnedResourceSpecifier::Topic(topic) = told.specifier {
                known.insert(topic, keeping);
            }
        }
        Ok(known)
    }

    fn of(entries: &HashMap<&str, &ConfigEntry>) -> anyhow::Result<Self> {
        let value = |name: &str| {
            entries.get(name).and_then(|entry| entry.value.as_deref()).ok_or_else(|| anyhow!("{name} is not told"))
        };
        let policy = value("cleanup.policy")?;
        let retention_ms: i64 = value("retention.ms")?.parse()?;
        let deletes = policy.split(',').any(|policy| policy.trim() == "delete");
        let retention = u64::try_from(retention_ms).ok().filter(|_| deletes).map(Duration::from_millis);
        Ok(Self {
            retention,
            compacted: policy.split(',').any(|policy| policy.trim() == "compact"),
            stamps: value("message.timestamp.type")? == "LogAppendTime",
        })
    }

    /// For people: how long records are kept.
    pub fn period(self) -> String {
        let span = |d: Duration| duration::display(Span::from_millis(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)));
        self.retention.map_or_else(|| "ever".to_owned(), span)
    }

    /// Whether a record stamped `time` may be deleted as soon as it is written.
    pub fn deletes_at_once(&self, time: Instant, now: Instant) -> bool {
        let age_ms = now.as_millis().saturating_sub(time.as_millis());
        let kept = |retention: Duration| age_ms <= i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        !self.stamps && self.retention.is_some_and(|retention| !kept(retention))
    }
}

/// What goes wrong is told by the answer.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!("{error}: {reason}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeping(policy: &str, retention_ms: &str, stamp: &str) -> anyhow::Result<Keeping> {
        let entry = |name: &str, value: &str| ConfigEntry {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            source: rdkafka::admin::ConfigSource::Default,
            is_read_only: false,
            is_default: true,
            is_sensitive: false,
        };
        let entries = [("cleanup.policy", policy), ("retention.ms", retention_ms), ("message.timestamp.type", stamp)];
        let entries = entries.map(|(name, value)| entry(name, value));
        Keeping::of(&entries.iter().map(|entry| (entry.name.as_str(), entry)).collect())
    }

    #[test]
    fn only_a_stamp_older_than_the_retention_is_deleted_at_once() {
        let at = Instant::from_millis;
        let week = keeping("delete", "604800000", "CreateTime").unwrap();
        assert_eq!(week.retention, Some(Duration::from_secs(7 * 86_400)));
        assert!(!week.deletes_at_once(at(0), at(604_800_000)) && week.deletes_at_once(at(0), at(604_800_001)));
        assert!(!week.deletes_at_once(at(5), at(0)), "the future");
        for (policy, retention_ms, stamp) in
            [("delete", "-1", "CreateTime"), ("delete", "1", "LogAppendTime"), ("compact", "1", "CreateTime")]
        {
            assert!(!keeping(policy, retention_ms, stamp).unwrap().deletes_at_once(at(0), at(i64::MAX)));
        }
        let both = keeping("compact,delete", "1", "CreateTime").unwrap();
        assert!(both.compacted && both.deletes_at_once(at(0), at(2)) && !week.compacted);
        assert!(keeping("delete", "a week", "CreateTime").is_err());
    }
}
