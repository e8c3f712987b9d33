//! A history as bytes: what lies in memory and in snapshots.
//!
//! Times are differences to the time before them, in seconds where that is exact, so that the common
//! customer fits a few tens of bytes. Equal histories have equal bytes.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::{AttributeFact, Fact, Folded, History, ValueId, What};
use crate::event::{Currency, EndReason, Money};
use crate::time::Instant;
use crate::varint;

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

pub(super) const KIND: u8 = 7;
pub(super) const SEQUENCE: u8 = 8;
pub(super) const AMOUNT: u8 = 16;
pub(super) const TERM: u8 = 32;
pub(super) const TRIAL: u8 = 64;

/// In an attribute's head: of the same event as the one before; with a sequence.
pub(super) const SHARED: u64 = 1;
pub(super) const SEQUENCED: u64 = 2;

const STARTED: u8 = 0;
pub(super) const RENEWED: u8 = 1;
pub(super) const CHANGED: u8 = 2;
pub(super) const ACTIVITY: u8 = 3;
pub(super) const ENDED: u8 = 4;

/// What a number takes that is as large as can be.
const MOST_BYTES_PER_NUMBER: usize = 10;
/// Flags, two instants, and how many attributes.
const MOST_BYTES: usize = 1 + 3 * MOST_BYTES_PER_NUMBER;
/// Head, time, sequence and value.
const MOST_BYTES_PER_ATTRIBUTE: usize = 4 * MOST_BYTES_PER_NUMBER;
/// A subscription's id and number of facts; head, time, sequence, currency, amount, reason, and an instant.
const MOST_BYTES_PER_FACT: usize = 8 + 1 + 2 + 1 + 5 * MOST_BYTES_PER_NUMBER;

/// Appends the bytes of a history.
pub fn encode(history: &History, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(
        start
            + MOST_BYTES
            + MOST_BYTES_PER_ATTRIBUTE * history.attributes.len()
            + MOST_BYTES_PER_FACT * history.facts.len(),
        0,
    );
    let (_, room) = out.split_at_mut(start);
    let mut writer = Writer { room, time: 0 };
    let plain = history.facts.first().is_some_and(|f| f.subscription == 0)
        && history.facts.last().is_some_and(|f| f.subscription == 0);
    let mut flags = 0;
    if let Some(folded) = history.folded {
        flags |= FOLDED;
        if folded.first_active.is_some() {
            flags |= FOLDED_ACTIVE;
        }
    }
    if !history.attributes.is_empty() {
        flags |= ATTRIBUTES;
    }
    if plain {
        flags |= PLAIN;
    } else if !history.facts.is_empty() {
        flags |= NAMED;
    }
    writer.byte(flags);
    if let Some(folded) = history.folded {
        writer.time(folded.until);
        if let Some(first_active) = folded.first_active {
            writer.time(first_active);
        }
    }
    if !history.attributes.is_empty() {
        writer.attributes(&history.attributes);
    }
    let mut rest = history.facts.as_slice();
    while let Some(fact) = rest.first() {
        let id = fact.subscription;
        let (facts, others) = rest.split_at(rest.iter().take_while(|f| f.subscription == id).count());
        rest = others;
        if !plain {
            writer.bytes(id.to_le_bytes());
        }
        writer.number(facts.len() as u64);
        for fact in facts {
            writer.fact(fact);
        }
    }
    let left = writer.room.len();
    out.truncate(out.len() - left);
}

/// Reads what [`encode`] wrote, into a history whose buffers are reused. Whatever is accepted has the order and the
/// limits that the rest of the core relies on.
pub fn decode(bytes: &[u8], slots: usize, values: usize, history: &mut History) -> Result<(), Malformed> {
    history.clear();
    let mut reader = Reader { rest: bytes, time: 0 };
    let flags = reader.byte()?;
    if flags & FOLDED == 0 && flags & FOLDED_ACTIVE != 0 {
        return Err(Malformed);
    }
    if flags & FOLDED != 0 {
        let until = reader.time()?;
        let first_active = if flags & FOLDED_ACTIVE != 0 { Some(reader.time()?) } else { None };
        history.folded = Some(Folded { until, first_active });
    }
    if flags & ATTRIBUTES != 0 {
        reader.attributes(slots, values, &mut history.attributes)?;
    }
    if flags & PLAIN != 0 {
        reader.facts(0, &mut history.facts)?;
    } else if flags & NAMED != 0 {
        while !reader.rest.is_empty() {
            let id = u64::from_le_bytes(reader.take()?);
            reader.facts(id, &mut history.facts)?;
        }
    }
    if reader.rest.is_empty() { Ok(()) } else { Err(Malformed) }
}

struct Writer<'a> {
    /// What is not written yet; there is always enough.
    room: &'a mut [u8],
    /// Which the next one is told as the difference to.
    time: i64,
}

