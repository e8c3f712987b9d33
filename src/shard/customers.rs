//! The customers' packed histories: one cache line each for the common customer.
//!
//! Records lie in order of arrival in chunks that never move; an index in segments leads from the hashed
//! id to the record. A single table of tens of millions of entries would stall for seconds each time it grows;
//! a segment stalls for milliseconds.

use hashbrown::HashTable;

use super::frozen::Frozen;
use crate::history::prolong::{Prolonged, Sign, prolong};

/// A customer's keyed hash. Nothing leads from it back to the id.
pub type CustomerKey = [u8; 16];

/// Number of a customer in its shard; never reused.
pub type CustomerId = u32;

const SEGMENTS: usize = 256;
/// By how much a segment grows at most for customers that are foreseen.
const FORESEEN: usize = 8;
const CHUNK: usize = 1024;
const INLINE: usize = 47;
/// By how many bytes a history that does not lie in its record grows.
const SPILLED_STEP: usize = 32;
/// In place of a length: the history lies in `spilled`, at the index in the bytes that follow.
const SPILLED: u8 = u8::MAX;

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Record {
    key: CustomerKey,
    len: u8,
    bytes: [u8; INLINE],
}

/// Every customer of a shard.
pub struct Customers {
    chunks: Vec<Vec<Record>>,
    index: Vec<HashTable<CustomerId>>,
    spilled: Vec<Vec<u8>>,
    free: Vec<u32>,
    len: usize,
    /// How many there will be, where that is foreseen.
    expected: usize,
    frozen: Frozen,
}

impl Customers {
    pub fn new() -> Self {
        let index = (0..SEGMENTS).map(|_| HashTable::new()).collect();
        Self {
            chunks: Vec::new(),
            index,
            spilled: Vec::new(),
            free: Vec::new(),
            len: 0,
            expected: 0,
            frozen: Frozen::default(),
        }
    }

    /// Foresees so many customers. It is a hint: what is allocated stays in proportion to those that come.
    pub fn expect(&mut self, customers: u64) {
        self.expected = usize::try_from(customers).unwrap_or(usize::MAX);
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn ids(&self) -> impl Iterator<Item = CustomerId> + use<> {
        0..self.len as CustomerId
    }

    /// The customer of a key, made with the history `empty` if there is none.
    pub fn find_or_insert(&mut self, key: &CustomerKey, empty: &[u8]) -> CustomerId {
        let hash = spread(key);
        let chunks = &mut self.chunks;
        let segment = &mut self.index[usize::from(key[0])];
        if let Some(&id) = segment.find(hash, |&id| record(chunks, id).key == *key) {
            return id;
        }
        let id = self.len as CustomerId;
        if self.len.is_multiple_of(CHUNK) {
            // A first small shard should not pay for a whole chunk.
            chunks.push(if self.len == 0 { Vec::new() } else { Vec::with_capacity(CHUNK) });
        }
        let mut new = Record { key: *key, len: empty.len() as u8, bytes: [0; INLINE] };
        new.bytes[..empty.len()].copy_from_slice(empty);
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(new);
        }
        let hash_of = |&id: &CustomerId| spread(&record(chunks, id).key);
        if segment.len() == segment.capacity() {
            // To grow is to look at every record once more.
            let foreseen = (self.expected / SEGMENTS * 9 / 8).min(FORESEEN * segment.len());
            segment.reserve(foreseen.saturating_sub(segment.len()).max(1), hash_of);
        }
        segment.insert_unique(hash, id, hash_of);
        self.len += 1;
        id
    }

    /// The customers of some keys, where they are known. Their histories are in the processor's cache then.
    ///
    /// Each loop asks for all its places in memory before any is there: what one waits for, all wait for together.
    pub fn find_all<const N: usize>(&self, keys: &[Option<CustomerKey>; N]) -> [Option<CustomerId>; N] {
        // Whoever is first in the index with the same few bits is nearly always the one.
        let mut customers = keys.map(|key| {
            let key = key?;
            self.index[usize::from(key[0])].find(spread(&key), |_| true).copied()
        });
        for (customer, key) in customers.iter_mut().zip(keys) {
            *customer = customer.filter(|&id| Some(record(&self.chunks, id).key) == *key);
        }
        customers
    }

    /// Has the histories of some customers in the processor's cache.
    pub fn fetch(&self, ids: &[CustomerId]) {
        for &id in ids {
            std::hint::black_box(record(&self.chunks, id).len);
        }
    }

    pub fn key(&self, id: CustomerId) -> &CustomerKey {
        &record(&self.chunks, id).key
    }

    /// A customer's packed history.
    pub fn history(&self, id: CustomerId) -> &[u8] {
        record(&self.chunks, id).history(&self.spilled)
    }

    /// Whether a customer's history is too long for its record.
    pub fn is_spilled(&self, id: CustomerId) -> bool {
        record(&self.chunks, id).len == SPILLED
    }

