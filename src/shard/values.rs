//! The shard's dictionary of dimension values: each distinct text is kept once and has a number.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::cohort::UNKNOWN;
use crate::history::ValueId;

/// Texts by number and numbers by text. Number 0 is `unknown`.
#[derive(Debug)]
pub struct Values {
    texts: Vec<Box<str>>,
    index: HashTable<ValueId>,
    /// Only spreads the entries: no number depends on it.
    hasher: RandomState,
}

impl Values {
    pub fn new() -> Self {
        let mut values = Self { texts: Vec::new(), index: HashTable::new(), hasher: RandomState::new() };
        values.intern(UNKNOWN);
        values
    }

    /// The number of a text, a new one if it has none.
    pub fn intern(&mut self, text: &str) -> ValueId {
        let Self { texts, index, hasher } = self;
        let hash = hasher.hash_one(text);
        if let Some(&id) = index.find(hash, |&id| *texts[id as usize] == *text) {
            return id;
        }
        let id = texts.len() as ValueId;
        texts.push(text.into());
        index.insert_unique(hash, id, |&id| hasher.hash_one(&*texts[id as usize]));
        id
    }

    pub fn text(&self, id: ValueId) -> &str {
        &self.texts[id as usize]
    }

    pub fn texts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.texts.iter().map(|text| &**text)
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }
}
