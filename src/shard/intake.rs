//! How records come in: read in place, looked up by the block, applied one by one in their order.

use std::ops::ControlFlow;

use super::customers::CustomerId;
use super::{BLOCK, Outcome, Record, Shard};
use crate::decode::{self, Refusal};
use crate::event::{Event, Kind, Rejection};
use crate::history::append::{Appended, Update};
use crate::history::{AttributeFact, Fact};
use crate::proto::LifecycleEvent;
use crate::time::Instant;

/// How many records before it is applied a history that may lie elsewhere is asked for.
const AHEAD: usize = 8;

impl Shard {
    /// Takes in one record's payload (`None`: a tombstone) and counts what became of it. An event later
    /// than `latest_event_time` is rejected; `None` accepts any.
    pub fn consume(&mut self, payload: Option<&[u8]>, latest_event_time: Option<Instant>) -> Outcome {
        let mut decoder = std::mem::take(&mut self.decoder);
        let outcome = self.take_in(decoder.decode(payload, latest_event_time));
        self.decoder = decoder;
        outcome
    }

    /// Takes in records, in their order, and tells what became of each; none after one at which `each` breaks.
    /// Returns how many.
    ///
    /// Histories lie all over the memory, and each would be waited for: those of a block are looked up together first.
    pub fn consume_batch(
        &mut self,
        records: &[Record<'_>],
        mut each: impl FnMut(usize, Outcome) -> ControlFlow<()>,
    ) -> usize {
        let mut taken = 0;
        let mut events: [Option<Result<Event<'_>, Refusal>>; BLOCK] = [const { None }; BLOCK];
        for block in records.chunks(BLOCK) {
            for (event, record) in events.iter_mut().zip(block) {
                match record.payload {
                    Ok(payload) => decode::read_in_place(payload, record.latest_event_time, event),
                    Err(why) => *event = Some(Err(why.into())),
                }
            }
            let mut keys = [None; BLOCK];
            for (key, event) in keys.iter_mut().zip(&events[..block.len()]) {
                if let Some(Ok(event)) = event {
                    *key = Some(self.customer_key(event.customer_id));
                }
            }
            let guesses = self.customers.guess_all(&keys);
            for (i, record) in block.iter().enumerate() {
                if let Some(Some(ahead)) = guesses.get(i + AHEAD) {
                    self.customers.ask_for_spilled(*ahead);
                }
                let outcome = match (&events[i], keys[i]) {
                    (Some(Ok(event)), Some(key)) => {
                        let guess = guesses[i].filter(|&guess| *self.customers.key(guess) == key);
                        let customer = guess.unwrap_or_else(|| self.customers.find_or_insert(&key, &[0]));
                        self.take_in_event(event, customer)
                    }
                    (Some(Err(refusal)), _) => self.refuse(*refusal),
                    // The decoder has buffers.
                    _ => self.consume_record(record),
                };
                taken += 1;
                if each(taken - 1, outcome).is_break() {
                    return taken;
                }
            }
        }
        taken
    }

    fn consume_record(&mut self, record: &Record<'_>) -> Outcome {
        match record.payload {
            Ok(payload) => self.consume(payload, record.latest_event_time),
            Err(why) => self.reject(why),
        }
    }

    /// Counts a record that holds no message.
    pub fn reject(&mut self, why: Rejection) -> Outcome {
        self.take_in(Err(why.into()))
    }

    /// As [`Self::consume`], for an event that is decoded already.
    pub fn consume_message(&mut self, message: &LifecycleEvent, latest_event_time: Option<Instant>) -> Outcome {
        self.take_in(decode::validate(message, latest_event_time))
    }

    fn take_in(&mut self, event: Result<Event<'_>, Refusal>) -> Outcome {
        match event {
            Ok(event) => {
                let customer = self.customers.find_or_insert(&self.customer_key(event.customer_id), &[0]);
                self.take_in_event(&event, customer)
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Outcome {
        match refusal {
            Refusal::Ignored(why) => {
                self.counts.ignored[why as usize] += 1;
                Outcome::Ignored(why)
            }
            Refusal::Rejected(why) => {
                self.counts.rejected[why as usize] += 1;
                Outcome::Rejected(why)
            }
        }
    }

    fn take_in_event(&mut self, event: &Event<'_>, customer: CustomerId) -> Outcome {
        self.earliest_event = Some(self.earliest_event.map_or(event.time, |t| t.min(event.time)));
        self.latest_event = Some(self.latest_event.map_or(event.time, |t| t.max(event.time)));
        if self.apply(event, customer) {
            self.counts.applied[event.kind.index()] += 1;
            Outcome::Applied
        } else {
            self.counts.unchanged += 1;
            Outcome::Unchanged
        }
    }

    /// Changes the customer's history, and what it contributes. False if nothing changed.
    fn apply(&mut self, event: &Event<'_>, customer: CustomerId) -> bool {
        let as_of = self.as_of();
        let lifecycle = &self.definitions.lifecycle;
        if event.subscription_id.is_empty() && (event.attributes.is_empty() || self.attributes.is_empty()) {
            match self.customers.append(customer, &Update::of(event, lifecycle, as_of)) {
                Some(Appended::Unchanged) => return false,
                Some(Appended::Quiet(_)) => return true,
                Some(Appended::Ahead(_)) => {
                    self.note_ahead(customer, shows_at(event));
                    return true;
                }
                None => {}
            }
        }
        self.load(customer);

        let fact = Fact::of(self.subscription_id(event.subscription_id), event);
        let lifecycle = &self.definitions.lifecycle;
        let history = &mut self.scratch.history;
        let hidden = history.hides(event.time);
        let quiet = as_of.is_some() && history.only_prolongs(&Update { fact, lifecycle, as_of });
        let mut changed = history.insert(fact, lifecycle.inactivity_timeout);
        let attributes_changed = self.take_attributes(event);
        changed |= attributes_changed;
        if !changed {
            return false;
        }
        self.counts.beyond_horizon += u64::from(hidden);
        match as_of {
            // Nothing that is counted moves before the end that it puts off, which is noted already if there is one.
            _ if quiet && !attributes_changed => self.store(customer),
            Some(as_of) if event.time > as_of => {
                self.store(customer);
                self.note_ahead(customer, if attributes_changed { event.time } else { shows_at(event) });
            }
            Some(as_of) => {
                let mut before = std::mem::take(&mut self.scratch.before);
                self.evaluate_stored(customer, as_of, &mut before);
                self.store(customer);
                let mut after = std::mem::take(&mut self.scratch.after);
                self.evaluate(as_of, &mut after);
                self.recount(customer, &before, &after);
                (self.scratch.before, self.scratch.after) = (before, after);
            }
            None => self.store(customer),
        }
        true
    }

    /// What has not happened yet is counted when its time comes.
    fn note_ahead(&mut self, customer: CustomerId, at: Instant) {
        if let Some(tallies) = &mut self.tallies {
            tallies.deadlines.note(customer, at, tallies.as_of);
            self.bound_notes_ahead();
        }
    }

    /// Adds what an event says of the attributes that dimensions ask for. False if nothing changed.
    fn take_attributes(&mut self, event: &Event<'_>) -> bool {
        let mut changed = false;
        if event.attributes.is_empty() {
            return false;
        }
        for slot in 0..self.attributes.len() {
            if let Some(text) = event.attributes.get(&self.attributes[slot]) {
                let value = self.values.intern(text);
                let (time, sequence) = (event.time, event.sequence);
                let fact = AttributeFact { time, sequence, slot: slot as u8, value };
                let values = &self.values;
                changed |= self.scratch.history.insert_attribute(fact, |id| values.text(id));
            }
        }
        changed
    }
}

/// From when on a number can tell that there was this event, its attributes apart.
fn shows_at(event: &Event<'_>) -> Instant {
    match event.kind {
        Kind::Ended { effective, .. } => effective,
        _ => event.time,
    }
}
