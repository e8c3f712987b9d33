//! One customer's past: the facts that its events state, in the contract's order.
//!
//! A history is a *set* of facts. Inserting one that is there already changes nothing, and the order of
//! insertion leaves no trace; that is where the exactness of every number comes from. [`timeline`] answers what the
//! customer was at every instant, [`fold`] drops facts that no window can see any more, [`codec`] packs the
//! whole into some tens of bytes, and [`append`] writes the commonest events into these.

pub mod append;
pub mod codec;
mod expiry;
pub mod fold;
mod subscription;
pub mod timeline;

use self::append::Update;
use self::expiry::Expiry;
use crate::event::{EndReason, Event, Kind, Money};
use crate::time::{Instant, Span};

/// Which of the customer's subscriptions: a keyed hash of its id; 0 for the empty id.
pub type SubscriptionId = u64;

/// An attribute value's number in the shard's dictionary.
pub type ValueId = u32;

/// The value of an attribute that no event carries.
pub const UNKNOWN_VALUE: ValueId = 0;

/// Something an event stated about a subscription. The derived order is the contract's total order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    pub subscription: SubscriptionId,
    pub time: Instant,
    pub sequence: u64,
    pub what: What,
}

impl Fact {
    /// What an event says of a subscription.
    #[inline(always)]
    pub fn of(subscription: SubscriptionId, event: &Event<'_>) -> Self {
        let open_ended = Instant::DISTANT_FUTURE;
        let what = match event.kind {
            Kind::Started { amount, term_end, trial } => {
                What::Started { amount, term_end: term_end.unwrap_or(open_ended), trial }
            }
            Kind::Renewed { term_end } => What::Renewed { term_end: term_end.unwrap_or(open_ended) },
            Kind::Changed { amount } => What::Changed { amount },
            Kind::Activity => What::Activity { last: event.time },
            Kind::Ended { effective, reason } => What::Ended { effective, reason },
        };
        // Signs are no more than their times.
        let sequence = if event.kind == Kind::Activity { 0 } else { event.sequence };
        Self { subscription, time: event.time, sequence, what }
    }
}

/// The kinds in the contract's order, and in each the values in the order in which ties are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A term without an end is [`Instant::DISTANT_FUTURE`].
    Started {
        amount: Option<Money>,
        term_end: Instant,
        trial: bool,
    },
    Renewed {
        term_end: Instant,
    },
    Changed {
        amount: Money,
    },
    /// Signs of life from the fact's time to `last`, none further from the next than the inactivity timeout: the signs
    /// in between decide nothing, whatever else arrives.
    Activity {
        last: Instant,
    },
    Ended {
        effective: Instant,
        reason: EndReason,
    },
}

impl What {
    /// Whether this voids an earlier ending that has not taken effect.
    fn opens(&self) -> bool {
        matches!(self, Self::Started { .. } | Self::Renewed { .. })
    }

    fn amount(&self) -> Option<Money> {
        match self {
            Self::Started { amount, .. } => *amount,
            Self::Changed { amount } => Some(*amount),
            _ => None,
        }
    }

    fn term_end(&self) -> Option<Instant> {
        match self {
            Self::Started { term_end, .. } | Self::Renewed { term_end } => Some(*term_end),
            _ => None,
        }
    }
}

/// An attribute that an event carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeFact {
    pub time: Instant,
    pub sequence: u64,
    /// Position in the shard's list of attributes that dimensions ask for.
    pub slot: u8,
    pub value: ValueId,
}

/// What is left of the history up to an instant, where facts were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// The facts tell the customer's state from this instant on, and not before.
    pub until: Instant,
    /// The earliest active instant, if it lies before `until`.
    pub first_active: Option<Instant>,
}

/// A customer's facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub folded: Option<Folded>,
    /// Ascending by time, sequence, slot, and the value's text.
    pub attributes: Vec<AttributeFact>,
    /// Ascending.
    pub facts: Vec<Fact>,
}

impl History {
    pub fn clear(&mut self) {
        self.folded = None;
        self.attributes.clear();
        self.facts.clear();
    }

