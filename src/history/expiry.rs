//! When a subscription runs out that nobody has ended, as its facts are read one by one.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::What;
use super::append::Update;
use crate::cohort::Lifecycle;
use crate::time::Instant;

/// What the facts up to some point say of a subscription's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry {
    /// Of the latest opening.
    term_end: Instant,
    last_sign: Instant,
    /// Whether nobody has ended it, and none of it is a trial.
    stands: bool,
}

impl Expiry {
    /// Of a subscription of which nothing is known.
    pub const NONE: Self = Self { term_end: Instant::DISTANT_FUTURE, last_sign: Instant::DISTANT_PAST, stands: true };

    /// Takes in the next fact.
    #[inline(always)]
    pub fn learn(&mut self, time: Instant, what: What) {
        match what {
            What::Started { term_end, trial, .. } => self.open(time, term_end, trial),
            What::Renewed { term_end } => self.open(time, term_end, false),
            What::Changed { .. } => self.sign(time),
            What::Activity { last } => self.sign(last),
            What::Ended { .. } => self.end(),
        }
    }

    #[inline(always)]
    pub fn sign(&mut self, time: Instant) {
        self.last_sign = self.last_sign.max(time);
    }

    #[inline(always)]
    pub fn open(&mut self, time: Instant, term_end: Instant, trial: bool) {
        self.sign(time);
        self.term_end = term_end;
        self.stands &= !trial;
    }

    pub fn end(&mut self) {
        self.stands = false;
    }

    fn runs_out_at(self, lifecycle: &Lifecycle) -> Instant {
        match lifecycle.inactivity_timeout {
            _ if self.term_end < Instant::DISTANT_FUTURE => self.term_end + lifecycle.grace_period,
            Some(timeout) => self.last_sign + timeout,
            None => Instant::DISTANT_FUTURE,
        }
    }

    /// Whether all that a sign of life or a renewal does is to put it off, as of any instant from the update's as-of until then.
    pub fn is_put_off(self, update: &Update<'_>) -> bool {
        let Some(as_of) = update.as_of else { return true };
        let (time, what) = (update.fact.time, update.fact.what);
        if !self.stands || !matches!(what, What::Activity { .. } | What::Renewed { .. }) {
            return false;
        }
        let mut after = self;
        after.learn(time, what);
        let runs_out = self.runs_out_at(update.lifecycle);
        self.last_sign < time && time < runs_out && as_of < runs_out && runs_out <= after.runs_out_at(update.lifecycle)
    }

    /// Whether a run of signs that ends at `last` is all that decides it, and nothing is known after that.
    #[inline(always)]
    pub fn is_steady(self, last: Instant) -> bool {
        self.stands && self.last_sign <= last && self.term_end == Instant::DISTANT_FUTURE
    }
}
