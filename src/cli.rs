//! The command line: what may be typed, and how it becomes settings and options.

mod generated;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::demo;
use crate::input::Format;
use crate::settings::{self, ConfigError, Override, Settings, duration};
use crate::time::{Instant, Span};
use crate::{import, replay};

pub use generated::{CompletionsArgs, ManArgs};

/// Exact rolling churn and retention of customers and recurring revenue, from Kafka to Prometheus.
#[derive(Debug, Parser)]
#[command(name = "churnwatch", version, about, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// How the log is written: the demo redraws its table in place, and unless asked for, nothing but errors
    /// shall come between.
    pub fn log(&self) -> Log {
        let log = self.global.log;
        let quiet = log.quiet || matches!(self.command, Command::Demo(_)) && log.verbose == 0;
        Log { quiet, ..log }
    }
}

const EXAMPLES: &str = "\
Examples:
  churnwatch replay --as-of 2026-02-01T00:00:00Z events.jsonl
  churnwatch validate --config churnwatch.toml --check-connectivity
  CHURNWATCH__WINDOWS__LENGTHS=7d,90d churnwatch validate

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.";

/// Apart from a command's own.
const OF_EVERY_COMMAND: &str = "Options of every command";

/// What every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// The configuration, a TOML file; without it the defaults hold
    #[arg(long, short, global = true, help_heading = OF_EVERY_COMMAND, env = "CHURNWATCH_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub log: Log,
}

/// How the log is written, which goes to stderr.
#[derive(Clone, Copy, Debug, Args)]
pub struct Log {
    /// How log lines are written
    #[arg(long, global = true, help_heading = OF_EVERY_COMMAND, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Say more; twice, everything. RUST_LOG, where set, decides instead
    #[arg(long, short, global = true, help_heading = OF_EVERY_COMMAND, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(long, short, global = true, help_heading = OF_EVERY_COMMAND, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// One variant a command; what it does stands in `main`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read the topics, and serve the gauges over HTTP
    #[command(after_help = RunArgs::EXAMPLES)]
    Run(RunArgs),
    /// Show what churnwatch does, on a simulated subscription business
    #[command(after_help = DemoArgs::EXAMPLES)]
    Demo(DemoArgs),
    /// Print the cohort gauges that files of events amount to
    #[command(after_help = ReplayArgs::EXAMPLES)]
    Replay(ReplayArgs),
    /// Write event files into a topic
    #[command(after_help = ImportArgs::EXAMPLES)]
    Import(ImportArgs),
    /// Look into snapshots
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Check the configuration, and print what it amounts to
    #[command(after_help = ValidateArgs::EXAMPLES)]
    Validate(ValidateArgs),
    /// Print the configuration in force, as TOML and without secrets
    #[command(after_help = ConfigArgs::EXAMPLES)]
    Config(ConfigArgs),
    /// Print the manual page, or write all of them
    #[command(after_help = ManArgs::EXAMPLES)]
    Man(ManArgs),
    /// Print a completion script for a shell
    #[command(after_help = CompletionsArgs::EXAMPLES)]
    Completions(CompletionsArgs),
}

/// Flags that take the place of settings of `[kafka]`.
#[derive(Debug, Args)]
pub struct KafkaArgs {
    /// Brokers to connect to first, instead of kafka.brokers
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub brokers: Vec<String>,
    /// A topic, instead of kafka.topics; may be given several times
    #[arg(long = "topic", value_name = "TOPIC", value_delimiter = ',')]
    pub topics: Vec<String>,
}

impl KafkaArgs {
    /// The settings given as flags.
    pub fn overrides(&self) -> Vec<Override> {
        let given = [("--brokers", "kafka.brokers", &self.brokers), ("--topic", "kafka.topics", &self.topics)];
        let given = given.into_iter().filter(|(_, _, values)| !values.is_empty());
        given.map(|(flag, key, values)| Override::new(flag, key, values.iter().cloned())).collect()
    }
}

/// `churnwatch run`
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Where to serve /metrics, instead of http.listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// TLS, client certificates and passwords for /metrics, a YAML file, instead of http.web_config_file
    #[arg(long = "web.config.file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub web_config_file: Option<String>,
    /// Set the snapshots aside and read the topics from their beginning; once a new snapshot is written the old ones go
    #[arg(long)]
    pub rebuild: bool,
}

impl RunArgs {
    /// For `after_help`.
    pub const EXAMPLES: &str = "\
Examples:
  churnwatch run --config churnwatch.toml
  churnwatch run --brokers kafka-1:9092,kafka-2:9092 --topic customer-lifecycle

SIGTERM and Ctrl-C end it in order: what was read is counted, snapshots are written, offsets committed and the \
group is left.";

