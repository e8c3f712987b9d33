//! Where each customer is: from the hash of an id to the customer's number.
//!
//! What a look-up waits for is memory, so it takes one cache line: twelve numbers, and of each one's key a byte. A full line
//! runs over into the next. Segments, chosen by the key's first byte, grow one by one: a single table of
//! tens of millions would stall for seconds each time, a segment does for milliseconds.
//!
//! Numbers are never taken out.

use super::customers::{CustomerId, CustomerKey};
use crate::native::prefetch;

const SEGMENTS: usize = 256;
const SLOTS: usize = 12;
/// So many are read again together when a segment grows.
const LINES_AT_A_TIME: usize = 4;
/// In percent: a segment that is fuller grows, by a quarter.
const FULLEST: usize = 85;
/// By how much a segment grows at most for customers that are foreseen.
const FORESEEN: usize = 8;
/// In each byte.
const LOWEST: u64 = u64::MAX / 0xff;

#[repr(align(64))]
#[derive(Clone, Copy, Default)]
struct Line {
    ids: [CustomerId; SLOTS],
    /// Of their keys; zero where there is none.
    tags: [u8; 16],
}

#[derive(Default)]
struct Segment {
    lines: Vec<Line>,
    len: usize,
}

/// Numbers of customers by the hash of their ids.
pub(super) struct Index {
    segments: Vec<Segment>,
    /// How many customers a segment will have, where that is foreseen.
    expected: usize,
}

impl Index {
    pub fn new() -> Self {
        Self { segments: (0..SEGMENTS).map(|_| Segment::default()).collect(), expected: 0 }
    }

    /// Foresees so many customers. It is a hint: what is allocated stays in proportion to those that come.
    pub fn expect(&mut self, customers: usize) {
        // Segments are not filled evenly.
        self.expected = customers / SEGMENTS * 9 / 8;
    }

    /// Asks for the line of a key.
    #[inline(always)]
    pub fn ask_for_line(&self, key: &CustomerKey) {
        let lines = &self.segment(key).lines;
        if let Some(line) = lines.get(place(key, lines.len())) {
            prefetch(line);
        }
    }

    /// Who is most likely the key's customer, if it has one: the first with the same byte, in its line or the next.
    #[inline]
    pub fn guess(&self, key: &CustomerKey) -> Option<CustomerId> {
        let lines = &self.segment(key).lines;
        let at = place(key, lines.len());
        let line = lines.get(at)?;
        let next = || line.is_full().then(|| lines.get(at + 1)).flatten();
        line.candidates(tag(key)).next().or_else(|| next()?.candidates(tag(key)).next())
    }

    /// The one for which `is` says so, of those who may be the key's customer.
    pub fn find(&self, key: &CustomerKey, is: impl Fn(CustomerId) -> bool) -> Option<CustomerId> {
        let lines = &self.segment(key).lines;
        let (before, from) = lines.split_at(place(key, lines.len()));
        for line in from.iter().chain(before) {
            let found = line.candidates(tag(key)).find(|&id| is(id));
            if found.is_some() || !line.is_full() {
                return found;
            }
        }
        None
    }

    /// Adds the customer of a key that has none. `key_of` tells the keys of those that are there.
    pub fn insert<'a>(
        &mut self,
        key: &CustomerKey,
        customer: CustomerId,
        key_of: impl Fn(CustomerId) -> &'a CustomerKey,
    ) {
        let expected = self.expected;
        let segment = &mut self.segments[usize::from(key[0])];
        if segment.len >= room(segment.lines.len()) {
            let foreseen = expected.min(FORESEEN * segment.len);
            segment.grow(foreseen, key_of);
        }
        segment.insert(key, customer);
    }

    fn segment(&self, key: &CustomerKey) -> &Segment {
        &self.segments[usize::from(key[0])]
    }
}

impl Segment {
    /// Makes room for one more, and for so many in all. To grow is to look at every customer once more.
    fn grow<'a>(&mut self, foreseen: usize, key_of: impl Fn(CustomerId) -> &'a CustomerKey) {
        let lines = self.lines.len();
        let least = (lines + 1).max(lines * 5 / 4);
        let wanted = (foreseen * 100).div_ceil(FULLEST * SLOTS);
        let old = std::mem::replace(&mut self.lines, vec![Line::default(); least.max(wanted)]);
        self.len = 0;
        for lines in old.chunks(LINES_AT_A_TIME) {
            let ids = lines.iter().flat_map(|line| &line.ids[..line.len()]);
            // All are asked for before any is waited for.
            ids.clone().for_each(|&id| prefetch(key_of(id)));
            for &id in ids {
                self.insert(key_of(id), id);
            }
        }
    }

    fn insert(&mut self, key: &CustomerKey, customer: CustomerId) {
        let lines = self.lines.len();
        let mut at = place(key, lines);
        while self.lines[at].is_full() {
            at = (at + 1) % lines;
        }
        self.lines[at].push(tag(key), customer);
        self.len += 1;
    }
}

impl Line {
    fn len(&self) -> usize {
        let words = u128::from_le_bytes(self.tags);
        // Behind the last slot there are zeros.
        let (low, high) = (equal(words as u64, 0), equal((words >> 64) as u64, 0));
        (if low != 0 { low.trailing_zeros() } else { u64::BITS + high.trailing_zeros() }) as usize / 8
    }

