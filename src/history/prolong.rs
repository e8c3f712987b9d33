//! The common events in the common history: one more sign of life, or a renewal, written into the packed bytes as they
//! lie there.
//!
//! What is told here follows from [`super::History::insert`] and [`super::History::only_prolongs`], and a property test
//! holds them equal. Whatever is not the latest word of a customer is left to them.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::codec;
use crate::cohort::Lifecycle;
use crate::event::{Event, Kind};
use crate::time::{Instant, Span};
use crate::varint;

/// A sign of life or a renewal.
#[derive(Clone, Copy, Debug)]
pub struct Sign<'a> {
    pub time: Instant,
    pub renewal: Option<Renewal>,
    pub lifecycle: &'a Lifecycle,
    /// As of when the customer is counted, if it is: nothing but when it runs out may be different then.
    pub as_of: Option<Instant>,
}

/// What a renewal says besides.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    pub sequence: u64,
    /// [`Instant::DISTANT_FUTURE`] where there is none.
    pub term_end: Instant,
}

impl<'a> Sign<'a> {
    /// `None` for an event of another kind.
    pub fn of(event: &Event<'_>, lifecycle: &'a Lifecycle, as_of: Option<Instant>) -> Option<Self> {
        let renewal = match event.kind {
            Kind::Activity => None,
            Kind::Renewed { term_end } => {
                Some(Renewal { sequence: event.sequence, term_end: term_end.unwrap_or(Instant::DISTANT_FUTURE) })
            }
            _ => return None,
        };
        Some(Self { time: event.time, renewal, lifecycle, as_of })
    }
}

/// When a subscription runs out that nobody has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry {
    /// Of the latest opening.
    term_end: Instant,
    last_sign: Instant,
}

impl Expiry {
    /// Of a subscription of which nothing is known.
    pub const NONE: Self = Self { term_end: Instant::DISTANT_FUTURE, last_sign: Instant::DISTANT_PAST };

    #[inline(always)]
    pub fn sign(&mut self, time: Instant) {
        self.last_sign = self.last_sign.max(time);
    }

    #[inline(always)]
    pub fn open(&mut self, time: Instant, term_end: Instant) {
        self.sign(time);
        self.term_end = term_end;
    }

    fn runs_out_at(self, lifecycle: &Lifecycle) -> Instant {
        match lifecycle.inactivity_timeout {
            _ if self.term_end < Instant::DISTANT_FUTURE => self.term_end + lifecycle.grace_period,
            Some(timeout) => self.last_sign + timeout,
            None => Instant::DISTANT_FUTURE,
        }
    }

    /// Whether all that the sign does is to put it off, as of any instant from the sign's as-of until then.
    pub fn is_put_off(self, sign: Sign<'_>) -> bool {
        let Some(as_of) = sign.as_of else { return true };
        let mut after = self;
        match sign.renewal {
            Some(renewal) => after.open(sign.time, renewal.term_end),
            None => after.sign(sign.time),
        }
        let runs_out = self.runs_out_at(sign.lifecycle);
        self.last_sign < sign.time
            && sign.time < runs_out
            && as_of < runs_out
            && runs_out <= after.runs_out_at(sign.lifecycle)
    }
}

/// What became of a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prolonged {
    /// It was known.
    Unchanged,
    /// The history has this many bytes now.
    Written(usize),
}

/// What the facts of a history say, so far as a sign has to know.
struct Facts {
    /// Where in the bytes their number is written.
    count_at: usize,
    run: Option<Run>,
    expiry: Expiry,
    /// Whether nobody has ended the subscription, and none of it is a trial.
    stands: bool,
}

/// The last run of signs.
struct Run {
    first: i64,
    last: i64,
    /// Where in the bytes `last` is written.
    start: usize,
    end: usize,
}

/// Bytes to look at, of which a history has the first. What stands behind its room is not changed, whatever it is.
pub type Line = [u8; 64];

