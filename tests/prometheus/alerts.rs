//! The alerts as text: what each must say, that their links lead somewhere, and that what they read exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use churnwatch::gauges::{Type, families};

const PROMETHEUS: &str = "deploy/prometheus";
const RUNBOOKS: &str = "https://github.com/churnwatch/churnwatch/blob/main/";

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let mut files: Vec<_> =
        entries.map(|e| format!("{folder}/{}", e.unwrap().file_name().into_string().unwrap())).collect();
    files.sort();
    files
}

/// Name and YAML of each alert.
pub fn alerts() -> Vec<(String, String)> {
    let text = read("deploy/prometheus/rules/churnwatch.alerts.yml");
    let alerts: Vec<_> = text.split("\n      - alert: ").skip(1).map(|alert| alert.split_once('\n').unwrap()).collect();
    assert!(alerts.len() > 15);
    alerts.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// What stands behind a key, on its line or folded below it.
pub fn value<'a>(alert: &'a str, key: &str) -> &'a str {
    let (_, rest) = alert.split_once(&format!(" {key}: ")).unwrap_or_else(|| panic!("no {key} in\n{alert}"));
    rest.strip_prefix(">-\n").unwrap_or(rest).split('\n').next().unwrap().trim()
}

/// As GitHub makes it, for headings of letters only.
fn anchors(markdown: &str) -> BTreeSet<String> {
    markdown.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_lowercase).collect()
}

#[test]
fn every_alert_says_what_it_means_and_leads_to_its_runbook_and_dashboard() {
    let rules = read("deploy/prometheus/rules/churnwatch.alerts.yml");
    for (name, alert) in alerts() {
        assert!(name.starts_with("Churnwatch"), "{name}");
        let labels = value(&alert, "labels");
        assert!(
            ["critical", "warning", "info"].iter().any(|s| labels.contains(&format!("severity: {s},"))),
            "{labels}"
        );
        assert!(["churn", "pipeline"].iter().any(|c| labels.ends_with(&format!("category: {c}}}"))), "{labels}");
        assert!(!value(&alert, "summary").is_empty() && value(&alert, "description").len() > 40, "{name}");
        let link = value(&alert, "dashboard_url");
        assert!(link.contains("/d/churnwatch-"), "{name}");
        let of_a_job = "?var-job={{ $labels.job }}{{ with $labels.namespace }}&var-namespace={{ . }}{{ end }}";
        assert!(link.contains(of_a_job), "{name}");
        assert_eq!(alert.matches("job=%q").count(), alert.matches("job=%q,namespace=%q").count(), "{name}");

        let (file, anchor) = value(&alert, "runbook_url").strip_prefix(RUNBOOKS).unwrap().split_once('#').unwrap();
        assert!(anchors(&read(file)).contains(anchor), "{file} has no heading for {anchor}");
        assert_eq!(anchor, name.to_lowercase());
        if labels.contains("churn}") {
            // The value, what is usual or the bound in its place, and of how many.
            let usual =
                if name.ends_with("High") { ["first_bound"; 2] } else { ["baseline_median", "baseline_samples"] };
            for part in ["$value", usual[0], usual[1], "job:churnwatch_window_start"] {
                assert!(alert.contains(part), "{name} does not say {part}");
            }
            assert!(alert.contains("and on (job, namespace) job:churnwatch_fresh:info"), "{name}");
            let (_, condition) = rules.split_once(&format!("- record: {}\n", judged(&alert))).unwrap();
            let condition = condition.split("      - ").next().unwrap();
            assert!(condition.contains("unless on (job, namespace) job:churnwatch_pipeline_fault:info"), "{name}");
        }
    }
}

/// What an alert on churn counts the minutes of.
fn judged(alert: &str) -> &str {
    let (_, expression) = alert.split_once("expr: |\n").unwrap();
    expression.split('\n').next().unwrap().trim()
}

/// From `10m`, in minutes.
fn minutes(duration: &str) -> u32 {
    let (number, unit) = duration.split_at(duration.len() - 1);
    number.parse::<u32>().unwrap() * if unit == "h" { 60 } else { 1 }
}

