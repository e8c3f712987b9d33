//! The contract, read as plainly as it can be: every question "at instant x" filters the whole list of
//! events and looks at what is left. No state, no order of arrival, no thought of speed. Written from the
//! text of the contract; shares the words with the core (instants, money, reasons) and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use churnwatch::cohort::{Definitions, DimensionRef, DimensionValue, Grouping, Lifecycle, UNKNOWN};
use churnwatch::decode::Refusal;
use churnwatch::event::{Attributes, Currency, EndReason, Event, Ignored, Kind, Money, Rejection};
use churnwatch::proto::lifecycle_event::Event as Payload;
use churnwatch::proto::{self, LifecycleEvent};
use churnwatch::time::{Instant, Span};

/// The event in a message, or why there is none.
pub fn judge(message: &LifecycleEvent, latest: Option<Instant>) -> Result<Event<'_>, Refusal> {
    let Some(payload) = &message.event else { return Err(Refusal::Ignored(Ignored::UnknownKind)) };
    if message.customer_id.is_empty() {
        return Err(Refusal::Rejected(Rejection::MissingCustomerId));
    }
    if message.customer_id.len() > 256 {
        return Err(Refusal::Rejected(Rejection::CustomerIdTooLong));
    }
    let Some(event_time) = &message.event_time else { return Err(Refusal::Rejected(Rejection::MissingEventTime)) };
    let ms = whole_millis(event_time);
    if !(EARLIEST_MS..=LATEST_MS).contains(&ms) {
        return Err(Refusal::Rejected(Rejection::EventTimeOutOfRange));
    }
    let time = Instant::from_millis(ms as i64);
    if latest.is_some_and(|latest| time > latest) {
        return Err(Refusal::Rejected(Rejection::EventTimeInFuture));
    }
    let kind = match payload {
        Payload::Started(started) => Kind::Started {
            amount: started.recurring_amount.as_ref().map(money).transpose()?,
            term_end: started.term_end_time.as_ref().map(in_range),
            trial: started.trial,
        },
        Payload::Renewed(renewed) => Kind::Renewed { term_end: renewed.term_end_time.as_ref().map(in_range) },
        Payload::Changed(changed) => match &changed.recurring_amount {
            Some(amount) => Kind::Changed { amount: money(amount)? },
            None => return Err(Refusal::Rejected(Rejection::InvalidAmount)),
        },
        Payload::Activity(_) => Kind::Activity,
        Payload::Ended(ended) => Kind::Ended {
            effective: ended.effective_time.as_ref().map_or(time, in_range).max(time),
            reason: EndReason::from_number(ended.reason),
        },
    };
    Ok(Event {
        customer_id: message.customer_id.as_bytes(),
        subscription_id: message.subscription_id.as_bytes(),
        time,
        sequence: message.sequence,
        attributes: Attributes::of(&message.attributes),
        kind,
    })
}

const EARLIEST_MS: i128 = 0;
const LATEST_MS: i128 = 253_402_300_799_999;

fn whole_millis(timestamp: &pbjson_types::Timestamp) -> i128 {
    (i128::from(timestamp.seconds) * 1_000_000_000 + i128::from(timestamp.nanos)).div_euclid(1_000_000)
}

fn in_range(timestamp: &pbjson_types::Timestamp) -> Instant {
    Instant::from_millis(whole_millis(timestamp).clamp(EARLIEST_MS, LATEST_MS) as i64)
}

fn money(money: &proto::Money) -> Result<Money, Refusal> {
    let code = &money.currency_code;
    if money.minor_units < 0 || code.len() != 3 || !code.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(Refusal::Rejected(Rejection::InvalidAmount));
    }
    let currency = Currency::from_code(code).expect("three capital letters");
    Ok(Money { minor_units: money.minor_units, currency })
}

/// The total order of a subscription's events.
fn order(event: &Event<'_>) -> impl Ord + use<> {
    let (mut amount, mut term_end, mut effective, mut reason, mut trial) =
        (None, Instant::DISTANT_FUTURE, event.time, EndReason::Unspecified, false);
    match event.kind {
        Kind::Started { amount: a, term_end: e, trial: t } => {
            (amount, term_end, trial) = (a, e.unwrap_or(Instant::DISTANT_FUTURE), t);
        }
        Kind::Renewed { term_end: e } => term_end = e.unwrap_or(Instant::DISTANT_FUTURE),
        Kind::Changed { amount: a } => amount = Some(a),
        Kind::Activity => {}
        Kind::Ended { effective: e, reason: r } => (effective, reason) = (e, r),
    }
    (event.time, event.sequence, event.kind.index(), amount, term_end, effective, reason, trial)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Nothing,
    Started,
    Trial,
    Ended(EndReason),
}

/// The events of one subscription that exist as of some instant, in the contract's order.
pub struct Subscription<'a> {
    events: Vec<Event<'a>>,
    lifecycle: Lifecycle,
}

