//! Random logs, definitions and ways of delivery, made to provoke: times on the grid and a millisecond
//! beside it, ties, everything that can end or come back, and some rubbish.

use churnwatch::cohort::{
    Definitions, Dimension, DimensionRef, DimensionValue, Grouping, Lifecycle, SignupPeriod, Window,
};
use churnwatch::proto::{
    Activity, Changed, Ended, LifecycleEvent, Money, Renewed, Started, lifecycle_event::Event as Payload,
};
use churnwatch::time::{Grid, Instant, Span};
use jiff::tz::TimeZone;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A log, what to count in it, and how it reaches the core.
#[derive(Clone)]
pub struct Case {
    pub definitions: Definitions,
    /// The same histories, counted otherwise.
    pub reconfigured: Definitions,
    pub log: Vec<Entry>,
    pub steps: Vec<(Moment, Step)>,
    /// Read at the end, when everything has been delivered; ascending.
    pub as_ofs: Vec<Instant>,
    pub shards: usize,
    pub key: [u8; 16],
    /// Whether events that folding may have overtaken are delivered all the same.
    pub beyond_horizon: bool,
}

/// A message, and when it is delivered: never, which is at the end, or even several times.
#[derive(Clone, Debug)]
pub struct Entry {
    pub message: LifecycleEvent,
    pub moments: Vec<Moment>,
}

/// Orders deliveries and steps, each by itself, so that leaving one out moves no other.
pub type Moment = u16;

/// One thing that happens to the core, but for deliveries.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Moves one shard's as-of alone.
    Advance(Index, Instant),
    /// Writes a shard's snapshot and goes on with what it restores to.
    Restore(Index),
    Fold(Index),
    /// Restores every shard under the other definitions.
    Reconfigure,
    /// Advances every shard to the latest as-of and reads the page.
    Compare,
}

/// A time in units that only mean something on a grid.
#[derive(Clone, Copy, Debug)]
struct Tick {
    steps: i64,
    beside: Beside,
}

#[derive(Clone, Copy, Debug)]
enum Beside {
    Millis(i64),
    /// Of a step.
    Permille(i64),
}

impl Tick {
    fn span(self, step: Span) -> Span {
        let beside = match self.beside {
            Beside::Millis(ms) => ms,
            Beside::Permille(n) => step.as_millis() * n / 1000,
        };
        Span::from_millis(self.steps * step.as_millis() + beside)
    }
}

fn tick(steps: std::ops::Range<i64>) -> impl Strategy<Value = Tick> + Clone {
    let beside = prop_oneof![
        8 => Just(Beside::Millis(0)),
        1 => Just(Beside::Millis(-1)),
        1 => Just(Beside::Millis(1)),
        2 => (0..1000_i64).prop_map(Beside::Permille),
    ];
    (steps, beside).prop_map(|(steps, beside)| Tick { steps, beside })
}

/// Where the grid point 0 of a case lies.
#[derive(Clone, Copy, Debug)]
struct Scale {
    origin: Instant,
    step: Span,
}

impl Scale {
    fn at(self, tick: Tick) -> Instant {
        self.origin + tick.span(self.step)
    }
}

/// Turns of a year, of an ISO year, of a quarter, and of summer time; the ends of all time.
const ORIGINS: [&str; 8] =
    ["1970-01-02", "9999-12-30", "2026-01-01", "2025-12-28", "2024-02-28", "2026-03-28", "2026-10-24", "2027-06-29"];

fn scale() -> impl Strategy<Value = Scale> + Clone {
    let steps = vec![Span::HOUR, Span::DAY, Span::DAY, Span::from_millis(6 * 3_600_000), Span::from_millis(60_001)];
    (select(&ORIGINS[..]), select(steps)).prop_map(|(origin, step)| {
        let origin = Instant::parse_rfc3339(&format!("{origin}T00:00:00Z")).expect("a date");
        let grid = Grid::new(step).expect("at least a minute");
        Scale { origin: grid.instant(grid.at_or_after(origin)), step }
    })
}

pub fn case() -> impl Strategy<Value = Case> {
    let size = prop_oneof![8 => 1..=8_usize, 12 => 9..=25_usize, 1 => 26..=80_usize];
    let steps = prop_oneof![6 => 0..=4_usize, 6 => 5..=16_usize];
    let population = prop_oneof![(1..=2_u8, 1..=3_u8), (1..=3_u8, 1..=2_u8), (3..=6_u8, 1..=3_u8)];
    // Not shrunk with the rest, which would begin anew with every attempt.
    (scale(), size, steps, population).prop_ind_flat_map(|(scale, size, steps, population)| {
        (
            (rules(scale), vec(any::<(bool, bool)>(), 3)),
            counting(scale),
            counting(scale),
            vec(option::weighted(0.95, entry(scale, population)), size),
            vec((any::<Moment>(), step(scale)), 0..=steps),
            vec(tick(5..24).prop_map(move |t| scale.at(t)), 1..=3),
            1..=3_usize,
            (any::<[u8; 16]>(), any::<bool>()),
        )
            .prop_map(
                |((rules, uses), counting, other, log, steps, mut as_ofs, shards, (key, beyond_horizon))| {
                    as_ofs.sort();
                    Case {
                        definitions: rules.definitions(counting),
                        reconfigured: rules.used_otherwise(&uses).definitions(other),
                        log: log.into_iter().flatten().collect(),
                        steps,
                        as_ofs,
                        shards,
                        key,
                        beyond_horizon,
                    }
                },
            )
    })
}

