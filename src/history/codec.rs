//! A history as bytes: what lies in memory and in snapshots.
//!
//! Times are differences to the time before them, in seconds where that is exact, so that the common
//! customer fits a few tens of bytes. The time that changes with nearly every event, the latest sign of life, has a place
//! and a width of its own at the front instead. Equal histories have equal bytes.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod read;
pub(super) mod write;

pub use read::{decode, decode_again};
pub use write::encode;

use super::expiry::Expiry;
use super::{Fact, History, What};
use crate::time::{Instant, Span};

/// The bytes are not a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes of a customer's history cannot be read")]
pub struct Malformed;

pub(super) const FOLDED: u8 = 1;
pub(super) const FOLDED_ACTIVE: u8 = 2;
pub(super) const ATTRIBUTES: u8 = 4;
/// Facts of one subscription without an id.
pub(super) const PLAIN: u8 = 8;
/// Facts of any subscriptions, each with its id.
const NAMED: u8 = 16;
/// Of a plain history with a run of signs: behind the flags stands when the latest one ends.
pub(super) const RUN: u8 = 32;
/// That end is all that decides when the subscription runs out, and the latest that is known: see [`Run::is_steady`].
pub(super) const STEADY: u8 = 64;

/// How many bytes the latest run's end takes.
pub(super) const RUN_BYTES: usize = 6;

pub(super) const KIND: u8 = 7;
pub(super) const SEQUENCE: u8 = 8;
pub(super) const AMOUNT: u8 = 16;
pub(super) const TERM: u8 = 32;
pub(super) const TRIAL: u8 = 64;
/// Of a term: it is told in whole days, which as a rule it is.
pub(super) const DAYS: u8 = 128;
/// Of a run: its end is the one that stands behind the flags.
pub(super) const LATEST: u8 = TERM;

/// In an attribute's head: of the same event as the one before; with a sequence.
pub(super) const SHARED: u64 = 1;
pub(super) const SEQUENCED: u64 = 2;

const STARTED: u8 = 0;
pub(super) const RENEWED: u8 = 1;
pub(super) const CHANGED: u8 = 2;
pub(super) const ACTIVITY: u8 = 3;
pub(super) const ENDED: u8 = 4;

/// Whether these are facts of one subscription without an id.
fn is_plain(facts: &[Fact]) -> bool {
    facts.first().is_some_and(|f| f.subscription == 0) && facts.last().is_some_and(|f| f.subscription == 0)
}

/// The latest run of signs of a subscription: the last one in the order of its facts.
#[derive(Clone, Copy)]
struct Run {
    index: usize,
    last: Instant,
}

impl Run {
    fn latest(facts: &[Fact]) -> Option<Self> {
        let (index, last) = facts.iter().enumerate().rev().find_map(|(index, fact)| match fact.what {
            What::Activity { last } => Some((index, last)),
            _ => None,
        })?;
        Some(Self { index, last })
    }

    /// Whether a later sign within the timeout does no more than move the run's end.
    fn is_steady(self, history: &History) -> bool {
        let mut expiry = Expiry::NONE;
        history.facts.iter().for_each(|fact| expiry.learn(fact.time, fact.what));
        expiry.is_steady(self.last) && history.folded.is_none_or(|folded| folded.until <= self.last)
    }
}

const DAY_MS: i64 = Span::DAY.as_millis();

/// How a time is told by its difference to another: in seconds, or in milliseconds where the lowest bit says so.
#[inline]
fn time_number(difference: i64) -> u64 {
    let (amount, unit) = if difference % 1000 == 0 { (difference / 1000, 0) } else { (difference, 1) };
    zigzag(amount) << 1 | unit
}

/// The inverse of [`time_number`].
#[inline]
pub(super) fn time_difference(number: u64) -> Option<i64> {
    let amount = unzigzag(number >> 1);
    if number & 1 == 0 { amount.checked_mul(1000) } else { Some(amount) }
}

