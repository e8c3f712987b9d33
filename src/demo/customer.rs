//! One of the demo's customers, and the messages about it.

use std::collections::BTreeMap;

use super::market::{CHANNELS, PLANS, REGIONS, SPIKE_PLAN, SPIKE_REGION, YEARLY_PRICE_PERCENT};
use crate::proto::lifecycle_event::Event;
use crate::proto::{Changed, EndReason, Ended, LifecycleEvent, Money, Renewed, Started};
use crate::time::Instant;

/// One customer and the only subscription it has.
pub struct Customer {
    pub plan: usize,
    pub region: usize,
    pub channel: usize,
    /// 1 or 12.
    pub term_months: i32,
    pub standing: Standing,
    /// Terms are counted from here.
    pub anchor: Instant,
    pub terms: i32,
    /// Counts the comings and goings: what was planned in an earlier episode does not happen any more.
    pub episode: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Outside,
    Trial,
    Subscribed,
    /// Cancelled as of the term's end.
    Leaving,
    /// The payment for the next term has failed so far.
    Dunning,
}

impl Customer {
    /// Somebody who has not subscribed to anything yet.
    pub fn outside(plan: usize, region: usize, channel: usize, term_months: i32) -> Self {
        let standing = Standing::Outside;
        Self { plan, region, channel, term_months, standing, anchor: Instant::EARLIEST_EVENT, terms: 0, episode: 0 }
    }

    pub fn term_start(&self) -> Instant {
        add_months(self.anchor, self.term_months * self.terms)
    }

    pub fn term_end(&self) -> Instant {
        add_months(self.anchor, self.term_months * (self.terms + 1))
    }

    pub fn is_in_spike_cohort(&self) -> bool {
        let subscribed = !matches!(self.standing, Standing::Outside | Standing::Trial);
        subscribed && self.plan == SPIKE_PLAN && self.region == SPIKE_REGION
    }

    fn amount(&self) -> Money {
        let percent = if self.term_months == 12 { YEARLY_PRICE_PERCENT } else { 100 };
        Money {
            currency_code: REGIONS[self.region].currency.to_owned(),
            minor_units: PLANS[self.plan].price_minor_units * percent / 100,
        }
    }

    pub fn started(&self, term_end: Option<Instant>, trial: bool) -> Event {
        Event::Started(Started { recurring_amount: Some(self.amount()), term_end_time: term_end.map(timestamp), trial })
    }

    pub fn changed(&self) -> Event {
        Event::Changed(Changed { recurring_amount: Some(self.amount()) })
    }

    /// The message about something that happened to this customer. Attributes are said where they are news.
    pub fn message(&self, number: u64, id: usize, at: Instant, event: Event) -> LifecycleEvent {
        let mut attributes = BTreeMap::new();
        let mut say = |name: &str, value: &str| attributes.insert(name.to_owned(), value.to_owned());
        if matches!(event, Event::Started(_) | Event::Changed(_)) {
            say("plan", PLANS[self.plan].name);
        }
        if matches!(event, Event::Started(_)) {
            say("region", REGIONS[self.region].name);
            say("channel", CHANNELS[self.channel].0);
        }
        LifecycleEvent {
            event_id: format!("evt-{number:09}"),
            customer_id: format!("cust-{id:06}"),
            event_time: Some(timestamp(at)),
            attributes,
            event: Some(event),
            ..LifecycleEvent::default()
        }
    }

    pub fn renewed(&self) -> Event {
        Event::Renewed(Renewed { term_end_time: Some(timestamp(self.term_end())) })
    }
}

pub fn ended(reason: EndReason, effective: Option<Instant>) -> Event {
    Event::Ended(Ended { reason: reason.into(), effective_time: effective.map(timestamp) })
}

fn timestamp(at: Instant) -> pbjson_types::Timestamp {
    pbjson_types::Timestamp {
        seconds: at.as_millis().div_euclid(1000),
        nanos: (at.as_millis().rem_euclid(1000) * 1_000_000) as i32,
    }
}

/// The same day so many months later, or the month's last where it has no such day.
fn add_months(at: Instant, months: i32) -> Instant {
    let later = jiff::Timestamp::from_millisecond(at.as_millis())
        .map(|timestamp| timestamp.to_zoned(jiff::tz::TimeZone::UTC))
        .and_then(|zoned| zoned.checked_add(jiff::Span::new().months(months)));
    later.map_or(Instant::LATEST_EVENT, |zoned| Instant::from_millis(zoned.timestamp().as_millisecond()))
}
