//! What is to be counted: windows, dimensions and groupings, compiled from the settings and checked once.
//!
//! A *dimension* is a question about a customer (which plan?), a *grouping* a list of dimensions, and a
//! *cohort* one answer to each of them. The grouping by nothing, `everyone`, is always there.

use jiff::tz::TimeZone;

use crate::time::{Grid, Instant, Span};

/// Everything the core needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Definitions {
    pub grid: Grid,
    pub windows: Vec<Window>,
    /// The declared dimensions, in order of declaration; names are unique and none is a built-in's.
    pub dimensions: Vec<Dimension>,
    /// `everyone` first, then as configured, without duplicates.
    pub groupings: Vec<Grouping>,
    pub lifecycle: Lifecycle,
    /// In which the built-in signup dimensions are dated.
    pub zone: TimeZone,
    /// `time.complete_since`.
    pub complete_since: Option<Instant>,
    /// `windows.max_cohorts`.
    pub max_cohorts: usize,
}

impl Definitions {
    /// The longest window; history older than this and a step decides no number any more.
    pub fn longest_window(&self) -> Span {
        self.windows.iter().map(|w| w.length).max().unwrap_or(Span::ZERO)
    }

    /// The names of a grouping's dimensions, in its order: they are the labels of its cohorts.
    pub fn label_names(&self, grouping: &Grouping) -> Vec<&str> {
        grouping
            .by
            .iter()
            .map(|d| match d {
                DimensionRef::Declared(i) => self.dimensions[*i].name.as_str(),
                DimensionRef::Signup(period) => period.name(),
            })
            .collect()
    }

    /// The `cohort_by` label of a grouping.
    pub fn cohort_by(&self, grouping: &Grouping) -> String {
        if grouping.by.is_empty() { "everyone".to_owned() } else { self.label_names(grouping).join(",") }
    }

    /// Whether a customer can be in another cohort of the grouping at another instant.
    pub fn can_move(&self, grouping: &Grouping) -> bool {
        grouping.by.iter().any(|d| match d {
            DimensionRef::Declared(i) => self.dimensions[*i].value == DimensionValue::Window,
            DimensionRef::Signup(_) => false,
        })
    }
}

/// A window's length, and its label as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub label: String,
    pub length: Span,
}

/// How many dimensions may be declared: a history marks attributes in 128 bits.
pub const MAX_DIMENSIONS: usize = 128;

/// A declared dimension: which attribute answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    pub name: String,
    pub attribute: String,
    pub value: DimensionValue,
}

/// Which of a customer's values counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DimensionValue {
    /// The one in force at the instant in question.
    Window,
    /// The earliest event's, always.
    First,
}

/// One dimension of a grouping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DimensionRef {
    /// Index into [`Definitions::dimensions`].
    Declared(usize),
    Signup(SignupPeriod),
}

/// The built-in dimensions: the calendar period of a customer's first active instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignupPeriod {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl SignupPeriod {
    pub const ALL: [Self; 5] = [Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year];

    /// The dimension's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "signup_day",
            Self::Week => "signup_week",
            Self::Month => "signup_month",
            Self::Quarter => "signup_quarter",
            Self::Year => "signup_year",
        }
    }

    /// The value for a date: `2026-02-14`, `2026-W07` (ISO 8601), `2026-02`, `2026-Q1`, `2026`.
    pub fn value(self, date: jiff::civil::Date) -> String {
        let (year, month) = (date.year(), date.month());
        match self {
            Self::Day => date.to_string(),
            Self::Week => {
                let week = date.iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Self::Month => format!("{year:04}-{month:02}"),
            Self::Quarter => format!("{year:04}-Q{}", (month - 1) / 3 + 1),
            Self::Year => format!("{year:04}"),
        }
    }
}

/// A list of dimensions to count by.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Grouping {
    pub by: Vec<DimensionRef>,
}

/// What makes a customer active, beyond the events themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Lifecycle {
    /// How long without a sign of life an open-ended subscription stays active; `None` for ever.
    pub inactivity_timeout: Option<Span>,
    /// How long after its end a term still counts.
    pub grace_period: Span,
}

/// The value of a dimension about which no event says anything.
pub const UNKNOWN: &str = "unknown";

/// The value, in every dimension, of the cohort in which those beyond `windows.max_cohorts` add up.
pub const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signup_periods_are_named_by_iso_8601() {
        let date = jiff::civil::date(2027, 1, 1);
        let values = SignupPeriod::ALL.map(|p| p.value(date));
        assert_eq!(values, ["2027-01-01", "2026-W53", "2027-01", "2027-Q1", "2027"]);
    }
}
