//! Milliseconds a publication: time moves on, the shard's readings, and the page of 1 k, 10 k and 100 k series.
//!
//! The shard has as many cohorts as that takes, of 100 customers each, and takes in events between the publications.

mod support;

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant as Moment;

use churnwatch::cohort::{Definitions, Window};
use churnwatch::gauges::cohort_page;
use churnwatch::shard::{HashKey, Shard};
use churnwatch::time::{Instant, Span};
use support::figures::{Figures, median};
use support::log::{Log, Mix, definitions};
use support::quiet::Quiet;
use support::reference::bytewise_ns;

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SAMPLES: usize = 24;
/// Between two publications, and no more than there are customers: few would have histories that no business has.
const MOST_EVENTS: u64 = 50_000;
/// `http.publish_interval` by default.
const INTERVAL_MS: f64 = 5_000.0;
const CUSTOMERS_PER_COHORT: u64 = 100;

fn main() {
    let mut figures = Figures::new("page");
    let mut quiet = Quiet::new();
    // Everyone is a cohort, too.
    for (size, plans) in [("1 k", 12), ("10 k", 124), ("100 k", 1_240)] {
        publications(&mut figures, &mut quiet, size, plans);
    }
    quiet.report(&mut figures);
    figures.finish();
}

/// The default windows, by everyone and by plan.
fn by_plan() -> Arc<Definitions> {
    let window = |days: i64| Window { label: format!("{days}d"), length: Span::days(days) };
    let by_plan = definitions(1, 2);
    Arc::new(Definitions { windows: [1, 7, 30].map(window).into(), max_cohorts: usize::MAX, ..(*by_plan).clone() })
}

fn publications(figures: &mut Figures, quiet: &mut Quiet, size: &str, plans: u64) {
    let definitions = by_plan();
    let customers = plans * CUSTOMERS_PER_COHORT;
    let events = customers.min(MOST_EVENTS);
    let mut log = Log::new(Mix::Billing, customers).with_plans(plans);
    let mut shard = Shard::new(definitions.clone(), HashKey([7; 16]));
    for event in log.past() {
        shard.consume_message(&event, None);
    }
    shard.advance(log.now());
    let mut text = String::new();
    let mut as_of = log.now();
    let samples = quiet.samples(SAMPLES, || {
        shard.consume_batch(&log.take(events).records(), |_, _| ControlFlow::Continue(()));
        // The log's own time goes on by a second only.
        as_of = Instant::from_millis(as_of.as_millis() + INTERVAL_MS as i64).max(log.now());
        let begun = Moment::now();
        shard.advance(as_of);
        let advanced = begun.elapsed();
        let numbers = shard.readings();
        let read = begun.elapsed();
        text = black_box(cohort_page(&definitions, &numbers, as_of));
        let written = begun.elapsed();
        [advanced, read - advanced, written - read, written].map(|time| time.as_secs_f64() * 1e3)
    });
    let [advance, readings, page, all] =
        std::array::from_fn(|part| median(&mut samples.iter().map(|sample| sample[part]).collect::<Vec<_>>()));
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    let bare = bytewise_ns(text.as_bytes()) / 1e6;
    figures.push_against(format!("publication, {size} series"), all, "ms", ("the page's bytes one by one", bare));
    figures.push(format!("time moves on, {size} series"), advance, "ms");
    figures.push(format!("readings, {size} series"), readings, "ms");
    figures.push(format!("page written, {size} series"), page, "ms");
    figures.push(format!("series exactly, {size} series"), series as f64, "series");
    let cohorts = shard.readings().cohorts() as f64;
    figures.push(format!("series a cohort with 3 windows, {size} series"), series as f64 / cohorts, "series");
    let share = 100.0 * all / INTERVAL_MS;
    figures.push(format!("share of a core at the default interval of 5 s, {size} series"), share, "%");
}
