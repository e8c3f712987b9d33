//! What a customer was at every instant, as of `t`: the contract's sections "A subscription at instant x" and
//! "A customer at instant x", evaluated in one sweep over the facts.

use super::{AttributeFact, Fact, History, UNKNOWN_VALUE, ValueId, What};
use crate::cohort::Lifecycle;
use crate::event::{Currency, EndReason};
use crate::time::{Instant, Span};

/// A customer's value over time, as of one instant: piecewise constant, from the first active instant on.
#[derive(Debug, Default)]
pub struct Timeline {
    pieces: Vec<Piece>,
    amounts: Vec<(Currency, i128)>,
    /// One value per piece and slot.
    values: Vec<ValueId>,
    /// The earliest event's value, per slot.
    earliest_values: Vec<ValueId>,
    pub first_active: Option<Instant>,
    /// Start of the unbroken active time that lasts until now.
    pub stint_start: Option<Instant>,
    /// When and why the customer left, where it was active and is not.
    pub stopped: Option<(Instant, EndReason)>,
    /// The timeline as of any instant before this one is the same but for what is then in the future.
    pub changes_at: Option<Instant>,
}

/// A stretch of time in which nothing about the customer changes; it ends where the next one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub from: Instant,
    pub active: bool,
    /// Where this piece's amounts start and end.
    amounts: (u32, u32),
}

impl Timeline {
    /// Equal timelines contribute equally, whatever facts are behind them.
    pub fn same_contribution(&self, other: &Self) -> bool {
        self.pieces == other.pieces
            && self.amounts == other.amounts
            && self.values == other.values
            && self.earliest_values == other.earliest_values
            && self.first_active == other.first_active
            && self.stint_start == other.stint_start
            && self.stopped == other.stopped
    }

    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The instant at which a piece ends; the last one goes on.
    pub fn end_of(&self, piece: usize) -> Instant {
        self.pieces.get(piece + 1).map_or(Instant::DISTANT_FUTURE, |next| next.from)
    }

    /// Recurring amounts in minor units, by currency, without zeros; none while inactive.
    pub fn amounts(&self, piece: &Piece) -> &[(Currency, i128)] {
        &self.amounts[piece.amounts.0 as usize..piece.amounts.1 as usize]
    }

    /// An attribute's value in force during a piece.
    pub fn value(&self, piece: usize, slot: usize) -> ValueId {
        self.values[piece * self.earliest_values.len() + slot]
    }

    /// The value of the earliest event that carries the attribute.
    pub fn earliest_value(&self, slot: usize) -> ValueId {
        self.earliest_values[slot]
    }

    /// Whether the customer was active at an instant, with which amounts and attribute values. For tests.
    #[cfg(test)]
    pub(super) fn at(&self, x: Instant) -> (bool, Vec<(Currency, i128)>, Vec<ValueId>) {
        let slots = self.earliest_values.len();
        match self.pieces.partition_point(|piece| piece.from <= x).checked_sub(1) {
            Some(i) => {
                let piece = &self.pieces[i];
                let values = if piece.active { self.values[i * slots..(i + 1) * slots].to_vec() } else { Vec::new() };
                (piece.active, self.amounts(piece).to_vec(), values)
            }
            None => (false, Vec::new(), Vec::new()),
        }
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.amounts.clear();
        self.values.clear();
        self.earliest_values.clear();
        self.first_active = None;
        self.stint_start = None;
        self.stopped = None;
        self.changes_at = None;
    }

