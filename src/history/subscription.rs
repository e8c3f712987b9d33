//! One subscription as a sweep over its facts finds it: the contract's section "A subscription at instant x".

use super::{Fact, What};
use crate::cohort::Lifecycle;
use crate::event::{Currency, EndReason};
use crate::time::{Instant, Span};

/// In minor units; without a currency where nobody has named one.
pub(super) type Amount = (Option<Currency>, i64);

/// How far a subscription's facts have been swept.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    pub state: State,
    /// The amount, while active.
    pub was: Option<Amount>,
    pub stopped_at: Option<Instant>,
}

/// A subscription's state as the sweep reaches an instant.
#[derive(Debug, Default)]
pub(super) struct State {
    /// What the last change that stands made of it, with that change's place: when it stands, and in the order.
    status: Option<((Instant, usize), Status)>,
    signed: bool,
    /// Of the latest opening; open-ended where there is none.
    term_end: Option<Instant>,
    /// The last sign, so far as an inactivity timeout can tell.
    last_sign: Option<Instant>,
    pub amount: Amount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Started,
    Trial,
    Ended(EndReason),
}

impl State {
    pub fn apply(&mut self, fact: &Fact, index: usize, lifecycle: &Lifecycle) {
        let mut last_sign = fact.time;
        match fact.what {
            What::Started { trial, .. } => {
                self.change((fact.time, index), if trial { Status::Trial } else { Status::Started });
            }
            What::Activity { last } => last_sign = last,
            What::Ended { .. } => return,
            What::Renewed { .. } | What::Changed { .. } => {}
        }
        self.signed = true;
        if lifecycle.inactivity_timeout.is_some() {
            self.last_sign = self.last_sign.max(Some(last_sign));
        }
        if let Some(term_end) = fact.what.term_end() {
            self.term_end = Some(term_end).filter(|&end| end < Instant::DISTANT_FUTURE);
        }
        if let Some(amount) = fact.what.amount() {
            self.amount = (Some(amount.currency), amount.minor_units);
        }
    }

    pub fn end(&mut self, effective: Instant, index: usize, what: What) {
        if let What::Ended { reason, .. } = what {
            self.change((effective, index), Status::Ended(reason));
        }
    }

    fn change(&mut self, place: (Instant, usize), status: Status) {
        if self.status.is_none_or(|(last, _)| last < place) {
            self.status = Some((place, status));
        }
    }

    /// Before the first change a subscription is started from its first sign on.
    fn status(&self) -> Option<Status> {
        self.status.map(|(_, status)| status).or(self.signed.then_some(Status::Started))
    }

    /// When the term or the timeout runs out, unless an ending has made both meaningless.
    pub fn runs_out_at(&self, lifecycle: &Lifecycle) -> Option<Instant> {
        match self.term_end {
            _ if matches!(self.status(), Some(Status::Ended(_))) => None,
            Some(end) => Some(end + lifecycle.grace_period),
            None => lifecycle.inactivity_timeout.and_then(|timeout: Span| Some(self.last_sign? + timeout)),
        }
    }

    pub fn active(&self, x: Instant, lifecycle: &Lifecycle) -> bool {
        self.status() == Some(Status::Started) && self.runs_out_at(lifecycle).is_none_or(|end| x < end)
    }

    /// Why the subscription is not active at `x`.
    pub fn reason(&self, x: Instant, lifecycle: &Lifecycle) -> EndReason {
        match self.status() {
            Some(Status::Ended(reason)) => reason,
            _ if self.runs_out_at(lifecycle).is_none_or(|end| x < end) => EndReason::Unspecified,
            _ if self.term_end.is_some() => EndReason::NotRenewed,
            _ => EndReason::Inactive,
        }
    }
}
