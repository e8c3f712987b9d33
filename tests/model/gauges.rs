//! The contract's tables: every cohort gauge from a whole list of events, as series and values.

use std::collections::{BTreeMap, BTreeSet};

use churnwatch::cohort::{Definitions, Grouping, OTHER};
use churnwatch::event::{Currency, EndReason};
use churnwatch::proto::LifecycleEvent;
use churnwatch::time::Instant;

use super::naive::{Customer, World, window_start};
use super::page::{Page, Series};

/// The numbers of one cohort, and of each complete window by its position.
#[derive(Clone, Debug, Default)]
struct Numbers {
    customers: i64,
    recurring_revenue: BTreeMap<Currency, i128>,
    windows: BTreeMap<usize, WindowNumbers>,
}

/// By family name.
#[derive(Clone, Debug, Default)]
struct WindowNumbers {
    counts: BTreeMap<&'static str, i64>,
    lost_by_reason: BTreeMap<EndReason, i64>,
    revenue: BTreeMap<Currency, BTreeMap<&'static str, i128>>,
}

/// What the page must say as of an instant.
pub fn expected(definitions: &Definitions, messages: &[LifecycleEvent], as_of: Instant) -> Page {
    let world = World::as_of(definitions, messages, as_of);
    let mut page = Page::default();
    let mut complete = BTreeMap::new();
    for (i, window) in definitions.windows.iter().enumerate() {
        let start = window_start(definitions, window.length, as_of);
        if let Some(history_start) = world.history_start {
            let start = start.filter(|start| *start >= history_start);
            page.insert(
                Series::new("window_complete").with("window", &window.label),
                f64::from(u8::from(start.is_some())),
            );
            complete.extend(start.map(|start| (i, start)));
        }
    }
    for grouping in &definitions.groupings {
        let mut cohorts = BTreeMap::new();
        for customer in world.customers.iter().filter(|c| c.first_active().is_some()) {
            count(customer, grouping, as_of, &complete, &mut cohorts);
        }
        cohorts.retain(|_, numbers| !numbers.all_zero());
        let (exported, folded) = fold(cohorts, definitions.max_cohorts);
        let by = Series::new("folded_cohorts").with("cohort_by", &definitions.cohort_by(grouping));
        page.insert(by, folded as f64);
        for (name, numbers) in &exported {
            Export { definitions, grouping, name, numbers, complete: &complete }.to(&mut page);
        }
    }
    page
}

/// Adds one customer to the cohorts of a grouping.
fn count(
    c: &Customer<'_>,
    grouping: &Grouping,
    t: Instant,
    complete: &BTreeMap<usize, Instant>,
    cohorts: &mut BTreeMap<Vec<String>, Numbers>,
) {
    let active_now = c.is_active(t);
    let now = c.cohort(grouping, t);
    let amounts_now = c.amounts(t);
    let first_active = c.first_active().expect("only customers who were active are counted");
    let last_stint = c.stints.last().expect("as above");
    if active_now {
        let numbers = cohorts.entry(now.clone()).or_default();
        numbers.customers += 1;
        for (&currency, amount) in &amounts_now {
            *numbers.recurring_revenue.entry(currency).or_default() += amount;
        }
    }
    for (&i, &s) in complete {
        let active_then = c.is_active(s);
        let then = c.cohort(grouping, s);
        let amounts_then = c.amounts(s);
        let mut add = |cohort: &Vec<String>, family: &'static str| {
            let window = cohorts.entry(cohort.clone()).or_default().windows.entry(i).or_default();
            *window.counts.entry(family).or_default() += 1;
        };
        if active_then {
            add(&then, "window_start_customers");
            add(&then, if active_now { "retained_customers" } else { "lost_customers" });
        }
        if active_then && active_now && last_stint.start > s {
            add(&then, "bounced_customers");
        }
        if active_then && active_now && then != now {
            add(&then, "moved_out_customers");
            add(&now, "moved_in_customers");
        }
        if active_now && first_active > s {
            add(&now, "new_customers");
        }
        if active_now && !active_then && first_active <= s {
            add(&now, "returned_customers");
        }
        if !active_then && !active_now && last_stint.stop.is_some_and(|stop| stop > s) {
            let stopped = last_stint.stop.expect("inactive now");
            add(&c.cohort(grouping, stopped), "passing_customers");
        }
        if active_then && !active_now {
            let window = cohorts.entry(then.clone()).or_default().windows.entry(i).or_default();
            *window.lost_by_reason.entry(c.reason()).or_default() += 1;
        }

        let currencies: BTreeSet<Currency> = amounts_then.keys().chain(amounts_now.keys()).copied().collect();
        for currency in currencies {
            let a_then = amounts_then.get(&currency).copied().unwrap_or(0);
            let a_now = amounts_now.get(&currency).copied().unwrap_or(0);
            let mut add = |cohort: &Vec<String>, family: &'static str, amount: i128| {
                let window = cohorts.entry(cohort.clone()).or_default().windows.entry(i).or_default();
                *window.revenue.entry(currency).or_default().entry(family).or_default() += amount;
            };
            if active_then {
                add(&then, "window_start_recurring_revenue", a_then);
            }
            if active_then && !active_now {
                add(&then, "lost_recurring_revenue", a_then);
            }
            if active_then && active_now {
                add(&then, "contraction_recurring_revenue", (a_then - a_now).max(0));
                add(&then, "expansion_recurring_revenue", (a_now - a_then).max(0));
            }
            if active_now && first_active > s {
                add(&now, "new_recurring_revenue", a_now);
            }
            if active_now && !active_then && first_active <= s {
                add(&now, "returned_recurring_revenue", a_now);
            }
        }
    }
}

