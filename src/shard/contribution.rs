//! From a change of one customer's timeline to range updates of its cohorts: the contract's section "Windows".
//!
//! What a window counts follows from where it starts. The starts are cut into ranges over which a window sees one thing
//! in each of both timelines, the old and the new; what it counts the same in both cancels before any grouping hears of it.

use std::ops::Range;

use super::dimensions::{Dimensions, GroupingPlan};
use super::values::Values;
use crate::event::{Currency, EndReason};
use crate::history::timeline::{Piece, Timeline};
use crate::tally::{CohortId, Count, Number, Sum, Tally};
use crate::time::{Boundary, Grid, Instant};

/// Profiles that are looked through before one is taken for new: a repeated one costs a little time and nothing else.
const PROFILES_COMPARED: usize = 8;

/// The updates, for all groupings, that replace what a customer contributed by what it contributes now.
#[derive(Default)]
pub struct Contribution {
    updates: Vec<Update>,
    profiles: Vec<Profile>,
    /// Whether both timelines have the same values in the dimensions that tell how a customer began.
    same_origin: bool,
    /// By profile, in the grouping at hand.
    cohorts: Vec<Option<CohortId>>,
}

struct Update {
    number: Number,
    /// Whose cohort counts it.
    profile: usize,
    /// Of a move, the profile at the other end: where both are in one cohort nobody has moved. The same otherwise.
    other: usize,
    range: Range<Boundary>,
    amount: i128,
}

/// What a customer is in all dimensions: that of a piece of one of the timelines.
#[derive(Clone, Copy)]
struct Profile {
    side: usize,
    piece: usize,
}

/// One of the two timelines.
struct Side<'a> {
    timeline: &'a Timeline,
    index: usize,
    now: Now<'a>,
    /// How much lies behind the range at hand: the first active instant, then the pieces.
    behind: usize,
    /// When the next of it begins.
    next: Instant,
}

/// What windows see of a customer as they end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Now<'a> {
    NeverActive,
    Active(Stay<'a>),
    Stopped { profile: usize, reason: EndReason },
}

/// What windows that start in a range see of a customer as they start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then<'a> {
    /// Nothing that counts: it has not come yet, or left before and is still away.
    Nothing,
    /// It is away, and comes back.
    Away,
    Active {
        stay: Stay<'a>,
        /// It has left since and come back.
        bounced: bool,
    },
}

/// An active customer.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stay<'a> {
    profile: usize,
    amounts: &'a [(Currency, i128)],
}

impl<'a> Then<'a> {
    fn stay(self) -> Option<Stay<'a>> {
        match self {
            Self::Active { stay, .. } => Some(stay),
            _ => None,
        }
    }
}

impl Side<'_> {
    fn move_on(&mut self) {
        self.behind += 1;
        self.next = match self.timeline.pieces().get(self.behind - 1) {
            Some(piece) => piece.from,
            None => Instant::DISTANT_FUTURE,
        };
    }
}

impl Contribution {
    /// Finds what changes for windows that start at `floor` or later.
    pub fn find(&mut self, timelines: [&Timeline; 2], grid: Grid, floor: Boundary) {
        self.updates.clear();
        self.profiles.clear();
        self.same_origin = timelines[0].same_origin(timelines[1]);
        let mut sides = [self.side(timelines, 0), self.side(timelines, 1)];
        let same_now = sides[0].now == sides[1].now;
        let mut start = floor;
        loop {
            let next = sides[0].next.min(sides[1].next);
            let is_last = next == Instant::DISTANT_FUTURE;
            // As `start < end`, but where nothing lies between nothing is divided.
            if grid.instant(start) < next {
                let end = if is_last { Boundary::NEVER } else { grid.at_or_after(next) };
                let (old, new) = (self.then(timelines, &sides[0]), self.then(timelines, &sides[1]));
                let is_counted = (old, new) != (Then::Nothing, Then::Nothing);
                if is_counted && (!same_now || old != new) {
                    let same_start = old.stay() == new.stay();
                    let mut updates =
                        Updates { begin: self.updates.len(), all: &mut self.updates, range: start..end, sign: -1 };
                    updates.count(old, sides[0].now, same_start);
                    updates.sign = 1;
                    updates.count(new, sides[1].now, same_start);
                }
                start = end;
            }
            if is_last {
                break;
            }
            for side in &mut sides {
                while side.next <= next {
                    side.move_on();
                }
            }
        }
        if !same_now {
            let range = Boundary::FIRST..Boundary::NEVER;
            let mut updates = Updates { begin: self.updates.len(), all: &mut self.updates, range, sign: -1 };
            updates.count_now(sides[0].now);
            updates.sign = 1;
            updates.count_now(sides[1].now);
        }
    }

