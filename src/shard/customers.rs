//! The customers' packed histories: one cache line each for the common customer.
//!
//! Records lie in order of arrival, in chunks that never move; an [index](super::index) leads to them.

use super::chunks::Chunks;
use super::frozen::Frozen;
use super::index::Index;
use crate::history::append::{Appended, Line, Update, append};
use crate::native::prefetch;

/// A customer's keyed hash. Nothing leads from it back to the id.
pub type CustomerKey = [u8; 16];

/// Number of a customer in its shard; never reused.
pub type CustomerId = u32;

/// How many records the first chunks have.
const FIRST_CHUNK: usize = 1024;
const INLINE: usize = 47;
/// By how many bytes a history that does not lie in its record grows.
const SPILLED_STEP: usize = 32;
/// In place of a length: the history lies in `spilled`, at the index in the bytes that follow.
const SPILLED: u8 = u8::MAX;

/// One cache line, in quarters: the history has the first three but for their last byte, which is its length, and the
/// customer's key the last. As one array, in which a history can be read by the word up to its end.
///
/// It asks to be aligned to a quarter only: mimalloc puts blocks of these sizes at a line's beginning anyway, but would round
/// them up by a quarter if it was asked to.
#[repr(align(16))]
#[derive(Clone, Copy)]
struct Record([[u8; 16]; 4]);

/// Every customer of a shard.
pub struct Customers {
    records: Chunks<Record, FIRST_CHUNK>,
    index: Index,
    spilled: Vec<Vec<u8>>,
    free: Vec<u32>,
    frozen: Frozen,
}

impl Customers {
    pub fn new() -> Self {
        Self {
            records: Chunks::new(),
            index: Index::new(),
            spilled: Vec::new(),
            free: Vec::new(),
            frozen: Frozen::default(),
        }
    }

    /// Foresees so many customers. It is a hint: what is allocated stays in proportion to those that come.
    pub fn expect(&mut self, customers: u64) {
        self.index.expect(usize::try_from(customers).unwrap_or(usize::MAX));
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn ids(&self) -> impl Iterator<Item = CustomerId> + use<> {
        0..self.len() as CustomerId
    }

    /// The customer of a key, made with this history if there is none.
    pub fn find_or_insert(&mut self, key: &CustomerKey, history: &[u8]) -> CustomerId {
        if let Some(id) = self.index.find(key, |id| self.records[id as usize].key() == key) {
            return id;
        }
        let id = self.len() as CustomerId;
        self.records.push(Record([[0; 16], [0; 16], [0; 16], *key]));
        self.index.insert(key, id, |id| self.records[id as usize].key());
        self.set_history(id, history);
        id
    }

    /// Asks for where a key's customer is told.
    pub fn ask_for_place(&self, key: &CustomerKey) {
        self.index.ask_for_line(key);
    }

    /// Who are most likely the customers of some keys; somebody else now and then. Their records are asked for.
    ///
    /// Each loop asks for all its places in memory before the next reads any. Nothing else is done meanwhile: places that are
    /// asked for one by one between an event's hash and the next come later, all in all.
    pub fn guess_all<const N: usize>(&self, keys: &[Option<CustomerKey>; N]) -> [Option<CustomerId>; N] {
        let mut lines = [None; N];
        for (line, key) in lines.iter_mut().zip(keys) {
            if let Some(key) = key {
                *line = self.index.ask_for_line(key);
            }
        }
        let mut guesses = [None; N];
        for ((guess, line), key) in guesses.iter_mut().zip(lines).zip(keys) {
            if let (Some(line), Some(key)) = (line, key) {
                // Rarely there are several. Whoever else may be meant will be looked at next.
                for id in self.index.guesses(key, line) {
                    prefetch(&self.records[id as usize]);
                    guess.get_or_insert(id);
                }
            }
        }
        guesses
    }

    /// Asks for a history that does not lie in its record, which should be there by now.
    #[inline(always)]
    pub fn ask_for_spilled(&self, id: CustomerId) {
        if let Some(spilled) = self.records[id as usize].spilled_at().and_then(|at| self.spilled[at].first()) {
            prefetch(spilled);
        }
    }

    /// Asks for the histories of some customers.
    pub fn ask_for(&self, ids: &[CustomerId]) {
        ids.iter().for_each(|&id| prefetch(&self.records[id as usize]));
        ids.iter().for_each(|&id| self.ask_for_spilled(id));
    }

    pub fn key(&self, id: CustomerId) -> &CustomerKey {
        self.records[id as usize].key()
    }

    /// A customer's packed history.
    pub fn history(&self, id: CustomerId) -> &[u8] {
        self.records[id as usize].history(&self.spilled)
    }

    /// Whether a customer's history is too long for its record.
    pub fn is_spilled(&self, id: CustomerId) -> bool {
        self.records[id as usize].len() == SPILLED
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
        let record = &mut self.records[id as usize];
        let spilled_at = record.spilled_at();
        if bytes.len() <= INLINE {
            if let Some(at) = spilled_at {
                self.spilled[at] = Vec::new();
                self.free.push(at as u32);
            }
            record.write(bytes);
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
        record.write(&(at as u32).to_le_bytes());
        record.set_len(SPILLED);
    }

    /// Adds the latest word on a customer to its history where that is simple; `None`, and nothing is changed, otherwise.
    #[inline]
    pub fn append(&mut self, id: CustomerId, update: &Update<'_>) -> Option<Appended> {
        let record = &mut self.records[id as usize];
        let len = record.len();
        if len == SPILLED {
            return None;
        }
        let before = self.frozen.awaits(id).then_some(*record);
        let appended = append::<INLINE>(record.line()?, usize::from(len), update)?;
        if let Appended::Quiet(len) | Appended::Ahead(len) = appended {
            record.set_len(len as u8);
            if let Some(before) = before {
                self.frozen.keep(id, before.history(&[]));
            }
        }
        Some(appended)
    }

    /// Begins a snapshot of all customers as they are now; one that is under way ends.
    pub fn freeze(&mut self) {
        self.frozen = Frozen::begin(self.len() as CustomerId);
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
        let record = &self.records[id as usize];
        let history = self.frozen.take_kept(id).unwrap_or_else(|| record.history(&self.spilled));
        Some((record.key(), history))
    }
}

impl Record {
    fn key(&self) -> &CustomerKey {
        &self.0[3]
    }

    fn len(&self) -> u8 {
        self.0[2][15]
    }

    fn set_len(&mut self, len: u8) {
        self.0[2][15] = len;
    }

    fn line(&mut self) -> Option<&mut Line> {
        self.0.as_flattened_mut().first_chunk_mut()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.as_flattened_mut()[..bytes.len()].copy_from_slice(bytes);
        self.set_len(bytes.len() as u8);
    }

    fn history<'a>(&'a self, spilled: &'a [Vec<u8>]) -> &'a [u8] {
        match self.spilled_at() {
            Some(at) => &spilled[at],
            None => &self.0.as_flattened()[..usize::from(self.len())],
        }
    }

    fn spilled_at(&self) -> Option<usize> {
        let [[a, b, c, d, ..], ..] = self.0;
        (self.len() == SPILLED).then(|| u32::from_le_bytes([a, b, c, d]) as usize)
    }
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
