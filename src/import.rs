//! `churnwatch import`: event files into a topic, keyed by customer id, every record acknowledged.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant as Stopwatch};

use anyhow::bail;
use indicatif::ProgressBar;

use crate::decode::{Refusal, validate};
use crate::input::{EventReader, Format};
use crate::kafka::keeping::{COMPACTED, Keeping};
use crate::kafka::produce::{Delivered, Producer};
use crate::replay::{PROGRESS_RECORDS, Refusals, progress_bar};
use crate::run::wall_clock;
use crate::settings::{ConfigError, Kafka, Settings};
use crate::time::Instant;

/// How long the brokers have for the records that are on the way when the files end.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long the brokers have to say whether the topic is there.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(10);

/// What to import.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Read in this order; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Overrides what the files' names say.
    pub format: Option<Format>,
    /// Whether an unreadable or rejected event is a failure, once the others are imported.
    pub strict: bool,
}

/// What became of the files.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Events, and lines or messages that are none.
    pub read: u64,
    /// Not sent: not an event, or one that would be rejected.
    pub refused: u64,
    /// Not sent: of a kind unknown here.
    pub ignored: u64,
    pub sent: u64,
    pub delivered: Delivered,
    pub elapsed: Duration,
}

/// Imports into the one topic of the settings, with diagnostics, progress and summary on standard error.
pub fn run(settings: &Settings, options: &Options) -> anyhow::Result<ExitCode> {
    let topic = topic(settings)?;
    let mut reader = EventReader::new(options.files.clone(), options.format)?;
    let bar = progress_bar(&reader);
    let summary = import(&settings.kafka, topic, &mut reader, &mut io::stderr(), &bar)?;
    bar.finish_and_clear();
    writeln!(io::stderr(), "{summary}")?;
    if options.strict && summary.refused > 0 {
        bail!("{} events were refused, and --strict is given; the others are in {topic:?}", summary.refused);
    }
    Ok(ExitCode::SUCCESS)
}

fn topic(settings: &Settings) -> Result<&str, ConfigError> {
    settings.check_topics()?;
    match settings.kafka.topics.as_slice() {
        [topic] => Ok(topic),
        _ => Err(ConfigError::remark("kafka.topics names several topics", "say with --topic which one to import into")),
    }
}

/// Sends every valid event that the reader yields, naming the others. An error where a record was not acknowledged, or
/// would not stay in the topic.
pub fn import(
    kafka: &Kafka,
    topic: &str,
    reader: &mut EventReader,
    diagnostics: &mut impl Write,
    bar: &ProgressBar,
) -> anyhow::Result<Summary> {
    let started = Stopwatch::now();
    let mut producer = Producer::new(kafka, topic)?;
    producer.check_topic(TOPIC_TIMEOUT)?;
    let keeping = keeping(kafka, topic)?;
    let now = wall_clock();
    let mut refusals = Refusals::new(diagnostics, bar);
    let mut summary = Summary::default();
    while let Some(item) = reader.next_item()? {
        summary.read += 1;
        match item.content {
            Ok(record) => match validate(record.message, None) {
                Ok(event) => {
                    if let Some(keeping) = keeping.filter(|keeping| keeping.deletes_at_once(event.time, now)) {
                        bail!("{}: {}", item.position, too_old(event.time, topic, keeping));
                    }
                    producer.send_as(record.message, record.payload)?;
                }
                Err(Refusal::Ignored(_)) => summary.ignored += 1,
                Err(Refusal::Rejected(rejection)) => {
                    summary.refused += 1;
                    refusals.name(item.position, &rejection)?;
                }
            },
            Err(reason) => {
                summary.refused += 1;
                refusals.name(item.position, &reason)?;
            }
        }
        if summary.read.is_multiple_of(PROGRESS_RECORDS) {
            bar.set_position(reader.read_bytes());
            if producer.delivered().failed > 0 {
                break;
            }
        }
    }
    summary.delivered = producer.finish(PATIENCE, |_| bar.tick());
    summary.sent = producer.sent();
    summary.elapsed = started.elapsed();
    if summary.delivered.acknowledged < summary.sent {
        let why = producer.first_failure().unwrap_or_else(|| "no answer".to_owned());
        bail!(
            "{} of {} records sent to {topic:?} were acknowledged, the others may or may not be there: {why}. See to \
             the brokers, then import the same files again: an event that is there twice counts once",
            summary.delivered.acknowledged,
            summary.sent,
        );
    }
    Ok(summary)
}

/// How the topic keeps its records, as far as the brokers tell.
fn keeping(kafka: &Kafka, topic: &str) -> anyhow::Result<Option<Keeping>> {
    let keeping = Keeping::ask(kafka, &[topic], TOPIC_TIMEOUT / 2).remove(topic);
    match keeping {
        Some(Keeping { compacted: true, .. }) => bail!("the topic {topic:?} {COMPACTED}"),
        keeping => Ok(keeping),
    }
}

fn too_old(time: Instant, topic: &str, keeping: Keeping) -> String {
    let period = keeping.period();
    format!(
        "the event is of {time}, but {topic:?} keeps records for {period}: its record carries that time, and the \
         brokers would delete it, most likely before it is read. Set retention.ms=-1 for the topic, or \
         message.timestamp.type=LogAppendTime, by which records are kept for {period} from now on; then import the \
         same files again"
    )
}

/// For people, on one line.
impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let per_second = if seconds > 0.0 { self.sent as f64 / seconds } else { 0.0 };
        write!(
            f,
            "{} events read, {} sent and acknowledged, {} refused, {} of an unknown kind ignored; in {seconds:.2} s, \
             {per_second:.0} events/s",
            self.read, self.delivered.acknowledged, self.refused, self.ignored
        )
    }
}
