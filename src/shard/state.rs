//! What of a shard outlives the process, and how it comes back.

use std::sync::Arc;

use super::customers::CustomerKey;
use super::{HashKey, Shard};
use crate::cohort::{Definitions, Lifecycle};
use crate::history::codec::{self, Malformed};
use crate::time::Instant;

/// Everything but the customers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub key: HashKey,
    pub next_offset: i64,
    pub earliest_event: Option<Instant>,
    pub latest_event: Option<Instant>,
    pub folded_before: Option<Instant>,
    /// What the histories were made under.
    pub lifecycle: Lifecycle,
    /// By slot, sorted.
    pub attributes: Vec<String>,
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(…)")
    }
}

impl Shard {
    pub(crate) fn state(&self) -> State {
        State {
            key: self.key,
            next_offset: self.next_offset,
            earliest_event: self.earliest_event,
            latest_event: self.latest_event,
            folded_before: self.folded_before,
            lifecycle: self.definitions.lifecycle,
            attributes: self.attributes.clone(),
        }
    }

    /// The texts that packed histories refer to, by number.
    pub(crate) fn texts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.values.texts()
    }

    /// Every customer's key and packed history, in the order of arrival.
    pub(crate) fn packed(&self) -> impl Iterator<Item = (&CustomerKey, &[u8])> {
        self.customers.ids().map(|id| (self.customers.key(id), self.customers.history(id)))
    }

    /// A shard without customers yet. The definitions may differ from those of the state in everything but
    /// the lifecycle; attributes they do not know have to be known to the state.
    pub(crate) fn from_state(definitions: Arc<Definitions>, state: &State) -> Self {
        let mut shard = Self::new(definitions, state.key);
        shard.next_offset = state.next_offset;
        shard.earliest_event = state.earliest_event;
        shard.latest_event = state.latest_event;
        shard.folded_before = state.folded_before;
        shard
    }

    /// Gives the next text its number; false if it has one.
    pub(crate) fn add_text(&mut self, text: &str) -> bool {
        let expected = self.values.len();
        self.values.intern(text) as usize == expected
    }

    /// Puts back a customer whose history was packed under `attributes`; false if the customer is there already.
    pub(crate) fn add_packed(
        &mut self,
        key: &CustomerKey,
        packed: &[u8],
        attributes: &[String],
    ) -> Result<bool, Malformed> {
        if self.customers.contains(key) {
            return Ok(false);
        }
        codec::decode(packed, attributes.len(), self.values.len(), &mut self.scratch.history)?;
        let customer = self.customers.find_or_insert(key, &[0]);
        if attributes == self.attributes {
            self.customers.set_history(customer, packed);
            return Ok(true);
        }
        // Attributes that no dimension asks for any more are dropped; the others keep their order.
        let own = &self.attributes;
        let slot = |old: u8| attributes.get(usize::from(old)).and_then(|name| own.binary_search(name).ok());
        self.scratch.history.attributes.retain_mut(|fact| match slot(fact.slot) {
            Some(slot) => {
                fact.slot = slot as u8;
                true
            }
            None => false,
        });
        self.pack();
        self.customers.set_history(customer, &self.scratch.bytes);
        Ok(true)
    }

    pub(crate) fn attributes(&self) -> &[String] {
        &self.attributes
    }
}