impl Numbers {
    fn all_zero(&self) -> bool {
        self.customers == 0
            && self.currencies().is_empty()
            && self.windows.values().all(|w| w.counts.values().all(|&n| n == 0))
    }

    /// The currencies in which anything is not zero.
    fn currencies(&self) -> BTreeSet<Currency> {
        let mut found = BTreeSet::new();
        found.extend(self.recurring_revenue.iter().filter(|(_, a)| **a != 0).map(|(c, _)| *c));
        for (currency, sums) in self.windows.values().flat_map(|w| &w.revenue) {
            if sums.values().any(|&a| a != 0) {
                found.insert(*currency);
            }
        }
        found
    }

    fn reasons(&self) -> BTreeSet<EndReason> {
        let reasons = self.windows.values().flat_map(|w| &w.lost_by_reason);
        reasons.filter(|(_, n)| **n != 0).map(|(reason, _)| *reason).collect()
    }

    fn add(&mut self, other: &Self) {
        self.customers += other.customers;
        for (&currency, amount) in &other.recurring_revenue {
            *self.recurring_revenue.entry(currency).or_default() += amount;
        }
        for (&i, theirs) in &other.windows {
            let mine = self.windows.entry(i).or_default();
            for (family, n) in &theirs.counts {
                *mine.counts.entry(family).or_default() += n;
            }
            for (&reason, n) in &theirs.lost_by_reason {
                *mine.lost_by_reason.entry(reason).or_default() += n;
            }
            for (&currency, sums) in &theirs.revenue {
                for (family, amount) in sums {
                    *mine.revenue.entry(currency).or_default().entry(family).or_default() += amount;
                }
            }
        }
    }
}

/// The largest cohorts by themselves, the rest in one, and how many those were.
fn fold(cohorts: BTreeMap<Vec<String>, Numbers>, max: usize) -> (BTreeMap<Vec<String>, Numbers>, usize) {
    let mut ranked: Vec<_> = cohorts.into_iter().collect();
    ranked.sort_by(|(name_a, a), (name_b, b)| b.customers.cmp(&a.customers).then(name_a.cmp(name_b)));
    let rest = ranked.split_off(max.min(ranked.len()));
    let mut exported: BTreeMap<_, _> = ranked.into_iter().collect();
    for (name, numbers) in &rest {
        exported.entry(vec![OTHER.to_owned(); name.len()]).or_default().add(numbers);
    }
    (exported, rest.len())
}

/// The series of one cohort.
struct Export<'a> {
    definitions: &'a Definitions,
    grouping: &'a Grouping,
    name: &'a [String],
    numbers: &'a Numbers,
    complete: &'a BTreeMap<usize, Instant>,
}

