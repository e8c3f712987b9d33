//! What the snapshots of the fuzzers are read and written under.

use churnwatch::cohort::{Definitions, Dimension, DimensionRef, DimensionValue, Grouping, Lifecycle, Window};
use churnwatch::time::{Grid, Span};

/// Two groupings, so that attributes and tallies matter.
pub fn definitions() -> Definitions {
    Definitions {
        grid: Grid::new(Span::HOUR).expect("an hour is long enough"),
        windows: vec![Window { label: "7d".to_owned(), length: Span::days(7) }],
        dimensions: vec![Dimension {
            name: "plan".to_owned(),
            attribute: "plan".to_owned(),
            value: DimensionValue::Window,
        }],
        groupings: vec![Grouping::default(), Grouping { by: vec![DimensionRef::Declared(0)] }],
        lifecycle: Lifecycle { inactivity_timeout: Some(Span::days(30)), grace_period: Span::DAY },
        zone: jiff::tz::TimeZone::UTC,
        complete_since: None,
        max_cohorts: 1_000,
    }
}
