//! Signed range updates per cohort over the boundaries.
//!
//! A customer's contribution to every window number is a handful of ranges of window starts; whoever
//! changes retracts its old ranges and adds the new ones. All window lengths read the same arrays.

mod series;

use std::ops::Range;

use hashbrown::HashTable;
use series::Series;

use crate::event::{Currency, EndReason};
use crate::readings::{CohortReading, WindowReading};
use crate::time::Boundary;

/// Number of a cohort in its tally.
pub type CohortId = u32;

/// A count of customers, by where the window starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    Start,
    Lost(EndReason),
    Returned,
    MovedIn,
    MovedOut,
    Passing,
    Bounced,
}

/// A sum of minor units, by where the window starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sum {
    Start,
    Lost,
    Contraction,
    Expansion,
    Returned,
    /// The present amounts of those who moved in.
    MovedIn,
    /// The present amounts of those who moved out.
    MovedOut,
}

/// A number of a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Who is active now.
    Customers,
    /// What they pay.
    Revenue(Currency),
    Count(Count),
    Sum(Currency, Sum),
}

impl Number {
    /// Whether a cohort's follows from those of its parts. A customer that moves from one part to another moves in and out
    /// of them, and not of the whole; of what it pays only the difference is read, which is the same.
    pub fn adds_up(self) -> bool {
        !matches!(self, Self::Count(Count::MovedIn | Count::MovedOut))
    }
}

/// The cohorts of one grouping. Names are lists of `N` value numbers, which mean something to the shard only.
#[derive(Debug, Default)]
pub struct Tally {
    index: HashTable<(Key, CohortId)>,
    cohorts: Vec<Cohort>,
    free: Vec<CohortId>,
    /// The floor at the last sweep.
    swept: Boundary,
}

#[derive(Debug, Default)]
struct Cohort {
    name: Box<[u32]>,
    customers: i64,
    revenue: Vec<(Currency, i128)>,
    counts: Vec<(Count, Series)>,
    sums: Vec<((Currency, Sum), Series)>,
}

impl Cohort {
    /// Joins what no window can see apart any more, and forgets what is zero since.
    fn raise_floor(&mut self, floor: Boundary) {
        self.counts.retain_mut(|(_, series)| {
            series.raise_floor(floor);
            !series.is_zero()
        });
        self.sums.retain_mut(|(_, series)| {
            series.raise_floor(floor);
            !series.is_zero()
        });
    }

    fn is_zero(&self) -> bool {
        self.customers == 0
            && self.revenue.iter().all(|(_, amount)| *amount == 0)
            && self.counts.iter().all(|(_, series)| series.is_zero())
            && self.sums.iter().all(|(_, series)| series.is_zero())
    }
}

/// The entry of a short association list, made where it is missing.
fn entry<K: PartialEq, V: Default>(list: &mut Vec<(K, V)>, key: K) -> &mut V {
    let at = match list.iter().position(|(k, _)| *k == key) {
        Some(at) => at,
        None => {
            list.reserve_exact(1);
            list.push((key, V::default()));
            list.len() - 1
        }
    };
    &mut list[at].1
}

impl Tally {
    /// The cohort of a name.
    pub fn cohort(&mut self, name: &[u32]) -> CohortId {
        let Self { index, cohorts, free, .. } = self;
        let key = Key::of(name);
        let is_named = |&(known, id): &(Key, CohortId)| {
            known == key && (name.len() <= Key::WHOLE || *cohorts[id as usize].name == *name)
        };
        if let Some(&(_, id)) = index.find(key.hash(), is_named) {
            return id;
        }
        let cohort = Cohort { name: name.into(), ..Cohort::default() };
        let id = match free.pop() {
            Some(id) => {
                cohorts[id as usize] = cohort;
                id
            }
            None => {
                cohorts.push(cohort);
                (cohorts.len() - 1) as CohortId
            }
        };
        index.insert_unique(key.hash(), (key, id), |(key, _)| key.hash());
        id
    }

    /// Adds to a number: for windows that start in the range, where it depends on that.
    #[inline]
    pub fn add(&mut self, cohort: CohortId, number: Number, range: Range<Boundary>, amount: i128) {
        let cohort = &mut self.cohorts[cohort as usize];
        match number {
            Number::Customers => cohort.customers += amount as i64,
            Number::Revenue(currency) => *entry(&mut cohort.revenue, currency) += amount,
            Number::Count(count) => entry(&mut cohort.counts, count).add(range, amount),
            Number::Sum(currency, sum) => entry(&mut cohort.sums, (currency, sum)).add(range, amount),
        }
    }

    /// How many cohorts hold anything.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Gives back the memory of cohorts that are all zeros at the floor and after it: windows never start before it again.
    pub fn sweep(&mut self, floor: Boundary) {
        let Self { index, cohorts, free, swept, .. } = self;
        let risen = *swept < floor;
        *swept = floor;
        index.retain(|&mut (_, id)| {
            if risen {
                cohorts[id as usize].raise_floor(floor);
            }
            let keep = !cohorts[id as usize].is_zero();
            if !keep {
                cohorts[id as usize] = Cohort::default();
                free.push(id);
            }
            keep
        });
    }