impl Export<'_> {
    fn series(&self, family: &str) -> Series {
        let mut series = Series::new(family).with("cohort_by", &self.definitions.cohort_by(self.grouping));
        for (label, value) in self.definitions.label_names(self.grouping).into_iter().zip(self.name) {
            series = series.with(label, value);
        }
        series
    }

    fn to(&self, page: &mut Page) {
        page.insert(self.series("customers"), self.numbers.customers as f64);
        for currency in self.numbers.currencies() {
            let amount = self.numbers.recurring_revenue.get(&currency).copied().unwrap_or(0);
            let series = self.series("recurring_revenue").with("currency", &currency.to_string());
            page.insert(series, major_units(amount, currency));
        }
        let nothing = WindowNumbers::default();
        for &i in self.complete.keys() {
            let window = self.numbers.windows.get(&i).unwrap_or(&nothing);
            let label = &self.definitions.windows[i].label;
            self.customers_of(window, label, page);
            for currency in self.numbers.currencies() {
                self.revenue_of(window, label, currency, page);
            }
        }
    }

    fn customers_of(&self, window: &WindowNumbers, label: &str, page: &mut Page) {
        let n = |family: &str| window.counts.get(family).copied().unwrap_or(0) as f64;
        let mut put = |family: &str, value: f64| page.insert(self.series(family).with("window", label), value);
        for family in [
            "window_start_customers",
            "retained_customers",
            "lost_customers",
            "new_customers",
            "returned_customers",
            "passing_customers",
            "bounced_customers",
        ] {
            put(family, n(family));
        }
        if self.definitions.can_move(self.grouping) {
            put("moved_in_customers", n("moved_in_customers"));
            put("moved_out_customers", n("moved_out_customers"));
        }
        let (start, lost, passing) = (n("window_start_customers"), n("lost_customers"), n("passing_customers"));
        if start != 0.0 {
            put("churn_ratio", lost / start);
            put("retention_ratio", n("retained_customers") / start);
            put("net_churn_ratio", (start - self.numbers.customers as f64) / start);
            put("acquisition_ratio", n("new_customers") / start);
            let (lower, upper) = wilson(lost, start);
            put("churn_ratio_lower", lower);
            put("churn_ratio_upper", upper);
        }
        let exposed = start + n("new_customers") + n("returned_customers") + passing;
        if exposed != 0.0 {
            put("exposed_churn_ratio", (lost + passing) / exposed);
        }
        for reason in self.numbers.reasons() {
            let series = self.series("lost_customers_by_reason").with("window", label);
            let series = series.with("reason", reason.name()).with("class", reason.class());
            page.insert(series, window.lost_by_reason.get(&reason).copied().unwrap_or(0) as f64);
        }
    }

    fn revenue_of(&self, window: &WindowNumbers, label: &str, currency: Currency, page: &mut Page) {
        let sums = window.revenue.get(&currency);
        let sum = |family: &str| sums.and_then(|sums| sums.get(family)).copied().unwrap_or(0);
        let mut put = |family: &str, value: f64| {
            page.insert(self.series(family).with("window", label).with("currency", &currency.to_string()), value);
        };
        for family in [
            "window_start_recurring_revenue",
            "lost_recurring_revenue",
            "contraction_recurring_revenue",
            "expansion_recurring_revenue",
            "new_recurring_revenue",
            "returned_recurring_revenue",
        ] {
            put(family, major_units(sum(family), currency));
        }
        let start = sum("window_start_recurring_revenue");
        if start != 0 {
            let gross = sum("lost_recurring_revenue") + sum("contraction_recurring_revenue");
            let net = gross - sum("expansion_recurring_revenue");
            let of_start = |amount: i128| amount as f64 / start as f64;
            put("gross_revenue_churn_ratio", of_start(gross));
            put("net_revenue_churn_ratio", of_start(net));
            put("gross_revenue_retention_ratio", of_start(start - gross));
            put("net_revenue_retention_ratio", of_start(start - net));
        }
    }
}

fn major_units(minor_units: i128, currency: Currency) -> f64 {
    minor_units as f64 / 10_f64.powi(currency.exponent() as i32)
}

/// The Wilson 95 % interval of `hits` out of `n`.
fn wilson(hits: f64, n: f64) -> (f64, f64) {
    let z = 1.959963984540054;
    let p = hits / n;
    let centre = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    ((centre - half) / scale, (centre + half) / scale)
}
