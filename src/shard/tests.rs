//! Whatever comes in whatever order, between whatever publications, a shard's numbers are those of one that is told
//! everything at once.

use std::sync::Arc;

use prop::collection::vec;
use proptest::prelude::*;

use super::{HashKey, Shard};
use crate::cohort::{Definitions, Dimension, DimensionRef, DimensionValue, Grouping, Lifecycle, SignupPeriod, Window};
use crate::proto::lifecycle_event::Event as Content;
use crate::proto::{Activity, Changed, Ended, LifecycleEvent, Money, Renewed, Started};
use crate::readings::{CohortReading, Readings, WindowReading};
use crate::time::{Grid, Instant, Span};

/// Enough for the notes of some events ahead of the as-of: with more of them than customers the tallies are built anew.
const OTHERS: i64 = 30;
const MINUTE_MS: i64 = 60_000;
/// No event is before 1970.
const START: i64 = 100;

#[derive(Clone, Debug)]
enum Step {
    /// With times in minutes from the last publication on.
    Event(LifecycleEvent),
    /// By so many minutes.
    Advance(i64),
}

fn definitions(timeout: Option<i64>, grace: i64) -> Arc<Definitions> {
    let minutes = |minutes: i64| Span::from_millis(minutes * MINUTE_MS);
    let window = |length: i64| Window { label: format!("{length}m"), length: minutes(length) };
    let dimension = |name: &str, value| Dimension { name: name.to_owned(), attribute: "plan".to_owned(), value };
    Arc::new(Definitions {
        grid: Grid::new(minutes(1)).expect("a minute is a step"),
        windows: vec![window(5), window(30)],
        dimensions: vec![dimension("plan", DimensionValue::Window), dimension("first", DimensionValue::First)],
        groupings: vec![
            Grouping { by: Vec::new() },
            Grouping { by: vec![DimensionRef::Declared(0)] },
            Grouping { by: vec![DimensionRef::Declared(1), DimensionRef::Signup(SignupPeriod::Day)] },
        ],
        lifecycle: Lifecycle { inactivity_timeout: timeout.map(minutes), grace_period: minutes(grace) },
        zone: jiff::tz::TimeZone::UTC,
        complete_since: None,
        max_cohorts: 10,
    })
}

fn at(minute: i64) -> pbjson_types::Timestamp {
    pbjson_types::Timestamp { seconds: minute * MINUTE_MS / 1000, nanos: 0 }
}

fn event(minute: i64, content: Content) -> LifecycleEvent {
    LifecycleEvent {
        customer_id: "c".to_owned(),
        event_time: Some(at(minute)),
        event: Some(content),
        ..Default::default()
    }
}

fn any_event() -> impl Strategy<Value = LifecycleEvent> {
    let later = prop::option::weighted(0.4, 0i64..20);
    let plan = prop::option::weighted(0.3, prop_oneof!["a", "b"]);
    (-8i64..8, 0u8..12, later, any::<bool>(), 0u8..10, plan).prop_map(
        |(minute, kind, later, flag, subscription, plan)| {
            let later = later.map(|later| at(minute + later));
            let money = Some(Money { currency_code: "EUR".to_owned(), minor_units: if flag { 100 } else { 200 } });
            let content = match kind {
                0..2 => Content::Started(Started { recurring_amount: money, term_end_time: later, trial: false }),
                2 => Content::Started(Started { recurring_amount: None, term_end_time: later, trial: flag }),
                3..6 => Content::Renewed(Renewed { term_end_time: later }),
                6 => Content::Changed(Changed { recurring_amount: money }),
                7..10 => Content::Activity(Activity {}),
                _ => Content::Ended(Ended { reason: 1, effective_time: later }),
            };
            let subscription_id = if subscription == 0 { "s" } else { "" }.to_owned();
            let attributes = plan.map(|plan| ("plan".to_owned(), plan)).into_iter().collect();
            LifecycleEvent { subscription_id, attributes, ..event(minute, content) }
        },
    )
}

/// The event, so many minutes later.
fn moved(mut event: LifecycleEvent, minutes: i64) -> LifecycleEvent {
    let time = event.event_time.as_mut();
    let other = match &mut event.event {
        Some(Content::Started(started)) => started.term_end_time.as_mut(),
        Some(Content::Renewed(renewed)) => renewed.term_end_time.as_mut(),
        Some(Content::Ended(ended)) => ended.effective_time.as_mut(),
        _ => None,
    };
    for time in time.into_iter().chain(other) {
        time.seconds += minutes * MINUTE_MS / 1000;
    }
    event
}

/// Cohorts of nothing but zeros are on no page, and windows do not see what is folded.
fn numbers(shard: &Shard) -> Readings {
    let mut readings = shard.readings();
    readings.folded_before = None;
    let is_zero = |reading: &CohortReading| {
        reading.customers == 0
            && reading.recurring_revenue.is_empty()
            && reading.windows.iter().all(|window| *window == WindowReading::default())
    };
    readings.groupings.iter_mut().for_each(|cohorts| cohorts.retain(|_, reading| !is_zero(reading)));
    readings
}

