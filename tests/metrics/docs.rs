//! docs/metrics.md, from the table.

use std::fmt::Write;

use churnwatch::gauges::{Family, Source, families};

use super::page::full_page;
use crate::support::golden::assert_golden;

const HEAD: &str = r#"# Metrics

Every metric that churnwatch exports, in the order of the page. This file is generated from the table in `src/gauges/table.rs`:
`UPDATE_DOCS=1 cargo test --test it metrics` writes it anew. The samples come from a page rendered by the same code.
What the words mean is in [semantics.md](semantics.md).

## Reading them

- Ratios are 0 to 1. Numerator and denominator are exported beside every ratio: over cohorts or instances, divide the sums; never average ratios.
- A number that cannot be known is absent, not 0: a ratio whose denominator is 0, everything of a window that reaches back to before the
  history (`churnwatch_window_complete` is 0), and every cohort gauge while an assigned partition has not been read to the end
  offset seen at its assignment.
- A cohort with nothing but zeros is absent.
- All cohort gauges of one page are as of the same instant, `churnwatch_as_of_timestamp_seconds`.

| label | value |
|---|---|
| `cohort_by` | the grouping: the names of its dimensions joined by commas, or `everyone` |
| `<dimension>…` | one label for each dimension of the grouping, in its order; `unknown` where no event says, `other` in all of them for the cohorts beyond `windows.max_cohorts` |
| `window` | the window's length, as configured |
| `currency` | ISO 4217 code |
| `reason`, `class` | why customers left (`cancelled`, `payment_failed`, …), and whether that was `voluntary`, `involuntary` or `unknown` |
"#;

#[test]
fn the_docs_say_what_the_table_says() {
    let page = full_page();
    let mut text = HEAD.to_owned();
    let mut section = "";
    for family in families() {
        if heading(family) != section {
            section = heading(family);
            write!(text, "\n## {section}\n").unwrap();
        }
        describe(&mut text, family, &page);
    }
    assert_golden("docs/metrics.md", &text);
}

fn heading(family: &Family) -> &'static str {
    match family.source {
        Source::Customers(_) | Source::Window(_) | Source::Moves(_) => "Customers and their churn",
        Source::LostByReason | Source::WindowRatio(_) => "Customers and their churn",
        Source::Revenue(_) | Source::WindowRevenue(_) | Source::RevenueRatio(_) => "Recurring revenue and its churn",
        Source::WindowComplete | Source::FoldedCohorts => "What the gauges cover",
        Source::Process(..) => "The process",
    }
}

fn describe(text: &mut String, family: &Family, page: &str) {
    let Family { name, unit, help, .. } = family;
    let kind = family.kind().name();
    write!(text, "\n### `{name}`\n\n```text\n# HELP {name} {help}\n# TYPE {name} {kind}\n").unwrap();
    samples(family, page).into_iter().for_each(|sample| writeln!(text, "{sample}").unwrap());
    write!(text, "```\n\nUnit: {unit}.").unwrap();
    let labels: Vec<_> = family.source.labels().iter().map(|label| format!("`{label}`")).collect();
    if !labels.is_empty() {
        write!(text, " Labels: {}.", labels.join(", ")).unwrap();
    }
    let absent: Vec<_> = [family.source.absent(), family.absent].into_iter().filter(|text| !text.is_empty()).collect();
    if !absent.is_empty() {
        write!(text, " Absent where {}.", absent.join(", or ")).unwrap();
    }
    text.push('\n');
}

/// One or two samples that show all labels, without what differs from run to run.
fn samples(family: &Family, page: &str) -> Vec<String> {
    let name = family.name;
    let is_of_family = |line: &&str| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        rest.starts_with([' ', '{']) || (rest.starts_with('_') && name.ends_with("event_to_gauges_seconds"))
    };
    let mut lines: Vec<_> = page.lines().filter(is_of_family).collect();
    assert!(!lines.is_empty(), "no sample of {name}");
    if lines.iter().any(|line| line.contains("cohort_by=\"plan\"")) {
        lines.retain(|line| line.contains("cohort_by=\"plan\""));
    }
    if lines.iter().any(|line| line.contains("window=\"30d\"")) {
        lines.retain(|line| line.contains("window=\"30d\""));
    }
    if name.starts_with("process_") {
        return vec![format!("{name} …")];
    }
    let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
    lines.into_iter().map(|line| line.replace(&version, "\"…\"")).collect()
}
