//! Dropping what no window can see any more.
//!
//! Of the facts up to an instant only those are kept that decide the state at that instant: the last
//! change of status, the term, the amount, the last sign, endings still to come, and per attribute the earliest
//! and the latest value. What is kept are facts as before, so that everything else works on folded histories unchanged.

use super::{Fact, Folded, History, What};
use crate::time::Instant;

/// Drops facts up to `frontier` that decide nothing after it; false where there are none.
/// `first_active` is the customer's as of `frontier`.
pub fn fold(history: &mut History, frontier: Instant, first_active: Option<Instant>) -> bool {
    let mut until = Instant::DISTANT_PAST;
    let before = (history.facts.len(), history.attributes.len());
    let mut kept = Vec::with_capacity(history.facts.len());
    let mut rest = history.facts.as_slice();
    while let Some(fact) = rest.first() {
        let id = fact.subscription;
        let (facts, others) = rest.split_at(rest.iter().take_while(|f| f.subscription == id).count());
        rest = others;
        fold_subscription(facts, frontier, &mut until, &mut kept);
    }
    history.facts = kept;
    fold_attributes(history, frontier, &mut until);
    if before == (history.facts.len(), history.attributes.len()) {
        return false;
    }
    let earlier = history.folded;
    history.folded = Some(Folded {
        until: until.max(earlier.map_or(until, |folded| folded.until)),
        first_active: earlier.and_then(|folded| folded.first_active).into_iter().chain(first_active).min(),
    });
    true
}

fn fold_subscription(facts: &[Fact], frontier: Instant, until: &mut Instant, kept: &mut Vec<Fact>) {
    let (old, new) = facts.split_at(facts.partition_point(|fact| fact.time <= frontier));
    let mut opening = new.iter().find(|fact| fact.what.opens()).map(|fact| fact.time);
    // The last change: when it stands, its place in the order, and whether it is an ending.
    let mut change: Option<(Instant, usize, bool)> = None;
    let (mut term, mut amount, mut sign) = (None, None, None);
    let mut pending = vec![false; old.len()];
    for (index, fact) in old.iter().enumerate().rev() {
        let mut last_sign = fact.time;
        match fact.what {
            What::Ended { effective, .. } => {
                let void = opening.is_some_and(|opening| opening <= effective);
                if effective > frontier {
                    pending[index] = !void;
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
    // Only a `started` opens again after an ending that stands, and it brings a term and a sign of its own.
    let over = change.is_some_and(|(_, _, ending)| ending);
    for (index, fact) in old.iter().enumerate() {
        let is_change = change.is_some_and(|(_, i, _)| i == index);
        let is_term = term == Some(index) && !over;
        let is_sign = sign.is_some_and(|(_, i)| i == index) && !over;
        let is_amount = amount == Some(index);
        if is_change || is_term || is_sign || is_amount || pending[index] {
            kept.push(*fact);
        }
    }
    kept.extend_from_slice(new);
}

fn fold_attributes(history: &mut History, frontier: Instant, until: &mut Instant) {
    let old = history.attributes.partition_point(|fact| fact.time <= frontier);
    let Some(last) = old.checked_sub(1).and_then(|i| history.attributes.get(i)) else { return };
    *until = (*until).max(last.time);
    let (mut seen, mut latest) = (0u128, 0u128);
    let mut keep = vec![false; old];
    for (index, fact) in history.attributes.iter().enumerate().take(old) {
        let bit = 1u128 << fact.slot;
        keep[index] = seen & bit == 0;
        seen |= bit;
    }
    for (index, fact) in history.attributes.iter().enumerate().take(old).rev() {
        let bit = 1u128 << fact.slot;
        keep[index] |= latest & bit == 0;
        latest |= bit;
    }
    let mut index = 0;
    history.attributes.retain(|_| {
        index += 1;
        keep.get(index - 1).copied().unwrap_or(true)
    });
}