    fn note_change(&mut self, at: Instant) {
        self.changes_at = Some(self.changes_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// A subscription becomes active (+1) or stops (−1), with an amount.
#[derive(Clone, Copy, Debug)]
struct Step {
    at: Instant,
    active: i32,
    currency: Option<Currency>,
    minor_units: i64,
}

/// How far a subscription's facts have been swept.
#[derive(Debug, Default)]
struct Sweep {
    state: State,
    /// The amount, while active.
    was: Option<(Option<Currency>, i64)>,
    stopped_at: Option<Instant>,
}

/// Evaluates histories, reusing its buffers.
#[derive(Debug, Default)]
pub struct Evaluator {
    steps: Vec<Step>,
    cuts: Vec<Instant>,
    endings: Vec<(Instant, usize)>,
    sums: Vec<(Currency, i128)>,
}

impl Evaluator {
    /// The timeline of a history as of `t`, into `timeline`.
    pub fn evaluate(
        &mut self,
        history: &History,
        lifecycle: &Lifecycle,
        slots: usize,
        t: Instant,
        timeline: &mut Timeline,
    ) {
        timeline.clear();
        let start = history.folded.map_or(Instant::DISTANT_PAST, |folded| folded.until);
        self.steps.clear();
        let mut rest = history.facts.as_slice();
        while let Some(fact) = rest.first() {
            let id = fact.subscription;
            let (facts, others) = rest.split_at(rest.iter().take_while(|f| f.subscription == id).count());
            rest = others;
            self.subscription(facts, lifecycle, start, t, timeline);
        }
        // Steps of one subscription are in order; only several can be out of it.
        if !self.steps.is_sorted_by_key(|step| step.at) {
            self.steps.sort_by_key(|step| step.at);
        }
        self.merge(&history.attributes, slots, start, t, timeline);

        let folded_first = history.folded.and_then(|folded| folded.first_active).filter(|&first| first <= t);
        timeline.first_active = folded_first.or(timeline.pieces.first().map(|piece| piece.from));
        match timeline.pieces.last() {
            Some(last) if last.active => {
                let broken = timeline.pieces.iter().rposition(|piece| !piece.active);
                timeline.stint_start = timeline.pieces.get(broken.map_or(0, |i| i + 1)).map(|piece| piece.from);
                timeline.stopped = None;
            }
            _ => {}
        }
    }

    /// Sweeps one subscription's facts into steps.
    fn subscription(
        &mut self,
        facts: &[Fact],
        lifecycle: &Lifecycle,
        start: Instant,
        t: Instant,
        timeline: &mut Timeline,
    ) {
        let existing = facts.partition_point(|fact| fact.time <= t);
        if let Some(fact) = facts.get(existing) {
            timeline.note_change(fact.time);
        }
        let mut sweep = Sweep::default();
        if facts[..existing].iter().any(|fact| matches!(fact.what, What::Ended { .. })) {
            self.with_endings(facts, existing, lifecycle, start, t, &mut sweep, timeline);
        } else {
            self.without_endings(&facts[..existing], lifecycle, start, t, &mut sweep);
        }
        if let Some(change) = sweep.state.runs_out_at(lifecycle).filter(|&at| at > t) {
            timeline.note_change(change);
        }
        if let (None, Some(at)) = (sweep.was, sweep.stopped_at) {
            let stop = (at, sweep.state.reason(t, lifecycle));
            timeline.stopped = timeline.stopped.max(Some(stop));
        }
    }

    /// Where nobody has ended the subscription it changes with its facts, and when it runs out between them.
    fn without_endings(
        &mut self,
        facts: &[Fact],
        lifecycle: &Lifecycle,
        start: Instant,
        t: Instant,
        sweep: &mut Sweep,
    ) {
        let mut facts = facts.iter().enumerate().peekable();
        while let Some((_, first)) = facts.peek() {
            let cut = first.time.max(start);
            self.run_out(sweep, lifecycle, cut - Span::from_millis(1));
            while let Some((index, fact)) = facts.next_if(|(_, fact)| fact.time <= cut) {
                sweep.state.apply(fact, index, lifecycle);
            }
            self.step(sweep, lifecycle, cut);
        }
        self.run_out(sweep, lifecycle, t);
    }

    /// The step at which an active subscription runs out, if that is up to `t`.
    fn run_out(&mut self, sweep: &mut Sweep, lifecycle: &Lifecycle, t: Instant) {
        if sweep.was.is_some()
            && let Some(end) = sweep.state.runs_out_at(lifecycle).filter(|&end| end <= t)
        {
            self.step(sweep, lifecycle, end);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what `subscription` has, and what it looks for")]
    fn with_endings(
        &mut self,
        facts: &[Fact],
        existing: usize,
        lifecycle: &Lifecycle,
        start: Instant,
        t: Instant,
        sweep: &mut Sweep,
        timeline: &mut Timeline,
    ) {
        self.find_cuts(facts, existing, lifecycle, start, t);
        let (mut fact, mut ending) = (0, 0);
        for cut in 0..self.cuts.len() {
            let cut = self.cuts[cut];
            while fact < existing && facts[fact].time <= cut {
                sweep.state.apply(&facts[fact], fact, lifecycle);
                fact += 1;
            }
            while let Some(&(effective, index)) = self.endings.get(ending).filter(|(effective, _)| *effective <= cut) {
                sweep.state.end(effective, index, facts[index].what);
                ending += 1;
            }
            self.step(sweep, lifecycle, cut);
        }
        for &(effective, _) in &self.endings[ending..] {
            timeline.note_change(effective);
        }
    }

    /// Tells what the subscription is from `cut` on, if that is another thing than before.
    fn step(&mut self, sweep: &mut Sweep, lifecycle: &Lifecycle, cut: Instant) {
        let is = sweep.state.active(cut, lifecycle).then_some(sweep.state.amount);
        if is == sweep.was {
            return;
        }
        for (amount, active) in [(sweep.was, -1), (is, 1)] {
            if let Some((currency, minor_units)) = amount {
                let minor_units = minor_units * i64::from(active);
                self.steps.push(Step { at: cut, active, currency, minor_units });
            }
        }
        if is.is_none() {
            sweep.stopped_at = Some(cut);
        }
        sweep.was = is;
    }

    /// The instants up to `t` at which the subscription can change, and its endings that are not void.
    fn find_cuts(&mut self, facts: &[Fact], existing: usize, lifecycle: &Lifecycle, start: Instant, t: Instant) {
        self.cuts.clear();
        self.endings.clear();
        let mut next_opening = facts[existing..].iter().find(|f| f.what.opens()).map(|f| f.time);
        for (index, fact) in facts[..existing].iter().enumerate().rev() {
            self.cuts.push(fact.time);
            let mut last_sign = fact.time;
            match fact.what {
                What::Ended { effective, .. } => {
                    if next_opening.is_none_or(|opening| opening > effective) {
                        self.endings.push((effective, index));
                        self.cuts.push(effective);
                    }
                    continue;
                }
                What::Activity { last } => last_sign = last,
                _ => {}
            }
            if let Some(term_end) = fact.what.term_end() {
                next_opening = Some(fact.time);
                if term_end < Instant::DISTANT_FUTURE {
                    self.cuts.push(term_end + lifecycle.grace_period);
                }
            }
            if let Some(timeout) = lifecycle.inactivity_timeout {
                self.cuts.push(last_sign + timeout);
            }
        }
        self.cuts.retain(|&cut| cut <= t);
        for cut in &mut self.cuts {
            *cut = (*cut).max(start);
        }
        self.cuts.sort_unstable();
        self.cuts.dedup();
        self.endings.sort_unstable();
    }

    /// Adds the subscriptions' steps up to the customer's pieces, cut where an attribute changes.
    fn merge(
        &mut self,
        attributes: &[AttributeFact],
        slots: usize,
        start: Instant,
        t: Instant,
        timeline: &mut Timeline,
    ) {
        let existing = attributes.partition_point(|fact| fact.time <= t);
        let (attributes, later) = attributes.split_at(existing);
        if let Some(fact) = later.first() {
            timeline.note_change(fact.time);
        }
        timeline.earliest_values.resize(slots, UNKNOWN_VALUE);
        let mut seen = 0u128;
        for fact in attributes {
            let bit = 1u128 << fact.slot;
            if seen & bit == 0 {
                seen |= bit;
                timeline.earliest_values[usize::from(fact.slot)] = fact.value;
            }
        }

        self.sums.clear();
        let mut active = 0;
        let (mut step, mut fact) = (0, 0);
        while step < self.steps.len() || (fact < attributes.len() && !timeline.pieces.is_empty()) {
            let next_step = self.steps.get(step).map_or(Instant::DISTANT_FUTURE, |s| s.at);
            let mut at = next_step;
            if !timeline.pieces.is_empty()
                && let Some(next) = attributes.get(fact)
            {
                at = at.min(next.time.max(start));
            }
            let from = timeline.values.len();
            match from.checked_sub(slots).filter(|_| !timeline.pieces.is_empty()) {
                Some(previous) => timeline.values.extend_from_within(previous..),
                None => timeline.values.extend_from_slice(&timeline.earliest_values),
            }
            while let Some(next) = attributes.get(fact).filter(|next| next.time <= at) {
                timeline.values[from + usize::from(next.slot)] = next.value;
                fact += 1;
            }
            while let Some(next) = self.steps.get(step).filter(|next| next.at <= at) {
                active += next.active;
                add(&mut self.sums, next.currency, next.minor_units);
                step += 1;
            }
            push_piece(timeline, at, active > 0, &self.sums, from);
        }
    }
}

fn add(sums: &mut Vec<(Currency, i128)>, currency: Option<Currency>, minor_units: i64) {
    let Some(currency) = currency.filter(|_| minor_units != 0) else { return };
    match sums.binary_search_by_key(&currency, |(c, _)| *c) {
        Ok(at) => {
            sums[at].1 += i128::from(minor_units);
            if sums[at].1 == 0 {
                sums.remove(at);
            }
        }
        Err(at) => sums.insert(at, (currency, i128::from(minor_units))),
    }
}

/// Appends a piece whose values are the timeline's last ones, unless nothing is different from the piece before.
fn push_piece(timeline: &mut Timeline, at: Instant, active: bool, sums: &[(Currency, i128)], values_from: usize) {
    let same = match timeline.pieces.last() {
        None => !active,
        Some(last) => {
            let slots = timeline.earliest_values.len();
            last.active == active
                && timeline.amounts(last) == sums
                && timeline.values[values_from..] == timeline.values[values_from - slots..values_from]
        }
    };
    if same {
        timeline.values.truncate(values_from);
        return;
    }
    let amounts_from = timeline.amounts.len() as u32;
    timeline.amounts.extend_from_slice(sums);
    let amounts = (amounts_from, timeline.amounts.len() as u32);
    timeline.pieces.push(Piece { from: at, active, amounts });
}

/// A subscription's state as the sweep reaches an instant.
#[derive(Debug, Default)]
struct State {
    /// What the last change that stands made of it, with that change's place: when it stands, and in the order.
    status: Option<((Instant, usize), Status)>,
    signed: bool,
    /// Of the latest opening; open-ended where there is none.
    term_end: Option<Instant>,
    /// The last sign, so far as an inactivity timeout can tell.
    last_sign: Option<Instant>,
    amount: (Option<Currency>, i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Started,
    Trial,
    Ended(EndReason),
}

impl State {
    fn apply(&mut self, fact: &Fact, index: usize, lifecycle: &Lifecycle) {
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

    fn end(&mut self, effective: Instant, index: usize, what: What) {
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
    fn runs_out_at(&self, lifecycle: &Lifecycle) -> Option<Instant> {
        match self.term_end {
            _ if matches!(self.status(), Some(Status::Ended(_))) => None,
            Some(end) => Some(end + lifecycle.grace_period),
            None => lifecycle.inactivity_timeout.and_then(|timeout: Span| Some(self.last_sign? + timeout)),
        }
    }

    fn active(&self, x: Instant, lifecycle: &Lifecycle) -> bool {
        self.status() == Some(Status::Started) && self.runs_out_at(lifecycle).is_none_or(|end| x < end)
    }

    /// Why the subscription is not active at `x`.
    fn reason(&self, x: Instant, lifecycle: &Lifecycle) -> EndReason {
        match self.status() {
            Some(Status::Ended(reason)) => reason,
            _ if self.runs_out_at(lifecycle).is_none_or(|end| x < end) => EndReason::Unspecified,
            _ if self.term_end.is_some() => EndReason::NotRenewed,
            _ => EndReason::Inactive,
        }
    }
}