    /// The settings given as flags.
    pub fn overrides(&self) -> Vec<Override> {
        let mut overrides = self.kafka.overrides();
        let given = [
            ("--listen", "http.listen", &self.listen),
            ("--web.config.file", "http.web_config_file", &self.web_config_file),
        ];
        let given = given.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value.clone()?)));
        overrides.extend(given.map(|(flag, key, value)| Override::new(flag, key, [value])));
        overrides
    }
}

/// `churnwatch replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The instant the numbers are for, RFC 3339; the latest event_time if not given
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub as_of: Option<Instant>,
    #[command(flatten)]
    pub input: InputArgs,
}

impl ReplayArgs {
    /// For `after_help`.
    pub const EXAMPLES: &str = "\
Examples:
  churnwatch replay events.jsonl
  churnwatch replay --config churnwatch.toml --as-of 2026-02-01T00:00:00Z january.pb february.pb
  zcat events.jsonl.gz | churnwatch replay -

Only the page of gauges goes to stdout; problems and the summary go to stderr.";
}

impl From<ReplayArgs> for replay::Options {
    fn from(args: ReplayArgs) -> Self {
        let InputArgs { format, strict, files } = args.input;
        Self { files, format: format.map(Format::from), as_of: args.as_of, strict }
    }
}

/// Event files, for `replay` and `import`.
#[derive(Debug, Args)]
pub struct InputArgs {
    /// How events are written; guessed from the file's name if not given
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<InputFormat>,
    /// Fail if any line cannot be read or any event is rejected
    #[arg(long)]
    pub strict: bool,
    /// Files of events, in any order; `-` is stdin
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
}

/// How an event file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InputFormat {
    /// An event a line, in the JSON mapping of proto3
    Jsonl,
    /// Messages, each after its length
    Protobuf,
}

impl From<InputFormat> for Format {
    fn from(format: InputFormat) -> Self {
        match format {
            InputFormat::Jsonl => Self::Jsonl,
            InputFormat::Protobuf => Self::Protobuf,
        }
    }
}

/// `churnwatch import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Brokers to connect to first, instead of kafka.brokers
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub brokers: Vec<String>,
    /// The topic to write to; may be left out where kafka.topics names one
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    #[command(flatten)]
    pub input: InputArgs,
}

impl ImportArgs {
    /// What `import` takes.
    pub fn options(self) -> import::Options {
        let InputArgs { format, strict, files } = self.input;
        import::Options { files, format: format.map(Format::from), strict }
    }

    /// For `after_help`.
    pub const EXAMPLES: &str = "\
Examples:
  churnwatch import --brokers localhost:9092 --topic customer-lifecycle events.jsonl

Records are keyed by customer id. It is safe to import a file twice: a repeated event changes nothing. Each record \
carries its event_time as Kafka timestamp: what the topic would delete at once, for it keeps records for a shorter time, \
is refused.";

    /// The settings given as flags.
    pub fn overrides(&self) -> Vec<Override> {
        KafkaArgs { brokers: self.brokers.clone(), topics: self.topic.iter().cloned().collect() }.overrides()
    }
}

/// `churnwatch demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after this time; without it, Ctrl-C ends the demo
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_wait)]
    pub duration: Option<Duration>,
    /// How much simulated time passes a second
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = parse_positive)]
    pub speed: Span,
    /// Repeats a run: the same seed, the same events
    #[arg(long, value_name = "NUMBER", default_value_t = 42)]
    pub seed: u64,
    /// How many customers there are at the start
    #[arg(long, value_name = "NUMBER", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub customers: u64,
    /// Where to serve /metrics
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8642")]
    pub listen: std::net::SocketAddr,
}

impl DemoArgs {
    /// For `after_help`.
    pub const EXAMPLES: &str = "\
Examples:
  churnwatch demo
  churnwatch demo --for 30s --seed 7

Nothing else is needed: the broker and the configuration are inside the process (--config is not read), and nothing \
is kept.";
}

impl From<DemoArgs> for demo::Options {
    fn from(DemoArgs { duration, speed, seed, customers, listen }: DemoArgs) -> Self {
        Self { for_: duration, speed, seed, customers: customers as usize, listen }
    }
}

/// `churnwatch validate`
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Also ask the brokers for the topics, and try the snapshot store
    #[arg(long)]
    pub check_connectivity: bool,
    #[command(flatten)]
    pub kafka: KafkaArgs,
}

