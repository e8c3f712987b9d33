//! `churnwatch validate`: what the configuration amounts to, and whether the topics and the snapshot store are there.

use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use crate::cohort::{DimensionValue, Grouping};
use crate::framing::Framing;
use crate::http;
use crate::kafka::keeping::{COMPACTED, Keeping};
use crate::settings::{
    ClientAuth, Clock, Kafka, OnRejected, RateLimit, Settings, Snapshot, WebConfig, duration, nearest,
};
use crate::store::{Store, StoreError};

/// How long the brokers have to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// After a failure, how many of the client's events are looked through for its cause.
const POLLS: usize = 100;

/// Prints the settings and, where asked for, what the brokers say about the topics.
pub fn run(settings: &Settings, check_connectivity: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let web_config = settings.http.web_config_file.as_deref().map(http::check_web_config).transpose()?;
    summary(settings, web_config, out)?;
    if check_connectivity {
        check_topics(&settings.kafka, TIMEOUT, out)?;
        check_store(&settings.snapshot, out)?;
    }
    writeln!(out, "OK")?;
    Ok(())
}

fn summary(s: &Settings, web_config: Option<WebConfig>, out: &mut impl Write) -> std::io::Result<()> {
    let topics = if s.kafka.topics.is_empty() { "none (run needs one)".to_owned() } else { s.kafka.topics.join(", ") };
    writeln!(out, "brokers     {}", s.kafka.brokers.join(", "))?;
    writeln!(out, "topics      {topics}")?;
    writeln!(out, "group       {}", s.kafka.group_id)?;
    let framing = match s.kafka.framing {
        Framing::Detect => "bare or behind a schema registry's prefix",
        Framing::Bare => "bare",
        Framing::Confluent => "in a schema registry's framing",
    };
    let rejected = match &s.kafka.on_rejected {
        OnRejected::Skip => "skipped".to_owned(),
        OnRejected::Fail => "an error that ends the process".to_owned(),
        OnRejected::DeadLetter { topic } => format!("written to {topic}"),
    };
    writeln!(out, "messages    {framing}; those rejected are {rejected}")?;
    for property in &s.kafka.librdkafka {
        writeln!(out, "librdkafka  {property}")?;
    }
    let labels: Vec<_> = s.windows.lengths.iter().map(|w| w.label.as_str()).collect();
    let step = duration::display(s.windows.grid.step());
    writeln!(
        out,
        "windows     {}, starting every {step}; at most {} cohorts a grouping",
        labels.join(", "),
        s.windows.max_cohorts
    )?;
    for d in &s.dimensions {
        let which = match d.value {
            DimensionValue::Window => "as of the instant in question",
            DimensionValue::First => "as of the earliest event",
        };
        writeln!(out, "dimension   {}: attribute {}, {which}", d.name, d.attribute)?;
    }
    let definitions = s.definitions();
    let groupings: Vec<String> = s.groupings.iter().map(|g: &Grouping| definitions.cohort_by(g)).collect();
    writeln!(out, "groupings   {}", groupings.join("; "))?;
    let timeout = s.lifecycle.inactivity_timeout.map_or("none".to_owned(), duration::display);
    let grace = duration::display(s.lifecycle.grace_period);
    writeln!(out, "lifecycle   inactivity timeout {timeout}, grace period {grace}")?;
    let clock = match s.time.clock {
        Clock::Wall => "wall",
        Clock::Event => "event",
    };
    let since = s.time.complete_since.map_or("the earliest event".to_owned(), |t| t.to_string());
    let zone = s.time.zone.iana_name().unwrap_or("UTC");
    writeln!(out, "time        {clock} clock, zone {zone}, complete since {since}")?;
    let (interval, keep) = (s.snapshot.interval.as_secs_f64(), s.snapshot.keep);
    writeln!(out, "snapshots   {}, every {interval} s, {keep} kept", s.snapshot.store)?;
    let interval = s.http.publish_interval.as_secs_f64();
    let scheme = if web_config.as_ref().is_some_and(|config| config.tls.is_some()) { "https" } else { "http" };
    writeln!(out, "metrics     {scheme}://{}/metrics, computed every {interval} s", s.http.listen)?;
    match web_config {
        Some(config) => writeln!(out, "door        {}", door(&config)),
        None => Ok(()),
    }
}

fn door(config: &WebConfig) -> String {
    let mut parts = vec![if config.tls.is_some() { "TLS" } else { "no TLS" }.to_owned()];
    parts.push(match config.tls.as_ref().map_or(ClientAuth::None, |tls| tls.client_auth) {
        ClientAuth::None => "no client certificates".to_owned(),
        ClientAuth::Request => "client certificates asked for".to_owned(),
        ClientAuth::VerifyIfGiven => "client certificates verified where given".to_owned(),
        ClientAuth::RequireAny => "any client certificate needed".to_owned(),
        ClientAuth::RequireAndVerify => "client certificates needed and verified".to_owned(),
    });
    parts.push(match config.users.len() {
        0 => "no passwords".to_owned(),
        users => format!("passwords of {users} users"),
    });
    parts.extend(config.rate_limit.map(|limit| {
        let RateLimit { interval, burst } = limit;
        format!("{burst} requests at once and one more every {} s", interval.as_secs_f64())
    }));
    parts.join(", ")
}

