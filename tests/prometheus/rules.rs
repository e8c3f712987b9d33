//! The recording rules, from the table: a family or a formula is said once, there.

use std::fmt::Write;

use churnwatch::gauges::{Family, Ratio, Source, Sum, Term, WILSON_Z, families};

use crate::support::golden::assert_golden;

const RULES: &str = "deploy/prometheus/rules/churnwatch.rules.yml";

const HEAD: &str = r#"# The numbers of all instances of a consumer group together. Generated from the table in src/gauges/table.rs:
# `UPDATE_DOCS=1 cargo test --test it prometheus::rules` writes it anew. For Prometheus 2.42 and newer.
#
# One scrape job scrapes the instances of one consumer group: what is summed is told apart by `job` (and `namespace`).
# Labels that differ from instance to instance are `instance` and `pod`; where your discovery adds others, drop them
# when relabelling, or add them to every `without (instance, pod)`.
#
# A value is recorded only where it is whole, and no sample at all otherwise:
# - every partition of every topic is published by exactly one instance. An instance says so on the same page as the
#   gauges, and Prometheus shows an expression whole scrapes only: so the condition stands in every expression, and a ratio
#   is made from the gauges and not from other recorded series, which may be of other scrapes;
# - the instances' as-of are no more than two minutes apart: twice the usual longest scrape interval, so that one
#   that stands still is noticed, and being scraped at different moments is none;
# - the window is complete on every instance that says anything of it;
# - no instance has folded cohorts of the grouping into `other`: what is in `other` on one may have a name on the next.
#
# Revenue is added up in ten-thousandths of a unit, the finest that ISO 4217 knows, and so without an error of rounding.

groups:
  - name: churnwatch
    rules:
"#;

/// Whose numbers are added up.
const GROUP: &str = "job, namespace";

fn sum_of(name: &str) -> String {
    format!("sum without (instance, pod) ({name})")
}

/// Every partition of every topic is published by exactly one instance.
const PARTITIONS: [&str; 2] = [
    "sum by (job, namespace) (sum by (job, namespace, topic, partition) (churnwatch_partition_published) == bool 1)",
    "sum by (job, namespace) (max by (job, namespace, topic) (churnwatch_topic_partitions))",
];

const AS_OF_DISTANCE: &str = "max by (job, namespace) (churnwatch_as_of_timestamp_seconds) - min by (job, namespace) \
                              (churnwatch_as_of_timestamp_seconds)";

/// Lines that let a value through only where it is whole.
fn guard(source: Option<Source>) -> String {
    let [published, partitions] = PARTITIONS;
    let mut guard = format!(
        "and on ({GROUP}) (\n  {published}\n  == {partitions}\n)\nand on ({GROUP}) (\n  {AS_OF_DISTANCE} <= 120\n)"
    );
    let Some(source) = source else { return guard };
    if source.labels().contains(&"cohort_by") {
        let labels = format!("{GROUP}, cohort_by");
        write!(guard, "\nand on ({labels}) (max by ({labels}) (churnwatch_folded_cohorts) == 0)").unwrap();
    }
    if source.is_of_window() {
        let labels = format!("{GROUP}, window");
        write!(guard, "\nand on ({labels}) (min by ({labels}) (churnwatch_window_complete) == 1)").unwrap();
    }
    guard
}

/// The rules of one family; the process's own are each instance's affair, but for three.
fn rules_of(family: &Family) -> Vec<(String, String)> {
    let name = family.name;
    let guard = guard(Some(family.source));
    let recorded =
        |operation: &str, value: &str| vec![(format!("job:{name}:{operation}"), format!("{value}\n{guard}"))];
    let over_instances = |operation: &str| {
        let labels = [GROUP, ", "].concat() + &family.source.labels().join(", ");
        let labels = labels.trim_end_matches([',', ' ']);
        (format!("job:{name}:{operation}"), format!("{operation} by ({labels}) ({name})\n{guard}"))
    };
    match family.source {
        Source::Customers(_) | Source::Window(_) | Source::Moves(_) | Source::LostByReason => {
            recorded("sum", &sum_of(name))
        }
        Source::Revenue(_) | Source::WindowRevenue(_) => {
            recorded("sum", &format!("{} / 10000", in_ten_thousandths(name)))
        }
        Source::WindowRatio(ratio) => vec![(ratio_name(name), format!("{}\n{guard}", formula(ratio, sum_of)))],
        Source::RevenueRatio(ratio) => {
            vec![(ratio_name(name), format!("{}\n{guard}", formula(ratio, in_ten_thousandths)))]
        }
        // Not by the completeness and the folding of which it tells.
        Source::WindowComplete | Source::FoldedCohorts => {
            let operation = if matches!(family.source, Source::WindowComplete) { "min" } else { "max" };
            let labels = format!("{GROUP}, {}", family.source.labels().join(", "));
            let value = format!("{operation} by ({labels}) ({name})\n{}", self::guard(None));
            vec![(format!("job:{name}:{operation}"), value)]
        }
        Source::Process(..) => match name {
            "churnwatch_as_of_timestamp_seconds" => vec![over_instances("min")],
            "churnwatch_history_start_timestamp_seconds" => vec![over_instances("min"), over_instances("max")],
            _ => Vec::new(),
        },
    }
}

