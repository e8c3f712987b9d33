//! Any bytes as a snapshot; what is restored is written and restored again alike, and goes on living.

#![no_main]

use std::sync::Arc;

use churnwatch::cohort::{Definitions, Dimension, DimensionRef, DimensionValue, Grouping, Lifecycle, Window};
use churnwatch::snapshot;
use churnwatch::time::{Grid, Instant, Span};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let definitions = Arc::new(definitions());
    let Ok((header, mut shard)) = snapshot::read(&mut &*bytes, definitions.clone()) else { return };

    let mut written = Vec::new();
    let topic = header.topic.clone();
    snapshot::write(&shard, &topic, header.partition, &mut written).expect("a vector takes any bytes");
    let (again, restored) = snapshot::read(&mut written.as_slice(), definitions).expect("what was written is read");
    assert_eq!(again, header);

    let mut written_again = Vec::new();
    snapshot::write(&restored, &topic, header.partition, &mut written_again).expect("a vector takes any bytes");
    assert_eq!(written_again, written);

    shard.advance(Instant::from_millis(1_800_000_000_000));
    let _ = shard.readings();
});

fn definitions() -> Definitions {
    Definitions {
        grid: Grid::new(Span::HOUR).expect("an hour is long enough"),
        windows: vec![Window { label: "7d".to_owned(), length: Span::days(7) }],
        dimensions: vec![Dimension {
            name: "plan".to_owned(),
            attribute: "plan".to_owned(),
            value: DimensionValue::Window,
        }],
        groupings: vec![Grouping::default(), Grouping { by: vec![DimensionRef::Declared(0)] }],
        lifecycle: Lifecycle::default(),
        zone: jiff::tz::TimeZone::UTC,
        complete_since: None,
        max_cohorts: 1_000,
    }
}
