//! Nanoseconds an event: decode, history and tally of one shard, with tallies standing.
//!
//! The shard is filled once; then batches of new events are decoded and applied to customers at random, as they
//! come from a topic. `CORE_CUSTOMERS` sets how many customers there are (default one million).

use std::hint::black_box;
use std::sync::Arc;

use churnwatch::cohort::{Definitions, Dimension, DimensionRef, DimensionValue, Grouping, Lifecycle, Window};
use churnwatch::proto::lifecycle_event::Event;
use churnwatch::proto::{Activity, LifecycleEvent, Money, Renewed, Started};
use churnwatch::shard::{HashKey, Shard};
use churnwatch::time::{Grid, Instant, Span};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;

const BATCH: u64 = 10_000;
const DAY: i64 = Span::DAY.as_millis();
/// 2026-01-01T00:00Z
const NEW_YEAR: i64 = 1_767_225_600_000;

fn definitions(windows: i64) -> Arc<Definitions> {
    let dimension = |name: &str| Dimension { name: name.into(), attribute: name.into(), value: DimensionValue::Window };
    Arc::new(Definitions {
        grid: Grid::new(Span::HOUR).expect("an hour is a step"),
        windows: (1..=windows)
            .map(|n| Window { label: format!("{n}"), length: Span::from_millis(30 * DAY * n / windows) })
            .collect(),
        dimensions: vec![dimension("plan"), dimension("region")],
        groupings: vec![
            Grouping::default(),
            Grouping { by: vec![DimensionRef::Declared(0), DimensionRef::Declared(1)] },
        ],
        lifecycle: Lifecycle { inactivity_timeout: Some(Span::days(30)), grace_period: Span::ZERO },
        zone: jiff::tz::TimeZone::UTC,
        complete_since: None,
        max_cohorts: 1000,
    })
}

/// Customers at random, the same ones in every run.
struct Picker(u64);

impl Picker {
    fn pick(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn event(customer: u64, ms: i64, what: Event) -> LifecycleEvent {
    let event_time = pbjson_types::Timestamp { seconds: ms / 1000, nanos: (ms % 1000 * 1_000_000) as i32 };
    let customer_id = format!("customer-{customer:09}");
    LifecycleEvent { customer_id, event_time: Some(event_time), event: Some(what), ..LifecycleEvent::default() }
}

fn started(customer: u64, ms: i64) -> LifecycleEvent {
    let amount = Money { currency_code: "EUR".into(), minor_units: 900 + (customer % 40) as i64 * 100 };
    let what = Started { recurring_amount: Some(amount), ..Started::default() };
    let mut event = event(customer, ms, Event::Started(what));
    event.attributes.insert("plan".into(), ["basic", "plus", "business"][customer as usize % 3].into());
    event.attributes.insert("region".into(), ["eu", "us", "apac"][customer as usize / 3 % 3].into());
    event
}

fn filled(customers: u64, windows: i64) -> Shard {
    let mut shard = Shard::new(definitions(windows), HashKey([7; 16]));
    for customer in 0..customers {
        shard.consume_message(&started(customer, NEW_YEAR + (customer % 2000) as i64 * 1000), None);
    }
    shard.advance(Instant::from_millis(NEW_YEAR + DAY));
    shard
}

fn batch(picker: &mut Picker, customers: u64, at: &mut i64, billing: bool) -> Vec<Vec<u8>> {
    let next = |_| {
        *at += 7;
        let customer = picker.pick(customers);
        let event = match picker.pick(20) {
            0 => started(customer, *at),
            _ if billing => event(customer, *at, Event::Renewed(Renewed { term_end_time: None })),
            _ => event(customer, *at, Event::Activity(Activity {})),
        };
        event.encode_to_vec()
    };
    (0..BATCH).map(next).collect()
}

fn core(c: &mut Criterion) {
    let customers = std::env::var("CORE_CUSTOMERS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let mut group = c.benchmark_group(format!("core, {customers} customers"));
    group.throughput(Throughput::Elements(BATCH)).sample_size(20);
    for (name, windows, billing) in [
        ("activity, 1 window", 1, false),
        ("activity, 20 windows", 20, false),
        ("billing, 1 window", 1, true),
        ("billing, 20 windows", 20, true),
    ] {
        let mut shard = filled(customers, windows);
        let (mut picker, mut at) = (Picker(1), NEW_YEAR + DAY);
        group.bench_function(name, |b| {
            b.iter_batched(
                || batch(&mut picker, customers, &mut at, billing),
                |payloads| {
                    for payload in &payloads {
                        black_box(shard.consume(Some(payload), None));
                    }
                    // As the publication loop does, so that the events exist and are not kept for later.
                    shard.advance(shard.latest_event().unwrap_or(Instant::EARLIEST_EVENT));
                    payloads
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, core);
criterion_main!(benches);