/// What the histories themselves depend on.
#[derive(Clone, Debug)]
struct Rules {
    scale: Scale,
    dimensions: Vec<Dimension>,
    lifecycle: Lifecycle,
    zone: &'static str,
}

/// What can change without reading the topic again.
#[derive(Clone, Debug)]
struct Counting {
    windows: Vec<Tick>,
    groupings: Vec<Vec<Index>>,
    max_cohorts: usize,
    complete_since: Option<Instant>,
}

fn rules(scale: Scale) -> impl Strategy<Value = Rules> {
    let declared = |name: &str, attribute: &str, value| Dimension {
        name: name.to_owned(),
        attribute: attribute.to_owned(),
        value,
    };
    let dimensions = vec![
        declared("tier", "plan", DimensionValue::Window),
        declared("first_plan", "plan", DimensionValue::First),
        declared("region", "region", DimensionValue::Window),
    ];
    (
        proptest::sample::subsequence(dimensions, 1..=3),
        option::weighted(0.4, tick(1..10)),
        prop_oneof![3 => Just(Span::ZERO), 2 => tick(1..4).prop_map(move |t| t.span(scale.step))],
        select(&["UTC", "Europe/Berlin", "America/St_Johns"][..]),
    )
        .prop_map(move |(dimensions, timeout, grace_period, zone)| {
            let inactivity_timeout = timeout.map(|t| t.span(scale.step));
            Rules { scale, dimensions, lifecycle: Lifecycle { inactivity_timeout, grace_period }, zone }
        })
}

fn counting(scale: Scale) -> impl Strategy<Value = Counting> {
    (
        vec(tick(1..9), 1..=4),
        vec(vec(any::<Index>(), 1..=2), 0..=3),
        prop_oneof![3 => Just(1000_usize), 2 => 1..=3_usize],
        option::weighted(0.4, tick(-12..8).prop_map(move |t| scale.at(t))),
    )
        .prop_map(|(windows, groupings, max_cohorts, complete_since)| Counting {
            windows,
            groupings,
            max_cohorts,
            complete_since,
        })
}

impl Rules {
    /// Of the same attributes, some not asked for and some for the other value, in another order.
    fn used_otherwise(&self, uses: &[(bool, bool)]) -> Self {
        let mut dimensions = Vec::new();
        for (dimension, (asked, same)) in self.dimensions.iter().zip(uses).rev() {
            let value = match (same, dimension.value) {
                (true, value) => value,
                (false, DimensionValue::First) => DimensionValue::Window,
                (false, DimensionValue::Window) => DimensionValue::First,
            };
            dimensions.extend(asked.then(|| Dimension { value, ..dimension.clone() }));
        }
        Self { dimensions, ..self.clone() }
    }

    fn definitions(&self, counting: Counting) -> Definitions {
        let declared = (0..self.dimensions.len()).map(DimensionRef::Declared);
        // Declared ones are the more interesting half.
        let mut choices: Vec<_> = declared.clone().chain(declared).collect();
        choices.extend(SignupPeriod::ALL.map(DimensionRef::Signup));
        let mut groupings = vec![Grouping::default()];
        for indices in counting.groupings {
            let mut by: Vec<DimensionRef> = Vec::new();
            for choice in indices.iter().map(|i| *i.get(&choices)) {
                if !by.contains(&choice) {
                    by.push(choice);
                }
            }
            if !groupings.iter().any(|g| g.by == by) {
                groupings.push(Grouping { by });
            }
        }
        let windows = counting.windows.iter().enumerate().map(|(i, tick)| {
            let length = tick.span(self.scale.step);
            Window { label: format!("w{i}"), length }
        });
        Definitions {
            grid: Grid::new(self.scale.step).expect("at least a minute"),
            windows: windows.collect(),
            dimensions: self.dimensions.clone(),
            groupings,
            lifecycle: self.lifecycle,
            zone: TimeZone::get(self.zone).expect("a zone of the bundled database"),
            complete_since: counting.complete_since,
            max_cohorts: counting.max_cohorts,
        }
    }
}

fn step(scale: Scale) -> impl Strategy<Value = Step> {
    let at = tick(2..18).prop_map(move |t| scale.at(t));
    prop_oneof![
        4 => (any::<Index>(), at).prop_map(|(shard, t)| Step::Advance(shard, t)),
        2 => any::<Index>().prop_map(Step::Restore),
        2 => any::<Index>().prop_map(Step::Fold),
        1 => Just(Step::Reconfigure),
        3 => Just(Step::Compare),
    ]
}

fn entry(scale: Scale, population: (u8, u8)) -> impl Strategy<Value = Entry> {
    let moments = prop_oneof![
        3 => vec(any::<Moment>(), 0),
        6 => vec(any::<Moment>(), 1),
        2 => vec(any::<Moment>(), 2..=3),
    ];
    (message(scale, population), moments).prop_map(|(message, moments)| Entry { message, moments })
}