    /// Whether there are updates that [`Self::apply`] brings to a grouping whose cohorts are added up.
    pub fn has_moves(&self) -> bool {
        self.updates.iter().any(|update| !update.number.adds_up())
    }

    /// Brings the updates to one grouping's cohorts: where they are added up from another one's, what does not add up.
    pub fn apply(
        &mut self,
        timelines: [&Timeline; 2],
        plan: &GroupingPlan,
        dimensions: &mut Dimensions,
        values: &mut Values,
        tally: &mut Tally,
    ) {
        let Self { updates, profiles, cohorts, .. } = self;
        cohorts.clear();
        cohorts.resize(profiles.len(), None);
        let mut cohort_of = |profile: usize, tally: &mut Tally| {
            *cohorts[profile].get_or_insert_with(|| {
                let Profile { side, piece } = profiles[profile];
                tally.cohort(dimensions.name(plan, timelines[side], piece, values))
            })
        };
        for update in updates.iter().filter(|update| plan.finer.is_none() || !update.number.adds_up()) {
            let cohort = cohort_of(update.profile, tally);
            if update.other == update.profile || cohort_of(update.other, tally) != cohort {
                tally.add(cohort, update.number, update.range.clone(), update.amount);
            }
        }
    }

    fn side<'a>(&mut self, timelines: [&'a Timeline; 2], index: usize) -> Side<'a> {
        let timeline = timelines[index];
        let pieces = timeline.pieces();
        let (now, next) = match (pieces.last(), timeline.stopped) {
            (Some(last), _) if last.active => {
                let profile = self.profile(timelines, index, pieces.len() - 1);
                (Now::Active(Stay { profile, amounts: timeline.amounts(last) }), timeline.first_active)
            }
            (Some(_), Some((at, reason))) => {
                let profile = self.profile(timelines, index, pieces.partition_point(|piece| piece.from < at));
                (Now::Stopped { profile, reason }, timeline.first_active)
            }
            _ => (Now::NeverActive, None),
        };
        Side { timeline, index, now, behind: 0, next: next.unwrap_or(Instant::DISTANT_FUTURE) }
    }

    fn then<'a>(&mut self, timelines: [&'a Timeline; 2], side: &Side<'a>) -> Then<'a> {
        let Side { timeline, index, now, behind, .. } = *side;
        let Some(piece) = behind.checked_sub(2) else {
            // Only of a folded history the first active instant can lie before the first piece.
            let comes_back = behind == 1 || matches!(now, Now::Stopped { .. });
            return if comes_back { Then::Away } else { Then::Nothing };
        };
        let Piece { from, active, .. } = timeline.pieces()[piece];
        if active {
            let amounts = timeline.amounts(&timeline.pieces()[piece]);
            let bounced = timeline.stint_start.is_some_and(|stint| from < stint);
            Then::Active { stay: Stay { profile: self.profile(timelines, index, piece), amounts }, bounced }
        } else if timeline.stopped.is_some_and(|(at, _)| from >= at) {
            Then::Nothing
        } else {
            Then::Away
        }
    }

    /// The profile of a piece: that of an earlier one where nothing tells them apart.
    fn profile(&mut self, timelines: [&Timeline; 2], side: usize, piece: usize) -> usize {
        let is_same = |known: &Profile| {
            (known.side == side || self.same_origin)
                && timelines[side].same_values(piece, timelines[known.side], known.piece)
        };
        let compared = self.profiles.len().saturating_sub(PROFILES_COMPARED);
        match self.profiles[compared..].iter().position(is_same) {
            Some(i) => compared + i,
            None => {
                self.profiles.push(Profile { side, piece });
                self.profiles.len() - 1
            }
        }
    }
}