/// Adds a sign of the subscription without an id to the history in the first `len` of a line's first `ROOM` bytes; `None`,
/// and the history is as it was, where that takes a closer look, or more room.
pub fn prolong<const ROOM: usize>(line: &mut Line, len: usize, sign: Sign<'_>) -> Option<Prolonged> {
    const { assert!(ROOM + WORD <= size_of::<Line>()) };
    let time = sign.time.as_millis();
    let mut walk = Walk { bytes: line, at: 0, time: 0 };
    if walk.head()?.is_some_and(|folded_until| time <= folded_until) {
        return None;
    }
    let Facts { count_at, run, expiry, stands } = walk.facts()?;
    if walk.at != len {
        return None;
    }
    // Without a timeout only the first sign decides anything.
    let timeout = sign.lifecycle.inactivity_timeout;
    let in_run = run.as_ref().is_some_and(|run| run.first <= time && (time <= run.last || timeout.is_none()));
    if sign.renewal.is_none() && in_run {
        return Some(Prolonged::Unchanged);
    }
    if sign.as_of.is_some() && !(stands && expiry.is_put_off(sign)) {
        return None;
    }
    let latest_fact = walk.time;
    let mut pen = Pen { line, room: ROOM, at: len };
    match (sign.renewal, run) {
        // Behind everything.
        (Some(renewal), _) if latest_fact < time => {
            pen.renewal(renewal, time, latest_fact)?;
            pen.count_one_more(count_at)?;
        }
        (None, run) => {
            let timeout = timeout.map_or(i64::MAX, Span::as_millis);
            match run {
                Some(run) if run.last < time && time.saturating_sub(run.last) <= timeout => {
                    let last = codec::time_word(time.checked_sub(run.first)?)?;
                    pen.replace(run.start..run.end, last)?;
                }
                // A new run, behind everything.
                run if latest_fact < time && run.as_ref().is_none_or(|run| run.last < time) => {
                    pen.word((u64::from(codec::ACTIVITY), 1))?;
                    pen.word(codec::time_word(time.checked_sub(latest_fact)?)?)?;
                    // Its last sign is its first.
                    pen.word((0, 1))?;
                    pen.count_one_more(count_at)?;
                }
                _ => return None,
            }
        }
        _ => return None,
    }
    Some(Prolonged::Written(pen.at))
}

/// How many bytes are read or written at a time.
const WORD: usize = size_of::<u64>();

/// Writes behind the history's bytes, as [`codec::encode`] would.
struct Pen<'a> {
    line: &'a mut Line,
    room: usize,
    at: usize,
}

impl Pen<'_> {
    /// Appends the lowest bytes of a word, and nothing where there is no room.
    #[inline(always)]
    fn word(&mut self, (word, size): (u64, usize)) -> Option<()> {
        if size == 0 || size > WORD || self.at + size > self.room {
            return None;
        }
        let place: &mut [u8; WORD] = self.line.get_mut(self.at..self.at + WORD)?.first_chunk_mut()?;
        let kept = u64::MAX.checked_shl(8 * size as u32).unwrap_or(0);
        *place = (u64::from_le_bytes(*place) & kept | word & !kept).to_le_bytes();
        self.at += size;
        Some(())
    }

    fn count_one_more(&mut self, count_at: usize) -> Option<()> {
        *self.line.get_mut(count_at)? += 1;
        Some(())
    }

    fn renewal(&mut self, renewal: Renewal, time: i64, latest_fact: i64) -> Option<()> {
        let has_term = renewal.term_end < Instant::DISTANT_FUTURE;
        let mut head = codec::RENEWED;
        for (flag, set) in [(codec::SEQUENCE, renewal.sequence != 0), (codec::TERM, has_term)] {
            if set {
                head |= flag;
            }
        }
        self.word((u64::from(head), 1))?;
        self.word(codec::time_word(time.checked_sub(latest_fact)?)?)?;
        if renewal.sequence != 0 {
            self.word(varint::write_word(renewal.sequence)?)?;
        }
        if has_term {
            self.word(codec::time_word(renewal.term_end.as_millis().checked_sub(time)?)?)?;
        }
        Some(())
    }

    /// Puts the lowest bytes of a word in the place of others.
    #[inline(always)]
    fn replace(&mut self, old: std::ops::Range<usize>, word: (u64, usize)) -> Option<()> {
        let end = old.start + word.1;
        let len = self.at - (old.end - old.start) + word.1;
        if len > self.room {
            return None;
        }
        if old.end != end {
            self.line.copy_within(old.end..self.at, end);
        }
        self.at = old.start;
        self.word(word)?;
        self.at = len;
        Some(())
    }
}

/// Goes through the bytes of a history that [`codec`] accepts, and has to read them as it does.
struct Walk<'a> {
    bytes: &'a Line,
    at: usize,
    /// Which the next one is told as the difference to.
    time: i64,
}

