//! One additive number of a cohort, over the boundaries.

use std::ops::{AddAssign, Neg, Range};

use crate::time::Boundary;

/// A number that can be counted up and down again.
pub trait Amount: Copy + Default + PartialEq + AddAssign + Neg<Output = Self> {}
impl Amount for i64 {}
impl Amount for i128 {}

/// From how many points on an array may be smaller and faster than a sorted list.
const DENSE_FROM: usize = 256;
/// How many boundaries a point may take in an array.
const DENSE_SPREAD: usize = 8;

/// A piecewise constant number, kept as its differences: a range update is two writes, the number at a
/// boundary the sum of the differences up to it.
///
/// A small cohort has few differences: a sorted list. A large one has them everywhere: an array.
#[derive(Clone, Debug)]
pub enum Series<T> {
    Sparse { at: Vec<u32>, delta: Vec<T> },
    Dense { first: u32, delta: Vec<T> },
}

impl<T: Amount> Default for Series<T> {
    fn default() -> Self {
        Self::Sparse { at: Vec::new(), delta: Vec::new() }
    }
}

impl<T: Amount> Series<T> {
    /// Adds `amount` at every boundary of the range.
    pub fn add(&mut self, range: Range<Boundary>, amount: T) {
        self.add_at(range.start.ordinal(), amount);
        if range.end < Boundary::NEVER {
            self.add_at(range.end.ordinal(), -amount);
        }
    }

    pub fn is_zero(&self) -> bool {
        match self {
            Self::Sparse { at, .. } => at.is_empty(),
            Self::Dense { delta, .. } => delta.iter().all(|amount| *amount == T::default()),
        }
    }

    /// The numbers at some boundaries, which ascend.
    pub fn read(&self, boundaries: &[Boundary], mut each: impl FnMut(usize, T)) {
        let mut sum = T::default();
        let mut next = 0;
        for (i, boundary) in boundaries.iter().enumerate() {
            match self {
                Self::Sparse { at, delta } => {
                    while let (Some(&ordinal), Some(&amount)) = (at.get(next), delta.get(next)) {
                        if ordinal > boundary.ordinal() {
                            break;
                        }
                        sum += amount;
                        next += 1;
                    }
                }
                Self::Dense { first, delta, .. } => {
                    let end = (boundary.ordinal() + 1).saturating_sub(*first) as usize;
                    let end = end.min(delta.len());
                    for amount in &delta[next.min(end)..end] {
                        sum += *amount;
                    }
                    next = next.max(end);
                }
            }
            each(i, sum);
        }
    }

    fn add_at(&mut self, ordinal: u32, amount: T) {
        match self {
            Self::Dense { first, delta } => match delta.get_mut(ordinal.wrapping_sub(*first) as usize) {
                Some(there) => *there += amount,
                None => self.widen(ordinal, amount),
            },
            Self::Sparse { at, delta } => match place(at, ordinal) {
                Ok(i) => {
                    delta[i] += amount;
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
    }

    /// Adds where the array does not reach yet.
    #[cold]
    fn widen(&mut self, ordinal: u32, amount: T) {
        let Self::Dense { first, delta } = self else { return };
        if ordinal < *first {
            delta.splice(..0, (ordinal..*first).map(|_| T::default()));
            *first = ordinal;
        } else {
            delta.resize((ordinal - *first) as usize, T::default());
            delta.push(T::default());
        }
        self.add_at(ordinal, amount);
    }

    /// Joins what lies before the floor to what is at it.
    pub fn raise_floor(&mut self, floor: Boundary) {
        let floor = floor.ordinal();
        let mut sum = T::default();
        match self {
            Self::Sparse { at, .. } if at.first().is_none_or(|&first| first >= floor) => return,
            Self::Sparse { at, delta } => {
                let old = at.partition_point(|&ordinal| ordinal < floor);
                at.drain(..old);
                delta.drain(..old).for_each(|amount| sum += amount);
            }
            Self::Dense { first, delta } => {
                if *first >= floor {
                    return;
                }
                let old = ((floor - *first) as usize).min(delta.len());
                delta.drain(..old).for_each(|amount| sum += amount);
                *first = floor;
            }
        }
        if sum != T::default() {
            self.add_at(floor, sum);
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

    fn read_one(series: &Series<i64>, at: u32) -> i64 {
        let mut value = 0;
        series.read(&[b(at)], |_, v| value = v);
        value
    }

    proptest! {
        /// Against a plain array, across the change from list to array and a rising floor.
        #[test]
        fn a_series_is_the_sum_of_its_ranges(
            ranges in prop::collection::vec((0u32..900, 0u32..900, -3i64..4), 0..700),
            floors in prop::collection::vec(0u32..400, 4),
        ) {
            let mut series = Series::default();
            let mut plain = vec![0i64; 1000];
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
            series.add(b(i)..b(i + 7), i64::from(i % 3 + 1));
        }
        assert_eq!(read_one(&series, 1000), (994..=1000).map(|i| i % 3 + 1).sum::<i64>());
        assert!(matches!(series, Series::Dense { .. }));
        series.raise_floor(b(100));
        for i in 93..2000 {
            series.add(b(i.max(100))..b(i + 7), -i64::from(i % 3 + 1));
        }
        assert!(series.is_zero());
    }
}
