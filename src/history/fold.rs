//! Dropping what no window can see any more.
//!
//! Of the facts up to an instant only those are kept that decide the state at that instant: the last
//! change of status, the term, the amount, the last sign, endings still to come, and per attribute the earliest
//! and the latest value. What is kept are facts as before, so that everything else works on folded histories unchanged.

use super::{AttributeFact, Fact, Folded, History, What};
use crate::time::Instant;

/// Finds out what of a history can go, and drops it; reuses its buffers.
#[derive(Debug, Default)]
pub struct Folding {
    /// By place in the history: what decides something after the frontier.
    facts: Vec<bool>,
    attributes: Vec<bool>,
}

impl Folding {
    /// Looks for facts up to `frontier` that decide nothing after it. Where there are any: until when the history tells
    /// nothing any more without them.
    pub fn find(&mut self, history: &History, frontier: Instant) -> Option<Instant> {
        let mut until = Instant::DISTANT_PAST;
        self.facts.clear();
        self.attributes.clear();
        let mut rest = history.facts.as_slice();
        while let Some(first) = rest.first() {
            let (facts, others) = rest.split_at(rest.partition_point(|f| f.subscription == first.subscription));
            rest = others;
            self.find_facts(facts, frontier, &mut until);
        }
        self.find_attributes(&history.attributes, frontier, &mut until);
        self.facts.iter().chain(&self.attributes).any(|keep| !keep).then_some(until)
    }

    /// Drops what [`Self::find`] has found. `first_active` is the customer's as of the frontier, before anything is dropped.
    pub fn fold(&self, history: &mut History, until: Instant, first_active: Option<Instant>) {
        retain(&mut history.facts, &self.facts);
        retain(&mut history.attributes, &self.attributes);
        let earlier = history.folded;
        history.folded = Some(Folded {
            until: until.max(earlier.map_or(until, |folded| folded.until)),
            first_active: earlier.and_then(|folded| folded.first_active).into_iter().chain(first_active).min(),
        });
    }

    fn find_facts(&mut self, facts: &[Fact], frontier: Instant, until: &mut Instant) {
        let (old, new) = facts.split_at(facts.partition_point(|fact| fact.time <= frontier));
        let from = self.facts.len();
        self.facts.resize(from + facts.len(), true);
        let keep = &mut self.facts[from..];
        let mut opening = new.iter().find(|fact| fact.what.opens()).map(|fact| fact.time);
        // The last change: when it stands, its place in the order, and whether it is an ending.
        let mut change: Option<(Instant, usize, bool)> = None;
        let (mut term, mut amount, mut sign) = (None, None, None);
        for (index, fact) in old.iter().enumerate().rev() {
            keep[index] = false;
            let mut last_sign = fact.time;
            match fact.what {
                What::Ended { effective, .. } => {
                    let void = opening.is_some_and(|opening| opening <= effective);
                    if effective > frontier {
                        keep[index] = !void;
                    } else {
                        *until = (*until).max(effective);
                        if !void {
                            change = change.max(Some((effective, index, true)));
                        }
                    }
                    *until = (*until).max(fact.time);
                    continue;
                }
                What::Started { .. } => change = change.max(Some((fact.time, index, false))),
                What::Activity { last } => last_sign = last,
                What::Renewed { .. } | What::Changed { .. } => {}
            }
            if fact.what.opens() {
                opening = Some(fact.time);
                term = term.or(Some(index));
            }
            if fact.what.amount().is_some() {
                amount = amount.or(Some(index));
            }
            *until = (*until).max(last_sign.min(frontier));
            sign = sign.max(Some((last_sign, index)));
        }
        // Only a `started` opens again after an ending that stands, and it brings a term and a sign of its own. But a
        // run of signs may go on behind the frontier, and behind that `started`.
        let over = change.is_some_and(|(_, _, ending)| ending);
        let change = change.map(|(_, index, _)| index);
        let term = term.filter(|_| !over);
        let sign = sign.filter(|(last, _)| !over || *last > frontier).map(|(_, index)| index);
        for index in [change, term, amount, sign].into_iter().flatten() {
            keep[index] = true;
        }
    }

    fn find_attributes(&mut self, attributes: &[AttributeFact], frontier: Instant, until: &mut Instant) {
        let old = &attributes[..attributes.partition_point(|fact| fact.time <= frontier)];
        let Some(last) = old.last() else { return };
        *until = (*until).max(last.time);
        let (mut seen, mut latest) = (0u128, 0u128);
        for fact in old {
            let bit = 1u128 << fact.slot;
            self.attributes.push(seen & bit == 0);
            seen |= bit;
        }
        for (keep, fact) in self.attributes.iter_mut().zip(old).rev() {
            let bit = 1u128 << fact.slot;
            *keep |= latest & bit == 0;
            latest |= bit;
        }
    }
}

