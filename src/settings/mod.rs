//! The configuration: a TOML file, the environment over it and flags over both, checked once and completely.
//!
//! What was typed lives in `layers`, every value with its origin; [`Settings`] is what the program uses.

mod check;
mod cohorts;
mod docs;
pub mod duration;
mod effective;
mod layers;
mod librdkafka;
mod problem;
mod read;
mod rejecting;
mod schema;
mod store_url;
mod web;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use rdkafka::ClientConfig;
use url::Url;

use crate::cohort::{Definitions, Dimension, Grouping, Lifecycle, Window};
use crate::framing::Framing;
use crate::time::{Grid, Instant, Span};

pub use docs::{configuration_markdown, reference_toml};
pub use effective::effective_toml;
pub use librdkafka::Property;
pub(crate) use problem::nearest;
pub use problem::{ConfigError, Invalid};
pub use web::{ClientAuth, PasswordHash, Pem, RateLimit, Tls, TlsVersion, WebConfig, parse_web_config};

/// Every setting, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub kafka: Kafka,
    pub windows: Windows,
    pub dimensions: Vec<Dimension>,
    /// `everyone` first, then as configured, without duplicates.
    pub groupings: Vec<Grouping>,
    pub lifecycle: Lifecycle,
    pub time: Time,
    pub snapshot: Snapshot,
    pub http: Http,
}

/// `[kafka]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// At least one `host:port`.
    pub brokers: Vec<String>,
    /// May be empty: see [`Settings::check_topics`].
    pub topics: Vec<String>,
    pub group_id: String,
    pub framing: Framing,
    pub on_rejected: OnRejected,
    /// How much may be read ahead, over all partitions.
    pub prefetch_bytes: u64,
    /// How long a partition may stand still while there is something to read.
    pub stall_timeout: Duration,
    /// How many threads own shards; one for every core if `None`.
    pub workers: Option<usize>,
    /// In the order of their names; none of those that churnwatch sets itself.
    pub librdkafka: Vec<Property>,
}

impl Kafka {
    /// The brokers as the client wants them.
    pub fn bootstrap_servers(&self) -> String {
        self.brokers.join(",")
    }

    /// Who assigns the partitions: `classic`, a member of the group; `consumer`, the brokers.
    pub fn group_protocol(&self) -> &str {
        let set = self.librdkafka.iter().find(|property| property.name == librdkafka::GROUP_PROTOCOL);
        set.map_or("classic", |property| &property.value)
    }

    /// A client of these brokers with the user's properties; what churnwatch sets itself comes on top.
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        self.configure(&mut config);
        config
    }

    /// Lays the brokers and the user's properties over what is there.
    pub fn configure(&self, config: &mut ClientConfig) {
        config.set("bootstrap.servers", self.bootstrap_servers());
        for property in &self.librdkafka {
            config.set(&property.name, &property.value);
        }
    }
}

/// What becomes of a record that breaks the contract, besides being counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnRejected {
    Skip,
    /// The process ends.
    Fail,
    /// It is written to the topic.
    DeadLetter {
        topic: String,
    },
}

/// `[windows]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    pub lengths: Vec<Window>,
    pub grid: Grid,
    pub max_cohorts: usize,
}

/// `[time]`
#[derive(Clone, Debug)]
pub struct Time {
    pub clock: Clock,
    pub zone: TimeZone,
    pub max_future: Span,
    pub complete_since: Option<Instant>,
}

/// What the as-of follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// How far the log has been read, up to the clock on the wall.
    Wall,
    /// The largest event_time applied.
    Event,
}

/// `[snapshot]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub store: StoreUrl,
    pub interval: Duration,
    pub keep: usize,
}

/// `snapshot.store`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    Directory(PathBuf),
    /// A bucket or container, or a part of one.
    Objects(Url),
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Objects(url) => write!(f, "{url}"),
        }
    }
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    pub listen: SocketAddr,
    /// TLS, passwords and headers ([`parse_web_config`]); plain HTTP for everybody if `None`.
    pub web_config_file: Option<PathBuf>,
    pub publish_interval: Duration,
}

/// A flag that takes the place of a setting.
#[derive(Clone, Debug)]
pub struct Override {
    flag: &'static str,
    key: &'static str,
    values: Vec<String>,
}

impl Override {
    /// `flag` (with its dashes) sets `key` (`section.key`).
    pub fn new(flag: &'static str, key: &'static str, values: impl IntoIterator<Item = String>) -> Self {
        Self { flag, key, values: values.into_iter().collect() }
    }
}

/// Reads the settings: the file, where there is one, then `CHURNWATCH__SECTION__KEY` of the environment, then
/// flags. Files that the configuration names, such as secrets, are read too.
pub fn load(
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[Override],
) -> Result<Settings, ConfigError> {
    let text = match path {
        Some(path) => {
            std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?
        }
        None => String::new(),
    };
    let name = path.map(|p| p.display().to_string()).unwrap_or_default();
    let directory = path.and_then(Path::parent).unwrap_or(Path::new(""));
    parse(&name, &text, directory, environment, overrides)
}

/// As [`load`], of a file's text; `directory` is where relative paths in it start.
pub fn parse(
    name: &str,
    text: &str,
    directory: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[Override],
) -> Result<Settings, ConfigError> {
    let mut layers = layers::Layers::defaults();
    layers.file(text);
    layers.environment(environment);
    layers.flags(overrides);
    check::settings(layers, directory).map_err(|problems| ConfigError::invalid(name, text, problems))
}

impl Settings {
    /// What is to be counted.
    pub fn definitions(&self) -> Definitions {
        Definitions {
            grid: self.windows.grid,
            windows: self.windows.lengths.clone(),
            dimensions: self.dimensions.clone(),
            groupings: self.groupings.clone(),
            lifecycle: self.lifecycle,
            zone: self.time.zone.clone(),
            complete_since: self.time.complete_since,
            max_cohorts: self.windows.max_cohorts,
        }
    }

    /// Whether there is a topic to read; only `run` needs one.
    pub fn check_topics(&self) -> Result<(), ConfigError> {
        if self.kafka.topics.is_empty() {
            return Err(ConfigError::remark("no topic to read", "set kafka.topics, or give --topic"));
        }
        Ok(())
    }
}

/// The settings of an empty configuration.
impl Default for Settings {
    fn default() -> Self {
        parse("", "", Path::new(""), [], &[]).expect("the defaults are valid")
    }
}

#[cfg(test)]
mod tests;
