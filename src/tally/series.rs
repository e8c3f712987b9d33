//! One additive number of a cohort, over the boundaries.

use std::ops::Range;

use crate::time::Boundary;

/// From how many points on an array may be smaller and faster than a sorted list.
const DENSE_FROM: usize = 256;
/// How many boundaries a point may take in an array.
const DENSE_SPREAD: usize = 8;

/// A piecewise constant number, kept as its differences: a range update is two writes, the number at a
/// boundary the sum of the differences up to it.
///
/// A difference takes eight bytes until one of them needs more.
#[derive(Clone, Debug)]
pub enum Series {
    Narrow(Differences<i64>),
    Wide(Differences<i128>),
}

/// A small cohort has few differences: a sorted list. A large one has them everywhere: an array.
#[derive(Clone, Debug)]
pub enum Differences<T> {
    Sparse { at: Vec<u32>, delta: Vec<T> },
    Dense { first: u32, delta: Vec<T> },
}

/// A difference.
pub trait Amount: Copy + Default + PartialEq + Into<i128> {
    fn checked_add(self, more: Self) -> Option<Self>;
}

impl Amount for i64 {
    fn checked_add(self, more: Self) -> Option<Self> {
        self.checked_add(more)
    }
}

impl Amount for i128 {
    fn checked_add(self, more: Self) -> Option<Self> {
        self.checked_add(more)
    }
}

/// The difference does not fit; nothing is changed.
#[derive(Debug)]
struct TooLarge;

impl Default for Series {
    fn default() -> Self {
        Self::Narrow(Differences::default())
    }
}

impl Series {
    /// Adds `amount` at every boundary of the range.
    pub fn add(&mut self, range: Range<Boundary>, amount: i128) {
        self.add_at(range.start.ordinal(), amount);
        if range.end < Boundary::NEVER {
            self.add_at(range.end.ordinal(), -amount);
        }
    }

    pub fn is_zero(&self) -> bool {
        match self {
            Self::Narrow(differences) => differences.is_zero(),
            Self::Wide(differences) => differences.is_zero(),
        }
    }

    /// The numbers at some boundaries, which ascend.
    pub fn read(&self, boundaries: &[Boundary], each: impl FnMut(usize, i128)) {
        match self {
            Self::Narrow(differences) => differences.read(boundaries, each),
            Self::Wide(differences) => differences.read(boundaries, each),
        }
    }

    /// Joins what lies before the floor to what is at it.
    pub fn raise_floor(&mut self, floor: Boundary) {
        let sum = match self {
            Self::Narrow(differences) => differences.take_before(floor.ordinal()),
            Self::Wide(differences) => differences.take_before(floor.ordinal()),
        };
        if sum != 0 {
            self.add_at(floor.ordinal(), sum);
        }
    }

    #[inline]
    fn add_at(&mut self, ordinal: u32, amount: i128) {
        if let Self::Narrow(differences) = self
            && let Ok(amount) = i64::try_from(amount)
            && differences.add_at(ordinal, amount).is_ok()
        {
            return;
        }
        self.add_wide(ordinal, amount);
    }

    #[cold]
    fn add_wide(&mut self, ordinal: u32, amount: i128) {
        if let Self::Narrow(differences) = self {
            *self = Self::Wide(std::mem::take(differences).widened());
        }
        if let Self::Wide(differences) = self {
            differences.add_at(ordinal, amount).expect("2^64 amounts of 64 bits fit");
        }
    }
}

impl<T> Default for Differences<T> {
    fn default() -> Self {
        Self::Sparse { at: Vec::new(), delta: Vec::new() }
    }
}

impl Differences<i64> {
    fn widened(self) -> Differences<i128> {
        let widened = |delta: Vec<i64>| delta.into_iter().map(i128::from).collect();
        match self {
            Self::Sparse { at, delta } => Differences::Sparse { at, delta: widened(delta) },
            Self::Dense { first, delta } => Differences::Dense { first, delta: widened(delta) },
        }
    }
}

impl<T: Amount> Differences<T> {
    fn is_zero(&self) -> bool {
        match self {
            Self::Sparse { at, .. } => at.is_empty(),
            Self::Dense { delta, .. } => delta.iter().all(|amount| *amount == T::default()),
        }
    }

    fn read(&self, boundaries: &[Boundary], mut each: impl FnMut(usize, i128)) {
        let mut sum = 0;
        let mut next = 0;
        for (i, boundary) in boundaries.iter().enumerate() {
            match self {
                Self::Sparse { at, delta } => {
                    while let (Some(&ordinal), Some(&amount)) = (at.get(next), delta.get(next)) {
                        if ordinal > boundary.ordinal() {
                            break;
                        }
                        sum += amount.into();
                        next += 1;
                    }
                }
                Self::Dense { first, delta, .. } => {
                    let end = (boundary.ordinal() + 1).saturating_sub(*first) as usize;
                    let end = end.min(delta.len());
                    for &amount in &delta[next.min(end)..end] {
                        sum += amount.into();
                    }
                    next = next.max(end);
                }
            }
            each(i, sum);
        }
    }

