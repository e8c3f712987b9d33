//! What the demo shows while it runs, and what it says in the end.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant as Moment};

use anyhow::ensure;

use super::feed::Progress;
use super::page::Page;
use super::screen::Screen;
use super::table::{Board, Margins, date, thousands};
use crate::run::{Instance, Summary};
use crate::shard::Counts;
use crate::time::Instant;

/// Keeps the table up to date with what an instance publishes.
pub struct Show<'a> {
    instance: &'a Instance,
    progress: &'a Progress,
    url: String,
    board: Board,
    screen: Screen,
    rate: Rate,
    shown_as_of: Option<Instant>,
}

/// What was shown last.
pub struct Shown {
    url: String,
    board: Board,
    as_of: Option<Instant>,
}

impl<'a> Show<'a> {
    pub fn new(instance: &'a Instance, progress: &'a Progress, url: String) -> Self {
        let no_color = std::env::var("NO_COLOR").ok();
        let screen = Screen::stdout(no_color.as_deref());
        Self { instance, progress, url, board: Board::new(), screen, rate: Rate::default(), shown_as_of: None }
    }

    /// Shows what is published now.
    pub fn frame(&mut self) -> io::Result<()> {
        self.rate.note(Moment::now(), self.instance.records());
        self.catch_up();
        if self.shown_as_of.is_none() {
            return Ok(());
        }
        let footer = "Ctrl-C ends the demo.";
        let margins = Margins { events_per_second: self.rate.per_second(), url: &self.url, footer };
        self.screen.draw(&self.board.render(&margins, self.screen.styled()))
    }

    /// Takes in what is published now, once they cover the past: before, the numbers are those of weeks ago.
    fn catch_up(&mut self) {
        let page = self.instance.published().page();
        let Some(as_of) = page.publication.as_ref().map(|publication| publication.as_of) else { return };
        if Some(as_of) != self.shown_as_of && self.progress.is_past_covered(as_of, self.instance.records()) {
            self.board.update(as_of, &Page::parse(&page.cohort_text));
            self.shown_as_of = Some(as_of);
        }
    }

    /// Takes in what was published last, and gives the terminal back.
    pub fn end(mut self) -> Shown {
        self.catch_up();
        Shown { url: self.url, board: self.board, as_of: self.shown_as_of }
    }
}

impl Shown {
    /// Says on standard output what the demo was.
    pub fn report(&self, summary: &Summary, produced: u64, took: Duration) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let as_of = self.as_of.map_or_else(|| "before life began".to_owned(), |t| date(t, "as of %a %Y-%m-%d %H:%M"));
        writeln!(out, "The demo ended {as_of}, after {:.0} s.", took.as_secs_f64())?;
        let counts = &summary.counts;
        let number = |n: u64| thousands(n as f64);
        writeln!(
            out,
            "events      {} produced, {} consumed: {} applied, {} ignored, {} rejected,\n            \
             {} unchanged (repeated, or usage that decides nothing here)",
            number(produced),
            number(summary.records),
            number(counts.applied.iter().sum()),
            number(counts.ignored.iter().sum()),
            number(counts.rejected.iter().sum()),
            number(counts.unchanged),
        )?;
        for line in self.board.summary() {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "metrics     were served at {}", self.url)?;
        out.flush()
    }
}

/// Fails unless every record produced was read, and counted once.
pub fn check_nothing_lost(produced: u64, summary: &Summary) -> anyhow::Result<()> {
    let (read, counted) = (summary.records, counted(&summary.counts));
    ensure!(
        read == produced && counted == produced,
        "{produced} records were produced, but {read} read and {counted} counted; please report this"
    );
    Ok(())
}

fn counted(counts: &Counts) -> u64 {
    let sum = |of: &[u64]| of.iter().sum::<u64>();
    sum(&counts.applied) + counts.unchanged + sum(&counts.ignored) + sum(&counts.rejected)
}

/// How fast a count grows, over the last seconds.
#[derive(Default)]
struct Rate {
    counts: VecDeque<(Moment, u64)>,
}

impl Rate {
    const OVER: Duration = Duration::from_secs(3);

    fn note(&mut self, now: Moment, count: u64) {
        self.counts.push_back((now, count));
        while self.counts.front().is_some_and(|&(at, _)| now.duration_since(at) > Self::OVER) {
            self.counts.pop_front();
        }
    }

    fn per_second(&self) -> f64 {
        let (Some(&(from, before)), Some(&(to, after))) = (self.counts.front(), self.counts.back()) else {
            return 0.0;
        };
        let seconds = to.duration_since(from).as_secs_f64();
        if seconds > 0.0 { after.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Moment::now();
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), 0.0);
        for second in 0..10 {
            let count = if second < 5 { second * 1_000 } else { 5_000 + (second - 5) * 10 };
            rate.note(start + Duration::from_secs(second), count);
        }
        assert_eq!(rate.per_second(), 10.0);
    }

    #[test]
    fn a_lost_record_is_told_from_one_that_was_rejected() {
        let mut counts = Counts { unchanged: 1, beyond_horizon: 100, ..Counts::default() };
        counts.applied[0] = 10;
        counts.ignored[1] = 20;
        counts.rejected[2] = 30;
        let summary = Summary { records: 61, counts };
        assert!(check_nothing_lost(61, &summary).is_ok());
        let error = check_nothing_lost(62, &summary).unwrap_err().to_string();
        assert!(error.contains("62 records were produced, but 61 read and 61 counted"), "{error}");
        assert!(check_nothing_lost(61, &Summary { records: 60, ..summary.clone() }).is_err());
        let uncounted = Counts { unchanged: 0, ..summary.counts };
        assert!(check_nothing_lost(61, &Summary { counts: uncounted, ..summary }).is_err());
    }
}
