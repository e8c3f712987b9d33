//! The formulas of the ratios, over other families of the table: the page evaluates them, and the recording rules
//! of deploy/prometheus say the same over the sums of several instances.

use super::{Family, Source};
use crate::readings::{CohortReading, WindowReading, WindowRevenue};

/// The 97.5 % quantile of the normal distribution.
pub const WILSON_Z: f64 = 1.959963984540054;

/// A ratio of sums of families.
#[derive(Clone, Copy, Debug)]
pub enum Ratio {
    /// The first sum divided by the second.
    Quotient(Sum, Sum),
    /// The lower end of the Wilson 95 % interval of the first out of the second.
    WilsonLower(Sum, Sum),
    /// The upper end of the Wilson 95 % interval of those who are in the second sum but not in the first.
    WilsonUpperOfOthers(Sum, Sum),
}

/// Families, each added or subtracted.
pub type Sum = &'static [Term];

/// A part of a sum.
#[derive(Clone, Copy, Debug)]
pub enum Term {
    Plus(&'static Family),
    Minus(&'static Family),
}

impl Ratio {
    /// What it is a ratio of, and out of what.
    pub const fn sums(&self) -> (Sum, Sum) {
        match self {
            Self::Quotient(a, b) | Self::WilsonLower(a, b) | Self::WilsonUpperOfOthers(a, b) => (a, b),
        }
    }

    /// Of customers. `None`: the denominator is 0.
    pub(in crate::gauges) fn of_customers(&self, cohort: &CohortReading, window: &WindowReading) -> Option<f64> {
        self.value(|family| match family.source {
            Source::Customers(value) => value(cohort).into(),
            Source::Window(value) | Source::Moves(value) => value(window).into(),
            _ => unreachable!("{} is no number of customers", family.name),
        })
    }

    /// Of revenue. `None`: the denominator is 0.
    pub(in crate::gauges) fn of_revenue(&self, revenue: &WindowRevenue) -> Option<f64> {
        self.value(|family| match family.source {
            Source::WindowRevenue(value) => value(revenue),
            _ => unreachable!("{} is no revenue of a window", family.name),
        })
    }

    /// One division of integers.
    fn value(&self, of: impl Fn(&Family) -> i128) -> Option<f64> {
        let (numerator, denominator) = self.sums();
        let sum = |terms: Sum| -> i128 {
            let term = |term: &Term| match term {
                Term::Plus(family) => of(family),
                Term::Minus(family) => -of(family),
            };
            terms.iter().map(term).sum()
        };
        let (part, whole) = (sum(numerator) as f64, sum(denominator) as f64);
        (whole != 0.0).then(|| match self {
            Self::Quotient(..) => part / whole,
            Self::WilsonLower(..) => wilson_lower(part, whole),
            // The interval of the one, seen from the other end.
            Self::WilsonUpperOfOthers(..) => 1.0 - wilson_lower(part, whole),
        })
    }
}

/// Exactly 0 for no hits.
fn wilson_lower(hits: f64, n: f64) -> f64 {
    const Z: f64 = WILSON_Z;
    let spread = Z * (Z * Z + 4.0 * hits * (n - hits) / n).sqrt();
    ((2.0 * hits + Z * Z - spread) / (2.0 * (n + Z * Z))).clamp(0.0, 1.0)
}