/// What is updated for windows that start in a range.
struct Updates<'a> {
    all: &'a mut Vec<Update>,
    /// Where those of the range begin.
    begin: usize,
    range: Range<Boundary>,
    /// 1 adds what is counted, −1 retracts it.
    sign: i128,
}

impl Updates<'_> {
    fn count(&mut self, then: Then<'_>, now: Now<'_>, same_start: bool) {
        if let Then::Active { stay, .. } = then
            && !same_start
        {
            self.number(Count::Start, stay.profile);
            self.sums(Sum::Start, stay.profile, stay.profile, stay.amounts);
        }
        match (now, then) {
            (Now::NeverActive, _) | (_, Then::Nothing) => {}
            (Now::Active(here), Then::Active { stay: there, bounced }) => {
                self.stayed(there, here);
                if bounced {
                    self.number(Count::Bounced, there.profile);
                }
            }
            (Now::Active(here), Then::Away) => {
                self.number(Count::Returned, here.profile);
                self.sums(Sum::Returned, here.profile, here.profile, here.amounts);
            }
            (Now::Stopped { reason, .. }, Then::Active { stay: there, .. }) => {
                self.number(Count::Lost(reason), there.profile);
                self.sums(Sum::Lost, there.profile, there.profile, there.amounts);
            }
            (Now::Stopped { profile, .. }, Then::Away) => self.number(Count::Passing, profile),
        }
    }

    /// What does not depend on where a window starts.
    fn count_now(&mut self, now: Now<'_>) {
        if let Now::Active(Stay { profile, amounts }) = now {
            self.add(Number::Customers, profile, profile, 1);
            for &(currency, amount) in amounts {
                self.add(Number::Revenue(currency), profile, profile, amount);
            }
        }
    }

    fn stayed(&mut self, there: Stay<'_>, here: Stay<'_>) {
        if there.profile != here.profile {
            self.add(Number::Count(Count::MovedOut), there.profile, here.profile, 1);
            self.add(Number::Count(Count::MovedIn), here.profile, there.profile, 1);
            self.sums(Sum::MovedOut, there.profile, here.profile, here.amounts);
            self.sums(Sum::MovedIn, here.profile, there.profile, here.amounts);
        }
        if there.amounts == here.amounts {
            return;
        }
        // What it pays less or more than it did.
        let amount_in = |amounts: &[(Currency, i128)], currency| {
            amounts.iter().find(|(c, _)| *c == currency).map_or(0, |(_, amount)| *amount)
        };
        let joined = here.amounts.iter().filter(|(c, _)| amount_in(there.amounts, *c) == 0);
        for &(currency, _) in there.amounts.iter().chain(joined) {
            let rise = amount_in(here.amounts, currency) - amount_in(there.amounts, currency);
            let sum = if rise > 0 { Sum::Expansion } else { Sum::Contraction };
            self.add(Number::Sum(currency, sum), there.profile, there.profile, rise.abs());
        }
    }

    fn number(&mut self, count: Count, profile: usize) {
        self.add(Number::Count(count), profile, profile, 1);
    }

    fn sums(&mut self, sum: Sum, profile: usize, other: usize, amounts: &[(Currency, i128)]) {
        for &(currency, amount) in amounts {
            self.add(Number::Sum(currency, sum), profile, other, amount);
        }
    }

    /// Adds to a number of the range; what adds up to nothing goes.
    fn add(&mut self, number: Number, profile: usize, other: usize, amount: i128) {
        let amount = amount * self.sign;
        let is_same = |u: &Update| u.number == number && u.profile == profile && u.other == other;
        match self.all[self.begin..].iter().position(is_same) {
            Some(i) => {
                let update = &mut self.all[self.begin + i];
                update.amount += amount;
                if update.amount == 0 {
                    self.all.swap_remove(self.begin + i);
                }
            }
            None if amount == 0 => {}
            None => self.all.push(Update { number, profile, other, range: self.range.clone(), amount }),
        }
    }
}
