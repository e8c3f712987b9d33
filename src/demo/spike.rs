//! Tells a churn spike from chance.

use crate::time::{Instant, Span};

/// One cohort's churn in a window, as published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// Customers at the window's start.
    pub start: f64,
    pub ratio: f64,
    /// The bounds of its 95 % interval.
    pub lower: f64,
    pub upper: f64,
}

/// Watches one cohort's churn over a window of a given length.
///
/// It is a spike when the lower bound of the churn now lies above `MARGIN` times the median of the upper bounds
/// that were published while no day of the window now was in sight, and the window began with enough customers.
pub struct Watch {
    window: Span,
    /// When, and the upper bound then; at most one per `SAMPLE_EVERY`, the oldest first.
    baseline: Vec<(Instant, f64)>,
}

/// The rule in one line.
pub const RULE: &str = "spike: 7d churn's lower 95% bound above 1.5 times its usual upper bound";

impl Watch {
    /// Below this many customers at the window's start, chance says more than any rule.
    pub const MIN_CUSTOMERS: f64 = 50.0;
    /// Many cohorts are looked at many times: without a margin, one in ten runs would mark a cohort by chance.
    const MARGIN: f64 = 1.5;
    /// Fewer earlier samples make no baseline.
    const MIN_SAMPLES: usize = 6;
    const SAMPLE_EVERY: Span = Span::from_millis(12 * Span::HOUR.as_millis());
    /// How far back the baseline reaches, at most.
    const BASELINE: Span = Span::days(60);

    pub fn new(window: Span) -> Self {
        Self { window, baseline: Vec::new() }
    }

    /// Takes in what is published as of an instant, and says whether it is a spike.
    pub fn observe(&mut self, as_of: Instant, churn: Churn) -> bool {
        if self.baseline.last().is_none_or(|&(last, _)| as_of >= last + Self::SAMPLE_EVERY) {
            self.baseline.push((as_of, churn.upper));
            self.baseline.retain(|&(at, _)| at >= as_of - Self::BASELINE);
        }
        let usual = self.usual(as_of);
        churn.start >= Self::MIN_CUSTOMERS && usual.is_some_and(|usual| churn.lower > Self::MARGIN * usual)
    }

    /// The median of the upper bounds before the window now.
    fn usual(&self, as_of: Instant) -> Option<f64> {
        let window_start = as_of - self.window;
        let mut uppers: Vec<_> =
            self.baseline.iter().filter(|&&(at, _)| at <= window_start).map(|&(_, upper)| upper).collect();
        uppers.sort_by(f64::total_cmp);
        (uppers.len() >= Self::MIN_SAMPLES).then(|| uppers[uppers.len() / 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Span = Span::days(7);

    fn churn(start: f64, ratio: f64) -> Churn {
        Churn { start, ratio, lower: ratio * 0.8, upper: ratio * 1.2 }
    }

    /// A cohort that has lost 1 % a week for ten days, observed twice a day.
    fn quiet() -> (Watch, Instant) {
        let mut watch = Watch::new(WEEK);
        let mut now = Instant::EARLIEST_EVENT;
        for _ in 0..20 {
            assert!(!watch.observe(now, churn(1000.0, 0.01)));
            now = now + Watch::SAMPLE_EVERY;
        }
        (watch, now)
    }

    #[test]
    fn a_lower_bound_above_the_usual_upper_bound_is_a_spike() {
        let (mut watch, now) = quiet();
        assert!(!watch.observe(now, churn(1000.0, 0.0224)));
        assert!(watch.observe(now, churn(1000.0, 0.0226)));
    }

    #[test]
    fn a_spike_does_not_raise_the_bar_for_itself_and_ends() {
        let (mut watch, mut now) = quiet();
        for _ in 0..14 {
            assert!(watch.observe(now, churn(1000.0, 0.1)));
            now = now + Watch::SAMPLE_EVERY;
        }
        assert!(!watch.observe(now, churn(1000.0, 0.01)));
    }

    #[test]
    fn without_a_baseline_or_customers_nothing_is_a_spike() {
        let (mut watch, now) = quiet();
        assert!(!watch.observe(now, churn(Watch::MIN_CUSTOMERS - 1.0, 0.9)));
        let mut new = Watch::new(WEEK);
        assert!(!new.observe(now, churn(1000.0, 0.01)));
        assert!(!new.observe(now + WEEK, churn(1000.0, 0.9)));
    }

    #[test]
    fn frequent_publications_do_not_crowd_out_the_baseline() {
        let mut watch = Watch::new(WEEK);
        let mut now = Instant::EARLIEST_EVENT;
        for _ in 0..5_000 {
            watch.observe(now, churn(1000.0, 0.01));
            now = now + Span::HOUR;
        }
        let kept = (Watch::BASELINE.as_millis() / Watch::SAMPLE_EVERY.as_millis()) as usize + 1;
        assert_eq!(watch.baseline.len(), kept);
    }
}
