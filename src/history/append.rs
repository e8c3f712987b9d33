//! The latest word on a common customer, as nearly every event is, written into the packed history as it lies there.
//!
//! What is told here follows from [`super::History::insert`] and [`super::History::only_prolongs`], and a property test
//! holds them equal. Whatever is not the latest word is left to them.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod pen;

use self::pen::{Front, Pen, WORD};
use super::codec;
use super::expiry::Expiry;
use super::{Fact, What};
use crate::cohort::Lifecycle;
use crate::event::Event;
use crate::time::Instant;
use crate::varint;

/// A fact for a history.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    pub fact: Fact,
    pub lifecycle: &'a Lifecycle,
    /// As of when the customer is counted, if it is.
    pub as_of: Option<Instant>,
}

impl<'a> Update<'a> {
    /// What an event says of the subscription without an id.
    #[inline(always)]
    pub fn of(event: &Event<'_>, lifecycle: &'a Lifecycle, as_of: Option<Instant>) -> Self {
        Self { fact: Fact::of(0, event), lifecycle, as_of }
    }
}

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was known.
    Unchanged,
    /// The history has this many bytes now. All that changes is when the customer runs out, and later than it would have;
    /// or nobody counts the customer yet.
    Quiet(usize),
    /// The history has this many bytes now. What changes begins with the fact's time, which is later than the as-of.
    Ahead(usize),
}

/// What the facts of a history say, so far as an update has to know.
struct Facts {
    /// Where in the bytes their number is written.
    count_at: usize,
    /// The latest run of signs.
    run: Option<Run>,
    expiry: Expiry,
}

#[derive(Clone, Copy)]
struct Run {
    first: Instant,
    last: Instant,
}

/// Bytes to look at, of which a history has the first. What stands behind its room is not changed, whatever it is.
pub type Line = [u8; 64];

/// Adds a fact of the subscription without an id to the history in the first `len` of a line's first `ROOM` bytes; `None`,
/// and the history is as it was, where that takes a closer look, or more room.
#[inline]
pub fn append<const ROOM: usize>(line: &mut Line, len: usize, update: &Update<'_>) -> Option<Appended> {
    const { assert!(ROOM + WORD <= size_of::<Line>()) };
    append_steady(line, len, update).or_else(|| append_any::<ROOM>(line, len, update))
}

/// The latest sign of life of a customer of whom nothing but signs is expected: all that changes is when they end.
#[inline]
fn append_steady(line: &mut Line, len: usize, update: &Update<'_>) -> Option<Appended> {
    let front = Front::of(line)?;
    let time = update.fact.time;
    if !matches!(update.fact.what, What::Activity { .. }) || !front.is_steady() || time <= front.last() {
        return None;
    }
    // Without a timeout only the first sign decides anything.
    let Some(timeout) = update.lifecycle.inactivity_timeout else { return Some(Appended::Unchanged) };
    let runs_out = front.last() + timeout;
    if runs_out <= time || update.as_of.is_some_and(|as_of| runs_out <= as_of) {
        return None;
    }
    front.with(time, true).write(line)?;
    Some(Appended::Quiet(len))
}

