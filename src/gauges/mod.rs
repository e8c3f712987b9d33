//! The one table of every exported metric, and the text of the cohort gauges.
//!
//! Ratios are made here and nowhere else, each as one floating-point division of integers.

mod cohorts;
mod exposition;
mod table;

use std::sync::Arc;

use crate::cohort::{Definitions, Grouping};
use crate::event::{Currency, EndReason};
use crate::readings::{CohortReading, Readings, WindowRevenue};
use crate::time::Instant;

use cohorts::Cohort;
pub(crate) use exposition::{Exposition, Label, describe, in_table_order, key};
use table::COHORT_FAMILIES;
pub use table::{Family, Ratio, Source, Sum, Term, Type, WILSON_Z, families, family};

/// The exposition text of the cohort gauges: families in the order of the table, series sorted by labels.
/// A pure function: equal readings as of equal instants give equal bytes.
pub fn cohort_page(definitions: &Definitions, readings: &Readings, as_of: Instant) -> String {
    let complete = complete_windows(definitions, readings, as_of);
    let page = Exposition::default();
    if history_start(definitions, readings).is_some() {
        for (window, complete) in definitions.windows.iter().zip(&complete) {
            let labels = [("window".into(), window.label.as_str().into())];
            page.set(family("churnwatch_window_complete"), &labels, f64::from(u8::from(*complete)));
        }
    }

    let nothing = Default::default();
    for (i, grouping) in definitions.groupings.iter().enumerate() {
        let cohorts = readings.groupings.get(i).unwrap_or(&nothing);
        let exported = cohorts::exported(definitions, grouping, cohorts, &complete);
        let cohort_by = ("cohort_by".into(), definitions.cohort_by(grouping).into());
        page.set(family("churnwatch_folded_cohorts"), std::slice::from_ref(&cohort_by), exported.folded as f64);

        let writer = GroupingWriter::new(&page, definitions, grouping, cohort_by, &complete);
        for cohort in &exported.cohorts {
            writer.write(cohort);
        }
    }
    page.render()
}

/// From when on the histories are complete: `time.complete_since`, else the earliest `event_time`.
pub fn history_start(definitions: &Definitions, readings: &Readings) -> Option<Instant> {
    definitions.complete_since.or(readings.earliest_event)
}

/// For each window, whether the histories tell its numbers exactly.
fn complete_windows(definitions: &Definitions, readings: &Readings, as_of: Instant) -> Vec<bool> {
    let grid = definitions.grid;
    let told_from =
        history_start(definitions, readings).map(|start| start.max(readings.folded_before.unwrap_or(start)));
    let starts = definitions.windows.iter().map(|window| as_of - window.length);
    starts
        .map(|start| {
            // Before 1970 there is no boundary; the grid would answer with its first, which is later.
            start >= grid.instant(crate::time::Boundary::FIRST)
                && told_from.is_some_and(|from| grid.instant(grid.at_or_before(start)) >= from)
        })
        .collect()
}

/// Writes the series of one grouping's cohorts.
struct GroupingWriter<'a> {
    page: &'a Exposition,
    /// `cohort_by`.
    grouping: Label,
    /// The names of the dimensions.
    names: Vec<Arc<str>>,
    /// Index and label of the complete ones.
    windows: Vec<(usize, Label)>,
    can_move: bool,
}

impl<'a> GroupingWriter<'a> {
    fn new(
        page: &'a Exposition,
        definitions: &Definitions,
        grouping: &Grouping,
        cohort_by: Label,
        complete: &[bool],
    ) -> Self {
        let label = |i: usize| ("window".into(), definitions.windows[i].label.as_str().into());
        Self {
            page,
            grouping: cohort_by,
            names: definitions.label_names(grouping).into_iter().map(Arc::from).collect(),
            windows: (0..complete.len()).filter(|&i| complete[i]).map(|i| (i, label(i))).collect(),
            can_move: definitions.can_move(grouping),
        }
    }