impl ValidateArgs {
    const EXAMPLES: &str = "\
Examples:
  churnwatch validate --config churnwatch.toml
  churnwatch validate --config churnwatch.toml --check-connectivity";
}

/// `churnwatch config`
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    pub kafka: KafkaArgs,
}

impl ConfigArgs {
    const EXAMPLES: &str = "\
Examples:
  churnwatch config --config churnwatch.toml
  CHURNWATCH__WINDOWS__LENGTHS=7d,90d churnwatch config

Defaults, file, environment and flags, put together. Secret properties of the Kafka client show as <redacted>.";
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  churnwatch snapshot inspect --config churnwatch.toml /var/lib/churnwatch/*/*.snapshot

Each is read whole, as a restart would. The exit code is 1 unless all are valid.";

/// `churnwatch snapshot …`
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Print what snapshot files hold, or what is wrong with them
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect {
        /// Snapshot files
        #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
    },
}

impl Global {
    /// The settings: the file, the environment of this process, and the flags given.
    pub fn settings(&self, overrides: &[Override]) -> Result<Settings, ConfigError> {
        // A name or value that is no Unicode is none of ours.
        let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        settings::load(self.config.as_deref(), environment, overrides)
    }
}

fn parse_positive(text: &str) -> Result<Span, String> {
    match duration::parse(text) {
        Ok(Span::ZERO) => Err("must be longer than nothing".to_owned()),
        Ok(span) => Ok(span),
        Err((what, remedy)) => Err(format!("{what}; {remedy}")),
    }
}

fn parse_instant(text: &str) -> Result<Instant, &'static str> {
    Instant::parse_rfc3339(text).map_err(|_| "write an instant as RFC 3339 has it, such as 2026-02-01T00:00:00Z")
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    parse_positive(text).map(|span| Duration::from_millis(span.as_millis().unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Every command there will be, those not offered yet included: their flags must fit together too.
    #[derive(Debug, Parser)]
    enum Commands {
        Run(RunArgs),
        Replay(ReplayArgs),
        Import(ImportArgs),
        Demo(DemoArgs),
        #[command(subcommand)]
        Snapshot(SnapshotCommand),
    }

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
        Commands::command().debug_assert();
    }

    #[test]
    fn flags_become_settings() {
        let Commands::Run(args) = Commands::parse_from([
            "x",
            "run",
            "--brokers",
            "a:1,b:2",
            "--topic",
            "t",
            "--topic",
            "u",
            "--listen",
            "[::1]:9",
        ]) else {
            panic!("not run");
        };
        let settings = settings::parse("", "", "".as_ref(), [], &args.overrides()).unwrap();
        assert_eq!(settings.kafka.brokers, ["a:1", "b:2"]);
        assert_eq!(settings.kafka.topics, ["t", "u"]);
        assert_eq!(settings.http.listen.to_string(), "[::1]:9");
        let Commands::Import(args) = Commands::parse_from(["x", "import", "--topic", "t", "f"]) else {
            panic!("not import");
        };
        let settings = settings::parse("", "", "".as_ref(), [], &args.overrides()).unwrap();
        assert_eq!((settings.kafka.topics, settings.kafka.brokers), (vec!["t".into()], vec!["localhost:9092".into()]));
    }

    #[test]
    fn the_demo_is_quiet_unless_asked() {
        let quiet = |arguments: &[&str]| Cli::parse_from([&["x"], arguments].concat()).log().quiet;
        assert!(quiet(&["demo"]) && quiet(&["validate", "-q"]));
        assert!(!quiet(&["demo", "-v"]) && !quiet(&["validate"]));
    }

    #[test]
    fn times_and_durations_are_read() {
        let parsed = Commands::parse_from(["x", "replay", "--as-of", "2026-02-01T00:00:00+01:00", "-"]);
        assert!(matches!(parsed, Commands::Replay(a) if a.as_of.unwrap().to_string() == "2026-01-31T23:00:00Z"));
        let parsed = Commands::parse_from(["x", "demo", "--for", "30s", "--speed", "12h"]);
        assert!(
            matches!(parsed, Commands::Demo(a) if a.duration == Some(Duration::from_secs(30)) && a.speed.as_millis() == 43_200_000)
        );
        for wrong in [["demo", "--for", "0s"], ["demo", "--for", "1month"], ["replay", "--as-of", "2026"]] {
            assert!(Commands::try_parse_from(["x"].into_iter().chain(wrong).chain(["f"])).is_err(), "{wrong:?}");
        }
    }
}
