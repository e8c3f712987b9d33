//! What a publication costs: the page of 10,000 series, and of 100,000.

use std::collections::BTreeMap;
use std::hint::black_box;

use churnwatch::cohort::{Definitions, Dimension, DimensionRef, DimensionValue, Grouping, Lifecycle, Window};
use churnwatch::event::{Currency, EndReason};
use churnwatch::gauges::cohort_page;
use churnwatch::readings::{CohortReading, Readings, WindowReading, WindowRevenue};
use churnwatch::time::{Grid, Instant, Span};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Three windows, by everyone and by plan.
fn definitions() -> Definitions {
    let window = |days: i64| Window { label: format!("{days}d"), length: Span::days(days) };
    let plan = Dimension { name: "plan".to_owned(), attribute: "plan".to_owned(), value: DimensionValue::Window };
    Definitions {
        grid: Grid::new(Span::HOUR).expect("an hour is a step"),
        windows: [1, 7, 30].map(window).into(),
        dimensions: vec![plan],
        groupings: vec![Grouping::default(), Grouping { by: vec![DimensionRef::Declared(0)] }],
        lifecycle: Lifecycle::default(),
        zone: jiff::tz::TimeZone::UTC,
        complete_since: None,
        max_cohorts: usize::MAX,
    }
}

/// Every number of every cohort is there: 86 series a cohort.
fn readings(cohorts: i64) -> Readings {
    let eur = Currency::from_code("EUR").expect("EUR is a code");
    let reading = |i: i64| {
        let mut lost_by_reason = [0; EndReason::ALL.len()];
        lost_by_reason[EndReason::Cancelled as usize] = 60;
        lost_by_reason[EndReason::PaymentFailed as usize] = 40;
        let revenue =
            WindowRevenue { start: 100_000, lost: 1_234, contraction: 99, expansion: 77, new: 5, returned: 6 };
        let window = WindowReading {
            start: 1_000 + i,
            retained: 900 + i,
            lost_by_reason,
            new: 30,
            returned: 4,
            moved_in: 3,
            moved_out: 2,
            passing: 1,
            bounced: 5,
            revenue: BTreeMap::from([(eur, revenue)]),
        };
        let recurring_revenue = BTreeMap::from([(eur, 99_999)]);
        CohortReading { customers: 935 + i, recurring_revenue, windows: vec![window; 3] }
    };
    let plans = (0..cohorts).map(|i| (vec![format!("plan {i}").into()], reading(i))).collect();
    Readings {
        earliest_event: Some(Instant::EARLIEST_EVENT),
        groupings: vec![BTreeMap::from([(vec![], reading(0))]), plans],
        folded_before: None,
    }
}

fn pages(criterion: &mut Criterion) {
    let as_of = Instant::from_millis(1_772_323_200_000);
    let definitions = definitions();
    let mut group = criterion.benchmark_group("cohort_page");
    group.sample_size(10);
    for cohorts in [120, 1_200] {
        let readings = readings(cohorts);
        let page = cohort_page(&definitions, &readings, as_of);
        let series = page.lines().filter(|line| !line.starts_with('#')).count();
        group.throughput(Throughput::Elements(series as u64));
        group.bench_with_input(BenchmarkId::new("series", series), &readings, |bencher, readings| {
            bencher.iter(|| cohort_page(black_box(&definitions), black_box(readings), as_of));
        });
    }
    group.finish();
}

criterion_group!(benches, pages);
criterion_main!(benches);