    /// Every cohort's name and numbers, for windows that start at `starts` (in any order).
    pub fn read(&self, starts: &[Boundary], mut each: impl FnMut(&[u32], CohortReading)) {
        let mut order: Vec<usize> = (0..starts.len()).collect();
        order.sort_by_key(|&window| starts[window]);
        let ascending: Vec<Boundary> = order.iter().map(|&window| starts[window]).collect();
        for &(_, id) in &self.index {
            let cohort = &self.cohorts[id as usize];
            each(&cohort.name, cohort.read(&order, &ascending));
        }
    }
}

impl Cohort {
    fn read(&self, order: &[usize], ascending: &[Boundary]) -> CohortReading {
        let mut windows = vec![WindowReading::default(); order.len()];
        for (count, series) in &self.counts {
            series.read(ascending, |i, n| {
                let window = &mut windows[order[i]];
                let n = n as i64;
                match count {
                    Count::Start => window.start = n,
                    Count::Lost(reason) => window.lost_by_reason[*reason as usize] = n,
                    Count::Returned => window.returned = n,
                    Count::MovedIn => window.moved_in = n,
                    Count::MovedOut => window.moved_out = n,
                    Count::Passing => window.passing = n,
                    Count::Bounced => window.bounced = n,
                }
            });
        }
        for window in &mut windows {
            window.retained = window.start - window.lost();
            // Who is here now and was neither there at the start nor ever before it.
            window.new = self.customers - (window.retained - window.moved_out + window.moved_in) - window.returned;
        }
        self.read_revenue(order, ascending, &mut windows);
        let recurring_revenue = self.revenue.iter().filter(|(_, amount)| *amount != 0).copied().collect();
        CohortReading { customers: self.customers, recurring_revenue, windows }
    }

    fn read_revenue(&self, order: &[usize], ascending: &[Boundary], windows: &mut [WindowReading]) {
        let mut moved = vec![std::collections::BTreeMap::<Currency, i128>::new(); windows.len()];
        for ((currency, sum), series) in &self.sums {
            series.read(ascending, |i, amount| {
                let revenue = windows[order[i]].revenue.entry(*currency).or_default();
                match sum {
                    Sum::Start => revenue.start = amount,
                    Sum::Lost => revenue.lost = amount,
                    Sum::Contraction => revenue.contraction = amount,
                    Sum::Expansion => revenue.expansion = amount,
                    Sum::Returned => revenue.returned = amount,
                    Sum::MovedIn => *moved[order[i]].entry(*currency).or_default() += amount,
                    Sum::MovedOut => *moved[order[i]].entry(*currency).or_default() -= amount,
                }
            });
        }
        for (window, moved) in windows.iter_mut().zip(&moved) {
            for (currency, _) in &self.revenue {
                window.revenue.entry(*currency).or_default();
            }
            for (currency, revenue) in &mut window.revenue {
                let now = self.revenue.iter().find(|(c, _)| c == currency).map_or(0, |(_, amount)| *amount);
                // The present amounts of those who were there at the start and are here now.
                let stayed = revenue.start - revenue.lost - revenue.contraction
                    + revenue.expansion
                    + moved.get(currency).copied().unwrap_or(0);
                revenue.new = now - stayed - revenue.returned;
            }
            window.revenue.retain(|_, revenue| *revenue != Default::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cohort_that_all_left_goes_when_no_window_sees_it() {
        let at = Boundary::from_ordinal;
        let mut tally = Tally::default();
        let cohort = tally.cohort(&[1]);
        tally.add(cohort, Number::Count(Count::Start), at(10)..at(20), 1);
        for (floor, cohorts) in [(5, 1), (15, 1), (19, 1), (20, 0)] {
            tally.sweep(at(floor));
            assert_eq!(tally.len(), cohorts, "{floor}");
        }
        assert_eq!(tally.cohort(&[2]), cohort, "its number is used again");
    }
}

/// A name in eight bytes: itself where it is short, and something like it otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key(u64);

impl Key {
    /// Names of so many values or fewer are told apart by their key.
    const WHOLE: usize = 2;

    fn of(name: &[u32]) -> Self {
        Self(match *name {
            [] => 0,
            [a] => u64::from(a),
            [a, b] => u64::from(a) << 32 | u64::from(b),
            _ => name.iter().fold(0, |key, &value| Self(key.rotate_left(23) ^ u64::from(value)).hash()),
        })
    }

    /// Value numbers are the shard's own, so nobody can choose them to collide.
    fn hash(self) -> u64 {
        spread(self.0 ^ 0x51_7c_c1_b7)
    }
}

/// A hash of a number, for where nobody gains by numbers that collide.
#[inline]
pub fn spread(number: u64) -> u64 {
    let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash ^ hash >> 29
}