/// As [`append`], of any history.
fn append_any<const ROOM: usize>(line: &mut Line, len: usize, update: &Update<'_>) -> Option<Appended> {
    let Update { fact, lifecycle, as_of } = update;
    let time = fact.time;
    let is_sign = matches!(fact.what, What::Activity { .. });
    let last = Front::of(line)?.last();
    let mut walk = Walk { bytes: line, at: 0, time: Instant::from_millis(0) };
    let folded_until = walk.head()?;
    if folded_until.is_some_and(|until| time <= until) {
        return None;
    }
    let Facts { count_at, run, mut expiry } = walk.facts(last)?;
    if walk.at != len {
        return None;
    }
    // Without a timeout only the first sign decides anything.
    let timeout = lifecycle.inactivity_timeout;
    if is_sign && run.is_some_and(|run| run.first <= time && (time <= run.last || timeout.is_none())) {
        return Some(Appended::Unchanged);
    }
    let is_quiet = expiry.is_put_off(update);
    if !is_quiet && as_of.is_some_and(|as_of| time <= as_of) {
        return None;
    }
    let latest_fact = walk.time;
    let mut pen = Pen { line, room: ROOM, at: len };
    let run = match run {
        Some(run) if is_sign => {
            if time <= run.last || run.last + timeout? < time {
                return None;
            }
            Some(Run { last: time, ..run })
        }
        // Behind everything.
        run if latest_fact < time => {
            pen.fact(fact, latest_fact, is_sign)?;
            if is_sign {
                pen.make_room_for_run()?;
            }
            pen.count_one_more(if is_sign { count_at + codec::RUN_BYTES } else { count_at })?;
            if is_sign { Some(Run { first: time, last: time }) } else { run }
        }
        _ => return None,
    };
    let len = pen.at;
    if let Some(Run { last, .. }) = run {
        expiry.learn(time, fact.what);
        let is_steady = expiry.is_steady(last) && folded_until.is_none_or(|until| until <= last);
        Front::of(line)?.with(last, is_steady).write(line)?;
    }
    Some(if is_quiet { Appended::Quiet(len) } else { Appended::Ahead(len) })
}

/// Goes through the bytes of a history that [`codec`] accepts, and has to read them as it does.
struct Walk<'a> {
    bytes: &'a Line,
    at: usize,
    /// Which the next one is told as the difference to.
    time: Instant,
}

