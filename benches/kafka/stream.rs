//! The events: 95 % signs of life, the rest renewals, starts and endings, of customers at random.

use churnwatch::proto::lifecycle_event::Event;
use churnwatch::proto::{Activity, EndReason, Ended, LifecycleEvent, Money, Renewed, Started};
use pbjson_types::Timestamp;

/// So many events a second of the stream's own time, where that is not the clock's.
pub const EVENTS_A_SECOND: u64 = 50_000;
/// The values of the attribute `segment`, with which a page has some ten thousand series.
pub const SEGMENTS: u64 = 130;

/// An endless stream, the same for each seed. With its key a record is about 97 bytes long.
pub struct Stream {
    random: u64,
    customers: u64,
}

impl Stream {
    pub fn new(seed: u64, customers: u64) -> Self {
        Self { random: seed, customers }
    }

    /// The next event, and the number of its customer.
    pub fn next(&mut self, at_ms: i64) -> (u64, LifecycleEvent) {
        let customer = self.below(self.customers);
        let what = match self.below(1000) {
            0..950 => Event::Activity(Activity {}),
            950..970 => Event::Renewed(Renewed { term_end_time: None }),
            970..990 => return (customer, self.start(customer, at_ms)),
            _ => Event::Ended(Ended { reason: EndReason::Cancelled.into(), effective_time: None }),
        };
        (customer, self.event(customer_id(customer), at_ms, what))
    }

    /// The start of a customer.
    pub fn start(&mut self, customer: u64, at_ms: i64) -> LifecycleEvent {
        let plan = ["basic", "plus", "business"][self.below(3) as usize];
        self.started(customer_id(customer), plan, at_ms)
    }

    /// The start of a customer on a plan.
    pub fn started(&mut self, customer_id: String, plan: &str, at_ms: i64) -> LifecycleEvent {
        let amount = Money { currency_code: "EUR".into(), minor_units: 900 + self.below(40) as i64 * 100 };
        let what = Started { recurring_amount: Some(amount), ..Started::default() };
        let mut event = self.event(customer_id, at_ms, Event::Started(what));
        event.attributes.insert("plan".into(), plan.into());
        event.attributes.insert("segment".into(), format!("s{}", self.below(SEGMENTS)));
        event
    }

    fn event(&mut self, customer_id: String, at_ms: i64, what: Event) -> LifecycleEvent {
        let event_id = format!("{:040x}", u128::from(self.random()) << 64 | u128::from(self.random()));
        let event_time =
            Timestamp { seconds: at_ms.div_euclid(1000), nanos: (at_ms.rem_euclid(1000) * 1_000_000) as i32 };
        LifecycleEvent {
            event_id,
            customer_id,
            event_time: Some(event_time),
            event: Some(what),
            ..LifecycleEvent::default()
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.random()) * u128::from(n)) >> 64) as u64
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

fn customer_id(customer: u64) -> String {
    format!("customer-{customer:09}")
}
