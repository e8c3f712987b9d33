//! Which customers change by time alone, and when: terms and timeouts run out without any event.
//!
//! A customer is noted at or before the next instant at which it changes. The further away, the
//! coarser: a note costs four bytes and is refined as its time comes. Notes may be early or repeated; whoever takes
//! one looks at the customer and, if it is not time yet, notes it again.

use std::collections::BTreeMap;

use super::customers::CustomerId;
use crate::time::Instant;

/// Widths of the buckets, as powers of two of milliseconds: 1 s, 1 min, 1 h, 3 days, 198 days.
const WIDTHS: [u32; 5] = [10, 16, 22, 28, 34];

/// Notes by the start of their bucket.
#[derive(Debug, Default)]
pub struct Deadlines {
    buckets: BTreeMap<i64, Vec<CustomerId>>,
}

impl Deadlines {
    /// Notes that a customer changes at `at`, seen from `now`.
    pub fn note(&mut self, customer: CustomerId, at: Instant, now: Instant) {
        let away = at.as_millis().saturating_sub(now.as_millis());
        let width = WIDTHS.into_iter().take_while(|width| away >> width > 0).last().unwrap_or(WIDTHS[0]);
        let start = at.as_millis() >> width << width;
        self.buckets.entry(start).or_default().push(customer);
    }

    /// Takes out, without repeats, everybody who may change at or before `t`.
    pub fn take_due(&mut self, t: Instant, due: &mut Vec<CustomerId>) {
        due.clear();
        while let Some(bucket) = self.buckets.first_entry().filter(|bucket| *bucket.key() <= t.as_millis()) {
            due.append(&mut bucket.remove());
        }
        due.sort_unstable();
        due.dedup();
    }
}
