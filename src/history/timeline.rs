//! What a customer was at every instant, as of `t`: the contract's sections "A subscription at instant x" and
//! "A customer at instant x", evaluated in one sweep over the facts.

use super::subscription::{Amount, Sweep};
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
            && (self.pieces.is_empty() || self.earliest_values == other.earliest_values)
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

    /// Whether the attributes have the same values during a piece as during another one, maybe of another timeline.
    pub fn same_values(&self, piece: usize, other: &Self, other_piece: usize) -> bool {
        (0..self.earliest_values.len()).all(|slot| self.value(piece, slot) == other.value(other_piece, slot))
    }

    /// Whether everything began the same: the activity, and the attributes' values.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.first_active == other.first_active && self.earliest_values == other.earliest_values
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

    /// Cuts out of the timeline of a history what it was as of an earlier instant, for what it contributes; false where
    /// only the history tells. What a customer was at an instant follows from the facts up to it, but why one has left,
    /// and what an attribute was before anybody named it, can be told later; and what is folded begins when its folding ends.
    pub fn cut(&self, history: &History, t: Instant, cut: &mut Self) -> bool {
        if history.folded.is_some_and(|folded| folded.until > t) {
            return false;
        }
        let pieces = self.pieces.partition_point(|piece| piece.from <= t);
        cut.clear();
        cut.earliest_values.extend_from_slice(&self.earliest_values);
        if let Some(last) = self.pieces[..pieces].last() {
            if !last.active || history.names_another_attribute_after(t) {
                return false;
            }
            cut.pieces.extend_from_slice(&self.pieces[..pieces]);
            cut.amounts.extend_from_slice(&self.amounts[..last.amounts.1 as usize]);
            cut.values.extend_from_slice(&self.values[..pieces * self.earliest_values.len()]);
        }
        cut.finish(history, t);
        true
    }

    /// Tells what follows from the pieces.
    fn finish(&mut self, history: &History, t: Instant) {
        let folded_first = history.folded.and_then(|folded| folded.first_active).filter(|&first| first <= t);
        self.first_active = folded_first.or(self.pieces.first().map(|piece| piece.from));
        if self.pieces.last().is_some_and(|last| last.active) {
            let broken = self.pieces.iter().rposition(|piece| !piece.active);
            self.stint_start = self.pieces.get(broken.map_or(0, |i| i + 1)).map(|piece| piece.from);
            self.stopped = None;
        }
    }

    /// Appends a piece, unless nothing is different from the one before.
    fn push_piece(&mut self, from: Instant, active: bool, sums: &[(Currency, i128)], values: &[ValueId]) {
        let same = match self.pieces.last() {
            None => !active,
            Some(last) => last.active == active && self.amounts(last) == sums && self.values.ends_with(values),
        };
        if same {
            return;
        }
        let amounts_from = self.amounts.len() as u32;
        // One by one: they are few, and to call for a copy takes longer.
        sums.iter().for_each(|&sum| self.amounts.push(sum));
        values.iter().for_each(|&value| self.values.push(value));
        self.pieces.push(Piece { from, active, amounts: (amounts_from, self.amounts.len() as u32) });
    }

    fn note_change(&mut self, at: Instant) {
        self.changes_at = Some(self.changes_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// A subscription is another thing from an instant on: its amount, where it is active.
#[derive(Clone, Copy, Debug)]
struct Step {
    at: Instant,
    was: Option<Amount>,
    is: Option<Amount>,
}

/// Evaluates histories, reusing its buffers.
#[derive(Debug, Default)]
pub struct Evaluator {
    steps: Vec<Step>,
    /// Those of a subscription that are not void, by when they take effect.
    endings: Vec<(Instant, usize)>,
    /// As a piece begins: what all subscriptions add up to, and the attributes' values.
    sums: Vec<(Currency, i128)>,
    values: Vec<ValueId>,
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
        while let (Some(first), Some(last)) = (rest.first(), rest.last()) {
            let same = |fact: &Fact| fact.subscription == first.subscription;
            let count = if same(last) { rest.len() } else { rest.partition_point(same) };
            let (facts, others) = rest.split_at(count);
            rest = others;
            self.subscription(facts, lifecycle, start, t, timeline);
        }
        // Steps of one subscription are in order; only several can be out of it.
        if !self.steps.is_sorted_by_key(|step| step.at) {
            self.steps.sort_by_key(|step| step.at);
        }
        self.merge(&history.attributes, slots, start, t, timeline);
        timeline.finish(history, t);
    }

    /// Sweeps one subscription's facts into steps: it changes with its facts, with its endings, and when it runs out
    /// between them.
    fn subscription(
        &mut self,
        facts: &[Fact],
        lifecycle: &Lifecycle,
        start: Instant,
        t: Instant,
        timeline: &mut Timeline,
    ) {
        let existing = facts.iter().rposition(|fact| fact.time <= t).map_or(0, |last| last + 1);
        if let Some(fact) = facts.get(existing) {
            timeline.note_change(fact.time);
        }
        self.find_endings(facts, existing);
        let mut sweep = Sweep::default();
        let (mut fact, mut ending) = (0, 0);
        loop {
            let next_fact = facts[fact..existing].first().map(|fact| fact.time);
            let next_ending = self.endings.get(ending).map(|(effective, _)| *effective);
            let Some(cut) = earliest(next_fact, next_ending).filter(|&cut| cut <= t) else { break };
            let cut = cut.max(start);
            self.run_out(&mut sweep, lifecycle, cut - Span::from_millis(1));
            while let Some(next) = facts[fact..existing].first().filter(|next| next.time <= cut) {
                sweep.state.apply(next, fact, lifecycle);
                fact += 1;
            }
            while let Some(&(effective, index)) = self.endings.get(ending).filter(|(effective, _)| *effective <= cut) {
                sweep.state.end(effective, index, facts[index].what);
                ending += 1;
            }
            self.step(&mut sweep, lifecycle, cut);
        }
        self.run_out(&mut sweep, lifecycle, t);
        if let Some(&(effective, _)) = self.endings.get(ending) {
            timeline.note_change(effective);
        }
        if let Some(change) = sweep.state.runs_out_at(lifecycle).filter(|&at| at > t) {
            timeline.note_change(change);
        }
        if let (None, Some(at)) = (sweep.was, sweep.stopped_at) {
            let stop = (at, sweep.state.reason(t, lifecycle));
            timeline.stopped = timeline.stopped.max(Some(stop));
        }
    }

    /// The step at which an active subscription runs out, if that is up to `t`.
    fn run_out(&mut self, sweep: &mut Sweep, lifecycle: &Lifecycle, t: Instant) {
        if sweep.was.is_some()
            && let Some(end) = sweep.state.runs_out_at(lifecycle).filter(|&end| end <= t)
        {
            self.step(sweep, lifecycle, end);
        }
    }

    /// Tells what the subscription is from `cut` on, if that is another thing than before.
    fn step(&mut self, sweep: &mut Sweep, lifecycle: &Lifecycle, cut: Instant) {
        let is = sweep.state.active(cut, lifecycle).then_some(sweep.state.amount);
        if is == sweep.was {
            return;
        }
        self.steps.push(Step { at: cut, was: sweep.was, is });
        if is.is_none() {
            sweep.stopped_at = Some(cut);
        }
        sweep.was = is;
    }

    /// The endings that no later opening has made void before they took effect.
    fn find_endings(&mut self, facts: &[Fact], existing: usize) {
        self.endings.clear();
        let mut next_opening = Instant::DISTANT_FUTURE;
        for (index, fact) in facts.iter().enumerate().rev() {
            match fact.what {
                What::Ended { effective, .. } if index < existing && next_opening > effective => {
                    self.endings.push((effective, index));
                }
                _ if fact.what.opens() => next_opening = fact.time,
                _ => {}
            }
        }
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
        self.values.clear();
        self.values.extend_from_slice(&timeline.earliest_values);
        let mut active = 0;
        let (mut step, mut fact) = (0, 0);
        loop {
            let next_step = self.steps.get(step).map(|step| step.at);
            let next_fact =
                attributes.get(fact).filter(|_| !timeline.pieces.is_empty()).map(|fact| fact.time.max(start));
            let Some(at) = earliest(next_step, next_fact) else { break };
            while let Some(next) = attributes.get(fact).filter(|next| next.time <= at) {
                self.values[usize::from(next.slot)] = next.value;
                fact += 1;
            }
            while let Some(next) = self.steps.get(step).filter(|next| next.at <= at) {
                active += i32::from(next.is.is_some()) - i32::from(next.was.is_some());
                add(&mut self.sums, next.was, -1);
                add(&mut self.sums, next.is, 1);
                step += 1;
            }
            timeline.push_piece(at, active > 0, &self.sums, &self.values);
        }
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        _ => a.or(b),
    }
}

fn add(sums: &mut Vec<(Currency, i128)>, amount: Option<Amount>, sign: i128) {
    let Some((Some(currency), minor_units)) = amount.filter(|(_, minor_units)| *minor_units != 0) else { return };
    let amount = i128::from(minor_units) * sign;
    match sums.binary_search_by_key(&currency, |(c, _)| *c) {
        Ok(at) => {
            sums[at].1 += amount;
            if sums[at].1 == 0 {
                sums.remove(at);
            }
        }
        Err(at) => sums.insert(at, (currency, amount)),
    }
}
