//! The one table of every exported metric, and the text of the cohort gauges.

use crate::cohort::Definitions;
use crate::readings::Readings;
use crate::time::Instant;

/// The exposition text of the cohort gauges: families in the order of the table, series sorted by labels.
pub fn cohort_page(_definitions: &Definitions, _readings: &Readings, _as_of: Instant) -> String {
    todo!()
}