/// A message: mostly an event, sometimes one to reject or to ignore.
fn message(scale: Scale, (customers, subscriptions): (u8, u8)) -> impl Strategy<Value = LifecycleEvent> {
    // The last is not normal, but it is a time.
    let finer = prop_oneof![18 => Just((0, 0)), 1 => (Just(0), 1..1_000_000_i32), 1 => Just((1, -1_000_000_000_i32))];
    let time = (tick(0..13), finer).prop_map(move |(tick, (seconds, nanos))| {
        let whole = timestamp(scale.at(tick), nanos);
        pbjson_types::Timestamp { seconds: whole.seconds + seconds, ..whole }
    });
    let sequence = prop_oneof![6 => Just(0_u64), 3 => 1..=2_u64, 1 => Just(u64::MAX)];
    let plan = select(&["basic", "basic", "pro", "other", "", "a \"quoted\\\n plan"][..]);
    let region = select(&["eu", "us"][..]);
    let attributes = (option::weighted(0.5, plan), option::weighted(0.25, region)).prop_map(|(plan, region)| {
        let pairs = [("plan", plan), ("region", region), ("unused", Some("x"))];
        pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
    });
    (0..customers, 0..subscriptions, time, sequence, attributes, payload(scale), option::weighted(0.06, any::<Index>()))
        .prop_map(|(customer, subscription, time, sequence, attributes, payload, spoil)| {
            let mut message = LifecycleEvent {
                event_id: String::new(),
                customer_id: format!("customer-{customer}"),
                event_time: Some(time),
                subscription_id: ["", "a", "b"][usize::from(subscription)].to_owned(),
                sequence,
                attributes,
                event: Some(payload),
            };
            if let Some(spoil) = spoil {
                spoil.get(SPOILS)(&mut message);
            }
            message
        })
}

const SPOILS: &[fn(&mut LifecycleEvent)] = &[
    |m| m.customer_id.clear(),
    |m| m.customer_id = "é".repeat(129),
    |m| m.event_time = None,
    |m| m.event_time = Some(pbjson_types::Timestamp { seconds: 0, nanos: -1 }),
    |m| m.event_time = Some(pbjson_types::Timestamp { seconds: 253_402_300_800, nanos: 0 }),
    |m| m.event_time = Some(pbjson_types::Timestamp { seconds: i64::MAX, nanos: i32::MAX }),
    |m| m.event = Some(Payload::Changed(Changed { recurring_amount: None })),
    |m| m.event = Some(Payload::Changed(Changed { recurring_amount: Some(amount("EUR", -1)) })),
    |m| m.event = Some(Payload::Changed(Changed { recurring_amount: Some(amount("eur", 100)) })),
    |m| {
        let recurring_amount = Some(amount("", 100));
        m.event = Some(Payload::Started(Started { recurring_amount, ..Started::default() }));
    },
    |m| m.event = None,
];

fn payload(scale: Scale) -> impl Strategy<Value = Payload> {
    let plain = prop_oneof![
        4 => Just(amount("EUR", 500)),
        3 => Just(amount("EUR", 1000)),
        2 => Just(amount("USD", 700)),
        2 => Just(amount("EUR", 0)),
        1 => Just(amount("JPY", 700)),
    ];
    let money = prop_oneof![30 => plain, 1 => Just(amount("EUR", i64::MAX))].boxed();
    let instant = prop_oneof![
        20 => tick(0..24).prop_map(move |t| timestamp(scale.at(t), 0)),
        1 => Just(pbjson_types::Timestamp { seconds: -1, nanos: 0 }),
        1 => Just(pbjson_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
    ]
    .boxed();
    let started = (option::weighted(0.6, money.clone()), option::weighted(0.5, instant.clone()), 0..7_u8).prop_map(
        |(recurring_amount, term_end_time, n)| {
            Payload::Started(Started { recurring_amount, term_end_time, trial: n == 0 })
        },
    );
    let renewed =
        option::weighted(0.6, instant.clone()).prop_map(|term_end_time| Payload::Renewed(Renewed { term_end_time }));
    let changed = money.prop_map(|amount| Payload::Changed(Changed { recurring_amount: Some(amount) }));
    let ended = (-1..12_i32, option::weighted(0.5, instant))
        .prop_map(|(reason, effective_time)| Payload::Ended(Ended { reason, effective_time }));
    prop_oneof![
        3 => started,
        2 => renewed,
        2 => changed,
        2 => Just(Payload::Activity(Activity {})),
        4 => ended,
    ]
}

pub fn amount(currency_code: &str, minor_units: i64) -> Money {
    Money { currency_code: currency_code.to_owned(), minor_units }
}

pub fn timestamp(at: Instant, nanos: i32) -> pbjson_types::Timestamp {
    let ms = at.as_millis();
    pbjson_types::Timestamp { seconds: ms.div_euclid(1000), nanos: ms.rem_euclid(1000) as i32 * 1_000_000 + nanos }
}