/// Keeps what the client says about its attempts to connect: the call that fails says only that it timed out.
#[derive(Default)]
struct Complaints(Mutex<Option<String>>);

impl ClientContext for Complaints {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!("{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let says_why = error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown);
        if says_why && let Ok(mut last) = self.0.lock() {
            *last = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Complaints {}

/// Prints what the brokers say about each topic within `timeout`; fails unless all can be read.
pub fn check_topics(kafka: &Kafka, timeout: Duration, out: &mut impl Write) -> anyhow::Result<()> {
    let consumer: BaseConsumer<Complaints> = kafka
        .client_config()
        .create_with_context(Complaints::default())
        .context("the Kafka client refuses its settings")?;
    let cluster = match consumer.fetch_metadata(None, timeout) {
        Ok(metadata) => metadata,
        Err(error) => {
            // Errors are told while polling, at most one a poll.
            (0..POLLS).for_each(|_| drop(consumer.poll(Duration::ZERO)));
            let said = consumer.context().0.lock().ok().and_then(|mut last| last.take());
            let said = said.map(|words| format!(" ({words})")).unwrap_or_default();
            bail!(
                "no answer from {} within {} s: {error}{said}; check kafka.brokers, the network, and security.protocol and sasl.* of [kafka.librdkafka]",
                kafka.bootstrap_servers(),
                timeout.as_secs(),
            );
        }
    };
    let answer = match cluster.brokers().len() {
        1 => "1 broker answers".to_owned(),
        brokers => format!("{brokers} brokers answer"),
    };
    writeln!(out, "cluster     {answer} for {}", kafka.bootstrap_servers())?;
    let names: Vec<&str> = cluster.topics().iter().map(MetadataTopic::name).collect();
    let mut failed = 0;
    let topics = kafka.topics.iter().map(|topic| Asked { topic, key: "kafka.topics", right: "Read" });
    let letters = match &kafka.on_rejected {
        OnRejected::DeadLetter { topic } => Some(Asked { topic, key: "kafka.dead_letter_topic", right: "Write" }),
        OnRejected::Skip | OnRejected::Fail => None,
    };
    let asked: Vec<Asked<'_>> = topics.chain(letters).collect();
    let there: Vec<&str> = asked.iter().map(|asked| asked.topic).filter(|topic| names.contains(topic)).collect();
    let keeping = Keeping::ask(kafka, &there, timeout / 2);
    for asked @ Asked { topic, .. } in &asked {
        let verdict = match consumer.fetch_metadata(Some(topic), timeout) {
            Ok(metadata) => verdict(metadata.topics().iter().find(|t| t.name() == *topic), &names, asked),
            Err(error) => Err(format!("{error}; try again, and look at the brokers' log")),
        };
        let keeping = keeping.get(*topic);
        let verdict = match (keeping, asked.right) {
            (Some(Keeping { compacted: true, .. }), "Read") => Err(COMPACTED.to_owned()),
            _ => verdict,
        };
        match verdict {
            Ok(partitions) => {
                let kept =
                    keeping.map(|keeping| format!(", records kept for {}", keeping.period())).unwrap_or_default();
                let plural = if partitions == 1 { "" } else { "s" };
                writeln!(out, "topic       {topic}: {partitions} partition{plural}{kept}")?;
            }
            Err(what) => {
                failed += 1;
                writeln!(out, "topic       {topic}: {what}")?;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} topics cannot be used", asked.len());
    }
    Ok(())
}

/// Says that snapshots can be kept in the store, or why not.
pub fn check_store(snapshot: &Snapshot, out: &mut impl Write) -> anyhow::Result<()> {
    match Store::open(snapshot)?.check() {
        Err(error @ StoreError::Unavailable { .. }) => bail!(
            "{error}; check snapshot.store, the network and, of an object store, the credentials in the environment \
             (AWS_*, GOOGLE_*, AZURE_*)"
        ),
        checked => checked?,
    }
    writeln!(out, "store       {} answers, and refuses to overwrite", snapshot.store)?;
    Ok(())
}

/// A topic, and what it is for.
struct Asked<'a> {
    topic: &'a str,
    /// The setting that names it.
    key: &'static str,
    /// The right it takes.
    right: &'static str,
}

/// The number of partitions, or what is wrong and the remedy.
fn verdict(found: Option<&MetadataTopic>, names: &[&str], asked: &Asked<'_>) -> Result<usize, String> {
    let Some(found) = found else { return Err(absent(names, asked)) };
    match found.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            return Err(absent(names, asked));
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
            return Err(format!("not permitted; grant the user Describe and {} on it", asked.right));
        }
        Some(code) => return Err(format!("{code}; look at the brokers' log")),
    }
    let leaderless: Vec<_> = found.partitions().iter().filter(|p| p.leader() < 0).map(|p| p.id().to_string()).collect();
    match (found.partitions().len(), leaderless.as_slice()) {
        (0, _) => Err(absent(names, asked)),
        (partitions, []) => Ok(partitions),
        (_, ids) => Err(format!("partitions without a leader: {}; look at the brokers", ids.join(", "))),
    }
}

fn absent(names: &[&str], Asked { topic, key, .. }: &Asked<'_>) -> String {
    let similar = nearest(topic, names.iter().copied().filter(|name| name != topic));
    let similar = similar.map(|name| format!(", or correct {key}: did you mean {name}?")).unwrap_or_default();
    format!("does not exist; create it{similar}")
}
