//! Where each customer is: from the hash of an id to the customer's number.
//!
//! What a look-up waits for is memory, so it takes one cache line: twelve numbers, and of each one's key a byte. Keys are
//! spread over the lines in the order of their hash, evenly over however many there are. A full line runs over into the next.
//!
//! The table grows in place, from its end, a few lines with each customer that is added: what is in line 9 of 10 comes to
//! line 11 of 12 once everything behind it has moved. A copy would stall for seconds with tens of millions of customers, and
//! leave a hole in memory that is too small for the next table.
//!
//! Numbers are never taken out.

use super::chunks::Chunks;
use super::customers::{CustomerId, CustomerKey};
use crate::native::prefetch;

const SLOTS: usize = 12;
/// Of the first chunk.
const FIRST_LINES: usize = 16;
/// In percent: a table that is fuller begins to grow, by a fifth to a third.
const FULLEST: usize = 82;
/// How many lines move with each customer that is added while the table grows: when that is done, it is 4 % fuller than when
/// it began.
const LINES_AT_A_TIME: u64 = 2;
/// By how much the table grows at most for customers that are foreseen.
const FORESEEN: usize = 8;
/// In each byte.
const LOWEST: u64 = u64::MAX / 0xff;

/// Twelve customers' numbers, and in the last four words a byte of each one's key; zero where there is nobody. An array as it
/// is, since memory for many of its zeros is taken only when it is touched.
pub(super) type Line = [u32; 16];

const EMPTY: Line = [0; 16];

/// Numbers of customers by the hash of their ids.
pub(super) struct Index {
    /// Keys are spread over all of them, but for those before the frontier.
    lines: Chunks<Line, FIRST_LINES>,
    /// Over how many lines keys were spread when the table began to grow.
    before: u64,
    /// Which of the lines of before move next, from the last to the first; those behind it have moved. Zero when all have.
    frontier: u64,
    len: usize,
    /// Who ran over the end.
    beyond: Vec<CustomerId>,
    /// Who is on the move. Kept for its memory.
    moving: Vec<CustomerId>,
    /// How many customers there will be, where that is foreseen.
    expected: usize,
}

impl Index {
    pub fn new() -> Self {
        Self {
            lines: Chunks::new(),
            before: 0,
            frontier: 0,
            len: 0,
            beyond: Vec::new(),
            moving: Vec::new(),
            expected: 0,
        }
    }

    /// Foresees so many customers. It is a hint: what is allocated stays in proportion to those that come.
    pub fn expect(&mut self, customers: usize) {
        self.expected = customers;
    }

    /// The line of a key, which is asked for, unless nobody was inserted yet.
    #[inline(always)]
    pub fn ask_for_line(&self, key: &CustomerKey) -> Option<&Line> {
        if self.lines.len() == 0 {
            return None;
        }
        let line = &self.lines[self.place(key)];
        prefetch(line);
        Some(line)
    }

    /// Who may be the customer of a key with this line, the most likely first: everyone with the same byte in its line or, if
    /// there is nobody, the next.
    #[inline(always)]
    pub fn guesses<'a>(&'a self, key: &CustomerKey, line: &'a Line) -> impl Iterator<Item = CustomerId> + use<'a> {
        let here = candidates(line, tag(key));
        if here.left != 0 || !is_full(line) {
            return here;
        }
        let next = self.place(key) + 1;
        if next < self.lines.len() { candidates(&self.lines[next], tag(key)) } else { here }
    }

    /// The one for which `is` says so, of those who may be the key's customer.
    pub fn find(&self, key: &CustomerKey, is: impl Fn(CustomerId) -> bool) -> Option<CustomerId> {
        for at in self.place(key)..self.lines.len() {
            let line = &self.lines[at];
            let found = candidates(line, tag(key)).find(|&id| is(id));
            if found.is_some() || !is_full(line) {
                return found;
            }
        }
        self.beyond.iter().copied().find(|&id| is(id))
    }