    /// How many histories are too long for their record.
    pub fn spilled(&self) -> usize {
        self.spilled.len() - self.free.len()
    }

    /// Whether a history of this many bytes lies in the record itself.
    pub const fn fits(len: usize) -> bool {
        len <= INLINE
    }

    pub fn set_history(&mut self, id: CustomerId, bytes: &[u8]) {
        if self.frozen.awaits(id) {
            self.keep_frozen(id);
        }
        let record = &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK];
        let spilled_at = record.spilled_at();
        if bytes.len() <= INLINE {
            if let Some(at) = spilled_at {
                self.spilled[at] = Vec::new();
                self.free.push(at as u32);
            }
            record.len = bytes.len() as u8;
            record.bytes[..bytes.len()].copy_from_slice(bytes);
            return;
        }
        let at = spilled_at.or_else(|| self.free.pop().map(|at| at as usize)).unwrap_or_else(|| {
            self.spilled.push(Vec::new());
            self.spilled.len() - 1
        });
        let spilled = &mut self.spilled[at];
        spilled.clear();
        if spilled.capacity() < bytes.len() {
            // With room for the next fact, so that not every event allocates; doubling would waste more.
            spilled.reserve_exact(bytes.len().next_multiple_of(SPILLED_STEP));
        }
        spilled.extend_from_slice(bytes);
        record.len = SPILLED;
        record.bytes[..4].copy_from_slice(&(at as u32).to_le_bytes());
    }

    /// Adds a sign of life to a customer's history where that is simple; `None`, and nothing is changed, otherwise.
    pub fn prolong(&mut self, id: CustomerId, sign: Sign<'_>) -> Option<Prolonged> {
        let record = &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK];
        if record.len == SPILLED {
            return None;
        }
        let before = self.frozen.awaits(id).then_some(*record);
        let prolonged = prolong(&mut record.bytes, usize::from(record.len), sign)?;
        if let Prolonged::Written(len) = prolonged {
            record.len = len as u8;
            if let Some(before) = before {
                self.frozen.keep(id, &before.bytes[..usize::from(before.len)]);
            }
        }
        Some(prolonged)
    }

    /// Begins a snapshot of all customers as they are now; one that is under way ends.
    pub fn freeze(&mut self) {
        self.frozen = Frozen::begin(self.len as CustomerId);
    }

    /// Ends the snapshot that is under way.
    pub fn thaw(&mut self) {
        self.frozen = Frozen::default();
    }

    #[cold]
    fn keep_frozen(&mut self, id: CustomerId) {
        let mut frozen = std::mem::take(&mut self.frozen);
        frozen.keep(id, self.history(id));
        self.frozen = frozen;
    }

    /// The next customer of the snapshot under way, in the order of arrival, as it was when the snapshot began.
    pub fn next_frozen(&mut self) -> Option<(&CustomerKey, &[u8])> {
        let id = self.frozen.next()?;
        let record = record(&self.chunks, id);
        let history = self.frozen.take_kept(id).unwrap_or_else(|| record.history(&self.spilled));
        Some((&record.key, history))
    }
}

impl Record {
    fn history<'a>(&'a self, spilled: &'a [Vec<u8>]) -> &'a [u8] {
        match self.spilled_at() {
            Some(at) => &spilled[at],
            None => &self.bytes[..usize::from(self.len)],
        }
    }

    fn spilled_at(&self) -> Option<usize> {
        let [a, b, c, d, ..] = self.bytes;
        (self.len == SPILLED).then(|| u32::from_le_bytes([a, b, c, d]) as usize)
    }
}

fn record(chunks: &[Vec<Record>], id: CustomerId) -> &Record {
    &chunks[id as usize / CHUNK][id as usize % CHUNK]
}

/// The key is a hash already; the first byte has chosen the segment.
fn spread(key: &CustomerKey) -> u64 {
    let [_, _, _, _, _, _, _, _, low @ ..] = *key;
    u64::from_le_bytes(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_cache_line() {
        assert_eq!(size_of::<Record>(), 64);
    }

    #[test]
    fn histories_spill_and_come_back() {
        let mut customers = Customers::new();
        let ids: Vec<CustomerId> =
            (0..3000u32).map(|n| customers.find_or_insert(&u128::from(n).to_le_bytes(), &[0])).collect();
        for (round, len) in [40usize, 47, 48, 500, 3, 60].into_iter().enumerate() {
            for &id in &ids {
                customers.set_history(id, &vec![(id as usize + round) as u8; len]);
            }
            for &id in &ids {
                assert_eq!(customers.history(id), vec![(id as usize + round) as u8; len]);
            }
            assert_eq!(customers.spilled(), if len > 47 { 3000 } else { 0 });
        }
        assert_eq!(customers.find_or_insert(&7u128.to_le_bytes(), &[]), 7);
    }
}
