//! Customers as they were when a snapshot began, while they go on changing.

use std::collections::BTreeMap;
use std::ops::Range;

use super::customers::CustomerId;

/// Whom the snapshot has not come to yet, and the histories of those of them that have changed since it began.
#[derive(Default)]
pub struct Frozen {
    /// Those who came later are behind its end.
    awaited: Range<CustomerId>,
    /// Where in `bytes` they lie. In the snapshot's order, so that to come to one is to take the first.
    changed: BTreeMap<CustomerId, Range<usize>>,
    bytes: Vec<u8>,
}

impl Frozen {
    /// Of the first `len` customers, as they are now.
    pub fn begin(len: CustomerId) -> Self {
        Self { awaited: 0..len, ..Self::default() }
    }

    /// Whether the snapshot is still to tell this customer.
    pub fn awaits(&self, customer: CustomerId) -> bool {
        self.awaited.contains(&customer)
    }

    /// The customer is about to change from this history; it may have changed before.
    #[cold]
    pub fn keep(&mut self, customer: CustomerId, history: &[u8]) {
        self.changed.entry(customer).or_insert_with(|| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(history);
            start..self.bytes.len()
        });
    }

    /// The next customer of the snapshot.
    pub fn next(&mut self) -> Option<CustomerId> {
        let next = self.awaited.next();
        if next.is_none() {
            *self = Self::default();
        }
        next
    }

    /// The history of the customer that is next, if it has changed.
    pub fn take_kept(&mut self, customer: CustomerId) -> Option<&[u8]> {
        let first = self.changed.first_entry().filter(|first| *first.key() == customer)?;
        Some(&self.bytes[first.remove()])
    }
}
