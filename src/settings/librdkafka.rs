//! Properties handed to the Kafka client as they are, and those that are not for the user to set.

use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// One property of the Kafka client; it does not print secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    pub name: String,
    pub value: String,
    /// Whether the value came from a file of its own, or the name says that it is a secret.
    pub secret: bool,
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, if self.secret { "<redacted>" } else { &self.value })
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether the name of a property, or a text that ends with it, names a secret.
pub(super) fn is_secret(name: &str) -> bool {
    ["password", "passphrase", "secret", "key.pem", "oauthbearer.config", "jaas", "token"]
        .iter()
        .any(|w| name.contains(w))
}

/// Properties that churnwatch sets itself: name, and why, ending in what to do instead.
const OURS: [(&str, &str); 15] = [
    ("bootstrap.servers", "set kafka.brokers instead"),
    ("metadata.broker.list", "set kafka.brokers instead"),
    ("group.id", "set kafka.group_id instead"),
    ("enable.auto.commit", "an offset is committed only once a durable snapshot covers it; remove the line"),
    ("auto.commit.interval.ms", "offsets are committed with the snapshots; set snapshot.interval instead"),
    ("enable.auto.offset.store", "an offset counts only once a durable snapshot covers it; remove the line"),
    ("auto.offset.reset", "reading starts at the snapshot's offset, else at the beginning; remove the line"),
    ("enable.partition.eof", "the end of a partition is told by its end offset; remove the line"),
    (
        "partition.assignment.strategy",
        "only cooperative-sticky lets the partitions that stay be read on while others move; remove the line",
    ),
    ("statistics.interval.ms", "the consumer lag is taken from the statistics; remove the line"),
    ("log.queue", "the client's log lines appear in churnwatch's own log; remove the line"),
    ("acks", "an import counts a record only once every replica in sync has it; remove the line"),
    ("request.required.acks", "an import counts a record only once every replica in sync has it; remove the line"),
    ("enable.idempotence", "an import never writes a record twice; remove the line"),
    ("transactional.id", "churnwatch does not write in transactions; remove the line"),
];

/// Decides who assigns the partitions.
pub(super) const GROUP_PROTOCOL: &str = "group.protocol";

/// Properties of the classic protocol, and what to do instead where the brokers assign.
const CLASSIC: [(&str, &str); 3] = [
    ("session.timeout.ms", "the brokers decide it: set group.consumer.session.timeout.ms there, and remove the line"),
    (
        "heartbeat.interval.ms",
        "the brokers decide it: set group.consumer.heartbeat.interval.ms there, and remove the line",
    ),
    ("group.protocol.type", "it belongs to the classic protocol; remove the line"),
];

/// Why a property cannot be beside the others, where it cannot.
pub(super) fn conflict(name: &str, all: &[Property]) -> Option<&'static str> {
    let by_brokers = all.iter().any(|property| property.name == GROUP_PROTOCOL && property.value == "consumer");
    CLASSIC.iter().find(|(classic, _)| by_brokers && *classic == name).map(|(_, why)| *why)
}

/// Names to suggest where one is unknown: what deployments commonly set.
pub(super) const COMMON: [&str; 37] = [
    "broker.address.family",
    "check.crcs",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.codec",
    "debug",
    "enable.ssl.certificate.verification",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "linger.ms",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "metadata.max.age.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.config",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
];

/// Why a property is churnwatch's own to set, where it is.
pub(super) fn ours(name: &str) -> Option<&'static str> {
    OURS.iter().find(|(ours, _)| *ours == name).map(|(_, why)| *why)
}

/// What the Kafka client says against a property.
pub(super) enum Refusal {
    Unknown,
    /// Its words, unless the value is a secret.
    Invalid(String),
}

/// Asks the Kafka client whether it would take the property.
pub(super) fn check(property: &Property) -> Result<(), Refusal> {
    let result = ClientConfig::new().set(&property.name, &property.value).create_native_config();
    match result {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, words, _, _)) if words.starts_with("No such configuration property") => {
            Err(Refusal::Unknown)
        }
        Err(KafkaError::ClientConfig(_, words, _, _)) if !property.secret => Err(Refusal::Invalid(words)),
        Err(_) => Err(Refusal::Invalid("the Kafka client refuses the value".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(name: &str, value: &str) -> Property {
        Property { name: name.to_owned(), value: value.to_owned(), secret: is_secret(name) }
    }

    #[test]
    fn every_listed_property_is_one() {
        for name in OURS.iter().map(|(name, _)| *name).chain(COMMON) {
            let unknown = matches!(check(&property(name, "")), Err(Refusal::Unknown));
            assert!(!unknown, "{name}");
        }
    }

    #[test]
    fn the_client_is_asked() {
        assert!(check(&property("session.timeout.ms", "45000")).is_ok());
        assert!(matches!(check(&property("session.timeout.msec", "45000")), Err(Refusal::Unknown)));
        assert!(matches!(check(&property("session.timeout.ms", "soon")), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn secrets_are_not_printed() {
        for name in ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"] {
            let printed = format!("{:?} {}", property(name, "hunter2"), property(name, "hunter2"));
            assert!(!printed.contains("hunter2") && printed.contains("<redacted>"), "{printed}");
        }
        assert_eq!(property("client.id", "a").to_string(), "client.id=a");
    }
}
