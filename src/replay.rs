//! `churnwatch replay`: event files in, the page of cohort gauges out, as of one instant.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant as Stopwatch};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cohort::Definitions;
use crate::event::{Ignored, Rejection};
use crate::gauges;
use crate::input::{EventReader, Format, InputError, Position};
use crate::shard::{Counts, HashKey, Outcome, Shard};
use crate::time::Instant;

/// How many bad lines and rejected events are named one by one.
const NAMED: u64 = 20;

/// After how many records the progress bar is told.
pub(crate) const PROGRESS_RECORDS: u64 = 1024;

/// Wrong usage or configuration.
const EXIT_USAGE: u8 = 2;

/// What to replay, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Read in this order; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Overrides what the files' names say.
    pub format: Option<Format>,
    /// The largest `event_time` where there is none.
    pub as_of: Option<Instant>,
    /// Whether an unreadable or rejected event is a failure, and no page is printed then.
    pub strict: bool,
}

/// What became of the input.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub counts: Counts,
    /// Lines and messages that hold no event.
    pub unreadable: u64,
    /// How many customers have a history.
    pub customers: usize,
    /// `None` where no event was accepted, and so there are no numbers.
    pub as_of: Option<Instant>,
    pub latest_event: Option<Instant>,
    pub elapsed: Duration,
}

/// Replays to standard output, with diagnostics, progress and summary on standard error.
pub fn run(definitions: &Definitions, options: &Options) -> anyhow::Result<ExitCode> {
    let mut reader = match EventReader::new(options.files.clone(), options.format) {
        Ok(reader) => reader,
        Err(error @ InputError::UnknownFormat(_)) => {
            writeln!(io::stderr(), "error: {error}")?;
            return Ok(ExitCode::from(EXIT_USAGE));
        }
        Err(error) => return Err(error.into()),
    };
    let bar = progress_bar(&reader);
    let (summary, page) = replay(definitions, options, &mut reader, &mut io::stderr(), &bar)?;
    bar.finish_and_clear();
    write!(io::stderr(), "{summary}")?;
    if options.strict && summary.refused() > 0 {
        bail!("{} refused, and --strict is given: no page is printed", summary.refused());
    }
    let mut out = io::stdout().lock();
    out.write_all(page.as_bytes()).and_then(|()| out.flush()).context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

/// Reads everything and returns the page with the cohort gauges as of [`Options::as_of`], naming what is refused.
pub fn replay(
    definitions: &Definitions,
    options: &Options,
    reader: &mut EventReader,
    diagnostics: &mut impl Write,
    bar: &ProgressBar,
) -> anyhow::Result<(Summary, String)> {
    let started = Stopwatch::now();
    let mut shard = Shard::new(Arc::new(definitions.clone()), random_key()?);
    let mut refusals = Refusals::new(diagnostics, bar);
    let mut unreadable = 0;
    let mut records = 0_u64;
    while let Some(item) = reader.next_item()? {
        match item.content {
            Ok(record) => {
                if let Outcome::Rejected(rejection) = shard.consume_message(record.message, None) {
                    refusals.name(item.position, &rejection)?;
                }
            }
            Err(reason) => {
                unreadable += 1;
                refusals.name(item.position, &reason)?;
            }
        }
        records += 1;
        if records.is_multiple_of(PROGRESS_RECORDS) {
            bar.set_position(reader.read_bytes());
        }
    }

    let latest_event = shard.latest_event();
    let as_of = latest_event.map(|latest| options.as_of.unwrap_or(latest));
    let page = as_of.map_or_else(String::new, |as_of| {
        shard.advance(as_of);
        gauges::cohort_page(definitions, &shard.readings(), as_of)
    });
    let summary = Summary {
        counts: shard.counts().clone(),
        unreadable,
        customers: shard.tracked_customers(),
        as_of,
        latest_event,
        elapsed: started.elapsed(),
    };
    Ok((summary, page))
}

/// Says on the diagnostics what was refused: the first ones by name.
pub(crate) struct Refusals<'a, W> {
    diagnostics: &'a mut W,
    bar: &'a ProgressBar,
    named: u64,
}

impl<'a, W: Write> Refusals<'a, W> {
    pub(crate) fn new(diagnostics: &'a mut W, bar: &'a ProgressBar) -> Self {
        Self { diagnostics, bar, named: 0 }
    }

    pub(crate) fn name(&mut self, position: Position<'_>, reason: &dyn fmt::Display) -> io::Result<()> {
        self.named += 1;
        self.bar.suspend(|| match self.named {
            ..=NAMED => writeln!(self.diagnostics, "{position}: {reason}"),
            n if n == NAMED + 1 => writeln!(self.diagnostics, "more of them follow, and are only counted"),
            _ => Ok(()),
        })
    }
}

impl Summary {
    /// Every line and message that was read; blank lines are none.
    pub fn records(&self) -> u64 {
        let counts = &self.counts;
        let decoded = [counts.applied.as_slice(), &counts.ignored, &counts.rejected].concat().iter().sum::<u64>();
        decoded + counts.unchanged + self.unreadable
    }

    /// Those that are no event, and those that were rejected.
    pub fn refused(&self) -> u64 {
        self.unreadable + self.counts.rejected.iter().sum::<u64>()
    }
}

/// For people, on several lines.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let seconds = self.elapsed.as_secs_f64();
        let per_second = if seconds > 0.0 { self.records() as f64 / seconds } else { 0.0 };
        writeln!(f, "events read  {:>12}  in {seconds:.2} s, {per_second:.0} events/s", self.records())?;
        writeln!(f, "  applied    {:>12}", counts.applied.iter().sum::<u64>())?;
        writeln!(f, "  unchanged  {:>12}", counts.unchanged)?;
        write_counts(f, "  ignored", Ignored::ALL.map(Ignored::name), counts.ignored)?;
        write_counts(f, "  rejected", Rejection::ALL.map(Rejection::name), counts.rejected)?;
        writeln!(f, "  unreadable {:>12}", self.unreadable)?;
        writeln!(f, "customers    {:>12}", self.customers)?;
        match (self.as_of, self.latest_event) {
            (Some(as_of), Some(latest)) if as_of != latest => {
                writeln!(f, "as of        {as_of} (the latest event is of {latest})")
            }
            (Some(as_of), _) => writeln!(f, "as of        {as_of}"),
            (None, _) => writeln!(f, "as of        nothing: no event was accepted, so the page is empty"),
        }
    }
}

/// The sum, and what it consists of.
fn write_counts<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    names: [&str; N],
    counts: [u64; N],
) -> fmt::Result {
    write!(f, "{title:<13}{:>12}", counts.iter().sum::<u64>())?;
    let mut separator = "  ";
    for (name, count) in names.iter().zip(counts).filter(|(_, count)| *count > 0) {
        write!(f, "{separator}{name} {count}")?;
        separator = ", ";
    }
    writeln!(f)
}

/// A bar where the bytes to read are known, else a spinner; hidden unless standard error is a terminal.
pub(crate) fn progress_bar(reader: &EventReader) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match reader.total_bytes() {
        Some(total) => (
            ProgressBar::new(total),
            "{wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} to go",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {binary_bytes}, {binary_bytes_per_sec}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn random_key() -> anyhow::Result<HashKey> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).context("the system gives no random bytes for hashing customer ids")?;
    Ok(HashKey(key))
}
