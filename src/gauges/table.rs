//! The table: every exported metric, in the order of the page.

mod process;
mod ratio;

pub use ratio::{Ratio, Sum, Term, WILSON_Z};

use crate::event::Currency;
use crate::readings::{CohortReading, WindowReading, WindowRevenue};
use Term::{Minus, Plus};

/// One exported metric.
#[derive(Debug)]
pub struct Family {
    /// The full name.
    pub name: &'static str,
    /// What the value counts or measures.
    pub unit: &'static str,
    /// The HELP text: states the formula.
    pub help: &'static str,
    /// When a series is absent, beyond what [`Source::absent`] says of all of its kind; often nothing.
    pub absent: &'static str,
    pub source: Source,
}

/// Where a family's values come from, which also decides its labels.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A cohort's number at the as-of.
    Customers(fn(&CohortReading) -> i64),
    /// A cohort's number in a window.
    Window(fn(&WindowReading) -> i64),
    /// The same, but only where a customer can be in another cohort at another instant.
    Moves(fn(&WindowReading) -> i64),
    LostByReason,
    WindowRatio(Ratio),
    /// Minor units.
    Revenue(fn(&CohortReading, Currency) -> i128),
    /// Minor units.
    WindowRevenue(fn(&WindowRevenue) -> i128),
    RevenueRatio(Ratio),
    WindowComplete,
    FoldedCohorts,
    /// The process's own, with its labels; not of [`super::cohort_page`].
    Process(Type, &'static [&'static str]),
}

/// A metric's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
}

impl Type {
    /// As the exposition format writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Source {
    /// Whether the number is one of a window.
    pub const fn is_of_window(&self) -> bool {
        match self {
            Self::Window(_) | Self::Moves(_) | Self::LostByReason | Self::WindowRatio(_) => true,
            Self::WindowRevenue(_) | Self::RevenueRatio(_) => true,
            Self::Customers(_) | Self::Revenue(_) => false,
            Self::WindowComplete | Self::FoldedCohorts | Self::Process(..) => false,
        }
    }

    /// The labels, in order; `<dimension>…` stands for one label per dimension of the grouping.
    pub const fn labels(&self) -> &'static [&'static str] {
        match self {
            Self::Customers(_) => &["cohort_by", "<dimension>…"],
            Self::Window(_) | Self::Moves(_) | Self::WindowRatio(_) => &["cohort_by", "<dimension>…", "window"],
            Self::LostByReason => &["cohort_by", "<dimension>…", "window", "reason", "class"],
            Self::Revenue(_) => &["cohort_by", "<dimension>…", "currency"],
            Self::WindowRevenue(_) | Self::RevenueRatio(_) => &["cohort_by", "<dimension>…", "window", "currency"],
            Self::WindowComplete => &["window"],
            Self::FoldedCohorts => &["cohort_by"],
            Self::Process(_, labels) => labels,
        }
    }

    /// When a series of this kind is absent.
    pub const fn absent(&self) -> &'static str {
        match self {
            Self::Customers(_) => "the cohort has nothing but zeros",
            Self::Window(_) => "the window is not complete, or the cohort has nothing but zeros",
            Self::Moves(_) => {
                "nobody can move in this grouping, the window is not complete, or the cohort has nothing but zeros"
            }
            Self::LostByReason => {
                "the window is not complete, or the cohort lost nobody for this reason in any complete window"
            }
            Self::WindowRatio(_) => "the denominator is 0, or the window is not complete",
            Self::Revenue(_) => "the cohort has no number in this currency but zeros",
            Self::WindowRevenue(_) => {
                "the window is not complete, or the cohort has no number in this currency but zeros"
            }
            Self::RevenueRatio(_) => "the denominator is 0, or the window is not complete",
            Self::WindowComplete => "time.complete_since is not configured and no event has been read yet",
            Self::FoldedCohorts | Self::Process(..) => "",
        }
    }
}

impl Family {
    pub const fn kind(&self) -> Type {
        match self.source {
            Source::Process(kind, _) => kind,
            _ => Type::Gauge,
        }
    }
}

/// Every family, in the order of the page.
pub fn families() -> impl Iterator<Item = &'static Family> {
    COHORT_FAMILIES.iter().chain(process::PROCESS_FAMILIES)
}

