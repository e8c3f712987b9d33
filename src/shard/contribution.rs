//! From one customer's timeline to range updates of its cohorts: the contract's section "Windows".

use std::ops::Range;

use super::dimensions::{Dimensions, GroupingPlan};
use super::values::Values;
use crate::event::Currency;
use crate::history::timeline::{Piece, Timeline};
use crate::tally::{CohortId, Count, Sum, Tally};
use crate::time::{Boundary, Grid, Instant};

/// Everything that turns a timeline into range updates of one grouping.
pub struct Contribution<'a> {
    pub timeline: &'a Timeline,
    pub plan: &'a GroupingPlan,
    pub dimensions: &'a mut Dimensions,
    pub values: &'a mut Values,
    /// The first window start at or after each piece's, and that of what follows the last.
    pub starts: &'a [Boundary],
    /// As of the first active instant.
    pub first_start: Boundary,
    pub tally: &'a mut Tally,
    /// 1 adds the contribution, −1 retracts it.
    pub sign: i64,
    /// The piece whose cohort was looked up last: neighbours are mostly in the same one.
    pub named: Option<(usize, CohortId)>,
}

/// The window starts of a timeline's pieces, for all groupings, into `starts`; returns that of the first active instant.
pub fn find_starts(timeline: &Timeline, grid: Grid, starts: &mut Vec<Boundary>) -> Boundary {
    starts.clear();
    starts.extend(timeline.pieces().iter().map(|piece| grid.at_or_after(piece.from)));
    starts.push(grid.at_or_after(Instant::DISTANT_FUTURE));
    timeline.first_active.map_or(Boundary::FIRST, |first| grid.at_or_after(first))
}

impl Contribution<'_> {
    pub fn write(mut self) {
        let Some(now) = self.timeline.pieces().len().checked_sub(1) else { return };
        if self.timeline.pieces()[now].active {
            self.present(now);
        } else {
            self.absent();
        }
    }

    /// A customer that is active now: counted where it is, retained where it was.
    fn present(&mut self, now: usize) {
        let timeline = self.timeline;
        let here = self.cohort(now);
        let amounts_now = timeline.amounts(&timeline.pieces()[now]);
        self.tally.add_customers(here, self.sign);
        for &(currency, amount) in amounts_now {
            self.tally.add_revenue(here, currency, amount * i128::from(self.sign));
        }
        // Only of a folded history the first active instant can lie before the first piece.
        self.returned(here, amounts_now, self.first_start..self.starts(0).start);
        for (i, piece) in timeline.pieces().iter().enumerate() {
            let range = self.starts(i);
            if range.is_empty() {
                continue;
            }
            if !piece.active {
                self.returned(here, amounts_now, range);
                continue;
            }
            let there = self.cohort(i);
            self.start(piece, there, &range);
            if there != here {
                self.moved(there, here, amounts_now, &range);
            }
            if timeline.stint_start.is_some_and(|stint| piece.from < stint) {
                self.tally.add_count(there, Count::Bounced, range.clone(), self.sign);
            }
            if i != now {
                self.compare(timeline.amounts(piece), amounts_now, there, &range);
            }
        }
    }

    /// A customer that is not active now: lost where it was, or just passing.
    fn absent(&mut self) {
        let timeline = self.timeline;
        let Some((stopped, reason)) = timeline.stopped else { return };
        let stop = timeline.pieces().partition_point(|piece| piece.from < stopped);
        let last_cohort = self.cohort(stop);
        // Windows that start in a pause, or before the first active instant, see the customer pass.
        let mut pause_from = Boundary::FIRST;
        for (i, piece) in timeline.pieces().iter().enumerate().take(stop).filter(|(_, piece)| piece.active) {
            let range = self.starts(i);
            self.tally.add_count(last_cohort, Count::Passing, pause_from..range.start, self.sign);
            pause_from = range.end;
            if range.is_empty() {
                continue;
            }
            let there = self.cohort(i);
            self.start(piece, there, &range);
            self.tally.add_count(there, Count::Lost(reason), range.clone(), self.sign);
            self.sums(there, Sum::Lost, timeline.amounts(piece), &range);
        }
    }

    fn start(&mut self, piece: &Piece, there: CohortId, range: &Range<Boundary>) {
        self.tally.add_count(there, Count::Start, range.clone(), self.sign);
        self.sums(there, Sum::Start, self.timeline.amounts(piece), range);
    }

    fn returned(&mut self, here: CohortId, amounts_now: &[(Currency, i128)], range: Range<Boundary>) {
        self.tally.add_count(here, Count::Returned, range.clone(), self.sign);
        self.sums(here, Sum::Returned, amounts_now, &range);
    }

    fn moved(&mut self, there: CohortId, here: CohortId, amounts_now: &[(Currency, i128)], range: &Range<Boundary>) {
        self.tally.add_count(there, Count::MovedOut, range.clone(), self.sign);
        self.tally.add_count(here, Count::MovedIn, range.clone(), self.sign);
        self.sums(there, Sum::MovedOut, amounts_now, range);
        self.sums(here, Sum::MovedIn, amounts_now, range);
    }

    /// What a customer that stayed pays less or more than at the window's start.
    fn compare(
        &mut self,
        before: &[(Currency, i128)],
        after: &[(Currency, i128)],
        there: CohortId,
        range: &Range<Boundary>,
    ) {
        let amount_in = |amounts: &[(Currency, i128)], currency| {
            amounts.iter().find(|(c, _)| *c == currency).map_or(0, |(_, amount)| *amount)
        };
        let joined = after.iter().filter(|(c, _)| amount_in(before, *c) == 0);
        for &(currency, _) in before.iter().chain(joined) {
            let rise = amount_in(after, currency) - amount_in(before, currency);
            let sum = if rise > 0 { Sum::Expansion } else { Sum::Contraction };
            self.sums(there, sum, &[(currency, rise.abs())], range);
        }
    }

    fn sums(&mut self, cohort: CohortId, sum: Sum, amounts: &[(Currency, i128)], range: &Range<Boundary>) {
        for &(currency, amount) in amounts {
            self.tally.add_sum(cohort, (currency, sum), range.clone(), amount * i128::from(self.sign));
        }
    }

    /// The window starts at which a piece is what the customer was.
    fn starts(&self, piece: usize) -> Range<Boundary> {
        self.starts[piece]..self.starts[piece + 1]
    }

    fn cohort(&mut self, piece: usize) -> CohortId {
        if let Some((last, cohort)) = self.named
            && self.plan.same_cohort(self.timeline, last, piece)
        {
            return cohort;
        }
        let name = self.dimensions.name(self.plan, self.timeline, piece, self.values);
        let cohort = self.tally.cohort(name);
        self.named = Some((piece, cohort));
        cohort
    }
}
