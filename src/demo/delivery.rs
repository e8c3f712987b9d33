//! What a message bus makes of a clean sequence of events: some arrive late, some twice.

use std::collections::BTreeMap;
use std::iter::Peekable;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::market::draw_span;
use crate::proto::LifecycleEvent;
use crate::time::{Instant, Span};

/// The part of the events that arrive late, and by how much at most.
pub const LATE_PROBABILITY: f64 = 0.03;
pub const LONGEST_DELAY: Span = Span::from_millis(36 * Span::HOUR.as_millis());
/// The part of the events that arrive a second time, within a day.
pub const REPEAT_PROBABILITY: f64 = 0.02;

/// An event and when it arrives.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub at: Instant,
    pub event: LifecycleEvent,
}

/// An endless iterator over deliveries in the order of arrival.
pub struct Deliveries<I: Iterator> {
    events: Peekable<I>,
    rng: ChaCha8Rng,
    /// By arrival, ties in the order in which they were held back.
    held_back: BTreeMap<(Instant, u64), LifecycleEvent>,
    number: u64,
}

impl<I: Iterator<Item = LifecycleEvent>> Deliveries<I> {
    /// Delivers events that come in the order of their times.
    pub fn new(events: I, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // The population draws from stream 0 of the same seed.
        rng.set_stream(1);
        Self { events: events.peekable(), rng, held_back: BTreeMap::new(), number: 0 }
    }

    fn hold_back(&mut self, at: Instant, event: LifecycleEvent) {
        self.number += 1;
        self.held_back.insert((at, self.number), event);
    }
}

impl<I: Iterator<Item = LifecycleEvent>> Iterator for Deliveries<I> {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        loop {
            let next_event_time = self.events.peek().map(event_time);
            if let Some(held_back) = self.held_back.first_entry()
                && next_event_time.is_none_or(|time| held_back.key().0 <= time)
            {
                let at = held_back.key().0;
                return Some(Delivery { at, event: held_back.remove() });
            }
            let (at, event) = (next_event_time?, self.events.next()?);
            if self.rng.random_bool(REPEAT_PROBABILITY) {
                let again = at + Span::from_millis(1000) + draw_span(&mut self.rng, Span::DAY);
                self.hold_back(again, event.clone());
            }
            if !self.rng.random_bool(LATE_PROBABILITY) {
                return Some(Delivery { at, event });
            }
            let late = at + Span::from_millis(1) + draw_span(&mut self.rng, LONGEST_DELAY);
            self.hold_back(late, event);
        }
    }
}

/// When an event happened.
pub fn event_time(event: &LifecycleEvent) -> Instant {
    let time = event.event_time.unwrap_or_default();
    Instant::from_millis(time.seconds * 1000 + i64::from(time.nanos) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::demo::population::Population;

    #[test]
    fn everything_arrives_in_order_some_late_some_twice() {
        let n = 20_000;
        let events: Vec<_> = Population::new(5, 500).take(n).collect();
        let deliveries: Vec<_> = Deliveries::new(events.iter().cloned(), 5).collect();
        assert!(deliveries.is_sorted_by_key(|d| d.at));

        let late = deliveries.iter().filter(|d| d.at > event_time(&d.event)).count();
        assert!(
            deliveries.iter().all(|d| d.at >= event_time(&d.event) && d.at <= event_time(&d.event) + LONGEST_DELAY)
        );
        let mut arrivals: HashMap<&str, usize> = HashMap::new();
        for delivery in &deliveries {
            *arrivals.entry(&delivery.event.event_id).or_default() += 1;
        }
        assert_eq!(arrivals.len(), n, "an event was lost");
        assert!(arrivals.values().all(|&times| times <= 2));
        let repeated = deliveries.len() - n;
        assert!((n / 67..n / 40).contains(&repeated), "{repeated} repeated");
        assert!((n * 4 / 100..n * 6 / 100).contains(&late), "{late} late or repeated");
    }

    #[test]
    fn a_seed_repeats_the_deliveries() {
        let deliveries =
            |seed| Deliveries::new(Population::new(1, 100), seed).take(5_000).map(|d| d.at).collect::<Vec<_>>();
        assert_eq!(deliveries(7), deliveries(7));
        assert_ne!(deliveries(7), deliveries(8));
    }
}
