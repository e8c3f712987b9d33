//! Seeded logs of events, the same in every run: a past that fills a shard, and what comes after it.
//!
//! Event `i` is a function of `i` alone, so that repeats need no memory, and a batch is encoded before it is timed.

use std::sync::Arc;

use churnwatch::cohort::{
    Definitions, Dimension, DimensionRef, DimensionValue, Grouping, Lifecycle, SignupPeriod, Window,
};
use churnwatch::proto::lifecycle_event::Event;
use churnwatch::proto::{Activity, Changed, EndReason, Ended, LifecycleEvent, Money, Renewed, Started};
use churnwatch::shard::Record;
use churnwatch::time::{Grid, Instant, Span};
use pbjson_types::Timestamp;
use prost::Message;

/// How fast the log's own time goes: so many events a second of it.
pub const EVENTS_A_SECOND: u64 = 50_000;

const DAY: i64 = Span::DAY.as_millis();
/// 2026-03-01T00:00Z: the log begins, and the past ends.
pub const BEGIN: i64 = 1_772_323_200_000;

/// Of what a log consists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Customers without terms: 95 % signs of life; starts, endings, new amounts.
    Activity,
    /// Customers with monthly terms: renewals, upgrades and downgrades, endings, starts.
    Billing,
    /// As billing, but nearly half of it repeats earlier events, and as much comes up to 20 days late.
    Storm,
}

impl Mix {
    pub const ALL: [Self; 3] = [Self::Activity, Self::Billing, Self::Storm];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Activity => "activity",
            Self::Billing => "billing",
            Self::Storm => "storm",
        }
    }
}

/// The events after the past, as they come from a topic: customers at random.
#[derive(Clone, Debug)]
pub struct Log {
    mix: Mix,
    customers: u64,
    plans: u64,
    next: u64,
}

/// Encoded events, one behind the other.
#[derive(Default)]
pub struct Payloads {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Log {
    pub const fn new(mix: Mix, customers: u64) -> Self {
        Self { mix, customers, plans: 5, next: 0 }
    }

    /// The same with customers on so many different plans.
    pub const fn with_plans(self, plans: u64) -> Self {
        Self { plans, ..self }
    }

    /// What happened before, customer by customer: everyone has started within 60 days, been heard from since (or renewed,
    /// where the first term is over), and is active.
    pub fn past(&self) -> impl Iterator<Item = LifecycleEvent> {
        let terms = self.mix != Mix::Activity;
        (0..self.customers).flat_map(move |customer| {
            let mut random = Random::of(customer, 1);
            let start = BEGIN - 1 - random.below(60 * DAY as u64) as i64;
            let term = |end: i64| terms.then(|| timestamp(end));
            let first = self.started(customer, start, term(start + 30 * DAY), &mut random);
            let is_over = start < BEGIN - 30 * DAY;
            let second = match terms {
                true => is_over.then(|| event(customer, start + 29 * DAY, Event::Renewed(renewed(start + 60 * DAY)))),
                false => {
                    let heard = if is_over { start + 30 * DAY } else { start.midpoint(BEGIN - 1) };
                    Some(event(customer, heard, Event::Activity(Activity {})))
                }
            };
            std::iter::once(first).chain(second)
        })
    }

    /// Encodes the next events.
    pub fn take(&mut self, events: u64) -> Payloads {
        let mut payloads = Payloads::default();
        for i in self.next..self.next + events {
            self.event(i).encode(&mut payloads.bytes).expect("a vector takes any length");
            payloads.ends.push(payloads.bytes.len());
        }
        self.next += events;
        payloads
    }

    /// The latest instant of what has been taken.
    pub const fn now(&self) -> Instant {
        Instant::from_millis(instant_ms(self.next))
    }

    fn event(&self, i: u64) -> LifecycleEvent {
        let mut random = Random::of(i, 2);
        let at = instant_ms(i);
        match self.mix {
            Mix::Activity => self.activity(i, at, &mut random),
            Mix::Billing => self.billing(i, at, &mut random),
            Mix::Storm => match random.below(100) {
                0..45 if i > 0 => self.event(i - 1 - random.below(i.min(1_000_000))),
                0..90 => {
                    let late = at - random.below(20 * DAY as u64) as i64;
                    if random.below(2) == 0 {
                        self.activity(i, late, &mut random)
                    } else {
                        self.billing(i, late, &mut random)
                    }
                }
                _ => self.billing(i, at, &mut random),
            },
        }
    }

    fn activity(&self, i: u64, at: i64, random: &mut Random) -> LifecycleEvent {
        let customer = random.below(self.customers);
        match random.below(100) {
            0..95 => event(customer, at, Event::Activity(Activity {})),
            95..97 => self.started(self.starting(i, customer), at, None, random),
            97..99 => ended(customer, at, random),
            _ => changed(customer, at, random),
        }
    }