    #[inline]
    fn add_at(&mut self, ordinal: u32, amount: T) -> Result<(), TooLarge> {
        match self {
            Self::Dense { first, delta } => match delta.get_mut(ordinal.wrapping_sub(*first) as usize) {
                Some(there) => *there = there.checked_add(amount).ok_or(TooLarge)?,
                None => self.reach(ordinal, amount),
            },
            Self::Sparse { at, delta } => match place(at, ordinal) {
                Ok(i) => {
                    delta[i] = delta[i].checked_add(amount).ok_or(TooLarge)?;
                    if delta[i] == T::default() {
                        at.remove(i);
                        delta.remove(i);
                    }
                }
                Err(i) => {
                    at.insert(i, ordinal);
                    delta.insert(i, amount);
                    self.become_dense();
                }
            },
        }
        Ok(())
    }

    /// Adds where the array does not reach yet.
    #[cold]
    fn reach(&mut self, ordinal: u32, amount: T) {
        let Self::Dense { first, delta } = self else { return };
        if ordinal < *first {
            delta.splice(..0, (ordinal..*first).map(|_| T::default()));
            *first = ordinal;
            delta[0] = amount;
        } else {
            delta.resize((ordinal - *first) as usize, T::default());
            delta.push(amount);
        }
    }

    /// Takes out what lies before a boundary; returns what it adds up to.
    fn take_before(&mut self, ordinal: u32) -> i128 {
        match self {
            Self::Sparse { at, delta } => {
                let old = at.partition_point(|&there| there < ordinal);
                at.drain(..old);
                delta.drain(..old).map(Into::into).sum()
            }
            Self::Dense { first, .. } if *first >= ordinal => 0,
            Self::Dense { first, delta } => {
                let old = ((ordinal - *first) as usize).min(delta.len());
                *first = ordinal;
                delta.drain(..old).map(Into::into).sum()
            }
        }
    }

    fn become_dense(&mut self) {
        let Self::Sparse { at, delta } = self else { return };
        let (Some(&first), Some(&last)) = (at.first(), at.last()) else { return };
        let spread = (last - first) as usize + 1;
        if at.len() < DENSE_FROM || spread > at.len() * DENSE_SPREAD {
            return;
        }
        let mut dense = vec![T::default(); spread];
        for (&ordinal, &amount) in at.iter().zip(delta.iter()) {
            dense[(ordinal - first) as usize] = amount;
        }
        *self = Self::Dense { first, delta: dense };
    }
}

/// As by binary search: most of what happens, happens now.
fn place(at: &[u32], ordinal: u32) -> Result<usize, usize> {
    match at.last() {
        Some(&last) if last == ordinal => Ok(at.len() - 1),
        Some(&last) if last < ordinal => Err(at.len()),
        _ => at.binary_search(&ordinal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn b(ordinal: u32) -> Boundary {
        Boundary::from_ordinal(ordinal)
    }

    fn read_one(series: &Series, at: u32) -> i128 {
        let mut value = 0;
        series.read(&[b(at)], |_, v| value = v);
        value
    }

    proptest! {
        /// Against a plain array, across the change from list to array and a rising floor.
        #[test]
        fn a_series_is_the_sum_of_its_ranges(
            ranges in prop::collection::vec((0u32..900, 0u32..900, -3i128..4), 0..700),
            floors in prop::collection::vec(0u32..400, 4),
            // A few of the larger ones need more than 64 bits.
            unit in prop_oneof![Just(1), Just(i128::from(i64::MAX / 3)), Just(i128::from(i64::MAX / 40))],
        ) {
            let mut series = Series::default();
            let mut plain = vec![0i128; 1000];
            let mut floors = floors;
            floors.sort_unstable();
            let mut floor = 0;
            for (i, &(x, y, amount)) in ranges.iter().enumerate() {
                if i % 200 == 199 {
                    floor = floors[i / 200];
                    series.raise_floor(b(floor));
                }
                let (start, end) = (x.min(y).max(floor), x.max(y).max(floor));
                let end_boundary = if end > 890 { Boundary::NEVER } else { b(end) };
                let amount = amount * unit;
                if amount != 0 {
                    series.add(b(start)..end_boundary, amount);
                    let end = if end > 890 { 1000 } else { end };
                    plain[start as usize..end as usize].iter_mut().for_each(|v| *v += amount);
                }
            }
            let boundaries: Vec<Boundary> = (floor..1000).map(b).collect();
            series.read(&boundaries, |i, value| assert_eq!(value, plain[i + floor as usize]));
        }
    }

    #[test]
    fn what_was_added_and_taken_away_leaves_nothing() {
        let mut series = Series::default();
        for i in 0..2000 {
            series.add(b(i)..b(i + 7), i128::from(i % 3 + 1));
        }
        assert_eq!(read_one(&series, 1000), (994..=1000).map(|i| i % 3 + 1).sum::<i128>());
        assert!(matches!(series, Series::Narrow(Differences::Dense { .. })));
        series.raise_floor(b(100));
        for i in 93..2000 {
            series.add(b(i.max(100))..b(i + 7), -i128::from(i % 3 + 1));
        }
        assert!(series.is_zero());
    }

    #[test]
    fn a_difference_beyond_64_bits_is_kept_and_goes_again() {
        let most = i128::from(i64::MAX);
        let mut series = Series::default();
        series.add(b(3)..b(5), most);
        assert!(matches!(series, Series::Narrow(_)));
        series.add(b(3)..b(7), most);
        assert!(matches!(series, Series::Wide(_)));
        assert_eq!([2, 3, 5, 7].map(|at| read_one(&series, at)), [0, 2 * most, most, 0]);
        series.add(b(3)..b(5), -most);
        series.add(b(3)..b(7), -most);
        assert!(series.is_zero());
    }
}