impl<'a> Subscription<'a> {
    /// The events at x, in order.
    fn at(&self, x: Instant) -> impl DoubleEndedIterator<Item = &Event<'a>> {
        self.events.iter().filter(move |e| e.time <= x)
    }

    /// Whether somebody came back before access ran out.
    fn is_void(&self, position: usize, effective: Instant) -> bool {
        self.events[position + 1..]
            .iter()
            .any(|e| matches!(e.kind, Kind::Started { .. } | Kind::Renewed { .. }) && e.time <= effective)
    }

    /// Every change of status: the instant at which it stands, and to what.
    fn changes(&self) -> Vec<(Instant, Status)> {
        let mut changes: Vec<(Instant, usize, Status)> = Vec::new();
        for (position, event) in self.events.iter().enumerate() {
            match event.kind {
                Kind::Started { trial: true, .. } => changes.push((event.time, position, Status::Trial)),
                Kind::Started { trial: false, .. } => changes.push((event.time, position, Status::Started)),
                Kind::Ended { effective, reason } if !self.is_void(position, effective) => {
                    changes.push((effective, position, Status::Ended(reason)));
                }
                _ => {}
            }
        }
        changes.sort_by_key(|&(standing, position, _)| (standing, position));
        changes.into_iter().map(|(standing, _, status)| (standing, status)).collect()
    }

    fn status(&self, x: Instant) -> Status {
        if let Some((_, status)) = self.changes().into_iter().rfind(|(standing, _)| *standing <= x) {
            return status;
        }
        let implied = |e: &Event<'_>| matches!(e.kind, Kind::Renewed { .. } | Kind::Changed { .. } | Kind::Activity);
        if self.at(x).any(implied) { Status::Started } else { Status::Nothing }
    }

    /// The end of the term, `None` where it is open.
    fn term_end(&self, x: Instant) -> Option<Instant> {
        self.at(x).rev().find_map(|e| match e.kind {
            Kind::Started { term_end, .. } | Kind::Renewed { term_end } => Some(term_end),
            _ => None,
        })?
    }

    fn last_sign(&self, x: Instant) -> Option<Instant> {
        self.at(x).rev().find(|e| !matches!(e.kind, Kind::Ended { .. })).map(|e| e.time)
    }

    fn amount(&self, x: Instant) -> Option<Money> {
        self.at(x).rev().find_map(|e| match e.kind {
            Kind::Started { amount, .. } => amount,
            Kind::Changed { amount } => Some(amount),
            _ => None,
        })
    }

    fn term_ran_out(&self, x: Instant) -> bool {
        self.term_end(x).is_some_and(|end| x >= end + self.lifecycle.grace_period)
    }

    fn timed_out(&self, x: Instant) -> bool {
        match (self.term_end(x), self.lifecycle.inactivity_timeout, self.last_sign(x)) {
            (None, Some(timeout), Some(sign)) => x >= sign + timeout,
            _ => false,
        }
    }

    fn is_active(&self, x: Instant) -> bool {
        self.status(x) == Status::Started && !self.term_ran_out(x) && !self.timed_out(x)
    }

    /// Why it is not active at x, though it once was.
    fn reason(&self, x: Instant) -> EndReason {
        match self.status(x) {
            Status::Ended(reason) => reason,
            _ if self.term_ran_out(x) => EndReason::NotRenewed,
            _ if self.timed_out(x) => EndReason::Inactive,
            _ => EndReason::Unspecified,
        }
    }

    /// Every instant at which an answer may change; between two of them none does.
    fn turning_points(&self) -> BTreeSet<Instant> {
        let mut points = BTreeSet::new();
        for event in &self.events {
            points.insert(event.time);
            points.extend(self.lifecycle.inactivity_timeout.map(|timeout| event.time + timeout));
            match event.kind {
                Kind::Started { term_end: Some(end), .. } | Kind::Renewed { term_end: Some(end) } => {
                    points.insert(end + self.lifecycle.grace_period);
                }
                Kind::Ended { effective, .. } => {
                    points.insert(effective);
                }
                _ => {}
            }
        }
        points
    }
}

/// An unbroken active time: from its first instant to the instant at which it was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stint {
    pub start: Instant,
    pub stop: Option<Instant>,
}

fn stints(points: &BTreeSet<Instant>, is_active: impl Fn(Instant) -> bool) -> Vec<Stint> {
    let mut stints: Vec<Stint> = Vec::new();
    for &x in points {
        let open = stints.last_mut().filter(|stint| stint.stop.is_none());
        match (open, is_active(x)) {
            (None, true) => stints.push(Stint { start: x, stop: None }),
            (Some(stint), false) => stint.stop = Some(x),
            _ => {}
        }
    }
    stints
}

