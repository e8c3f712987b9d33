//! The demo's population, counted by the core and shown in the demo's table.

use std::sync::Arc;

use churnwatch::cohort::Definitions;
use churnwatch::demo;
use churnwatch::demo::delivery::{Deliveries, Delivery};
use churnwatch::demo::page::Page;
use churnwatch::demo::population::{LIVE, Population, SPIKE, SPIKE_COHORT};
use churnwatch::demo::table::Board;
use churnwatch::gauges;
use churnwatch::shard::{HashKey, Shard};
use churnwatch::time::{Instant, Span};

/// The board after so many days of life, published twice a day.
fn watch(seed: u64, customers: usize, days: i64, mut each: impl FnMut(Instant, &Page, &Board)) -> Board {
    let definitions: Arc<Definitions> = Arc::new(demo::settings().unwrap().definitions());
    let mut shard = Shard::new(definitions.clone(), HashKey([7; 16]));
    let mut board = Board::new();
    let mut next = LIVE;
    for Delivery { at, event } in Deliveries::new(Population::new(seed, customers), seed) {
        while at >= next {
            // Only the clock has moved since the last event, by less than the time to this one.
            shard.advance(next);
            let page = Page::parse(&gauges::cohort_page(&definitions, &shard.readings(), next));
            board.update(next, &page);
            each(next, &page, &board);
            shard.fold_before_windows_of(next);
            next = next + Span::from_millis(Span::DAY.as_millis() / 2);
        }
        if at >= LIVE + Span::days(days) {
            break;
        }
        shard.consume_message(&event, None);
    }
    let counts = shard.counts();
    assert_eq!((counts.rejected, counts.ignored), Default::default());
    assert_eq!(counts.beyond_horizon, 0);
    board
}

#[test]
fn the_spike_is_marked_in_its_cohort_and_nowhere_else() {
    for seed in [42, 4] {
        let board = watch(seed, 10_000, 28, |_, _, _| {});
        let spikes: Vec<_> = board.spikes().collect();
        let [spike] = spikes[..] else { panic!("seed {seed}: {spikes:?}") };
        assert_eq!(spike.cohort, SPIKE_COHORT, "seed {seed}");
        assert!(spike.since > SPIKE && spike.since <= SPIKE + Span::days(2), "seed {seed}: {spike:?}");
        assert!(spike.peak_ratio > 0.12 && spike.others_ratio < 0.02, "seed {seed}: {spike:?}");
    }
}

#[test]
fn every_number_in_the_table_is_there_from_the_first_day_and_base_churn_is_believable() {
    let mut first = true;
    watch(42, 20_000, 1, |as_of, page, board| {
        if std::mem::take(&mut first) {
            let text = board.render(&Default::default(), false);
            assert!(!text.contains('–'), "as of {as_of}:\n{text}");
            let everyone =
                page.value("churnwatch_churn_ratio", &[("cohort_by", "everyone"), ("window", "30d")]).unwrap();
            assert!((0.03..0.05).contains(&everyone), "{everyone}");
        }
    });
    assert!(!first);
}
