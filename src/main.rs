//! The commands, each a line; what may be typed stands in `cli`.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;
use churnwatch::cli::{Cli, Command, LogFormat, SnapshotCommand};
use churnwatch::settings::{self, ConfigError};
use churnwatch::store::StoreError;
use churnwatch::{demo, import, inspect, replay, run, telemetry, validate};
use clap::Parser;

/// Also of the Kafka client's records: see docs/dependencies.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = cli.log();
    match telemetry::start_log(log, std::env::var("RUST_LOG").ok().as_deref()).and_then(|()| execute(cli)) {
        Ok(code) => code,
        Err(error) => report(&error, log.log_format),
    }
}

fn execute(Cli { global, command }: Cli) -> Result<ExitCode> {
    match command {
        Command::Run(args) => return run::run(&global.settings(&args.overrides())?, args.rebuild),
        Command::Import(args) => return import::run(&global.settings(&args.overrides())?, &args.options()),
        Command::Snapshot(SnapshotCommand::Inspect { files }) => {
            let settings = global.settings(&[])?;
            return inspect::run(settings.definitions(), &files, &mut io::stdout().lock());
        }
        Command::Demo(args) => demo::run(&args.into())?,
        Command::Replay(args) => {
            let settings = global.settings(&[])?;
            return replay::run(&settings.definitions(), &args.into());
        }
        Command::Validate(args) => {
            let settings = global.settings(&args.kafka.overrides())?;
            validate::run(&settings, args.check_connectivity, &mut io::stdout().lock())?;
        }
        Command::Config(args) => {
            let settings = global.settings(&args.kafka.overrides())?;
            io::stdout().lock().write_all(settings::effective_toml(&settings).as_bytes())?;
        }
        Command::Man(args) => args.write(&mut io::stdout().lock())?,
        Command::Completions(args) => io::stdout().lock().write_all(&args.script())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says why the process ends, and with which code: 1 failed, 2 wrong configuration.
fn report(error: &anyhow::Error, log_format: LogFormat) -> ExitCode {
    let closed = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    if error.root_cause().downcast_ref::<io::Error>().is_some_and(closed) {
        // Whoever read our output has seen enough.
        return ExitCode::SUCCESS;
    }
    let wrong = error.downcast_ref::<ConfigError>();
    if log_format == LogFormat::Json && tracing::enabled!(tracing::Level::ERROR) {
        // What reads lines of JSON can make nothing of another one.
        tracing::error!("{error:#}");
    } else if let Some(wrong) = wrong {
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        say(&wrong.report(colour));
    } else {
        say(&format!("error: {error:#}\n"));
    }
    let other_settings = matches!(error.downcast_ref(), Some(StoreError::Settings(_)));
    if wrong.is_some() || other_settings { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// Who reads standard error may be gone: the exit code says it, too.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