/// One customer as of an instant: nothing later exists.
pub struct Customer<'a> {
    definitions: &'a Definitions,
    as_of: Instant,
    subscriptions: Vec<Subscription<'a>>,
    /// All times when the customer was active, up to the as-of.
    pub stints: Vec<Stint>,
}

impl<'a> Customer<'a> {
    fn new(definitions: &'a Definitions, as_of: Instant, events: BTreeMap<&'a [u8], Vec<Event<'a>>>) -> Self {
        let mut subscriptions = Vec::new();
        for (_, mut events) in events {
            events.sort_by_key(order);
            subscriptions.push(Subscription { events, lifecycle: definitions.lifecycle });
        }
        let mut customer = Self { definitions, as_of, subscriptions, stints: Vec::new() };
        let points = customer.subscriptions.iter().flat_map(Subscription::turning_points);
        let points = points.filter(|&x| x <= as_of).collect();
        customer.stints = stints(&points, |x| customer.is_active(x));
        customer
    }

    pub fn is_active(&self, x: Instant) -> bool {
        self.subscriptions.iter().any(|s| s.is_active(x))
    }

    pub fn first_active(&self) -> Option<Instant> {
        self.stints.first().map(|stint| stint.start)
    }

    /// The amounts of the active subscriptions at x.
    pub fn amounts(&self, x: Instant) -> BTreeMap<Currency, i128> {
        let mut sums = BTreeMap::new();
        for money in self.subscriptions.iter().filter(|s| s.is_active(x)).filter_map(|s| s.amount(x)) {
            *sums.entry(money.currency).or_default() += i128::from(money.minor_units);
        }
        sums
    }

    /// Why the customer, inactive now, left: the reason of the subscription that stopped last.
    pub fn reason(&self) -> EndReason {
        let stopped = self.subscriptions.iter().filter_map(|s| {
            let points = s.turning_points().into_iter().filter(|&x| x <= self.as_of).collect();
            let last = stints(&points, |x| s.is_active(x)).pop()?;
            Some((last.stop.expect("inactive now"), s.reason(self.as_of)))
        });
        stopped.max().expect("active before").1
    }

    /// The values an attribute was given, in order.
    fn values(&self, attribute: &str) -> Vec<(Instant, u64, &str)> {
        let events = self.subscriptions.iter().flat_map(|s| &s.events);
        let mut values: Vec<_> =
            events.filter_map(|e| Some((e.time, e.sequence, e.attributes.get(attribute)?))).collect();
        values.sort();
        values
    }

    fn dimension(&self, dimension: DimensionRef, x: Instant) -> String {
        let declared = match dimension {
            DimensionRef::Declared(i) => &self.definitions.dimensions[i],
            DimensionRef::Signup(period) => {
                let first = self.first_active().expect("only customers who were active are counted");
                return period.value(first.to_civil(&self.definitions.zone).date());
            }
        };
        let values = self.values(&declared.attribute);
        let latest = values.iter().rfind(|(time, ..)| *time <= x);
        let value = match declared.value {
            DimensionValue::First => values.first(),
            DimensionValue::Window => latest.or(values.first()),
        };
        value.map_or(UNKNOWN, |(.., value)| value).to_owned()
    }

    /// The cohort of a grouping to which the customer belongs at x.
    pub fn cohort(&self, grouping: &Grouping, x: Instant) -> Vec<String> {
        grouping.by.iter().map(|&d| self.dimension(d, x)).collect()
    }
}

/// Everything that exists as of an instant.
pub struct World<'a> {
    pub customers: Vec<Customer<'a>>,
    /// The instant from which on nothing is missing.
    pub history_start: Option<Instant>,
}

impl<'a> World<'a> {
    pub fn as_of(definitions: &'a Definitions, messages: &'a [LifecycleEvent], as_of: Instant) -> Self {
        let mut earliest = None;
        let mut customers: BTreeMap<&[u8], BTreeMap<&[u8], Vec<Event<'_>>>> = BTreeMap::new();
        for event in messages.iter().filter_map(|m| judge(m, None).ok()).filter(|e| e.time <= as_of) {
            earliest = Some(earliest.map_or(event.time, |earliest: Instant| earliest.min(event.time)));
            let subscriptions = customers.entry(event.customer_id).or_default();
            subscriptions.entry(event.subscription_id).or_default().push(event);
        }
        Self {
            customers: customers.into_values().map(|events| Customer::new(definitions, as_of, events)).collect(),
            history_start: definitions.complete_since.or(earliest),
        }
    }
}

/// The start of the window of a length as of t; there is no boundary before 1970.
pub fn window_start(definitions: &Definitions, length: Span, t: Instant) -> Option<Instant> {
    let step = definitions.grid.step().as_millis();
    let latest = (t - length).as_millis();
    (latest >= 0).then(|| Instant::from_millis(latest / step * step))
}