impl Writer<'_> {
    #[inline]
    fn byte(&mut self, byte: u8) {
        if let Some((next, rest)) = std::mem::take(&mut self.room).split_first_mut() {
            *next = byte;
            self.room = rest;
        } else {
            debug_assert!(false, "a history takes more bytes than it can");
        }
    }

    fn bytes<const N: usize>(&mut self, bytes: [u8; N]) {
        bytes.into_iter().for_each(|byte| self.byte(byte));
    }

    #[inline]
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// The difference to the time written before.
    fn time(&mut self, time: Instant) {
        let difference = time.as_millis().wrapping_sub(self.time);
        self.time = time.as_millis();
        self.number(time_number(difference));
    }

    /// A time near one that was written; the next difference is to that one again.
    fn time_beside(&mut self, time: Instant) {
        let here = self.time;
        self.time(time);
        self.time = here;
    }

    fn attributes(&mut self, facts: &[AttributeFact]) {
        self.number(facts.len() as u64);
        let mut place = None;
        for fact in facts {
            // Attributes of one event follow each other: only the first states the time.
            let shared = place == Some((fact.time, fact.sequence));
            place = Some((fact.time, fact.sequence));
            let mut head = u64::from(fact.slot) << 2;
            if shared {
                head |= SHARED;
            } else if fact.sequence != 0 {
                head |= SEQUENCED;
            }
            self.number(head);
            if !shared {
                self.time(fact.time);
                if fact.sequence != 0 {
                    self.number(fact.sequence);
                }
            }
            self.number(u64::from(fact.value));
        }
    }

    fn fact(&mut self, fact: &Fact) {
        let (kind, amount, term_end) = match fact.what {
            What::Started { amount, term_end, .. } => (STARTED, amount, Some(term_end)),
            What::Renewed { term_end } => (RENEWED, None, Some(term_end)),
            What::Changed { amount } => (CHANGED, Some(amount), None),
            What::Activity { .. } => (ACTIVITY, None, None),
            What::Ended { .. } => (ENDED, None, None),
        };
        let term_end = term_end.filter(|&end| end < Instant::DISTANT_FUTURE);
        let mut head = kind;
        for (flag, set) in [
            (SEQUENCE, fact.sequence != 0),
            (AMOUNT, amount.is_some()),
            (TERM, term_end.is_some()),
            (TRIAL, matches!(fact.what, What::Started { trial: true, .. })),
        ] {
            if set {
                head |= flag;
            }
        }
        self.byte(head);
        self.time(fact.time);
        if fact.sequence != 0 {
            self.number(fact.sequence);
        }
        if let Some(amount) = amount {
            self.bytes(amount.currency.to_number().to_le_bytes());
            self.number(amount.minor_units as u64);
        }
        if let Some(term_end) = term_end {
            self.time_beside(term_end);
        }
        match fact.what {
            What::Activity { last } => self.time_beside(last),
            What::Ended { effective, reason } => {
                self.byte(reason as u8);
                self.time_beside(effective);
            }
            _ => {}
        }
    }
}

/// How a time is told by its difference to another: in seconds, or in milliseconds where the lowest bit says so.
#[inline]
fn time_number(difference: i64) -> u64 {
    let (amount, unit) = if difference % 1000 == 0 { (difference / 1000, 0) } else { (difference, 1) };
    let zigzag = ((amount << 1) ^ (amount >> 63)) as u64;
    zigzag << 1 | unit
}

/// As [`time_number`], the bytes of it.
#[inline]
pub(super) fn time_word(difference: i64) -> Option<(u64, usize)> {
    varint::write_word(time_number(difference))
}