    /// Adds the customer of a key that has none. `key_of` tells the keys of those that are there.
    pub fn insert<'a>(
        &mut self,
        key: &CustomerKey,
        customer: CustomerId,
        key_of: impl Fn(CustomerId) -> &'a CustomerKey,
    ) {
        if self.frontier > 0 {
            self.go_on_growing(&key_of);
        } else if self.len >= room(self.lines.len()) {
            self.begin_to_grow(&key_of);
        }
        self.put(key, customer);
        self.len += 1;
    }

    #[cold]
    fn begin_to_grow<'a>(&mut self, key_of: &impl Fn(CustomerId) -> &'a CustomerKey) {
        let foreseen = self.expected.min(FORESEEN * self.len);
        let foreseen = (foreseen * 100).div_ceil(FULLEST * SLOTS);
        self.before = self.lines.len() as u64;
        self.frontier = self.before;
        self.lines.fill(foreseen.max(self.lines.len() * 6 / 5).max(1), &EMPTY);
        for id in std::mem::take(&mut self.beyond) {
            self.put(key_of(id), id);
        }
    }

    fn go_on_growing<'a>(&mut self, key_of: &impl Fn(CustomerId) -> &'a CustomerKey) {
        for _ in 0..LINES_AT_A_TIME.min(self.frontier) {
            self.frontier -= 1;
            self.move_line(self.frontier as usize, key_of);
        }
        // All who move next are asked for before any is waited for.
        for at in self.frontier.saturating_sub(LINES_AT_A_TIME)..self.frontier {
            customers(&self.lines[at as usize]).iter().for_each(|&id| prefetch(key_of(id)));
        }
    }

    /// Takes out who is in a line, and in those it runs over into, and puts them to where they belong.
    fn move_line<'a>(&mut self, line: usize, key_of: &impl Fn(CustomerId) -> &'a CustomerKey) {
        let mut moving = std::mem::take(&mut self.moving);
        let mut runs_over = true;
        for at in line..self.lines.len() {
            let line = std::mem::replace(&mut self.lines[at], EMPTY);
            moving.extend(customers(&line));
            runs_over = is_full(&line);
            if !runs_over {
                break;
            }
        }
        if runs_over {
            moving.append(&mut self.beyond);
        }
        for id in moving.drain(..) {
            self.put(key_of(id), id);
        }
        self.moving = moving;
    }

    fn put(&mut self, key: &CustomerKey, customer: CustomerId) {
        for at in self.place(key)..self.lines.len() {
            let line = &mut self.lines[at];
            if !is_full(line) {
                return push(line, tag(key), customer);
            }
        }
        self.beyond.push(customer);
    }

    /// In which line a key is first looked for: its share of the hash's range, so that any number of lines will do.
    #[inline(always)]
    fn place(&self, key: &CustomerKey) -> usize {
        let [_, _, _, _, _, _, _, _, low @ ..] = *key;
        let share = |lines: u64| ((u128::from(u64::from_le_bytes(low)) * u128::from(lines)) >> 64) as u64;
        if self.frontier > 0 {
            let before = share(self.before);
            if before < self.frontier {
                return before as usize;
            }
        }
        share(self.lines.len() as u64) as usize
    }
}

/// Of each slot a byte; behind the last one there are zeros.
#[inline(always)]
fn tags(line: &Line) -> (u64, u64) {
    let [.., a, b, c, d] = *line;
    let both = |low, high| u64::from(low) | u64::from(high) << 32;
    (both(a, b), both(c, d))
}

#[inline(always)]
fn is_full(line: &Line) -> bool {
    line[SLOTS + (SLOTS - 1) / 4] >> 24 != 0
}

fn customers(line: &Line) -> &[CustomerId] {
    let (low, high) = tags(line);
    let (low, high) = (equal(low, 0), equal(high, 0));
    let len = if low != 0 { low.trailing_zeros() } else { u64::BITS + high.trailing_zeros() };
    &line[..len as usize / 8]
}

fn push(line: &mut Line, tag: u8, customer: CustomerId) {
    let len = customers(line).len();
    line[SLOTS + len / 4] |= u32::from(tag) << (len % 4 * 8);
    line[len] = customer;
}

/// Some of a line's customers.
struct Candidates<'a> {
    line: &'a Line,
    /// A bit for each: the lowest of a byte for the first eight, the next one for the others.
    left: u64,
}

impl Iterator for Candidates<'_> {
    type Item = CustomerId;

    #[inline(always)]
    fn next(&mut self) -> Option<CustomerId> {
        let bit = (self.left != 0).then(|| self.left.trailing_zeros() as usize)?;
        self.left &= self.left - 1;
        // Behind the last slot a bit may be set, too.
        self.line[..SLOTS].get(bit / 8 + bit % 8 * 8).copied()
    }
}

/// Everyone with this tag, and now and then somebody behind them with another.
#[inline(always)]
fn candidates(line: &Line, tag: u8) -> Candidates<'_> {
    let (low, high) = tags(line);
    let (low, high) = (equal(low, tag), equal(high, tag));
    Candidates { line, left: low | (high & ((1 << (8 * (SLOTS - 8))) - 1)) << 1 }
}

/// The lowest bit of each byte that is equal; above one of these perhaps of others, too.
fn equal(bytes: u64, byte: u8) -> u64 {
    let differences = bytes ^ (LOWEST * u64::from(byte));
    // What is subtracted from a zero is borrowed: its highest bit is set.
    (differences.wrapping_sub(LOWEST) & !differences) >> 7 & LOWEST
}

/// How many customers so many lines take before the table grows.
fn room(lines: usize) -> usize {
    lines * SLOTS * FULLEST / 100
}