/// Keeps what is marked, and what lies behind the marks.
fn retain<T>(items: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    items.retain(|_| *keep.next().unwrap_or(&true));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cohort::Lifecycle;
    use crate::event::{Currency, EndReason, Money};
    use crate::history::timeline::{Evaluator, Timeline};
    use crate::time::Span;

    /// Often close together: what goes wrong needs a sign, an ending and a start within one timeout.
    fn any_instant() -> impl Strategy<Value = i64> {
        prop_oneof![0i64..60, 10i64..20]
    }

    fn any_fact() -> impl Strategy<Value = (u64, i64, u64, u8, i64, i64)> {
        (prop_oneof![4 => Just(0u64), 1 => Just(1)], any_instant(), 0u64..2, 0u8..7, 0i64..40, 0i64..3)
    }

    fn insert(history: &mut History, (subscription, ms, sequence, kind, later, n): (u64, i64, u64, u8, i64, i64)) {
        let at = Instant::from_millis;
        let (time, term_end) = (at(ms), if n == 0 { Instant::DISTANT_FUTURE } else { at(ms + later) });
        let amount = Money { minor_units: n, currency: Currency::from_code("EUR").expect("a code") };
        let reason = EndReason::Cancelled;
        let what = match kind {
            0 => What::Started { amount: (n > 1).then_some(amount), term_end, trial: later % 5 == 0 },
            1 => What::Renewed { term_end },
            2 => What::Changed { amount },
            3 => What::Ended { effective: at(ms + if n == 0 { 0 } else { later }), reason },
            4 => {
                let fact = AttributeFact { time, sequence, slot: (later % 2) as u8, value: n as u32 + 1 };
                history.insert_attribute(fact, |value| ["", "a", "b", "c"][value as usize]);
                return;
            }
            _ => {
                history.insert_sign(subscription, time, Some(TIMEOUT));
                return;
            }
        };
        let fact = Fact { subscription, time, sequence, what };
        if let Err(place) = history.facts.binary_search(&fact) {
            history.facts.insert(place, fact);
        }
    }

    const TIMEOUT: Span = Span::from_millis(6);

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Nothing at or after the frontier tells whether a history has been folded, whatever is added after it; and what
        /// is cut out of a later timeline is what the history tells.
        #[test]
        fn folding_hides_nothing_after_the_frontier(
            facts in prop::collection::vec(any_fact(), 1..14),
            later in prop::collection::vec(any_fact(), 0..5),
            frontier in any_instant(),
            again in 0i64..20,
        ) {
            let lifecycle = Lifecycle { inactivity_timeout: Some(TIMEOUT), grace_period: Span::from_millis(2) };
            let mut whole = History::default();
            facts.iter().for_each(|&fact| insert(&mut whole, fact));
            let mut folded = whole.clone();
            let (mut evaluator, mut a, mut b) = (Evaluator::default(), Timeline::default(), Timeline::default());
            let (mut folding, mut cut, mut last) = (Folding::default(), Timeline::default(), frontier);
            for (i, mut fact) in later.into_iter().map(Some).chain([None]).enumerate() {
                let at = Instant::from_millis(last);
                if i == 0 || last > frontier {
                    evaluator.evaluate(&folded, &lifecycle, 2, at, &mut a);
                    let first_active = a.first_active;
                    if let Some(until) = folding.find(&folded, at) {
                        folding.fold(&mut folded, until, first_active);
                    }
                }
                if let Some(fact) = &mut fact {
                    fact.1 = last + 1 + fact.1 % 20;
                    insert(&mut whole, *fact);
                    insert(&mut folded, *fact);
                }
                let mut then = [Timeline::default(), Timeline::default()];
                for (history, then) in [&whole, &folded].into_iter().zip(&mut then) {
                    evaluator.evaluate(history, &lifecycle, 2, at, then);
                }
                for t in last..110 {
                    evaluator.evaluate(&whole, &lifecycle, 2, Instant::from_millis(t), &mut a);
                    evaluator.evaluate(&folded, &lifecycle, 2, Instant::from_millis(t), &mut b);
                    prop_assert_eq!(a.first_active, b.first_active, "first active as of {}", t);
                    for ((now, history), then) in [&a, &b].into_iter().zip([&whole, &folded]).zip(&then) {
                        if now.cut(history, at, &mut cut) {
                            prop_assert!(cut.same_contribution(then), "cut at {} as of {}: {:?}, not {:?}", at, t, cut, then);
                        } else {
                            prop_assert!(!then.pieces().is_empty(), "nothing is left to the history there");
                        }
                    }
                    let since = |stop: Option<(Instant, EndReason)>| stop.filter(|(stop, _)| *stop > at);
                    prop_assert_eq!(since(a.stopped), since(b.stopped), "stopped as of {}", t);
                    for x in last..=t {
                        let x = Instant::from_millis(x);
                        prop_assert_eq!(a.at(x), b.at(x), "at {} as of {}", x, t);
                    }
                }
                last = (last + again).min(90);
            }
        }
    }
}