    fn billing(&self, i: u64, at: i64, random: &mut Random) -> LifecycleEvent {
        let customer = random.below(self.customers);
        match random.below(100) {
            0..70 => event(customer, at, Event::Renewed(renewed(at + 30 * DAY))),
            70..85 => changed(customer, at, random),
            85..95 => ended(customer, at, random),
            _ => self.started(self.starting(i, customer), at, Some(timestamp(at + 30 * DAY)), random),
        }
    }

    fn started(&self, customer: u64, ms: i64, term_end: Option<Timestamp>, random: &mut Random) -> LifecycleEvent {
        let what = Started { recurring_amount: Some(amount(random)), term_end_time: term_end, trial: false };
        let mut event = event(customer, ms, Event::Started(what));
        let region = ["eu", "us", "apac", "latam", "mea", "uk", "in", "jp"][random.below(8) as usize];
        event.attributes.insert("plan".into(), format!("plan-{}", random.below(self.plans)));
        event.attributes.insert("region".into(), region.into());
        event
    }

    /// Who starts: half of them are new.
    const fn starting(&self, i: u64, customer: u64) -> u64 {
        if i.is_multiple_of(2) { self.customers + i } else { customer }
    }
}

impl Payloads {
    /// As a shard takes them in.
    pub fn records(&self) -> Vec<Record<'_>> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let payloads = starts.zip(&self.ends).map(|(&start, &end)| &self.bytes[start..end]);
        payloads.map(|payload| Record { payload: Ok(Some(payload)), latest_event_time: None }).collect()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// So many windows, all within 30 days, and so many of ten groupings by two attributes and the time of signup.
pub fn definitions(windows: usize, groupings: usize) -> Arc<Definitions> {
    let dimension = |name: &str| Dimension { name: name.into(), attribute: name.into(), value: DimensionValue::Window };
    let (plan, region) = (DimensionRef::Declared(0), DimensionRef::Declared(1));
    let (month, quarter) = (DimensionRef::Signup(SignupPeriod::Month), DimensionRef::Signup(SignupPeriod::Quarter));
    let all = [
        vec![],
        vec![plan],
        vec![region],
        vec![plan, region],
        vec![month],
        vec![plan, month],
        vec![region, month],
        vec![plan, region, month],
        vec![quarter],
        vec![plan, quarter],
    ];
    assert!(groupings <= all.len(), "there are ten groupings");
    let length = |n: usize| Span::from_millis(30 * DAY * n as i64 / windows as i64);
    Arc::new(Definitions {
        grid: Grid::new(Span::HOUR).expect("an hour is a step"),
        windows: (1..=windows).map(|n| Window { label: n.to_string(), length: length(n) }).collect(),
        dimensions: vec![dimension("plan"), dimension("region")],
        groupings: all.into_iter().take(groupings).map(|by| Grouping { by }).collect(),
        lifecycle: Lifecycle { inactivity_timeout: Some(Span::days(30)), grace_period: Span::days(3) },
        zone: jiff::tz::TimeZone::UTC,
        complete_since: None,
        max_cohorts: 1000,
    })
}

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// The stream of random numbers that belongs to a number; another one for each `purpose`.
    pub const fn of(number: u64, purpose: u64) -> Self {
        Self(number.wrapping_mul(0xD1B5_4A32_D192_ED03) ^ purpose.wrapping_mul(0x8CB9_2BA7_2F3D_8DD7))
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((u128::from(z ^ (z >> 31)) * u128::from(n)) >> 64) as u64
    }
}

const fn instant_ms(i: u64) -> i64 {
    BEGIN + (i / (EVENTS_A_SECOND / 1000)) as i64
}

pub fn timestamp(ms: i64) -> Timestamp {
    Timestamp { seconds: ms.div_euclid(1000), nanos: (ms.rem_euclid(1000) * 1_000_000) as i32 }
}

pub fn event(customer: u64, ms: i64, what: Event) -> LifecycleEvent {
    let customer_id = format!("customer-{customer:09}");
    LifecycleEvent { customer_id, event_time: Some(timestamp(ms)), event: Some(what), ..LifecycleEvent::default() }
}

fn renewed(term_end_ms: i64) -> Renewed {
    Renewed { term_end_time: Some(timestamp(term_end_ms)) }
}

fn changed(customer: u64, ms: i64, random: &mut Random) -> LifecycleEvent {
    event(customer, ms, Event::Changed(Changed { recurring_amount: Some(amount(random)) }))
}

/// Most cancel to the end of their term, the others' payment has failed.
fn ended(customer: u64, ms: i64, random: &mut Random) -> LifecycleEvent {
    let cancelled = random.below(4) > 0;
    let reason = if cancelled { EndReason::Cancelled } else { EndReason::PaymentFailed };
    let effective_time = cancelled.then(|| timestamp(ms + random.below(20 * DAY as u64) as i64));
    event(customer, ms, Event::Ended(Ended { reason: reason.into(), effective_time }))
}

fn amount(random: &mut Random) -> Money {
    Money { currency_code: "EUR".into(), minor_units: 900 + random.below(40) as i64 * 100 }
}
