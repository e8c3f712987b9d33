//! From bytes to a history, or to their refusal.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::{
    ACTIVITY, AMOUNT, ATTRIBUTES, CHANGED, DAY_MS, DAYS, ENDED, FOLDED, FOLDED_ACTIVE, KIND, LATEST, Malformed, NAMED,
    PLAIN, RENEWED, RUN, RUN_BYTES, Run, SEQUENCE, SEQUENCED, SHARED, STARTED, STEADY, TERM, TRIAL, days_difference,
    time_difference,
};
use crate::event::{Currency, EndReason, Money};
use crate::history::{AttributeFact, Fact, Folded, History, ValueId, What};
use crate::time::Instant;
use crate::varint;

/// Reads what [`encode`](super::encode) wrote, into a history whose buffers are reused. Whatever is accepted has the order and the
/// limits that the rest of the core relies on.
pub fn decode(bytes: &[u8], slots: usize, values: usize, history: &mut History) -> Result<(), Malformed> {
    let flags = read::<true>(bytes, history)?;
    let has_place = |fact: &AttributeFact| usize::from(fact.slot) < slots && (fact.value as usize) < values;
    // The bytes would be written so.
    let run = if flags & PLAIN != 0 { Run::latest(&history.facts) } else { None };
    let is_steady = run.is_some_and(|run| run.is_steady(history));
    let as_written = (flags & STEADY != 0) == is_steady && (flags & RUN != 0) == run.is_some();
    if as_written && history.attributes.iter().all(has_place) { Ok(()) } else { Err(Malformed) }
}

/// As [`decode`], of bytes that were written in this process, or accepted: what cannot be otherwise is not looked at again.
pub fn decode_again(bytes: &[u8], history: &mut History) -> Result<(), Malformed> {
    read::<false>(bytes, history).map(drop)
}

/// Reads a history, and tells the flags.
#[inline(always)]
fn read<const CHECKED: bool>(bytes: &[u8], history: &mut History) -> Result<u8, Malformed> {
    history.clear();
    let mut reader = Reader::<CHECKED> { rest: bytes, time: 0, has_run: false, latest: None };
    let flags = reader.byte()?;
    if CHECKED && (flags & FOLDED == 0 && flags & FOLDED_ACTIVE != 0 || flags & PLAIN == 0 && flags & RUN != 0) {
        return Err(Malformed);
    }
    if flags & RUN != 0 {
        let [a, b, c, d, e, f] = reader.take::<RUN_BYTES>()?;
        let last = Instant::from_millis(i64::from_le_bytes([a, b, c, d, e, f, 0, 0]));
        (reader.has_run, reader.latest) = (true, Some(in_range::<CHECKED>(last)?));
    }
    if flags & FOLDED != 0 {
        let until = reader.time()?;
        let first_active = if flags & FOLDED_ACTIVE != 0 { Some(reader.time()?) } else { None };
        history.folded = Some(Folded { until, first_active });
    }
    if flags & ATTRIBUTES != 0 {
        reader.attributes(&mut history.attributes)?;
    }
    if flags & PLAIN != 0 {
        reader.facts(0, &mut history.facts)?;
    } else if flags & NAMED != 0 {
        while !reader.rest.is_empty() {
            let id = u64::from_le_bytes(reader.take()?);
            reader.facts(id, &mut history.facts)?;
        }
    }
    if reader.rest.is_empty() && reader.latest.is_none() { Ok(flags) } else { Err(Malformed) }
}

/// Checks, where it shall, what an attacker could have written and [`encode`](super::encode) never does.
struct Reader<'a, const CHECKED: bool> {
    rest: &'a [u8],
    /// Which the next one is told as the difference to.
    time: i64,
    /// When the latest run ends, if that stands behind the flags; nothing once that run is read.
    latest: Option<Instant>,
    has_run: bool,
}

/// A time that an event can have.
#[inline(always)]
fn in_range<const CHECKED: bool>(time: Instant) -> Result<Instant, Malformed> {
    let is_fine = !CHECKED || (Instant::EARLIEST_EVENT..=Instant::LATEST_EVENT).contains(&time);
    if is_fine { Ok(time) } else { Err(Malformed) }
}

impl<const CHECKED: bool> Reader<'_, CHECKED> {
    #[inline(always)]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline(always)]
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
        if CHECKED && last > 0 && self.rest.get(last) == Some(&0) {
            return Err(Malformed);
        }
        self.rest = rest;
        Ok(number)
    }

    #[inline(always)]
    fn time(&mut self) -> Result<Instant, Malformed> {
        let time = self.time_beside()?;
        self.time = time.as_millis();
        Ok(time)
    }

    #[inline(always)]
    fn time_beside(&mut self) -> Result<Instant, Malformed> {
        let difference = time_difference(self.number()?).ok_or(Malformed)?;
        self.after(difference)
    }

    #[inline(always)]
    fn after(&self, difference: i64) -> Result<Instant, Malformed> {
        in_range::<CHECKED>(Instant::from_millis(self.time.checked_add(difference).ok_or(Malformed)?))
    }

    /// The end of a term, if a fact with this head has one.
    #[inline(always)]
    fn term_end(&mut self, head: u8) -> Result<Instant, Malformed> {
        if head & TERM == 0 {
            return Ok(Instant::DISTANT_FUTURE);
        }
        let number = self.number()?;
        if head & DAYS != 0 {
            return self.after(days_difference(number).ok_or(Malformed)?);
        }
        let difference = time_difference(number).ok_or(Malformed)?;
        if CHECKED && difference % DAY_MS == 0 { Err(Malformed) } else { self.after(difference) }
    }

    fn attributes(&mut self, facts: &mut Vec<AttributeFact>) -> Result<(), Malformed> {
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
            if CHECKED && !in_order {
                return Err(Malformed);
            }
            facts.push(fact);
        }
        Ok(())
    }

    #[inline(always)]
    fn facts(&mut self, subscription: u64, facts: &mut Vec<Fact>) -> Result<(), Malformed> {
        for _ in 0..self.number()? {
            let fact = self.fact(subscription)?;
            if CHECKED && facts.last().is_some_and(|last| *last >= fact) {
                return Err(Malformed);
            }
            facts.push(fact);
        }
        Ok(())
    }

    #[inline(always)]
    fn fact(&mut self, subscription: u64) -> Result<Fact, Malformed> {
        let head = self.byte()?;
        let details = match head & KIND {
            STARTED => SEQUENCE | AMOUNT | TERM | TRIAL | DAYS,
            RENEWED => SEQUENCE | TERM | DAYS,
            CHANGED => SEQUENCE | AMOUNT,
            ACTIVITY => SEQUENCE | LATEST,
            _ => SEQUENCE,
        };
        if CHECKED && (head & !(KIND | details) != 0 || head & (TERM | DAYS) == DAYS) {
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
        if head & KIND == ACTIVITY && head & LATEST != 0 {
            let last = self.latest.take().filter(|&last| last >= time).ok_or(Malformed)?;
            return Ok(Fact { subscription, time, sequence, what: What::Activity { last } });
        }
        let what = match head & KIND {
            STARTED => What::Started { amount, term_end: self.term_end(head)?, trial: head & TRIAL != 0 },
            RENEWED => What::Renewed { term_end: self.term_end(head)? },
            CHANGED => What::Changed { amount: amount.ok_or(Malformed)? },
            // The latest is the last one.
            ACTIVITY if CHECKED && self.has_run && self.latest.is_none() => return Err(Malformed),
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