/// Has a shard take the steps, from minute [`START`] on, and holds its numbers after each publication to a new one's.
fn check(definitions: &Arc<Definitions>, steps: &[Step]) -> Result<(), TestCaseError> {
    let new = || {
        let mut shard = Shard::new(definitions.clone(), HashKey([1; 16]));
        for other in 0..OTHERS {
            let started = event(START, Content::Started(Started::default()));
            shard.consume_message(&LifecycleEvent { customer_id: format!("other-{other}"), ..started }, None);
        }
        shard
    };
    let mut shard = new();
    let (mut now, mut events) = (START, Vec::new());
    for step in steps {
        match step {
            Step::Event(event) => {
                events.push(moved(event.clone(), now));
                shard.consume_message(&events[events.len() - 1], None);
            }
            Step::Advance(minutes) => {
                now += minutes;
                let t = Instant::from_millis(now * MINUTE_MS);
                shard.advance(t);
                shard.fold_before_windows_of(t);
                let mut told = new();
                for event in &events {
                    told.consume_message(event, None);
                }
                told.advance(t);
                prop_assert_eq!(numbers(&shard), numbers(&told), "as of minute {}", now);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_shard_tells_what_one_tells_that_hears_everything_at_once(
        steps in vec(prop_oneof![2 => any_event().prop_map(Step::Event), 1 => (1i64..12).prop_map(Step::Advance)], 2..12),
        timeout in prop::option::weighted(0.6, 1i64..15),
        grace in 0i64..4,
    ) {
        let mut steps = steps;
        steps.push(Step::Advance(7));
        check(&definitions(timeout, grace), &steps)?;
    }
}

#[test]
fn what_only_prolongs_is_counted_when_something_late_makes_more_of_it() {
    let started = || Step::Event(event(0, Content::Started(Started::default())));
    let renewed = |s, end: Option<i64>| Step::Event(event(s, Content::Renewed(Renewed { term_end_time: end.map(at) })));
    let ended =
        |s, effective| Step::Event(event(s, Content::Ended(Ended { reason: 1, effective_time: Some(at(effective)) })));
    let active = |s| Step::Event(event(s, Content::Activity(Activity {})));
    let advance = Step::Advance;
    for (timeout, steps) in [
        (None, vec![started(), advance(5), renewed(3, None), renewed(-1, Some(-1)), advance(4), advance(20)]),
        (None, vec![started(), advance(5), active(3), ended(-1, 15), advance(4), advance(12)]),
        (Some(10), vec![started(), advance(5), active(3), ended(-1, 4), advance(4), advance(1)]),
        (Some(10), vec![started(), advance(5), renewed(3, None), ended(-1, 4), advance(4), advance(1)]),
    ] {
        check(&definitions(timeout, 0), &steps).unwrap_or_else(|error| panic!("{steps:?}: {error}"));
    }
}

#[test]
fn a_clock_that_went_back_behind_what_is_folded_leaves_no_trace() {
    let definitions = definitions(None, 0);
    let minute = |minute: i64| Instant::from_millis(minute * MINUTE_MS);
    let changed = |minute: i64, minor_units| {
        let amount = Some(Money { currency_code: "EUR".to_owned(), minor_units });
        event(minute, Content::Changed(Changed { recurring_amount: amount }))
    };
    // Enough for a history that is folded.
    let past: Vec<_> = (0..20).map(|n| changed(START + 3 * n, 100 + n)).collect();
    let later = changed(START + 103, 700);
    let tell = |shard: &mut Shard, events: &[LifecycleEvent]| {
        for event in events {
            shard.consume_message(event, None);
        }
    };

    let mut shard = Shard::new(definitions.clone(), HashKey([1; 16]));
    tell(&mut shard, &[event(START, Content::Started(Started::default()))]);
    tell(&mut shard, &past);
    shard.advance(minute(START + 100));
    shard.fold_before_windows_of(minute(START + 100));
    assert!(shard.readings().folded_before > Some(minute(START + 20)));
    let mut bytes = Vec::new();
    crate::snapshot::write(&shard, "t", 0, &mut bytes).expect("memory takes any length");
    let (_, mut shard) = crate::snapshot::read(&mut bytes.as_slice(), definitions.clone()).expect("it was written");
    shard.advance(minute(START + 10));
    tell(&mut shard, std::slice::from_ref(&later));
    shard.advance(minute(START + 110));

    let mut told = Shard::new(definitions, HashKey([1; 16]));
    tell(&mut told, &[event(START, Content::Started(Started::default()))]);
    tell(&mut told, &past);
    tell(&mut told, &[later]);
    told.advance(minute(START + 110));
    assert_eq!(numbers(&shard), numbers(&told));
}
