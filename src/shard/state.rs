//! What of a shard outlives the process, and how it comes back.

use std::sync::Arc;

use super::customers::{CustomerId, CustomerKey};
use super::{HashKey, Shard};
use crate::cohort::{Definitions, Lifecycle};
use crate::history::codec::{self, Malformed};
use crate::history::timeline::Timeline;
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

    /// The texts that packed histories refer to, by number. A text never changes its number.
    pub(crate) fn texts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.values.texts()
    }

    /// Every customer's key and packed history as they are now, in the order of arrival.
    pub(crate) fn packed(&self) -> impl Iterator<Item = (&CustomerKey, &[u8])> {
        self.customers.ids().map(|id| (self.customers.key(id), self.customers.history(id)))
    }

    /// From now on [`Self::next_frozen`] tells the customers as they are at this call. There is one such snapshot at a
    /// time: a new one ends the one before.
    pub(crate) fn freeze(&mut self) {
        self.customers.freeze();
    }

    /// Ends what [`Self::freeze`] began, if it is not at its end.
    pub(crate) fn thaw(&mut self) {
        self.customers.thaw();
    }

    /// As an item of [`Self::packed`], but of the last [`Self::freeze`].
    pub(crate) fn next_frozen(&mut self) -> Option<(&CustomerKey, &[u8])> {
        self.customers.next_frozen()
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

    /// Foresees so many customers, whether they come or not.
    pub(crate) fn expect_customers(&mut self, customers: u64) {
        self.customers.expect(customers);
    }

    /// Gives the next text its number; false if it has one.
    pub(crate) fn add_text(&mut self, text: &str) -> bool {
        let expected = self.values.len();
        self.values.intern(text) as usize == expected
    }

    /// Builds the tallies as of `t` ahead of the first [`Self::advance`]: customers that are put back from now on are
    /// counted at once. `t` is a guess; if that advance is to an earlier instant, it builds them anew.
    pub(crate) fn build_ahead(&mut self, t: Instant) {
        self.build(t);
        if let Some(tallies) = &mut self.tallies {
            tallies.is_guess = true;
        }
    }

    /// While nothing is published nobody takes notes out again. Before they outnumber the customers the tallies are given
    /// up, to be built when somebody asks: memory is not to grow with the number of events.
    pub(super) fn bound_notes_ahead(&mut self) {
        let Some(tallies) = &mut self.tallies else { return };
        tallies.notes_ahead += 1;
        if tallies.notes_ahead > self.customers.len() {
            if !tallies.is_guess {
                self.given_up_as_of = Some(tallies.as_of);
            }
            self.tallies = None;
        }
    }

    /// Asks for where some customers will be put.
    pub(crate) fn ask_for_places<'k>(&self, keys: impl Iterator<Item = &'k CustomerKey>) {
        keys.for_each(|key| self.customers.ask_for_place(key));
    }

    /// Puts back a customer whose history was packed under `attributes`, referring to the first `texts` texts; false
    /// if the customer is there already.
    pub(crate) fn add_packed(
        &mut self,
        key: &CustomerKey,
        packed: &[u8],
        attributes: &[String],
        texts: usize,
    ) -> Result<bool, Malformed> {
        codec::decode(packed, attributes.len(), texts, &mut self.scratch.history)?;
        let before = self.customers.len();
        let customer = if attributes == self.attributes {
            self.customers.find_or_insert(key, packed)
        } else {
            self.keep_own_attributes(attributes);
            self.pack();
            self.customers.find_or_insert(key, &self.scratch.bytes)
        };
        let is_new = self.customers.len() > before;
        if is_new {
            self.count_restored(customer);
        }
        Ok(is_new)
    }

    /// Of the loaded history attributes that no dimension asks for any more are dropped; the others keep their order.
    fn keep_own_attributes(&mut self, attributes: &[String]) {
        let own = &self.attributes;
        let slot = |old: u8| attributes.get(usize::from(old)).and_then(|name| own.binary_search(name).ok());
        self.scratch.history.attributes.retain_mut(|fact| match slot(fact.slot) {
            Some(slot) => {
                fact.slot = slot as u8;
                true
            }
            None => false,
        });
    }

    /// Where the tallies are built ahead: adds the contribution of the customer whose history is loaded.
    fn count_restored(&mut self, customer: CustomerId) {
        let Some(as_of) = self.as_of() else { return };
        let mut after = std::mem::take(&mut self.scratch.after);
        self.evaluate(as_of, &mut after);
        self.recount(customer, &Timeline::default(), &after);
        self.scratch.after = after;
    }

    pub(crate) fn attributes(&self) -> &[String] {
        &self.attributes
    }
}