/// The inverse of [`time_number`].
#[inline]
pub(super) fn time_difference(number: u64) -> Option<i64> {
    let zigzag = number >> 1;
    let amount = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
    if number & 1 == 0 { amount.checked_mul(1000) } else { Some(amount) }
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Which the next one is told as the difference to.
    time: i64,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline(always)]
    fn number(&mut self) -> Result<u64, Malformed> {
        let (number, rest) = varint::read(self.rest).ok_or(Malformed)?;
        // There is one way to write each.
        let last = self.rest.len() - rest.len() - 1;
        if last > 0 && self.rest.get(last) == Some(&0) {
            return Err(Malformed);
        }
        self.rest = rest;
        Ok(number)
    }

    fn time(&mut self) -> Result<Instant, Malformed> {
        let difference = time_difference(self.number()?);
        let time = difference.and_then(|d| self.time.checked_add(d)).ok_or(Malformed)?;
        if !(Instant::EARLIEST_EVENT.as_millis()..=Instant::LATEST_EVENT.as_millis()).contains(&time) {
            return Err(Malformed);
        }
        self.time = time;
        Ok(Instant::from_millis(time))
    }

    fn time_beside(&mut self) -> Result<Instant, Malformed> {
        let here = self.time;
        let time = self.time();
        self.time = here;
        time
    }

    fn attributes(&mut self, slots: usize, values: usize, facts: &mut Vec<AttributeFact>) -> Result<(), Malformed> {
        for _ in 0..self.number()? {
            let head = self.number()?;
            let slot = u8::try_from(head >> 2).map_err(|_| Malformed)?;
            let (time, sequence) = match facts.last() {
                Some(last) if head & SHARED != 0 => (last.time, last.sequence),
                None if head & SHARED != 0 => return Err(Malformed),
                _ => (self.time()?, if head & SEQUENCED != 0 { self.number()? } else { 0 }),
            };
            let value = ValueId::try_from(self.number()?).map_err(|_| Malformed)?;
            let fact = AttributeFact { time, sequence, slot, value };
            let place = |f: &AttributeFact| (f.time, f.sequence, f.slot);
            let in_order = facts.last().is_none_or(|last| place(last) <= place(&fact));
            if !in_order || usize::from(slot) >= slots || value as usize >= values {
                return Err(Malformed);
            }
            facts.push(fact);
        }
        Ok(())
    }

    fn facts(&mut self, subscription: u64, facts: &mut Vec<Fact>) -> Result<(), Malformed> {
        for _ in 0..self.number()? {
            let fact = self.fact(subscription)?;
            if facts.last().is_some_and(|last| *last >= fact) {
                return Err(Malformed);
            }
            facts.push(fact);
        }
        Ok(())
    }

    fn fact(&mut self, subscription: u64) -> Result<Fact, Malformed> {
        let head = self.byte()?;
        let details = match head & KIND {
            STARTED => SEQUENCE | AMOUNT | TERM | TRIAL,
            RENEWED => SEQUENCE | TERM,
            CHANGED => SEQUENCE | AMOUNT,
            _ => SEQUENCE,
        };
        if head & !(KIND | details) != 0 {
            return Err(Malformed);
        }
        let time = self.time()?;
        let sequence = if head & SEQUENCE != 0 { self.number()? } else { 0 };
        let amount = if head & AMOUNT != 0 {
            let currency = Currency::from_number(u16::from_le_bytes(self.take()?)).ok_or(Malformed)?;
            let minor_units = i64::try_from(self.number()?).map_err(|_| Malformed)?;
            Some(Money { minor_units, currency })
        } else {
            None
        };
        let term_end = if head & TERM != 0 { self.time_beside()? } else { Instant::DISTANT_FUTURE };
        let what = match head & KIND {
            STARTED => What::Started { amount, term_end, trial: head & TRIAL != 0 },
            RENEWED => What::Renewed { term_end },
            CHANGED => What::Changed { amount: amount.ok_or(Malformed)? },
            ACTIVITY => What::Activity { last: self.later(time)? },
            ENDED => {
                let reason = EndReason::ALL.get(usize::from(self.byte()?)).copied().ok_or(Malformed)?;
                What::Ended { effective: self.later(time)?, reason }
            }
            _ => return Err(Malformed),
        };
        Ok(Fact { subscription, time, sequence, what })
    }

    fn later(&mut self, time: Instant) -> Result<Instant, Malformed> {
        self.time_beside().ok().filter(|&later| later >= time).ok_or(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cohort::Lifecycle;
    use crate::event::{Event, Kind};
    use crate::history::prolong::{Line, Prolonged, Sign, prolong};
    use crate::time::Span;
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
        let term = prop_oneof![any_time(), Just(Instant::DISTANT_FUTURE)];
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

    proptest! {
        #[test]
        fn what_is_packed_comes_back(history in any_history()) {
            let mut bytes = Vec::new();
            encode(&history, &mut bytes);
            let mut back = History::default();
            prop_assert_eq!(decode(&bytes, 4, 500, &mut back), Ok(()));
            prop_assert_eq!(&back, &history);
            prop_assert_eq!(bytes.split_last().map(|(_, torn)| decode(torn, 4, 500, &mut back)), Some(Err(Malformed)));
        }

        #[test]
        fn hostile_bytes_are_refused_or_read_back_the_same(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut history = History::default();
            if decode(&bytes, 4, 500, &mut history).is_ok() {
                let mut again = Vec::new();
                encode(&history, &mut again);
                let mut back = History::default();
                prop_assert_eq!(decode(&again, 4, 500, &mut back), Ok(()));
                prop_assert_eq!(back, history);
            }
        }

        /// What is written in place reads such bytes by itself, and has to find in them what is read here.
        #[test]
        fn hostile_bytes_that_are_accepted_can_be_prolonged(
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
            let sign = Sign::of(&event, &lifecycle, None);
            if let Some(Prolonged::Written(len)) = sign.and_then(|sign| prolong::<ROOM>(&mut line, bytes.len(), sign)) {
                let mut after = History::default();
                prop_assert_eq!(line.get(..len).map(|bytes| decode(bytes, 4, 500, &mut after)), Some(Ok(())));
                history.insert(0, &event, lifecycle.inactivity_timeout);
                prop_assert_eq!(after, history);
            }
        }
    }
}