    /// Adds a fact; false if it was known.
    pub fn insert(&mut self, fact: Fact, timeout: Option<Span>) -> bool {
        if let What::Activity { .. } = fact.what {
            return self.insert_sign(fact.subscription, fact.time, timeout);
        }
        match self.facts.binary_search(&fact) {
            Ok(_) => false,
            Err(at) => {
                self.facts.insert(at, fact);
                self.include_in_first_active(fact);
                true
            }
        }
    }

    /// Whether an update does no more than put off when the customer runs out: as of any instant from its as-of until it would
    /// have run out without the update, nothing else about the customer is different.
    pub fn only_prolongs(&self, update: &Update<'_>) -> bool {
        let mut expiry = Expiry::NONE;
        for fact in &self.facts {
            // Nothing but signs, terms and the timeout decides about a single subscription that nobody has ended.
            if fact.subscription != update.fact.subscription {
                return false;
            }
            expiry.learn(fact.time, fact.what);
        }
        !self.hides(update.fact.time) && !self.facts.is_empty() && expiry.is_put_off(update)
    }

    /// Adds a sign of life, joining runs of signs that it brings within the timeout of each other.
    fn insert_sign(&mut self, subscription: SubscriptionId, time: Instant, timeout: Option<Span>) -> bool {
        // Without a timeout only the earliest sign decides anything: a run is then that sign alone.
        let gap = timeout.unwrap_or(Span::from_millis(i64::MAX));
        let (mut first, mut last) = (time, time);
        let mut at = self.facts.partition_point(|f| f.subscription < subscription);
        while let Some(fact) = self.facts.get(at).filter(|f| f.subscription == subscription && f.time <= last + gap) {
            match fact.what {
                What::Activity { last: end } if end + gap >= first => {
                    if fact.time <= first && (last <= end || timeout.is_none()) {
                        return false;
                    }
                    first = first.min(fact.time);
                    last = last.max(end);
                    self.facts.remove(at);
                }
                _ => at += 1,
            }
        }
        let last = if timeout.is_some() { last } else { first };
        let run = Fact { subscription, time: first, sequence: 0, what: What::Activity { last } };
        let at = self.facts.partition_point(|f| *f < run);
        self.facts.insert(at, run);
        self.lower_first_active(time);
        true
    }

