//! Which cohorts of a grouping are exported, and which add up in `other`.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::cohort::{Definitions, Grouping, OTHER};
use crate::readings::{CohortName, CohortReading, WindowReading, WindowRevenue};

/// A cohort that is exported.
pub(super) struct Cohort<'a> {
    pub name: CohortName,
    pub reading: Cow<'a, CohortReading>,
}

/// What is exported of one grouping.
pub(super) struct Exported<'a> {
    pub cohorts: Vec<Cohort<'a>>,
    /// How many cohorts were beyond `windows.max_cohorts` and are in `other`.
    pub folded: usize,
}

/// The cohorts with any number that is not zero: the largest, and the sum of the rest.
pub(super) fn exported<'a>(
    definitions: &Definitions,
    grouping: &Grouping,
    cohorts: &'a BTreeMap<CohortName, CohortReading>,
    complete: &[bool],
) -> Exported<'a> {
    let mut exported: Vec<_> = cohorts
        .iter()
        .filter(|(_, reading)| is_anything(reading, complete))
        .map(|(name, reading)| Cohort { name: name.clone(), reading: Cow::Borrowed(reading) })
        .collect();
    if grouping.by.is_empty() {
        return Exported { cohorts: exported, folded: 0 };
    }

    exported.sort_by(|a, b| (Reverse(a.reading.customers), &a.name).cmp(&(Reverse(b.reading.customers), &b.name)));
    let beyond = exported.split_off(exported.len().min(definitions.max_cohorts));
    let folded = beyond.len();
    let is_other = |cohort: &Cohort<'_>| cohort.name.iter().all(|value| &**value == OTHER);
    let (named_other, mut cohorts): (Vec<_>, Vec<_>) = exported.into_iter().partition(is_other);
    let rest = named_other.into_iter().chain(beyond).reduce(|mut sum, cohort| {
        sum.reading.to_mut().add(&cohort.reading);
        sum
    });
    if let Some(rest) = rest {
        cohorts.push(Cohort { name: vec![OTHER.into(); grouping.by.len()], reading: rest.reading });
    }
    Exported { cohorts, folded }
}

/// Whether any exported number of the cohort is not zero.
fn is_anything(reading: &CohortReading, complete: &[bool]) -> bool {
    let is_window = |window: &WindowReading| {
        let counts = [
            window.start,
            window.retained,
            window.new,
            window.returned,
            window.moved_in,
            window.moved_out,
            window.passing,
            window.bounced,
        ];
        counts.iter().chain(&window.lost_by_reason).any(|&count| count != 0)
            || window.revenue.values().any(|revenue| *revenue != WindowRevenue::default())
    };
    reading.customers != 0
        || reading.recurring_revenue.values().any(|&amount| amount != 0)
        || reading.windows.iter().zip(complete).any(|(window, &complete)| complete && is_window(window))
}