/// The family of that name.
///
/// # Panics
/// Where the table has none: the name is a mistake in the code.
pub fn family(name: &str) -> &'static Family {
    families().find(|family| family.name == name).unwrap_or_else(|| panic!("{name} is not in the table of metrics"))
}

const fn of(name: &'static str, unit: &'static str, source: Source, help: &'static str) -> Family {
    Family { name, unit, help, absent: "", source }
}

const CUSTOMERS: &str = "customers";
const RATIO: &str = "ratio, 0 to 1";
const MONEY: &str = "major units of the currency, per month";

// What ratios are made of.
const CUSTOMERS_NOW: Family = of(
    "churnwatch_customers",
    CUSTOMERS,
    Source::Customers(|cohort| cohort.customers),
    "Customers active now, in the cohort they are in now.",
);
const START: Family = of(
    "churnwatch_window_start_customers",
    CUSTOMERS,
    Source::Window(|w| w.start),
    "S: customers active at the start of the window, in the cohort they were in then.",
);
const RETAINED: Family = of(
    "churnwatch_retained_customers",
    CUSTOMERS,
    Source::Window(|w| w.retained),
    "Customers of S who are active now. S = retained + lost.",
);
const LOST: Family = of(
    "churnwatch_lost_customers",
    CUSTOMERS,
    Source::Window(WindowReading::lost),
    "Customers of S who are not active now. S = retained + lost.",
);
const NEW: Family = of(
    "churnwatch_new_customers",
    CUSTOMERS,
    Source::Window(|w| w.new),
    "Customers active now who were never active before the window.",
);
const RETURNED: Family = of(
    "churnwatch_returned_customers",
    CUSTOMERS,
    Source::Window(|w| w.returned),
    "Customers active now who were not at the start of the window, but had been before.",
);
const PASSING: Family = of(
    "churnwatch_passing_customers",
    CUSTOMERS,
    Source::Window(|w| w.passing),
    "Customers active neither at the start of the window nor now, but in between; in the cohort they left.",
);
const START_REVENUE: Family = of(
    "churnwatch_window_start_recurring_revenue",
    MONEY,
    Source::WindowRevenue(|r| r.start),
    "R: monthly recurring revenue of S at the start of the window.",
);
const LOST_REVENUE: Family = of(
    "churnwatch_lost_recurring_revenue",
    MONEY,
    Source::WindowRevenue(|r| r.lost),
    "What the lost customers paid at the start of the window.",
);
const CONTRACTION: Family = of(
    "churnwatch_contraction_recurring_revenue",
    MONEY,
    Source::WindowRevenue(|r| r.contraction),
    "How much less the retained customers who pay less now do than at the start of the window.",
);
const EXPANSION: Family = of(
    "churnwatch_expansion_recurring_revenue",
    MONEY,
    Source::WindowRevenue(|r| r.expansion),
    "How much more the retained customers who pay more now do than at the start of the window.",
);