impl Walk<'_> {
    /// Passes over what stands before the facts, and tells until when they are folded.
    #[inline(always)]
    fn head(&mut self) -> Option<Option<Instant>> {
        let flags = self.byte()?;
        if flags & codec::PLAIN == 0 {
            return None;
        }
        if flags & codec::RUN != 0 {
            self.at += codec::RUN_BYTES;
        }
        let folded_until = if flags & codec::FOLDED != 0 { Some(self.time()?) } else { None };
        if flags & codec::FOLDED_ACTIVE != 0 {
            self.time()?;
        }
        if flags & codec::ATTRIBUTES != 0 {
            self.skip_attributes()?;
        }
        Some(folded_until)
    }

    /// The facts; the latest run ends at `last`.
    #[inline(always)]
    fn facts(&mut self, last: Instant) -> Option<Facts> {
        let mut facts = Facts { count_at: self.at, run: None, expiry: Expiry::NONE };
        let count = self.byte()?;
        // One more and their number would have two bytes.
        if !(1..0x7f).contains(&count) {
            return None;
        }
        for _ in 0..count {
            let head = self.byte()?;
            let at = self.time()?;
            if head & (codec::SEQUENCE | codec::AMOUNT) != 0 {
                self.skip_details(head)?;
            }
            match head & codec::KIND {
                codec::ACTIVITY => {
                    let last = if head & codec::LATEST != 0 { last } else { self.time_beside()? };
                    facts.run = Some(Run { first: at, last });
                    facts.expiry.sign(last);
                }
                codec::ENDED => {
                    self.byte()?;
                    self.number()?;
                    facts.expiry.end();
                }
                codec::CHANGED => facts.expiry.sign(at),
                _ => {
                    facts.expiry.open(at, self.term_end(head)?, head & codec::TRIAL != 0);
                }
            }
        }
        Some(facts)
    }

    #[inline(always)]
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// The bytes that come next, so far as the line has them: a history with less than a word behind it has no room.
    #[inline(always)]
    fn word(&self) -> Option<u64> {
        let at = self.at;
        if at > size_of::<Line>() - WORD {
            return None;
        }
        Some(u64::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    #[inline(always)]
    fn number(&mut self) -> Option<u64> {
        let word = self.word()?;
        if word & 0x80 == 0 {
            self.at += 1;
            return Some(word & 0x7f);
        }
        let (number, size) = varint::read_word(word)?;
        self.at += size;
        Some(number)
    }

    #[inline(always)]
    fn time(&mut self) -> Option<Instant> {
        self.time = self.time_beside()?;
        Some(self.time)
    }

    #[inline(always)]
    fn time_beside(&mut self) -> Option<Instant> {
        let difference = codec::time_difference(self.number()?)?;
        Some(self.after(difference))
    }

    #[inline(always)]
    fn after(&self, difference: i64) -> Instant {
        Instant::from_millis(self.time.as_millis().wrapping_add(difference))
    }

    /// The end of a term, if a fact with this head has one.
    #[inline(always)]
    fn term_end(&mut self, head: u8) -> Option<Instant> {
        if head & codec::DAYS != 0 {
            let difference = codec::days_difference(self.number()?)?;
            return Some(self.after(difference));
        }
        if head & codec::TERM != 0 { self.time_beside() } else { Some(Instant::DISTANT_FUTURE) }
    }

    fn skip_attributes(&mut self) -> Option<()> {
        for _ in 0..self.number()? {
            let head = self.number()?;
            if head & codec::SHARED == 0 {
                self.time()?;
                if head & codec::SEQUENCED != 0 {
                    self.number()?;
                }
            }
            self.number()?;
        }
        Some(())
    }

    /// Passes over what a fact says between its time and its term.
    #[inline(always)]
    fn skip_details(&mut self, head: u8) -> Option<()> {
        if head & codec::SEQUENCE != 0 {
            self.number()?;
        }
        if head & codec::AMOUNT != 0 {
            self.at += size_of::<u16>();
            self.number()?;
        }
        Some(())
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::expect_used, reason = "a test that fails says where")]
mod tests {
    use proptest::prelude::*;

    use super::super::{AttributeFact, Folded, History};
    use super::*;
    use crate::event::{Currency, EndReason, Kind, Money};
    use crate::time::Span;

    const ROOM: usize = 47;
    const TIMEOUT: Span = Span::from_millis(10_000);
    const fn lifecycle(inactivity_timeout: Option<Span>) -> Lifecycle {
        Lifecycle { inactivity_timeout, grace_period: Span::from_millis(2_000) }
    }

    /// What the history does with the update, and whether that decides nothing but when the customer runs out.
    fn slowly(history: &History, update: &Update<'_>) -> (Option<Vec<u8>>, bool) {
        let quiet = update.as_of.is_none() || history.only_prolongs(update);
        let mut history = history.clone();
        let changed = history.insert(update.fact, update.lifecycle.inactivity_timeout);
        (changed.then(|| packed(&history)), quiet)
    }

    fn event<'a>(time: Instant, sequence: u64, kind: Kind) -> Event<'a> {
        Event { customer_id: b"c", subscription_id: b"", time, sequence, attributes: Default::default(), kind }
    }

    fn packed(history: &History) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec::encode(history, &mut bytes);
        bytes
    }

    fn any_instant() -> impl Strategy<Value = Instant> {
        prop_oneof![(0i64..60).prop_map(|s| s * 1000), 0i64..60_000].prop_map(Instant::from_millis)
    }

    /// A term of any length, or of a day.
    fn any_term(time: Instant) -> impl Strategy<Value = Instant> {
        prop_oneof![3 => any_instant(), 1 => Just(time + Span::DAY)]
    }

    fn any_kind(time: Instant) -> impl Strategy<Value = Kind> {
        let term = || prop::option::of(any_term(time));
        let amount = Money { minor_units: 490, currency: Currency::from_code("USD").expect("a code") };
        prop_oneof![
            4 => Just(Kind::Activity),
            4 => term().prop_map(|term_end| Kind::Renewed { term_end }),
            1 => Just(Kind::Changed { amount }),
            1 => any_instant().prop_map(|effective| Kind::Ended { effective, reason: EndReason::Cancelled }),
            1 => (prop::option::of(Just(amount)), term(), any::<bool>())
                .prop_map(|(amount, term_end, trial)| Kind::Started { amount, term_end, trial }),
        ]
    }

    fn any_history(timeout: Option<Span>) -> impl Strategy<Value = History> {
        let any_fact = |time: Instant| {
            let term = prop_oneof![4 => Just(Instant::DISTANT_FUTURE), 1 => any_term(time)];
            (prop_oneof![19 => Just(0u64), 1 => Just(9)], Just(time), 0u64..2, 0u8..9, term, any::<bool>())
        };
        let fact = any_instant().prop_flat_map(any_fact);
        let fact = fact.prop_map(|(subscription, time, sequence, what, term_end, flag)| {
            let amount = Money { minor_units: 990, currency: Currency::from_code("EUR").expect("a code") };
            let what = match what {
                0..5 => What::Started { amount: flag.then_some(amount), term_end, trial: what == 4 && flag },
                5..7 => What::Renewed { term_end },
                7 => What::Changed { amount },
                _ => What::Ended { effective: time, reason: EndReason::Cancelled },
            };
            Fact { subscription, time, sequence, what }
        });
        let attribute = (any_instant(), 0u64..2, 0u8..2, 0u32..300)
            .prop_map(|(time, sequence, slot, value)| AttributeFact { time, sequence, slot, value });
        let folded = (any_instant(), prop::option::of(any_instant()))
            .prop_map(|(until, first_active)| Folded { until, first_active });
        (
            prop::option::weighted(0.2, folded),
            prop::collection::vec(attribute, 0..3),
            prop::collection::btree_set(fact, 0..4),
            prop::collection::vec(any_instant(), 0..5),
        )
            .prop_map(move |(folded, mut attributes, facts, signs)| {
                attributes.sort_by_key(|f| (f.time, f.sequence, f.slot, f.value));
                let mut history = History { folded, attributes, facts: facts.into_iter().collect() };
                for time in signs {
                    history.insert_sign(0, time, timeout);
                }
                history
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50_000))]

        #[test]
        fn an_update_of_packed_bytes_is_what_it_is_of_the_history(
            (timeout, history) in prop::option::weighted(0.8, Just(TIMEOUT))
                .prop_flat_map(|timeout| (Just(timeout), any_history(timeout))),
            (time, kind) in any_instant().prop_flat_map(|time| (Just(time), any_kind(time))),
            sequence in 0u64..2,
            as_of in prop::option::of(any_instant()),
            behind in any::<u8>(),
        ) {
            let kind = match kind {
                Kind::Ended { effective, reason } => Kind::Ended { effective: effective.max(time), reason },
                other => other,
            };
            let event = event(time, sequence, kind);
            let lifecycle = lifecycle(timeout);
            let update = Update::of(&event, &lifecycle, as_of);
            let bytes = packed(&history);
            if bytes.len() > ROOM {
                return Ok(());
            }
            let mut line = [behind; size_of::<Line>()];
            line[..bytes.len()].copy_from_slice(&bytes);
            let before = line;
            let appended = append::<ROOM>(&mut line, bytes.len(), &update);
            prop_assert_eq!(&line[ROOM..], &before[ROOM..], "what is behind the room stays");
            let (after, quiet) = slowly(&history, &update);
            match appended {
                None => {
                    prop_assert_eq!(&line[..bytes.len()], bytes, "what is not taken changes nothing");
                    let is_latest = history.facts.iter().all(|f| f.subscription == 0 && f.time < time);
                    let runs = || history.facts.iter().filter_map(|f| match f.what {
                        What::Activity { last } => Some(last),
                        _ => None,
                    });
                    let begins_another_run =
                        kind == Kind::Activity && runs().count() > 0 && runs().all(|last| last + TIMEOUT < time);
                    let fits = after.is_some_and(|after| after.len() <= ROOM);
                    let counts_later = quiet || as_of.is_some_and(|as_of| as_of < time);
                    prop_assert!(
                        !(fits && counts_later && is_latest && !begins_another_run && !history.facts.is_empty())
                            || history.hides(time),
                        "the latest word takes no closer look"
                    );
                }
                Some(Appended::Unchanged) => {
                    prop_assert_eq!(after, None);
                    prop_assert_eq!(line, before);
                }
                Some(Appended::Quiet(len) | Appended::Ahead(len)) => {
                    prop_assert_eq!(after, Some(line[..len].to_vec()));
                    prop_assert_eq!(quiet, appended == Some(Appended::Quiet(len)));
                    prop_assert!(quiet || as_of.is_some_and(|as_of| as_of < time));
                    prop_assert!(!history.hides(time));
                }
            }
        }
    }
}
