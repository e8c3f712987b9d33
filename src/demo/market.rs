//! The figures behind the demo's population: what is sold, where, how people behave, and when.
//!
//! Everything is drawn with additions and multiplications alone, so that a seed gives the same population on
//! every platform.

use rand::{Rng, RngExt};

use crate::time::{Instant, Span};

/// What can be subscribed to.
pub struct Plan {
    pub name: &'static str,
    /// A month's price in minor units, when paid monthly.
    pub price_minor_units: i64,
    /// How many of a hundred newcomers choose it.
    pub share: u32,
    /// The probability that a customer cancels in a monthly term.
    pub cancels: f64,
    /// The probability that the payment for a term fails at first.
    pub payment_fails: f64,
    /// How often a customer uses the product in a week.
    pub uses_per_week: f64,
}

/// From the cheapest to the dearest.
pub const PLANS: [Plan; 3] = [
    Plan { name: "basic", price_minor_units: 900, share: 50, cancels: 0.042, payment_fails: 0.05, uses_per_week: 1.5 },
    Plan { name: "plus", price_minor_units: 1900, share: 35, cancels: 0.028, payment_fails: 0.04, uses_per_week: 2.5 },
    Plan {
        name: "business",
        price_minor_units: 5900,
        share: 15,
        cancels: 0.015,
        payment_fails: 0.03,
        uses_per_week: 4.0,
    },
];

/// Where it is sold.
pub struct Region {
    pub name: &'static str,
    pub currency: &'static str,
    pub share: u32,
    utc_offset_hours: i64,
}

/// Their shares add up to 100.
pub const REGIONS: [Region; 3] = [
    Region { name: "eu", currency: "EUR", share: 45, utc_offset_hours: 1 },
    Region { name: "us", currency: "USD", share: 35, utc_offset_hours: -6 },
    Region { name: "apac", currency: "USD", share: 20, utc_offset_hours: 8 },
];

/// What brought a customer here, and the share.
pub const CHANNELS: [(&str, u32); 3] = [("organic", 50), ("ads", 35), ("partner", 15)];

/// How many of a hundred customers pay for a year at a time, and what part of the monthly price they pay.
pub const YEARLY_SHARE: u32 = 25;
pub const YEARLY_PRICE_PERCENT: i64 = 80;
/// How much likelier a yearly customer cancels in a term than a monthly one in its, and how long before the
/// term's end the thought comes at the earliest.
pub const YEARLY_CANCELS_FACTOR: f64 = 8.0;
pub const YEARLY_CANCELS_WITHIN: Span = Span::days(45);

/// New signups a day for each customer there was at the opening.
pub const SIGNUPS_A_DAY: f64 = 0.0024;
pub const TRIAL_LENGTH: Span = Span::days(14);
pub const TRIAL_PROBABILITY: f64 = 0.4;
pub const TRIAL_CONVERTS_PROBABILITY: f64 = 0.45;

/// A cancellation that is taken back before it takes effect.
pub const REGRET_PROBABILITY: f64 = 0.15;
/// A failed payment that succeeds within some days; the others end the subscription after `DUNNING`, which
/// is shorter than the demo's grace period.
pub const RECOVERY_PROBABILITY: f64 = 0.65;
pub const DUNNING: Span = Span::days(6);
/// Somebody who left and comes back.
pub const RETURN_PROBABILITY: f64 = 0.12;
/// A change of plan, a month, and how many of those that could go either way go up.
pub const CHANGE_PROBABILITY: f64 = 0.03;
pub const UPGRADE_PROBABILITY: f64 = 0.65;

/// The churn spike's cohort, by position in [`PLANS`] and [`REGIONS`], its length, and the part of the cohort
/// that leaves in it.
pub const SPIKE_PLAN: usize = 0;
pub const SPIKE_REGION: usize = 0;
pub const SPIKE_LENGTH: Span = Span::days(3);
pub const SPIKE_PROBABILITY: f64 = 0.18;