/// What [`super::cohort_page`] writes.
pub const COHORT_FAMILIES: &[Family] = &[
    CUSTOMERS_NOW,
    START,
    RETAINED,
    LOST,
    of(
        "churnwatch_lost_customers_by_reason",
        CUSTOMERS,
        Source::LostByReason,
        "Lost customers by the reason they left for, and its class. Sums to churnwatch_lost_customers.",
    ),
    NEW,
    RETURNED,
    of(
        "churnwatch_moved_in_customers",
        CUSTOMERS,
        Source::Moves(|w| w.moved_in),
        "Customers active at the start of the window and now, in another cohort then and in this one now.",
    ),
    of(
        "churnwatch_moved_out_customers",
        CUSTOMERS,
        Source::Moves(|w| w.moved_out),
        "Customers active at the start of the window and now, in this cohort then and in another one now.",
    ),
    PASSING,
    of(
        "churnwatch_bounced_customers",
        CUSTOMERS,
        Source::Window(|w| w.bounced),
        "Retained customers who were away in between: active now, but not without a break since the start of the window.",
    ),
    of(
        "churnwatch_churn_ratio",
        RATIO,
        Source::WindowRatio(Ratio::Quotient(&[Plus(&LOST)], &[Plus(&START)])),
        "lost / S",
    ),
    of(
        "churnwatch_retention_ratio",
        RATIO,
        Source::WindowRatio(Ratio::Quotient(&[Plus(&RETAINED)], &[Plus(&START)])),
        "retained / S",
    ),
    of(
        "churnwatch_net_churn_ratio",
        "ratio, at most 1; negative when growing",
        Source::WindowRatio(Ratio::Quotient(&[Plus(&START), Minus(&CUSTOMERS_NOW)], &[Plus(&START)])),
        "(S - customers) / S; negative when growing.",
    ),
    of(
        "churnwatch_exposed_churn_ratio",
        RATIO,
        Source::WindowRatio(Ratio::Quotient(
            &[Plus(&LOST), Plus(&PASSING)],
            &[Plus(&START), Plus(&NEW), Plus(&RETURNED), Plus(&PASSING)],
        )),
        "(lost + passing) / (S + new + returned + passing)",
    ),
    of(
        "churnwatch_acquisition_ratio",
        "ratio, 0 or more",
        Source::WindowRatio(Ratio::Quotient(&[Plus(&NEW)], &[Plus(&START)])),
        "new / S",
    ),
    of(
        "churnwatch_churn_ratio_lower",
        RATIO,
        Source::WindowRatio(Ratio::WilsonLower(&[Plus(&LOST)], &[Plus(&START)])),
        "Lower end of the Wilson 95 % interval of lost out of S.",
    ),
    of(
        "churnwatch_churn_ratio_upper",
        RATIO,
        Source::WindowRatio(Ratio::WilsonUpperOfOthers(&[Plus(&START), Minus(&LOST)], &[Plus(&START)])),
        "Upper end of the Wilson 95 % interval of lost out of S.",
    ),
    of(
        "churnwatch_recurring_revenue",
        MONEY,
        Source::Revenue(|cohort, currency| cohort.recurring_revenue.get(&currency).copied().unwrap_or(0)),
        "Monthly recurring revenue of the customers active now.",
    ),
    START_REVENUE,
    LOST_REVENUE,
    CONTRACTION,
    EXPANSION,
    of("churnwatch_new_recurring_revenue", MONEY, Source::WindowRevenue(|r| r.new), "What the new customers pay now."),
    of(
        "churnwatch_returned_recurring_revenue",
        MONEY,
        Source::WindowRevenue(|r| r.returned),
        "What the returned customers pay now.",
    ),
    of(
        "churnwatch_gross_revenue_churn_ratio",
        RATIO,
        Source::RevenueRatio(Ratio::Quotient(&[Plus(&LOST_REVENUE), Plus(&CONTRACTION)], &[Plus(&START_REVENUE)])),
        "(lost + contraction) / R",
    ),
    of(
        "churnwatch_net_revenue_churn_ratio",
        "ratio, at most 1; negative when growing",
        Source::RevenueRatio(Ratio::Quotient(
            &[Plus(&LOST_REVENUE), Plus(&CONTRACTION), Minus(&EXPANSION)],
            &[Plus(&START_REVENUE)],
        )),
        "(lost + contraction - expansion) / R; negative when growing.",
    ),
    of(
        "churnwatch_gross_revenue_retention_ratio",
        RATIO,
        Source::RevenueRatio(Ratio::Quotient(
            &[Plus(&START_REVENUE), Minus(&LOST_REVENUE), Minus(&CONTRACTION)],
            &[Plus(&START_REVENUE)],
        )),
        "(R - lost - contraction) / R",
    ),
    of(
        "churnwatch_net_revenue_retention_ratio",
        "ratio, 0 or more",
        Source::RevenueRatio(Ratio::Quotient(
            &[Plus(&START_REVENUE), Minus(&LOST_REVENUE), Minus(&CONTRACTION), Plus(&EXPANSION)],
            &[Plus(&START_REVENUE)],
        )),
        "(R - lost - contraction + expansion) / R",
    ),
    of(
        "churnwatch_window_complete",
        "0 or 1",
        Source::WindowComplete,
        "1 where the histories reach back to the start of the window; only then are its numbers exported.",
    ),
    of(
        "churnwatch_folded_cohorts",
        "cohorts",
        Source::FoldedCohorts,
        "Cohorts beyond windows.max_cohorts, whose numbers add up in the cohort other.",
    ),
];
