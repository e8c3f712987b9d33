//! The log: what a human should know or do, on stderr, as text or JSON.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::prelude::*;

use crate::cli::{Log, LogFormat};

/// The progress bar on the terminal, which a line of the log would garble.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// From now on lines of the log appear above this bar; `None`: there is no bar any more.
pub(crate) fn make_room_for(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Standard error, around the bar.
struct AroundBar;

impl Write for AroundBar {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // A line of the log is one write.
        let write = || io::stderr().write_all(text).map(|()| text.len());
        let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner);
        bar.as_ref().map_or_else(write, |bar| bar.suspend(write))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Starts the log, once a process. `rust_log` is the variable `RUST_LOG`, which decides instead of the flags.
///
/// Fails where `rust_log` is not a filter.
pub fn start_log(log: Log, rust_log: Option<&str>) -> anyhow::Result<()> {
    let filter = match rust_log.filter(|directives| !directives.trim().is_empty()) {
        Some(directives) => EnvFilter::try_new(directives)
            .map_err(|e| anyhow::anyhow!("RUST_LOG is not a filter: {e}; write a level, such as RUST_LOG=info"))?,
        None => EnvFilter::try_new(directives(log))?,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(|| AroundBar).with_target(false);
    let lines = match log.log_format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => {
            let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            lines.with_ansi(colour).boxed()
        }
    };
    let log = tracing_subscriber::registry().with(filter).with(filter_fn(says_no_secret)).with(lines);
    let started = log.try_init();
    started.map_err(|e| anyhow::anyhow!("cannot start the log: {e}"))?;
    tracing::debug!(version = env!("CARGO_PKG_VERSION"), "churnwatch starts");
    Ok(())
}

/// At TRACE the HTTP client names its connections by the whole address, with the password that an endpoint or a proxy may
/// be given in it. No filter brings that out.
fn says_no_secret(line: &Metadata<'_>) -> bool {
    *line.level() < Level::TRACE || !line.target().starts_with("hyper")
}

/// The Kafka client repeats itself at every attempt to reconnect; what matters of it reaches us as errors and
/// is said once, by us. So does the object store's client. Their own words are for those who ask for more.
fn directives(log: Log) -> &'static str {
    match (log.quiet, log.verbose) {
        (true, _) => "error,librdkafka=off,rdkafka=off",
        (false, 0) => "info,object_store=warn,librdkafka=off,rdkafka=off",
        (false, 1) => "info,churnwatch=debug,librdkafka=warn,rdkafka=warn",
        (false, _) => "debug,churnwatch=trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_parses() {
        for (quiet, verbose) in [(true, 0), (false, 0), (false, 1), (false, 2)] {
            let directives = directives(Log { log_format: LogFormat::Text, verbose, quiet });
            assert_eq!(
                EnvFilter::try_new(directives).unwrap().to_string().matches('=').count(),
                directives.matches('=').count()
            );
        }
    }
}