/// An index drawn by its share.
pub fn draw_by_share(rng: &mut impl Rng, shares: impl Iterator<Item = u32> + Clone) -> usize {
    let mut left = rng.random_range(0..shares.clone().sum());
    for (index, share) in shares.enumerate() {
        if left < share {
            return index;
        }
        left -= share;
    }
    unreachable!("the shares were added up above")
}

/// An instant in `[from, to)`, or `from` where that is empty.
pub fn draw_between(rng: &mut impl Rng, from: Instant, to: Instant) -> Instant {
    if to <= from { from } else { from + draw_span(rng, to.since(from)) }
}

/// A span in `[0, below)`.
pub fn draw_span(rng: &mut impl Rng, below: Span) -> Span {
    Span::from_millis(rng.random_range(0..below.as_millis().max(1)))
}

/// The next of something that happens every `mean_gap` on average and follows a region's weeks and days.
pub fn next_in_rhythm(rng: &mut impl Rng, from: Instant, mean_gap: Span, region: usize) -> Instant {
    let widest_gap = Span::from_millis((2.0 * MEAN_LIVELINESS * mean_gap.as_millis() as f64) as i64);
    let mut at = from;
    loop {
        at = at + draw_span(rng, widest_gap) + Span::from_millis(1);
        if rng.random_bool(liveliness(at, region)) {
            return at;
        }
    }
}

/// Monday to Sunday.
const WEEKDAYS: [f64; 7] = [1.0, 0.95, 0.95, 0.9, 0.8, 0.55, 0.5];
/// By hour of the region's day.
#[rustfmt::skip]
const HOURS: [f64; 24] = [
    0.15, 0.1, 0.05, 0.05, 0.05, 0.1, 0.2, 0.4, 0.7, 0.9, 1.0, 1.0,
    0.9, 0.9, 1.0, 1.0, 0.95, 0.9, 0.85, 0.9, 0.95, 0.8, 0.5, 0.3,
];
/// The mean of [`WEEKDAYS`] times that of [`HOURS`].
const MEAN_LIVELINESS: f64 = 0.493;

/// How lively a region is at an instant, from 0 to 1.
fn liveliness(at: Instant, region: usize) -> f64 {
    let hours = at.as_millis().div_euclid(Span::HOUR.as_millis()) + REGIONS[region].utc_offset_hours;
    let hour = hours.rem_euclid(24) as usize;
    // 1970-01-01 was a Thursday.
    let weekday = (hours.div_euclid(24) + 3).rem_euclid(7) as usize;
    WEEKDAYS[weekday] * HOURS[hour]
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_mean_liveliness_is_that_of_the_tables() {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        assert!((mean(&WEEKDAYS) * mean(&HOURS) - MEAN_LIVELINESS).abs() < 0.001);
    }

    #[test]
    fn a_rhythm_keeps_its_mean_and_sleeps_at_night_and_rests_on_sundays() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let monday = Instant::parse_rfc3339("2026-01-05T00:00:00Z").unwrap();
        let mut at = monday;
        let (mut by_hour, mut by_weekday) = ([0; 24], [0; 7]);
        let n = 20_000;
        for _ in 0..n {
            at = next_in_rhythm(&mut rng, at, Span::HOUR, 0);
            let local_hours = at.since(monday).as_millis() / Span::HOUR.as_millis() + 1;
            by_hour[(local_hours % 24) as usize] += 1;
            by_weekday[(local_hours / 24 % 7) as usize] += 1;
        }
        let mean_gap = at.since(monday).as_millis() / n;
        assert!((mean_gap - Span::HOUR.as_millis()).abs() < Span::HOUR.as_millis() / 20, "{mean_gap}");
        assert!(by_hour[3] * 5 < by_hour[10], "{by_hour:?}");
        assert!(by_weekday[6] * 3 < by_weekday[0] * 2, "{by_weekday:?}");
    }

    #[test]
    fn shares_are_kept() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut drawn = [0; 3];
        for _ in 0..10_000 {
            drawn[draw_by_share(&mut rng, [50, 0, 150].into_iter())] += 1;
        }
        assert_eq!(drawn[1], 0);
        assert!((2300..2700).contains(&drawn[0]), "{drawn:?}");
    }
}