/// Never zero.
fn tag(key: &CustomerKey) -> u8 {
    key[1].max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_one_cache_line() {
        assert_eq!(size_of::<Line>(), 64);
    }

    fn filled(keys: &[CustomerKey], expected: usize) -> Index {
        let mut index = Index::new();
        index.expect(expected);
        for (id, key) in keys.iter().enumerate() {
            index.insert(key, id as CustomerId, |id| &keys[id as usize]);
        }
        index
    }

    #[test]
    fn customers_with_the_same_byte_and_line_are_all_found() {
        for (last, count) in [0, u128::MAX].into_iter().flat_map(|last| (1..=400).map(move |count| (last, count))) {
            let keys: Vec<CustomerKey> =
                (0..count).map(|n| (last << 64 | u128::from(u32::MAX) | n << 32).to_le_bytes()).collect();
            let index = filled(&keys, 0);
            for (id, key) in keys.iter().enumerate() {
                assert_eq!(index.find(key, |id| keys[id as usize] == *key), Some(id as CustomerId), "of {count}");
            }
        }
    }

    /// Keys of few places and tags, so that lines run over, the last one too, and tags are shared.
    fn any_key() -> impl Strategy<Value = CustomerKey> {
        (0u8..3, any::<u64>(), 0u8..5).prop_map(|(tag, low, crowded)| {
            let mut key = [0; 16];
            key[1] = tag;
            let place = match crowded {
                0 => low % 1024,
                1 => u64::MAX - low % 1024,
                2 => ((low % 4) << 62) | (low % 1024),
                _ => low,
            };
            key[8..].copy_from_slice(&place.to_le_bytes());
            key
        })
    }

    proptest! {
        #[test]
        fn it_finds_those_and_only_those_that_were_inserted(
            keys in prop::collection::vec(any_key(), 0..900),
            others in prop::collection::vec(any_key(), 50),
            expected in 0usize..100_000,
            every in 1usize..100,
        ) {
            let mut index = Index::new();
            index.expect(expected);
            let (mut told, mut known) = (Vec::<CustomerKey>::new(), HashMap::new());
            for (nth, key) in keys.into_iter().enumerate() {
                let id = told.len() as CustomerId;
                known.entry(key).or_insert_with(|| {
                    index.insert(&key, id, |id| &told[id as usize]);
                    told.push(key);
                    id
                });
                // In between, too: when it is growing.
                if nth % every == 0 {
                    check(&index, &told, &others, &known)?;
                }
            }
            check(&index, &told, &others, &known)?;
        }
    }

    fn check(
        index: &Index,
        told: &[CustomerKey],
        others: &[CustomerKey],
        known: &HashMap<CustomerKey, CustomerId>,
    ) -> Result<(), TestCaseError> {
        for key in told.iter().chain(others) {
            let found = index.find(key, |id| told[id as usize] == *key);
            prop_assert_eq!(found, known.get(key).copied());
            let guess = index.ask_for_line(key).and_then(|line| index.guesses(key, line).next());
            prop_assert!(guess.is_none_or(|id| tag(&told[id as usize]) == tag(key)), "with its byte");
        }
        Ok(())
    }

    fn scattered(count: usize) -> Vec<CustomerKey> {
        let mut state = 1u128;
        let next = || {
            state = state.wrapping_mul(0x2d99_787a_2c79_3cb5_2d99_787a_2c79_3cb5).wrapping_add(1);
            (state ^ (state >> 64)).to_le_bytes()
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    #[test]
    fn a_guess_is_nearly_always_right_and_no_more_is_allocated_than_customers_need() {
        let keys = scattered(500_000);
        for expected in [0, keys.len(), usize::MAX] {
            let index = filled(&keys, expected);
            let guess = |key| index.guesses(key, index.ask_for_line(key).expect("there are some")).next();
            let right = keys.iter().zip(0..).filter(|&(key, id)| guess(key) == Some(id)).count();
            assert!(right * 100 > keys.len() * 95, "{right} of {}", keys.len());
            let bytes = index.lines.len() as f64 * 64.0 / keys.len() as f64;
            let most = if expected == usize::MAX { 6.3 * FORESEEN as f64 } else { 8.8 };
            assert!(bytes < most, "{bytes} bytes a customer");
        }
    }

    #[test]
    fn a_customer_waits_for_few_others_to_move() {
        let keys = scattered(300_000);
        let mut index = Index::new();
        for (id, key) in keys.iter().enumerate() {
            let looked_at = std::cell::Cell::new(0);
            index.insert(key, id as CustomerId, |id| {
                looked_at.set(looked_at.get() + 1);
                &keys[id as usize]
            });
            assert!(looked_at.get() < 150, "{} looked at with customer {id}", looked_at.get());
        }
    }
}
