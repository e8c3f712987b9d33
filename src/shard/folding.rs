//! When histories are folded: where they do not fit their record, up to what no window can see.

use super::Shard;
use super::customers::{CustomerId, Customers};
use crate::time::{Instant, Span};

/// How many customers are looked at for folding at each publication.
const FOLDED_AT_ONCE: CustomerId = 20_000;

/// One look at everybody. The next one begins when more can be folded than as this one began.
#[derive(Debug, Default)]
pub(super) struct Round {
    frontier: Option<Instant>,
    next: CustomerId,
    end: CustomerId,
}

impl Shard {
    /// From now on history that no window as of `as_of` or later needs may be folded, and some is. The caller
    /// promises to publish nothing as of an earlier instant, and calls this at every publication.
    pub fn fold_before_windows_of(&mut self, as_of: Instant) {
        // Tallies that stand at an earlier instant still see what a later one would not.
        let as_of = self.as_of().map_or(as_of, |own| own.min(as_of));
        self.frontier = self.frontier.max(Some(self.frontier_as_of(as_of)));
        self.fold_some();
    }

    /// Up to where no window as of `t` or later sees.
    pub(super) fn frontier_as_of(&self, t: Instant) -> Instant {
        let grid = self.definitions.grid;
        let horizon = self.definitions.longest_window() + grid.step();
        // What is exactly as old as the horizon is not older than it.
        grid.instant(grid.at_or_before(t - horizon)) - Span::from_millis(1)
    }

    /// Looks at the next customers in turn and folds long histories: a first catch-up folds nothing, and whoever
    /// is never heard of again would keep all of it. Windows cannot see the difference, so tallies stay as they are.
    fn fold_some(&mut self) {
        let Round { frontier, next, end } = self.fold_round;
        if next == end {
            if frontier == self.frontier {
                return;
            }
            self.fold_round = Round { frontier: self.frontier, next: 0, end: self.customers.len() as CustomerId };
        }
        let from = self.fold_round.next;
        self.fold_round.next = self.fold_round.end.min(from + FOLDED_AT_ONCE);
        for customer in from..self.fold_round.next {
            if self.customers.is_spilled(customer) {
                self.load(customer);
                if self.fold_loaded() {
                    self.pack();
                    self.customers.set_history(customer, &self.scratch.bytes);
                }
            }
        }
    }

    /// Packs the loaded history away, folding it where it would not fit its record otherwise.
    pub(super) fn store(&mut self, customer: CustomerId) {
        self.pack();
        if !Customers::fits(self.scratch.bytes.len()) && self.fold_loaded() {
            self.pack();
        }
        self.customers.set_history(customer, &self.scratch.bytes);
    }

    /// Folds the loaded history; false where nothing of it can go.
    fn fold_loaded(&mut self) -> bool {
        let Some(frontier) = self.frontier else { return false };
        let Some(until) = self.scratch.folding.find(&self.scratch.history, frontier) else { return false };
        let mut timeline = std::mem::take(&mut self.scratch.after);
        self.evaluate(frontier, &mut timeline);
        self.scratch.folding.fold(&mut self.scratch.history, until, timeline.first_active);
        self.scratch.after = timeline;
        self.folded_before = self.folded_before.max(Some(frontier));
        true
    }
}
