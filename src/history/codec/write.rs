//! From a history to bytes.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::{
    ACTIVITY, AMOUNT, ATTRIBUTES, CHANGED, DAYS, ENDED, FOLDED, FOLDED_ACTIVE, LATEST, NAMED, PLAIN, RENEWED, RUN,
    RUN_BYTES, Run, SEQUENCE, SEQUENCED, SHARED, STARTED, STEADY, TERM, TRIAL, days_number, is_plain, time_number,
};
use crate::history::{AttributeFact, Fact, History, What};
use crate::time::Instant;
use crate::varint;

/// Appends the bytes of a history.
pub fn encode(history: &History, out: &mut Vec<u8>) {
    let mut writer = Writer { out, time: 0 };
    let plain = is_plain(&history.facts);
    let run = if plain { Run::latest(&history.facts) } else { None };
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
    if let Some(run) = run {
        flags |= RUN;
        if run.is_steady(history) {
            flags |= STEADY;
        }
    }
    writer.byte(flags);
    if let Some(run) = run {
        writer.out.put(run.last.as_millis() as u64, RUN_BYTES);
    }
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
            writer.out.put(id, size_of_val(&id));
        }
        writer.number(facts.len() as u64);
        for (index, fact) in facts.iter().enumerate() {
            writer.fact(fact, run.is_some_and(|run| run.index == index));
        }
    }
}

/// Where bytes are written, up to eight at a time.
pub(in crate::history) trait Sink {
    /// Appends the lowest `size` bytes of a word.
    fn put(&mut self, word: u64, size: usize);
}

impl Sink for Vec<u8> {
    #[inline(always)]
    fn put(&mut self, word: u64, size: usize) {
        let len = self.len() + size;
        self.extend_from_slice(&word.to_le_bytes());
        self.truncate(len);
    }
}

/// Writes the parts of a history.
pub(in crate::history) struct Writer<'a, S> {
    out: &'a mut S,
    /// Which the next one is told as the difference to.
    time: i64,
}

impl<'a, S: Sink> Writer<'a, S> {
    /// That writes behind a time.
    pub fn behind(out: &'a mut S, time: Instant) -> Self {
        Self { out, time: time.as_millis() }
    }

    #[inline(always)]
    fn byte(&mut self, byte: u8) {
        self.out.put(u64::from(byte), 1);
    }

    #[inline(always)]
    fn number(&mut self, number: u64) {
        match varint::write_word(number) {
            Some((word, size)) => self.out.put(word, size),
            None => self.long_number(number),
        }
    }

    #[cold]
    fn long_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// The difference to the time written before.
    #[inline(always)]
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

    #[inline]
    pub fn fact(&mut self, fact: &Fact, is_latest_run: bool) {
        let (kind, amount, term_end) = match fact.what {
            What::Started { amount, term_end, .. } => (STARTED, amount, Some(term_end)),
            What::Renewed { term_end } => (RENEWED, None, Some(term_end)),
            What::Changed { amount } => (CHANGED, Some(amount), None),
            What::Activity { .. } => (ACTIVITY, None, None),
            What::Ended { .. } => (ENDED, None, None),
        };
        let term_end = term_end.filter(|&end| end < Instant::DISTANT_FUTURE);
        let days = term_end.and_then(|end| days_number(end.as_millis().wrapping_sub(fact.time.as_millis())));
        let mut head = kind;
        for (flag, set) in [
            (SEQUENCE, fact.sequence != 0),
            (AMOUNT, amount.is_some()),
            (TERM, term_end.is_some()),
            (DAYS, days.is_some()),
            (LATEST, is_latest_run),
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
            self.out.put(u64::from(amount.currency.to_number()), size_of::<u16>());
            self.number(amount.minor_units as u64);
        }
        match (days, term_end) {
            (Some(days), _) => self.number(days),
            (None, Some(term_end)) => self.time_beside(term_end),
            (None, None) => {}
        }
        match fact.what {
            What::Activity { last } if !is_latest_run => self.time_beside(last),
            What::Ended { effective, reason } => {
                self.byte(reason as u8);
                self.time_beside(effective);
            }
            _ => {}
        }
    }
}