#[test]
fn what_an_alert_on_churn_is_to_last_is_counted_without_a_gap_and_no_bridge_makes_up_for_it() {
    let (rules, mut seen) = (read("deploy/prometheus/rules/churnwatch.alerts.yml"), 0);
    for (name, alert) in alerts().iter().filter(|(_, alert)| value(alert, "labels").contains("category: churn")) {
        assert!(rules.contains(&format!("- record: {}\n", judged(alert))), "{name}");
        let (_, counted) = alert.split_once(&format!("and count_over_time({}[", judged(alert))).unwrap();
        let (range, at_least) = counted.lines().next().unwrap().split_once("]) >= ").unwrap();
        let (range, step) = range.split_once(':').unwrap();
        assert_eq!(minutes(range), minutes(step) * at_least.parse::<u32>().unwrap(), "{name}");
        assert_eq!(value(alert, "for"), "1m", "{name}");
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn every_alert_waits_and_keeps_firing() {
    for (name, alert) in alerts() {
        assert!(name == "ChurnwatchRestoreFailed" || value(&alert, "for") != "0s", "{name}");
        assert!(minutes(value(&alert, "keep_firing_for")) >= 5, "{name}");
    }
}

/// Bad input, as the name of a test by promtool begins.
const UNFIT: [&str; 4] = ["small sample", "stale input", "restart", "rebalance"];

#[test]
fn every_alert_on_churn_is_silent_by_promtool_on_input_of_each_kind_that_is_unfit() {
    let tests: String = files("deploy/prometheus/tests").iter().map(|file| read(file)).collect();
    let tests: Vec<_> = tests.split("\n  - name: \"").skip(1).collect();
    for (name, _) in alerts().iter().filter(|(_, alert)| value(alert, "labels").contains("category: churn")) {
        for kind in UNFIT {
            let silent = tests.iter().filter(|test| test.starts_with(&format!("{kind}: "))).filter(|test| {
                let mut lines = test.lines();
                lines.any(|line| line.contains(&format!("alertname: {name},")) && line.contains("exp_alerts: []"))
            });
            assert!(silent.count() > 0, "no test of {kind} sees {name} silent");
        }
    }
}

#[test]
fn every_section_of_a_runbook_is_of_an_alert_and_complete() {
    let names: BTreeSet<_> = alerts().into_iter().map(|(name, _)| name).collect();
    let mut sections = BTreeSet::new();
    for file in files("deploy/runbooks") {
        for section in read(&file).split("\n## ").skip(1) {
            for part in ["**Means.**", "**Look at first", "**Do.**", "**Escalate**", "**False positives.**"] {
                assert!(section.contains(part), "{file}: no {part} in {section}");
            }
            sections.insert(section.lines().next().unwrap().to_owned());
        }
    }
    assert_eq!(sections, names);
}

#[test]
fn every_alert_is_seen_firing_by_promtool_with_all_that_it_says() {
    let tests: String = files("deploy/prometheus/tests").iter().map(|file| read(file)).collect();
    for (name, _) in alerts() {
        let case = format!("- alertname: {name}\n");
        let fires = tests.split(&case).skip(1).filter(|rest| {
            let expected = rest.lines().take_while(|line| !line.contains("- alertname: "));
            expected.filter(|line| line.contains("exp_labels: {")).count() > 0
        });
        assert!(fires.count() > 0, "no test sees {name} fire");
    }
}

/// What all rules record.
pub fn recorded() -> BTreeSet<String> {
    let text: String = files(&format!("{PROMETHEUS}/rules")).iter().map(|file| read(file)).collect();
    text.lines().filter_map(|line| Some(line.trim_start().strip_prefix("- record: ")?.to_owned())).collect()
}

/// The names in a text that begin with a prefix.
fn names<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(move |c| !of_a_name(c))
        .filter(move |name| name.starts_with(prefix))
        .map(|name| name.trim_end_matches(':'))
}

#[test]
fn every_metric_that_rules_alerts_and_runbooks_name_exists() {
    let (rules, recorded) = (files(&format!("{PROMETHEUS}/rules")), recorded());
    let mut exported: BTreeSet<String> = families().map(|family| family.name.to_owned()).collect();
    for family in families().filter(|family| family.kind() == Type::Histogram) {
        exported.extend(["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", family.name)));
    }
    let mut seen = 0;
    for file in rules
        .into_iter()
        .chain(files("deploy/runbooks"))
        .chain(files("deploy/grafana/dashboards"))
        .chain(files(&format!("{PROMETHEUS}/tests")))
    {
        let text = read(&file);
        for name in names(&text, "churnwatch_").chain(names(&text, "process_")) {
            assert!(exported.contains(name), "{file}: churnwatch does not export {name}");
        }
        // A dashboard's variable in a link is no name.
        let text = text.replace(":queryparam}", "}");
        for name in names(&text, "job:").chain(names(&text, "churnwatch:")).filter(|name| name.contains(':')) {
            assert!(recorded.contains(name), "{file}: no rule records {name}");
            seen += 1;
        }
    }
    assert!(seen > 100);
}