impl Walk<'_> {
    /// Passes over what stands before the facts, and tells until when they are folded.
    #[inline(always)]
    fn head(&mut self) -> Option<Option<i64>> {
        let flags = self.byte()?;
        if flags & codec::PLAIN == 0 {
            return None;
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

    #[inline(always)]
    fn facts(&mut self) -> Option<Facts> {
        let mut facts = Facts { count_at: self.at, run: None, expiry: Expiry::NONE, stands: true };
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
                    let start = self.at;
                    let last = self.time_beside()?;
                    facts.run = Some(Run { first: at, last, start, end: self.at });
                    facts.expiry.sign(Instant::from_millis(last));
                }
                codec::ENDED => {
                    self.byte()?;
                    self.number()?;
                    facts.stands = false;
                }
                codec::CHANGED => facts.expiry.sign(Instant::from_millis(at)),
                _ => {
                    let term = if head & codec::TERM != 0 { self.time_beside()? } else { i64::MAX };
                    facts.expiry.open(Instant::from_millis(at), Instant::from_millis(term));
                    facts.stands &= head & codec::TRIAL == 0;
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
    fn time(&mut self) -> Option<i64> {
        self.time = self.time_beside()?;
        Some(self.time)
    }

    #[inline(always)]
    fn time_beside(&mut self) -> Option<i64> {
        Some(self.time.wrapping_add(codec::time_difference(self.number()?)?))
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

    use super::super::{AttributeFact, Fact, Folded, History, What};
    use super::*;
    use crate::event::{Currency, EndReason, Money};

    const ROOM: usize = 47;
    const TIMEOUT: Span = Span::from_millis(10_000);
    const fn lifecycle(inactivity_timeout: Option<Span>) -> Lifecycle {
        Lifecycle { inactivity_timeout, grace_period: Span::from_millis(2_000) }
    }

    /// What the history does with the event, and whether that decides nothing but when the customer runs out.
    fn slowly(
        history: &History,
        event: &Event<'_>,
        lifecycle: &Lifecycle,
        as_of: Option<Instant>,
    ) -> (Option<Vec<u8>>, bool) {
        let quiet = as_of.is_none_or(|as_of| history.only_prolongs(0, event, lifecycle, as_of));
        let mut history = history.clone();
        let changed = history.insert(0, event, lifecycle.inactivity_timeout);
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

    fn any_history(timeout: Option<Span>) -> impl Strategy<Value = History> {
        let term = prop_oneof![4 => Just(Instant::DISTANT_FUTURE), 1 => any_instant()];
        let fact = (prop_oneof![19 => Just(0u64), 1 => Just(9)], any_instant(), 0u64..2, 0u8..9, term, any::<bool>());
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
        fn a_sign_in_packed_bytes_is_what_it_is_in_the_history(
            (timeout, history) in prop::option::weighted(0.8, Just(TIMEOUT))
                .prop_flat_map(|timeout| (Just(timeout), any_history(timeout))),
            time in any_instant(),
            sequence in 0u64..2,
            renewed in prop::option::weighted(0.4, prop::option::of(any_instant())),
            as_of in prop::option::of(any_instant()),
            behind in any::<u8>(),
        ) {
            let kind = renewed.map_or(Kind::Activity, |term_end| Kind::Renewed { term_end });
            let event = event(time, sequence, kind);
            let lifecycle = lifecycle(timeout);
            let sign = Sign::of(&event, &lifecycle, as_of).expect("one of the common events");
            let bytes = packed(&history);
            if bytes.len() > ROOM {
                return Ok(());
            }
            let mut line = [behind; size_of::<Line>()];
            line[..bytes.len()].copy_from_slice(&bytes);
            let before = line;
            let prolonged = prolong::<ROOM>(&mut line, bytes.len(), sign);
            prop_assert_eq!(&line[ROOM..], &before[ROOM..], "what is behind the room stays");
            match prolonged {
                None => {
                    prop_assert_eq!(&line[..bytes.len()], bytes, "what is not taken changes nothing");
                    let is_latest = history.facts.iter().all(|f| f.subscription == 0 && f.time < time);
                    let (after, quiet) = slowly(&history, &event, &lifecycle, as_of);
                    let fits = after.is_some_and(|after| after.len() <= ROOM);
                    prop_assert!(
                        !(fits && quiet && is_latest && !history.facts.is_empty()) || history.hides(time),
                        "the latest word that says nothing new takes no closer look"
                    );
                }
                Some(Prolonged::Unchanged) => {
                    prop_assert_eq!(slowly(&history, &event, &lifecycle, as_of).0, None);
                    prop_assert_eq!(line, before);
                }
                Some(Prolonged::Written(len)) => {
                    prop_assert_eq!(slowly(&history, &event, &lifecycle, as_of), (Some(line[..len].to_vec()), true));
                    prop_assert!(!history.hides(time));
                }
            }
        }
    }
}
