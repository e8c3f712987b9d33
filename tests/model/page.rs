//! The exposition text as a set of series: reading it, comparing two, and what must hold on every one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The labels that say something else than which cohort.
const NOT_OF_COHORTS: [&str; 4] = ["window", "currency", "reason", "class"];

/// A series of a cohort gauge, without the prefix that all have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub family: String,
    pub labels: BTreeMap<String, String>,
}

impl Series {
    pub fn new(family: &str) -> Self {
        Self { family: family.to_owned(), labels: BTreeMap::new() }
    }

    pub fn with(mut self, label: &str, value: &str) -> Self {
        self.labels.insert(label.to_owned(), value.to_owned());
        self
    }

    fn is_ratio(&self) -> bool {
        self.family.contains("_ratio")
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
        write!(f, "{}{{{}}}", self.family, labels.join(","))
    }
}

/// All series of a page.
#[derive(Clone, Default, PartialEq)]
pub struct Page(BTreeMap<Series, f64>);

impl Page {
    pub fn insert(&mut self, series: Series, value: f64) {
        let twice = self.0.insert(series.clone(), value);
        assert!(twice.is_none(), "{series:?} is there twice");
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Series, f64)> {
        self.0.iter().map(|(series, value)| (series, *value))
    }

    /// Reads the text format, strictly: every sample belongs to the family declared last, carries no
    /// timestamp, and no series is there twice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut page = Self::default();
        let mut declared = (String::new(), String::new());
        let mut families = BTreeSet::new();
        for (number, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("line {}: {what}: {line}", number + 1);
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (family, help) = help.split_once(' ').ok_or_else(|| wrong("no help"))?;
                if help.trim().is_empty() || !families.insert(family.to_owned()) {
                    return Err(wrong("an empty or a second HELP"));
                }
                declared.0 = family.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                declared.1 = kind.strip_suffix(" gauge").ok_or_else(|| wrong("not a gauge"))?.to_owned();
            } else if !line.is_empty() {
                let (series, value) = sample(line).ok_or_else(|| wrong("not a sample"))?;
                if declared != (series.family.clone(), series.family.clone()) {
                    return Err(wrong("a sample without its own HELP and TYPE before it"));
                }
                let family = series.family.strip_prefix("churnwatch_").ok_or_else(|| wrong("no prefix"))?.to_owned();
                if page.0.insert(Series { family, ..series }, value).is_some() {
                    return Err(wrong("a series for the second time"));
                }
            }
        }
        Ok(page)
    }

    /// The series of a family that have these labels; those of everyone where no cohort is named.
    pub fn select(&self, wanted: &Series) -> Vec<(&Series, f64)> {
        let by_everyone = wanted.labels.keys().all(|label| NOT_OF_COHORTS.contains(&label.as_str()));
        let matches = |series: &Series| {
            let labels = &series.labels;
            series.family == wanted.family
                && wanted.labels.iter().all(|(label, value)| labels.get(label) == Some(value))
                && (!by_everyone || labels.get("cohort_by").is_none_or(|by| by == "everyone"))
        };
        self.iter().filter(|(series, _)| matches(series)).collect()
    }

    /// How `actual` differs from this page: counts and sums to the last bit, ratios beyond rounding.
    pub fn differences(&self, actual: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (series, want) in self.iter() {
            match actual.0.get(series) {
                None => found.push(format!("{series:?} is missing, should be {want}")),
                Some(&is) if series.is_ratio() && close(want, is) => {}
                Some(&is) if want == is => {}
                Some(is) => found.push(format!("{series:?} is {is}, should be {want}")),
            }
        }
        for (series, is) in actual.iter().filter(|(series, _)| !self.0.contains_key(series)) {
            found.push(format!("{series:?} is {is}, should be absent"));
        }
        found
    }

    /// What is wrong with the page by the contract's own invariants.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut totals: BTreeMap<(String, Series), f64> = BTreeMap::new();
        for (series, value) in self.iter() {
            if !series.labels.contains_key("cohort_by") || series.family == "folded_cohorts" {
                continue;
            }
            if !value.is_finite() {
                found.push(format!("{series:?} is {value}"));
            }
            self.check_window(series, value, &mut found);
            if !series.is_ratio() && !series.family.starts_with("moved_") {
                let mut rest = Series::new(&series.family);
                let kept = series.labels.clone().into_iter().filter(|(l, _)| NOT_OF_COHORTS.contains(&l.as_str()));
                rest.labels.extend(kept);
                *totals.entry((series.labels["cohort_by"].clone(), rest)).or_default() += value;
            }
        }
        // Contraction and the like are per customer, so even they add up to everyone's.
        for ((by, series), total) in &totals {
            let everyone = totals.get(&("everyone".to_owned(), series.clone())).copied().unwrap_or(0.0);
            if !close(*total, everyone) {
                found.push(format!("the cohorts by {by} have {total} {series:?}, everyone {everyone}"));
            }
        }
        found
    }

    /// The invariants of one cohort in one window, visited once for each.
    fn check_window(&self, series: &Series, start: f64, found: &mut Vec<String>) {
        let beside = |family: &str| self.0.get(&Series { family: family.to_owned(), ..series.clone() }).copied();
        let now = |family: &str| {
            let mut series = Series { family: family.to_owned(), ..series.clone() };
            series.labels.remove("window");
            self.0.get(&series).copied().unwrap_or(f64::NAN)
        };
        let n = |family: &str| beside(family).unwrap_or(0.0);
        let mut holds = |what: &str, left: f64, right: f64| {
            if !close(left, right) {
                found.push(format!("{what}: {left} is not {right} at {series:?}"));
            }
        };
        match series.family.as_str() {
            "window_start_customers" => {
                holds("start = retained + lost", start, n("retained_customers") + n("lost_customers"));
                let change = n("new_customers") + n("returned_customers") + n("moved_in_customers")
                    - n("lost_customers")
                    - n("moved_out_customers");
                holds("customers = start + change", now("customers"), start + change);
                let reasons = self.0.iter().filter(|(other, _)| {
                    other.family == "lost_customers_by_reason"
                        && series.labels.iter().all(|(label, value)| other.labels.get(label) == Some(value))
                });
                holds("lost = sum over reasons", n("lost_customers"), reasons.map(|(_, n)| n).sum());
                if start != 0.0 {
                    let (churn, retention) = (beside("churn_ratio"), beside("retention_ratio"));
                    holds("churn + retention = 1", churn.unwrap_or(f64::NAN) + retention.unwrap_or(f64::NAN), 1.0);
                    let around = (beside("churn_ratio_lower"), churn, beside("churn_ratio_upper"));
                    let (Some(lower), Some(churn), Some(upper)) = around else {
                        return found.push(format!("no interval beside {series:?}"));
                    };
                    if !(lower >= -1e-12 && lower <= churn + 1e-12 && churn <= upper + 1e-12 && upper <= 1.0 + 1e-12) {
                        found.push(format!("{churn} is not between {lower} and {upper} at {series:?}"));
                    }
                } else if let Some(ratio) = beside("churn_ratio") {
                    found.push(format!("a churn ratio {ratio} of nothing at {series:?}"));
                }
            }
            "window_start_recurring_revenue" if series.labels["cohort_by"] == "everyone" => {
                let change =
                    n("expansion_recurring_revenue") + n("new_recurring_revenue") + n("returned_recurring_revenue")
                        - n("lost_recurring_revenue")
                        - n("contraction_recurring_revenue");
                // Beside an enormous sum the cents are lost to rounding.
                let scale =
                    [start, n("lost_recurring_revenue"), now("recurring_revenue")].into_iter().fold(1.0, f64::max);
                holds("revenue = start + change", now("recurring_revenue") / scale, (start + change) / scale);
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (series, value) in self.iter() {
            writeln!(f, "{series:?} {value}")?;
        }
        Ok(())
    }
}

/// Equal but for rounding, which near 1 is all that a ratio's last steps leave.
pub fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(b.abs()).max(1.0)
}

/// `family{label="value",…} 1.5`, nothing after it.
fn sample(line: &str) -> Option<(Series, f64)> {
    let (series, rest) = series(line)?;
    let value = rest.strip_prefix(' ')?;
    (!value.contains(' ')).then_some(())?;
    Some((series, value.parse().ok()?))
}

/// A series at the head of a text, and what follows.
pub fn series(text: &str) -> Option<(Series, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (family, mut rest) = text.split_at(end);
    (!family.is_empty()).then_some(())?;
    let mut series = Series::new(family);
    let Some(labels) = rest.strip_prefix('{') else { return Some((series, rest)) };
    rest = labels;
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((series, after));
        }
        let (label, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquote(quoted)?;
        series.labels.insert(label.to_owned(), value).is_none().then_some(())?;
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}

/// A label value up to its closing quote, and what follows that.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                _ => return None,
            },
            plain => value.push(plain),
        }
    }
    None
}