fn in_ten_thousandths(name: &str) -> String {
    format!("round(10000 * {})", sum_of(name))
}

/// `job:churnwatch_churn:ratio_lower` of `churnwatch_churn_ratio_lower`.
fn ratio_name(name: &str) -> String {
    let (what, end) = name.split_once("_ratio").unwrap();
    format!("job:{what}:ratio{end}")
}

/// The same operations in the same order as on the page, so that the last bit is the same.
fn formula(ratio: Ratio, of: impl Fn(&str) -> String) -> String {
    let (part, whole) = ratio.sums();
    let (part, whole) = (sum(part, &of), sum(whole, &of));
    match ratio {
        Ratio::Quotient(..) => quotient(&part, &whole),
        Ratio::WilsonLower(..) => wilson_lower(&part, &whole),
        Ratio::WilsonUpperOfOthers(..) => format!("1 - {}", wilson_lower(&part, &whole)),
    }
}

fn quotient(part: &str, whole: &str) -> String {
    format!("{part}\n/ ({whole} > 0)")
}

fn wilson_lower(part: &str, whole: &str) -> String {
    let z2 = format!("{WILSON_Z} * {WILSON_Z}");
    format!(
        "clamp(\n  (\n    2 * {part} + {z2}\n    - {WILSON_Z} * sqrt({z2} + 4 * {part} * ({whole} - {part}) / {whole})\n  ) / \
         (2 * (({whole} > 0) + {z2})),\n  0, 1\n)"
    )
}

/// Of those who were there at the start, who was lost involuntarily: 0 where nobody was lost so, for which there is no
/// series. No page has it, as it can be had from two of its families.
fn involuntary_churn() -> [(String, String); 2] {
    let whole = sum_of("churnwatch_window_start_customers");
    let lost =
        "sum without (instance, pod, reason, class) (churnwatch_lost_customers_by_reason{class=\"involuntary\"})";
    let (part, guard) = (format!("({lost} or 0 * {whole})"), guard(Some(Source::LostByReason)));
    [("", quotient(&part, &whole)), ("_lower", wilson_lower(&part, &whole))]
        .map(|(end, value)| (format!("job:churnwatch_involuntary_churn:ratio{end}"), format!("{value}\n{guard}")))
}

fn sum(terms: Sum, of: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for (i, term) in terms.iter().enumerate() {
        let (Term::Plus(family) | Term::Minus(family)) = term;
        let sign = if matches!(term, Term::Minus(_)) { "- " } else { "+ " };
        // What has no window belongs to all of them.
        let all_windows = if family.source.is_of_window() { "" } else { "ignoring (window) group_left () " };
        match i {
            0 => assert!(matches!(term, Term::Plus(_)) && all_windows.is_empty()),
            _ => write!(text, " {sign}{all_windows}").unwrap(),
        }
        text += &of(family.name);
    }
    if terms.len() > 1 { format!("({text})") } else { text }
}

fn rules() -> Vec<(String, String)> {
    let [published, partitions] = PARTITIONS;
    let complete = format!(
        "(\n  {published}\n  == bool {partitions}\n)\n* on ({GROUP}) (\n  {AS_OF_DISTANCE} <= bool 120\n)\nor on \
         ({GROUP}) 0 * {partitions}"
    );
    let mut rules = vec![("job:churnwatch_complete:bool".to_owned(), complete)];
    rules.extend(families().flat_map(rules_of));
    rules.extend(involuntary_churn());
    rules
}

/// Rules that record what a page has, and the page's name for it.
pub fn recorded() -> Vec<(String, &'static str)> {
    let of_cohorts = families().filter(|family| !matches!(family.source, Source::Process(..)));
    of_cohorts.flat_map(|family| rules_of(family).into_iter().map(|(record, _)| (record, family.name))).collect()
}

#[test]
fn the_rules_are_what_the_table_says() {
    let mut text = HEAD.to_owned();
    for (record, expression) in rules() {
        write!(text, "      - record: {record}\n        expr: |\n").unwrap();
        expression.lines().for_each(|line| writeln!(text, "          {line}").unwrap());
    }
    assert_golden(RULES, &text);
}

#[test]
fn every_family_of_the_cohorts_has_a_rule_of_its_own() {
    let mut names: Vec<String> = rules().into_iter().map(|(record, _)| record).collect();
    let of_cohorts = families().filter(|family| !matches!(family.source, Source::Process(..)));
    for family in of_cohorts {
        assert!(!rules_of(family).is_empty(), "no rule for {}", family.name);
    }
    let rules = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), rules, "two rules record the same");
}
