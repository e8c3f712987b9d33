//! The additive numbers at one instant: counts of customers and sums of minor units.
//!
//! Readings of shards add up to those of the whole; ratios are made once, from the sum, in
//! [`crate::gauges`]. Everything here is an integer, so that the order of adding cannot matter.

use std::collections::BTreeMap;

use crate::event::{Currency, EndReason};
use crate::time::Instant;

/// The numbers of some shards as of one instant.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Readings {
    /// The earliest `event_time` of any accepted event, whether or not it changed anything.
    pub earliest_event: Option<Instant>,
    /// In the order of [`crate::cohort::Definitions::groupings`].
    pub groupings: Vec<BTreeMap<CohortName, CohortReading>>,
    /// Windows that reach back to before this instant cannot be told exactly from what is kept: history
    /// before it has been folded for shorter windows.
    pub folded_before: Option<Instant>,
}

/// A cohort's dimension values, in the order of its grouping.
pub type CohortName = Vec<Box<str>>;

/// The numbers of one cohort.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CohortReading {
    pub customers: i64,
    /// Minor units; no zeros.
    pub recurring_revenue: BTreeMap<Currency, i128>,
    /// In the order of [`crate::cohort::Definitions::windows`].
    pub windows: Vec<WindowReading>,
}

/// The numbers of one cohort in one window. Customers unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WindowReading {
    pub start: i64,
    pub retained: i64,
    /// By [`EndReason`] number.
    pub lost_by_reason: [i64; EndReason::ALL.len()],
    pub new: i64,
    pub returned: i64,
    pub moved_in: i64,
    pub moved_out: i64,
    pub passing: i64,
    pub bounced: i64,
    /// Only currencies in which something is not zero.
    pub revenue: BTreeMap<Currency, WindowRevenue>,
}

impl WindowReading {
    pub fn lost(&self) -> i64 {
        self.lost_by_reason.iter().sum()
    }
}

/// Minor units of one currency in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WindowRevenue {
    pub start: i128,
    pub lost: i128,
    pub contraction: i128,
    pub expansion: i128,
    pub new: i128,
    pub returned: i128,
}

impl Readings {
    /// How many cohorts there are, over all groupings.
    pub fn cohorts(&self) -> usize {
        self.groupings.iter().map(BTreeMap::len).sum()
    }

    /// Adds another shard's readings as of the same instant under the same definitions.
    pub fn add(&mut self, other: Self) {
        self.earliest_event = match (self.earliest_event, other.earliest_event) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.folded_before = self.folded_before.max(other.folded_before);
        if self.groupings.is_empty() {
            self.groupings = other.groupings;
            return;
        }
        for (mine, theirs) in self.groupings.iter_mut().zip(other.groupings) {
            for (name, reading) in theirs {
                mine.entry(name).or_default().add(&reading);
            }
        }
    }
}

impl CohortReading {
    /// Adds the numbers of other customers of the same cohort.
    pub fn add(&mut self, other: &Self) {
        self.customers += other.customers;
        for (&currency, &amount) in &other.recurring_revenue {
            let sum = self.recurring_revenue.entry(currency).or_default();
            *sum += amount;
        }
        self.windows.resize_with(self.windows.len().max(other.windows.len()), WindowReading::default);
        for (mine, theirs) in self.windows.iter_mut().zip(&other.windows) {
            mine.add(theirs);
        }
    }

    /// Takes who moved in and out from another reading of the same cohort.
    pub(crate) fn set_moved(&mut self, from: &Self) {
        for (mine, theirs) in self.windows.iter_mut().zip(&from.windows) {
            (mine.moved_in, mine.moved_out) = (theirs.moved_in, theirs.moved_out);
        }
    }
}

impl WindowReading {
    fn add(&mut self, other: &Self) {
        self.start += other.start;
        self.retained += other.retained;
        for (mine, theirs) in self.lost_by_reason.iter_mut().zip(other.lost_by_reason) {
            *mine += theirs;
        }
        self.new += other.new;
        self.returned += other.returned;
        self.moved_in += other.moved_in;
        self.moved_out += other.moved_out;
        self.passing += other.passing;
        self.bounced += other.bounced;
        for (&currency, theirs) in &other.revenue {
            let mine = self.revenue.entry(currency).or_default();
            mine.start += theirs.start;
            mine.lost += theirs.lost;
            mine.contraction += theirs.contraction;
            mine.expansion += theirs.expansion;
            mine.new += theirs.new;
            mine.returned += theirs.returned;
        }
    }
}
