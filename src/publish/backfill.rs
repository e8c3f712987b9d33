//! How a long catch-up comes along, for who waits for it: a bar on a terminal, else a line in the log every minute.

use std::collections::VecDeque;
use std::time::{Duration, Instant as Moment};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::info;

use crate::telemetry;

/// A shorter catch-up is over before anybody wonders.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two lines in the log.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// The rate is that of this long.
const RECENT: Duration = Duration::from_secs(60);

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Display {
    Bar,
    Log,
}

/// Shows what [`Pace`] says.
pub(crate) struct Backfill {
    display: Display,
    pace: Pace,
    bar: Option<ProgressBar>,
    said_at: Option<Moment>,
}

impl Backfill {
    pub fn new(display: Display) -> Self {
        Self { display, pace: Pace::default(), bar: None, said_at: None }
    }

    /// So many records are still to be read before anything can be published.
    pub fn note(&mut self, now: Moment, to_go: u64) {
        self.pace.note(now, to_go);
        let Some(estimate) = self.pace.estimate(now) else { return };
        match self.display {
            Display::Bar => self.draw(&estimate),
            Display::Log if self.said_at.is_none_or(|said| now - said >= SAY_EVERY) => {
                self.said_at = Some(now);
                info!("catching up: {estimate}");
            }
            Display::Log => {}
        }
    }

    /// Everything is read.
    pub fn end(&mut self, now: Moment) {
        let pace = std::mem::take(&mut self.pace);
        if let Some(took) = pace.begun.map(|begun| now - begun)
            && (self.said_at.take().is_some() | self.bar.is_some())
        {
            self.clear();
            info!("caught up: {} records in {}", HumanCount(pace.total), seconds(took));
        }
    }

    /// The partitions are gone: there is nothing to catch up with.
    pub fn give_up(&mut self) {
        self.pace = Pace::default();
        self.said_at = None;
        self.clear();
    }

    fn draw(&mut self, estimate: &Estimate) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("catching up {wide_bar} {percent} %, {msg}") {
                bar.set_style(style);
            }
            telemetry::make_room_for(Some(bar.clone()));
            bar
        });
        bar.set_length(estimate.total);
        bar.set_position(estimate.total - estimate.to_go);
        bar.set_message(estimate.rest());
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            telemetry::make_room_for(None);
            bar.finish_and_clear();
        }
    }
}

impl Drop for Backfill {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How fast a catch-up goes. Time is an argument.
#[derive(Default)]
struct Pace {
    begun: Option<Moment>,
    /// The most that ever was to go.
    total: u64,
    /// What was to go when, the recent past only; it only falls.
    recent: VecDeque<(Moment, u64)>,
}

/// What can be said of a catch-up.
#[derive(Clone, Debug, PartialEq)]
struct Estimate {
    total: u64,
    to_go: u64,
    /// 0 where nothing was read of late.
    records_per_second: f64,
}

impl Pace {
    fn note(&mut self, now: Moment, to_go: u64) {
        self.begun.get_or_insert(now);
        self.total = self.total.max(to_go);
        // Partitions came: what was to go before tells nothing of the rate.
        if self.recent.back().is_some_and(|&(_, before)| to_go > before) {
            self.recent.clear();
        }
        self.recent.push_back((now, to_go));
        while self.recent.get(1).is_some_and(|&(time, _)| now - time >= RECENT) {
            self.recent.pop_front();
        }
    }

    /// Nothing while it may be a short one.
    fn estimate(&self, now: Moment) -> Option<Estimate> {
        self.begun.filter(|&begun| now - begun >= PATIENCE)?;
        let (&(since, before), &(_, to_go)) = (self.recent.front()?, self.recent.back()?);
        let seconds = (now - since).as_secs_f64();
        let records_per_second = if seconds > 0.0 { (before - to_go) as f64 / seconds } else { 0.0 };
        Some(Estimate { total: self.total, to_go, records_per_second })
    }
}

impl Estimate {
    /// All but how much is done.
    fn rest(&self) -> String {
        let rate = HumanCount(self.records_per_second as u64);
        let left = match self.records_per_second {
            rate if rate > 0.0 => format!("{} left", seconds(Duration::from_secs_f64(self.to_go as f64 / rate))),
            _ => "nothing read of late".to_owned(),
        };
        format!("{} records to go, {rate} a second, {left}", HumanCount(self.to_go))
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = (self.total - self.to_go) as f64 / self.total.max(1) as f64 * 100.0;
        write!(f, "{percent:.0} %, {}", self.rest())
    }
}

/// `2 h 5 min`, `3 min 20 s`, `40 s`.
fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Course {
        begin: Moment,
        pace: Pace,
    }

    impl Course {
        fn new() -> Self {
            Self { begin: Moment::now(), pace: Pace::default() }
        }

        /// What is said at a second of the catch-up.
        fn at(&mut self, second: u64, to_go: u64) -> Option<String> {
            let now = self.begin + Duration::from_secs(second);
            self.pace.note(now, to_go);
            self.pace.estimate(now).map(|estimate| estimate.to_string())
        }
    }

    #[test]
    fn a_short_catch_up_is_not_worth_a_word() {
        let mut course = Course::new();
        assert_eq!(course.at(0, 5_000_000), None);
        assert_eq!(course.at(9, 10), None);
    }

    #[test]
    fn the_rate_is_that_of_the_recent_minute() {
        let mut course = Course::new();
        course.at(0, 2_000_000);
        let said = course.at(10, 1_900_000);
        assert_eq!(said.as_deref(), Some("5 %, 1,900,000 records to go, 10,000 a second, 3 min 10 s left"));
        // A slow stretch: after a minute of it the fast one before is forgotten.
        for second in 11..=80 {
            course.at(second, 1_900_000 - (second - 10) * 100);
        }
        let said = course.at(81, 1_892_900);
        assert_eq!(said.as_deref(), Some("5 %, 1,892,900 records to go, 100 a second, 5 h 15 min left"));
    }

    #[test]
    fn who_reads_nothing_is_told_so() {
        let mut course = Course::new();
        course.at(0, 1_000);
        let said = course.at(30, 1_000);
        assert_eq!(said.as_deref(), Some("0 %, 1,000 records to go, 0 a second, nothing read of late"));
    }

    #[test]
    fn partitions_that_come_later_make_it_longer() {
        let mut course = Course::new();
        course.at(0, 1_000);
        course.at(20, 500);
        course.at(30, 2_000);
        let said = course.at(40, 1_500);
        assert_eq!(said.as_deref(), Some("25 %, 1,500 records to go, 50 a second, 30 s left"));
    }

    #[test]
    fn a_line_a_minute_is_said_and_none_for_a_short_one() {
        let begin = Moment::now();
        let at = |second| begin + Duration::from_secs(second);
        let mut backfill = Backfill::new(Display::Log);
        let mut said = Vec::new();
        for second in 0..=140 {
            backfill.note(at(second), 1_000_000 - second * 1_000);
            said.extend(backfill.said_at.filter(|&moment| moment == at(second)).map(|_| second));
        }
        assert_eq!(said, [10, 70, 130]);
        backfill.end(at(141));
        assert!(backfill.said_at.is_none() && backfill.pace.begun.is_none(), "the next one begins anew");
        backfill.note(at(200), 5);
        assert_eq!(backfill.said_at, None);
    }
}