    fn write(&self, cohort: &Cohort<'_>) {
        let mut labels = vec![self.grouping.clone()];
        labels.extend(self.names.iter().cloned().zip(cohort.name.iter().map(|value| Arc::from(&**value))));
        let (reasons, currencies) = (self.reasons(&cohort.reading), self.currencies(&cohort.reading));
        let currencies: Vec<_> =
            currencies.into_iter().map(|c| (c, ("currency".into(), c.to_string().into()))).collect();
        for family in COHORT_FAMILIES {
            self.write_family(family, &cohort.reading, &mut labels, &reasons, &currencies);
        }
    }

    /// The reasons for which the cohort lost anybody in a complete window.
    fn reasons(&self, reading: &CohortReading) -> Vec<EndReason> {
        let lost = |reason: EndReason| {
            self.windows
                .iter()
                .any(|(i, _)| reading.windows.get(*i).is_some_and(|w| w.lost_by_reason[reason as usize] != 0))
        };
        EndReason::ALL.into_iter().filter(|&reason| lost(reason)).collect()
    }

    /// The currencies in which the cohort has any revenue, now or in a complete window.
    fn currencies(&self, reading: &CohortReading) -> Vec<Currency> {
        let now = reading.recurring_revenue.iter().filter(|(_, amount)| **amount != 0).map(|(currency, _)| *currency);
        let windows = self.windows.iter().filter_map(|(i, _)| reading.windows.get(*i));
        let nonzero = windows.flat_map(|w| &w.revenue).filter(|(_, revenue)| **revenue != WindowRevenue::default());
        let mut currencies: Vec<_> = now.chain(nonzero.map(|(currency, _)| *currency)).collect();
        currencies.sort_unstable();
        currencies.dedup();
        currencies
    }

    /// `labels` are those of the cohort, and are so again at the end.
    fn write_family(
        &self,
        family: &Family,
        reading: &CohortReading,
        labels: &mut Vec<Label>,
        reasons: &[EndReason],
        currencies: &[(Currency, Label)],
    ) {
        let set = |labels: &[Label], value: f64| self.page.set(family, labels, value);
        let cohort_labels = labels.len();
        if let Source::Customers(value) = family.source {
            set(labels, value(reading) as f64);
        }
        if let Source::Revenue(value) = family.source {
            for (currency, label) in currencies {
                labels.push(label.clone());
                set(labels, major_units(value(reading, *currency), *currency));
                labels.truncate(cohort_labels);
            }
        }
        if !family.source.is_of_window() || (!self.can_move && matches!(family.source, Source::Moves(_))) {
            return;
        }
        let nothing = Default::default();
        for (i, window_label) in &self.windows {
            let window = reading.windows.get(*i).unwrap_or(&nothing);
            labels.push(window_label.clone());
            match family.source {
                Source::Window(value) | Source::Moves(value) => set(labels, value(window) as f64),
                Source::WindowRatio(ratio) => {
                    ratio.of_customers(reading, window).into_iter().for_each(|ratio| set(labels, ratio));
                }
                Source::LostByReason => {
                    for reason in reasons {
                        labels.push(("reason".into(), reason.name().into()));
                        labels.push(("class".into(), reason.class().into()));
                        set(labels, window.lost_by_reason[*reason as usize] as f64);
                        labels.truncate(cohort_labels + 1);
                    }
                }
                _ => {
                    for (currency, label) in currencies {
                        let revenue = window.revenue.get(currency).copied().unwrap_or_default();
                        labels.push(label.clone());
                        revenue_value(family.source, &revenue, *currency)
                            .into_iter()
                            .for_each(|value| set(labels, value));
                        labels.truncate(cohort_labels + 1);
                    }
                }
            }
            labels.truncate(cohort_labels);
        }
    }
}

/// The value of a revenue family; `None` where there is none.
fn revenue_value(source: Source, revenue: &WindowRevenue, currency: Currency) -> Option<f64> {
    match source {
        Source::WindowRevenue(value) => Some(major_units(value(revenue), currency)),
        Source::RevenueRatio(ratio) => ratio.of_revenue(revenue),
        _ => None,
    }
}

/// In major units: the only division of an amount, of its exact sum.
fn major_units(minor_units: i128, currency: Currency) -> f64 {
    minor_units as f64 / 10f64.powi(currency.exponent() as i32)
}

#[cfg(test)]
mod tests;