    fn is_full(&self) -> bool {
        self.tags[SLOTS - 1] != 0
    }

    fn push(&mut self, tag: u8, customer: CustomerId) {
        let len = self.len();
        self.tags[len] = tag;
        self.ids[len] = customer;
    }

    /// Everyone with this tag, and now and then somebody behind them with another.
    #[inline]
    fn candidates(&self, tag: u8) -> impl Iterator<Item = CustomerId> {
        let words = u128::from_le_bytes(self.tags);
        let (low, high) = (equal(words as u64, tag), equal((words >> 64) as u64, tag));
        // Where tags are equal a bit is set, the lowest of a byte for the first eight, the next one for the others. Behind the
        // last slot it may be set, too.
        let mut left = low | (high & ((1 << (8 * (SLOTS - 8))) - 1)) << 1;
        std::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            self.ids.get(bit / 8 + bit % 8 * 8).copied()
        })
    }
}

/// The lowest bit of each byte that is equal; above one of these perhaps of others, too.
fn equal(bytes: u64, byte: u8) -> u64 {
    let differences = bytes ^ (LOWEST * u64::from(byte));
    // What is subtracted from a zero is borrowed: its highest bit is set.
    (differences.wrapping_sub(LOWEST) & !differences) >> 7 & LOWEST
}

/// How many customers so many lines take.
fn room(lines: usize) -> usize {
    lines * SLOTS * FULLEST / 100
}

/// In which of so many lines a key is first looked for: its share of the hash's range, so that any number of lines will do.
fn place(key: &CustomerKey, lines: usize) -> usize {
    let [_, _, _, _, _, _, _, _, low @ ..] = *key;
    ((u128::from(u64::from_le_bytes(low)) * lines as u128) >> 64) as usize
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

    #[test]
    fn customers_with_the_same_byte_are_all_found() {
        for count in 1..=40u128 {
            // The same segment, byte and line.
            let keys: Vec<CustomerKey> = (0..count).map(|n| (n << 64).to_le_bytes()).collect();
            let mut index = Index::new();
            for (id, key) in keys.iter().enumerate() {
                index.insert(key, id as CustomerId, |id| &keys[id as usize]);
            }
            for (id, key) in keys.iter().enumerate() {
                assert_eq!(index.find(key, |id| keys[id as usize] == *key), Some(id as CustomerId), "of {count}");
            }
        }
    }

    /// Keys of few segments, places and tags, so that lines run over and tags are shared.
    fn any_key() -> impl Strategy<Value = CustomerKey> {
        (0u8..2, 0u8..3, any::<u64>(), 0u8..4).prop_map(|(segment, tag, low, crowded)| {
            let mut key = [0; 16];
            key[0] = segment;
            key[1] = tag;
            key[8..].copy_from_slice(&(if crowded == 0 { low } else { low % 1024 }).to_le_bytes());
            key
        })
    }

    proptest! {
        #[test]
        fn it_finds_those_and_only_those_that_were_inserted(
            keys in prop::collection::vec(any_key(), 0..400),
            others in prop::collection::vec(any_key(), 50),
            expected in 0usize..100_000,
        ) {
            let mut index = Index::new();
            index.expect(expected);
            let (mut told, mut known) = (Vec::new(), HashMap::new());
            for key in keys {
                let id = told.len() as CustomerId;
                known.entry(key).or_insert_with(|| {
                    index.insert(&key, id, |id| &told[id as usize]);
                    told.push(key);
                    id
                });
            }
            for key in told.iter().chain(&others) {
                let found = index.find(key, |id| told[id as usize] == *key);
                prop_assert_eq!(found, known.get(key).copied());
                let guess = index.guess(key);
                prop_assert!(guess.is_none_or(|id| told[id as usize][..1] == key[..1]), "of its segment");
            }
        }
    }

    #[test]
    fn a_guess_is_nearly_always_right_and_no_more_is_allocated_than_customers_need() {
        let mut state = 1u128;
        let keys: Vec<CustomerKey> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x2d99_787a_2c79_3cb5_2d99_787a_2c79_3cb5).wrapping_add(1);
            (state ^ (state >> 64)).to_le_bytes()
        })
        .take(500_000)
        .collect();
        for expected in [0, keys.len(), usize::MAX] {
            let mut index = Index::new();
            index.expect(expected);
            for (id, key) in keys.iter().enumerate() {
                index.insert(key, id as CustomerId, |id| &keys[id as usize]);
            }
            let right = |(id, key): (usize, &CustomerKey)| index.guess(key) == Some(id as CustomerId);
            let right = keys.iter().enumerate().filter(|&of| right(of)).count();
            assert!(right * 100 > keys.len() * 95, "{right} of {}", keys.len());
            let lines: usize = index.segments.iter().map(|segment| segment.lines.len()).sum();
            let bytes = lines as f64 * 64.0 / keys.len() as f64;
            let most = if expected == usize::MAX { 6.3 * FORESEEN as f64 } else { 8.0 };
            assert!(bytes < most, "{bytes} bytes a customer");
        }
    }
}
