//! From bytes to a history, or to their refusal.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::{
    ACTIVITY, AMOUNT, ATTRIBUTES, CHANGED, ENDED, FOLDED, FOLDED_ACTIVE, KIND, LATEST, Malformed, NAMED, PLAIN,
    RENEWED, RUN, RUN_BYTES, Run, SEQUENCE, SEQUENCED, SHARED, STARTED, STEADY, TERM, TRIAL, time_difference,
};
use crate::event::{Currency, EndReason, Money};
use crate::history::{AttributeFact, Fact, Folded, History, ValueId, What};
use crate::time::Instant;
use crate::varint;

/// Reads what [`encode`](super::encode) wrote, into a history whose buffers are reused. Whatever is accepted has the order and the
/// limits that the rest of the core relies on.
pub fn decode(bytes: &[u8], slots: usize, values: usize, history: &mut History) -> Result<(), Malformed> {
    history.clear();
    let mut reader = Reader { rest: bytes, time: 0, has_run: false, latest: None };
    let flags = reader.byte()?;
    if flags & FOLDED == 0 && flags & FOLDED_ACTIVE != 0 || flags & PLAIN == 0 && flags & RUN != 0 {
        return Err(Malformed);
    }
    if flags & RUN != 0 {
        let [a, b, c, d, e, f] = reader.take::<RUN_BYTES>()?;
        let last = Instant::from_millis(i64::from_le_bytes([a, b, c, d, e, f, 0, 0]));
        (reader.has_run, reader.latest) = (true, Some(in_range(last)?));
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
    // The bytes would be written so.
    let run = if flags & PLAIN != 0 { Run::latest(&history.facts) } else { None };
    let is_steady = run.is_some_and(|run| run.is_steady(history));
    let as_written =
        (flags & STEADY != 0) == is_steady && (flags & RUN != 0) == run.is_some() && reader.latest.is_none();
    if reader.rest.is_empty() && as_written { Ok(()) } else { Err(Malformed) }
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Which the next one is told as the difference to.
    time: i64,
    /// When the latest run ends, if that stands behind the flags; nothing once that run is read.
    latest: Option<Instant>,
    has_run: bool,
}

/// A time that an event can have.
fn in_range(time: Instant) -> Result<Instant, Malformed> {
    if (Instant::EARLIEST_EVENT..=Instant::LATEST_EVENT).contains(&time) { Ok(time) } else { Err(Malformed) }
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
        self.time = time;
        in_range(Instant::from_millis(time))
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
            ACTIVITY => SEQUENCE | LATEST,
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
        if head & KIND == ACTIVITY && head & LATEST != 0 {
            let last = self.latest.take().filter(|&last| last >= time).ok_or(Malformed)?;
            return Ok(Fact { subscription, time, sequence, what: What::Activity { last } });
        }
        let term_end = if head & TERM != 0 { self.time_beside()? } else { Instant::DISTANT_FUTURE };
        let what = match head & KIND {
            STARTED => What::Started { amount, term_end, trial: head & TRIAL != 0 },
            RENEWED => What::Renewed { term_end },
            CHANGED => What::Changed { amount: amount.ok_or(Malformed)? },
            // The latest is the last one.
            ACTIVITY if self.has_run && self.latest.is_none() => return Err(Malformed),
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