/// How a term of whole days is told; nothing where it is not.
#[inline]
fn days_number(difference: i64) -> Option<u64> {
    (difference % DAY_MS == 0).then(|| zigzag(difference / DAY_MS))
}

/// The inverse of [`days_number`].
#[inline]
pub(super) fn days_difference(number: u64) -> Option<i64> {
    unzigzag(number).checked_mul(DAY_MS)
}

/// A number of which small amounts are small, whatever their sign.
#[inline]
fn zigzag(amount: i64) -> u64 {
    ((amount << 1) ^ (amount >> 63)) as u64
}

#[inline]
fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::super::{AttributeFact, Folded};
    use super::*;
    use crate::cohort::Lifecycle;
    use crate::event::{Currency, EndReason, Event, Kind, Money};
    use crate::history::append::{Appended, Line, Update, append};
    use proptest::prelude::*;

    fn any_time() -> impl Strategy<Value = Instant> {
        let range = 0..=Instant::LATEST_EVENT.as_millis();
        prop_oneof![range.clone(), (0i64..1_000_000).prop_map(|s| s * 1000), Just(*range.end())]
            .prop_map(Instant::from_millis)
    }

    fn any_money() -> impl Strategy<Value = Money> {
        (0..=i64::MAX, 0u16..17_576).prop_map(|(minor_units, number)| Money {
            minor_units,
            currency: Currency::from_number(number).unwrap_or_else(|| unreachable!("below 26 cubed")),
        })
    }

    fn any_what(time: Instant) -> impl Strategy<Value = What> {
        let days = (-1i64..400)
            .prop_map(move |n| time + Span::from_millis(n * DAY_MS))
            .prop_filter("an event's time", |t| (Instant::EARLIEST_EVENT..=Instant::LATEST_EVENT).contains(t));
        let term = prop_oneof![any_time(), days, Just(Instant::DISTANT_FUTURE)];
        prop_oneof![
            (prop::option::of(any_money()), term.clone(), any::<bool>())
                .prop_map(|(amount, term_end, trial)| What::Started { amount, term_end, trial }),
            term.prop_map(|term_end| What::Renewed { term_end }),
            any_money().prop_map(|amount| What::Changed { amount }),
            any_time().prop_map(move |last| What::Activity { last: last.max(time) }),
            (any_time(), 0i32..10).prop_map(move |(effective, reason)| What::Ended {
                effective: effective.max(time),
                reason: EndReason::from_number(reason),
            }),
        ]
    }

    fn any_fact(plain: bool) -> impl Strategy<Value = Fact> {
        let subscription = if plain { Just(0).boxed() } else { any::<u64>().boxed() };
        (subscription, any_time(), prop_oneof![Just(0), any::<u64>()]).prop_flat_map(
            |(subscription, time, sequence)| {
                any_what(time).prop_map(move |what| Fact { subscription, time, sequence, what })
            },
        )
    }

    fn any_history() -> impl Strategy<Value = History> {
        let attribute = (any_time(), prop_oneof![Just(0), any::<u64>()], 0u8..4, 0u32..500)
            .prop_map(|(time, sequence, slot, value)| AttributeFact { time, sequence, slot, value });
        let facts = any::<bool>().prop_flat_map(|plain| prop::collection::btree_set(any_fact(plain), 0..8));
        let folded =
            (any_time(), prop::option::of(any_time())).prop_map(|(until, first_active)| Folded { until, first_active });
        (prop::option::of(folded), prop::collection::vec(attribute, 0..6), facts).prop_map(
            |(folded, mut attributes, facts)| {
                attributes.sort_by_key(|f| (f.time, f.sequence, f.slot, f.value));
                History { folded, attributes, facts: facts.into_iter().collect() }
            },
        )
    }

    /// A customer's record holds 47 bytes.
    #[test]
    fn a_start_with_attributes_two_renewals_and_another_amount_fit_a_record() {
        let time = Instant::from_millis(1_700_000_000_123);
        let Some(currency) = Currency::from_code("EUR") else { unreachable!("a code") };
        let amount = Money { minor_units: 4_990, currency };
        let attribute = |slot, value| AttributeFact { time, sequence: 0, slot, value };
        let fact = |time, what| Fact { subscription: 0, time, sequence: 0, what };
        // Events come at any millisecond, and tell terms from there.
        let later = |days, ms| time + Span::days(days) + Span::from_millis(ms);
        let renewed = |time| fact(time, What::Renewed { term_end: time + Span::days(31) });
        let started = What::Started { amount: Some(amount), term_end: time + Span::days(30), trial: false };
        let history = History {
            folded: None,
            attributes: vec![attribute(0, 3), attribute(1, 200)],
            facts: vec![
                fact(time, started),
                renewed(later(30, 45_678)),
                fact(later(40, 12_345), What::Changed { amount }),
                renewed(later(61, 91_011)),
            ],
        };
        let mut bytes = Vec::new();
        encode(&history, &mut bytes);
        assert!(bytes.len() <= 47, "{}", bytes.len());
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(history in any_history()) {
            let mut bytes = Vec::new();
            encode(&history, &mut bytes);
            let mut back = History::default();
            prop_assert_eq!(decode(&bytes, 4, 500, &mut back), Ok(()));
            prop_assert_eq!(&back, &history);
            prop_assert_eq!(bytes.split_last().map(|(_, torn)| decode(torn, 4, 500, &mut back)), Some(Err(Malformed)));
            prop_assert_eq!(decode_again(&bytes, &mut back), Ok(()));
            prop_assert_eq!(back, history);
        }

        #[test]
        fn hostile_bytes_are_refused_or_read_back_the_same(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let (mut history, mut again) = (History::default(), History::default());
            let accepted = decode(&bytes, 4, 500, &mut history);
            // No bytes make it panic, either.
            let accepted_again = decode_again(&bytes, &mut again);
            if accepted.is_ok() {
                prop_assert_eq!(accepted_again, Ok(()));
                prop_assert_eq!(&again, &history);
                let mut written = Vec::new();
                encode(&history, &mut written);
                prop_assert_eq!(decode(&written, 4, 500, &mut again), Ok(()));
                prop_assert_eq!(again, history);
            }
        }

        /// What is written in place reads such bytes by itself, and has to find in them what is read here.
        #[test]
        fn hostile_bytes_that_are_accepted_can_be_appended_to(
            bytes in prop::collection::vec(prop_oneof![0u8..40, any::<u8>()], 0..40),
            renewed in any::<bool>(),
        ) {
            const ROOM: usize = 47;
            let mut history = History::default();
            if decode(&bytes, 4, 500, &mut history).is_err() {
                return Ok(());
            }
            let mut line = [0; size_of::<Line>()];
            let (start, _) = line.split_at_mut(bytes.len());
            start.copy_from_slice(&bytes);
            let kind = if renewed { Kind::Renewed { term_end: None } } else { Kind::Activity };
            let event = Event {
                customer_id: b"c", subscription_id: b"", time: Instant::LATEST_EVENT, sequence: 0,
                attributes: Default::default(), kind,
            };
            let lifecycle = Lifecycle { inactivity_timeout: Some(Span::DAY), grace_period: Span::ZERO };
            let update = Update::of(&event, &lifecycle, None);
            if let Some(Appended::Quiet(len)) = append::<ROOM>(&mut line, bytes.len(), &update) {
                let mut after = History::default();
                prop_assert_eq!(line.get(..len).map(|bytes| decode(bytes, 4, 500, &mut after)), Some(Ok(())));
                history.insert(update.fact, lifecycle.inactivity_timeout);
                prop_assert_eq!(after, history);
            }
        }
    }
}
