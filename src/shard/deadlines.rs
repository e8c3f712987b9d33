//! Which customers change by time alone, and when: terms and timeouts run out without any event.
//!
//! A customer is noted at or before the next instant at which it changes. The further away, the
//! coarser: a note costs four bytes and is refined as its time comes. Notes may be early or repeated; whoever takes
//! one looks at the customer and, if it is not time yet, notes it again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashTable;

use super::customers::CustomerId;
use crate::tally::spread;
use crate::time::Instant;

/// From how far away on buckets have which width, as powers of two of milliseconds: 1 s; 1 min from 1 min on; 1 h from
/// 1 h on; 3 days from 2 years on. All of a bucket are looked at when it begins, so that it has to be much narrower
/// than the terms and timeouts of many customers are long.
const WIDTHS: [(u32, u32); 4] = [(0, 10), (16, 16), (22, 22), (36, 28)];

/// Notes are kept in lists of at most so many: one that doubles as it grows would be half empty.
const LIST: usize = 512;

/// Notes by the start of their bucket.
#[derive(Debug, Default)]
pub struct Deadlines {
    buckets: HashTable<Bucket>,
    /// Where buckets start, each once.
    starts: BinaryHeap<Reverse<i64>>,
}

#[derive(Debug)]
struct Bucket {
    start: i64,
    full: Vec<Vec<CustomerId>>,
    last: Vec<CustomerId>,
}

impl Bucket {
    fn new(start: i64) -> Self {
        Self { start, full: Vec::new(), last: Vec::new() }
    }

    fn push(&mut self, customer: CustomerId) {
        self.last.push(customer);
        if self.last.len() == LIST {
            // The next ones are as many, most likely: lists that grow leave holes between each other.
            self.full.push(std::mem::replace(&mut self.last, Vec::with_capacity(LIST)));
        }
    }

    fn append_to(&self, due: &mut Vec<CustomerId>) {
        self.full.iter().chain([&self.last]).for_each(|list| due.extend_from_slice(list));
    }
}

impl Deadlines {
    /// Notes that a customer changes at `at`, seen from `now`.
    pub fn note(&mut self, customer: CustomerId, at: Instant, now: Instant) {
        let away = at.as_millis().saturating_sub(now.as_millis());
        let width = WIDTHS.into_iter().rev().find(|(from, _)| away >> from > 0).unwrap_or(WIDTHS[0]).1;
        let start = at.as_millis() >> width << width;
        match self.buckets.find_mut(hash(start), |bucket| bucket.start == start) {
            Some(bucket) => bucket.push(customer),
            None => self.begin(start).push(customer),
        }
    }

    #[cold]
    fn begin(&mut self, start: i64) -> &mut Bucket {
        self.starts.push(Reverse(start));
        self.buckets.insert_unique(hash(start), Bucket::new(start), |bucket| hash(bucket.start)).into_mut()
    }

    /// Takes out, without repeats, everybody who may change at or before `t`.
    pub fn take_due(&mut self, t: Instant, due: &mut Vec<CustomerId>) {
        due.clear();
        while let Some(&Reverse(start)) = self.starts.peek().filter(|Reverse(start)| *start <= t.as_millis()) {
            self.starts.pop();
            if let Ok(bucket) = self.buckets.find_entry(hash(start), |bucket| bucket.start == start) {
                bucket.remove().0.append_to(due);
            }
        }
        due.sort_unstable();
        due.dedup();
    }
}

/// Up to the year 9999 there are a million starts: whoever chose times to collide would find few.
fn hash(start: i64) -> u64 {
    spread(start as u64)
}