    /// Adds an attribute that an event carried; false if that was known. `text` orders equal times and sequences.
    pub fn insert_attribute<'v>(&mut self, fact: AttributeFact, text: impl Fn(ValueId) -> &'v str) -> bool {
        let key = |f: &AttributeFact| (f.time, f.sequence, f.slot);
        let from = self.attributes.partition_point(|f| key(f) < key(&fact));
        let mut at = from;
        while let Some(other) = self.attributes.get(at).filter(|f| key(f) == key(&fact)) {
            if other.value == fact.value {
                return false;
            }
            if text(other.value) > text(fact.value) {
                break;
            }
            at += 1;
        }
        self.attributes.insert(at, fact);
        true
    }

    /// A late event from before the folding can still tell that the customer was there earlier.
    fn include_in_first_active(&mut self, fact: Fact) {
        match fact.what {
            What::Started { trial: true, .. } | What::Ended { .. } => {}
            _ => self.lower_first_active(fact.time),
        }
    }

    fn lower_first_active(&mut self, time: Instant) {
        if let Some(folded) = &mut self.folded
            && time <= folded.until
            && folded.first_active.is_none_or(|first| time < first)
        {
            folded.first_active = Some(time);
        }
    }

    /// Whether an event later than `t` says something of a subscription.
    pub fn is_known_after(&self, t: Instant) -> bool {
        self.facts.iter().any(|fact| fact.time > t)
    }

    /// Whether an event later than `t` carries an attribute that none up to then does.
    pub fn names_another_attribute_after(&self, t: Instant) -> bool {
        let (known, later) = self.attributes.split_at(self.attributes.partition_point(|fact| fact.time <= t));
        later.iter().any(|fact| known.iter().all(|earlier| earlier.slot != fact.slot))
    }

    /// Whether folding hides the exact effect of an event at `time`.
    pub fn hides(&self, time: Instant) -> bool {
        self.folded.is_some_and(|folded| time <= folded.until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::timeline::{Evaluator, Timeline};
    use super::*;
    use crate::cohort::Lifecycle;
    use crate::event::Currency;

    const T: Option<Span> = Some(Span::from_millis(10));

    fn signs(times: &[i64], timeout: Option<Span>) -> Vec<(i64, i64)> {
        let mut history = History::default();
        for &ms in times {
            history.insert_sign(0, Instant::from_millis(ms), timeout);
        }
        history
            .facts
            .iter()
            .map(|f| match f.what {
                What::Activity { last } => (f.time.as_millis(), last.as_millis()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn signs_within_the_timeout_of_each_other_are_one_run_in_any_order() {
        for times in [[100, 110, 120, 131], [131, 120, 110, 100], [110, 131, 100, 120], [120, 100, 131, 110]] {
            assert_eq!(signs(&times, T), [(100, 120), (131, 131)], "{times:?}");
        }
        assert_eq!(signs(&[100, 120, 110], T), [(100, 120)]);
    }

    #[test]
    fn without_a_timeout_only_the_first_sign_is_kept() {
        assert_eq!(signs(&[300, 100, 200], None), [(100, 100)]);
    }

    fn any_fact() -> impl Strategy<Value = Fact> {
        let at = Instant::from_millis;
        let term = prop_oneof![3 => Just(Instant::DISTANT_FUTURE), 1 => (0i64..80).prop_map(at)];
        let what = (0u8..8, term, 0i64..20, any::<bool>());
        (prop_oneof![9 => Just(0u64), 1 => Just(1)], 0i64..40, what).prop_map(move |(subscription, ms, what)| {
            let amount = Money { minor_units: what.2, currency: Currency::from_code("EUR").expect("a code") };
            let what = match what {
                (0..=2, term_end, n, trial) => {
                    What::Started { amount: (n > 9).then_some(amount), term_end, trial: trial && n < 4 }
                }
                (3, term_end, ..) => What::Renewed { term_end },
                (4, ..) => What::Changed { amount },
                (5, _, later, _) => What::Ended { effective: at(ms + later), reason: EndReason::Cancelled },
                (_, _, later, _) => What::Activity { last: at(ms + later) },
            };
            Fact { subscription, time: at(ms), sequence: 0, what }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn an_event_that_only_prolongs_moves_nothing_before_the_end_it_puts_off(
            facts in prop::collection::btree_set(any_fact(), 1..4),
            ms in 0i64..60,
            renewed in prop::option::of(prop::option::of(0i64..90)),
            as_of in 0i64..60,
            timeout in prop::option::weighted(0.8, Just(Span::from_millis(10))),
        ) {
            let before = History { facts: facts.into_iter().collect(), ..History::default() };
            let as_of = Instant::from_millis(as_of);
            let event = Event {
                customer_id: b"c",
                subscription_id: b"",
                time: Instant::from_millis(ms),
                sequence: 0,
                attributes: Default::default(),
                kind: renewed.map_or(Kind::Activity, |term| Kind::Renewed { term_end: term.map(Instant::from_millis) }),
            };
            let lifecycle = Lifecycle { inactivity_timeout: timeout, grace_period: Span::from_millis(3) };
            let update = Update::of(&event, &lifecycle, Some(as_of));
            if before.only_prolongs(&update) {
                let mut after = before.clone();
                after.insert(update.fact, timeout);
                let (mut evaluator, mut a, mut b) = (Evaluator::default(), Timeline::default(), Timeline::default());
                // At the note that is there already everything is looked at afresh.
                evaluator.evaluate(&before, &lifecycle, 0, as_of, &mut a);
                let noted = a.changes_at.map_or(200, Instant::as_millis);
                for ms in as_of.as_millis()..noted {
                    let t = Instant::from_millis(ms);
                    evaluator.evaluate(&before, &lifecycle, 0, t, &mut a);
                    evaluator.evaluate(&after, &lifecycle, 0, t, &mut b);
                    prop_assert!(a.same_contribution(&b), "as of {:?}: {:?}, {:?}", t, a, b);
                }
            }
        }
    }

    #[test]
    fn a_repeated_sign_changes_nothing() {
        let mut history = History::default();
        assert!(history.insert_sign(0, Instant::from_millis(100), T));
        assert!(history.insert_sign(0, Instant::from_millis(105), T));
        assert!(!history.insert_sign(0, Instant::from_millis(103), T));
        assert!(!history.insert_sign(0, Instant::from_millis(105), T));
        assert!(history.insert_sign(1, Instant::from_millis(105), T));
    }
}
