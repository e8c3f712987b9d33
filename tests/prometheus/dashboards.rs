//! deploy/grafana: what grafana's dashboard-linter asks of a dashboard, links between alerts and dashboards, and that every panel's
//! queries find something in a real Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use churnwatch::gauges::{Type, families};
use serde_json::Value;

use super::alerts::{alerts, value};
use super::server::Prometheus;

struct Dashboard {
    json: Value,
    name: String,
}

impl Dashboard {
    fn variables(&self) -> Vec<&Value> {
        self.json["templating"]["list"].as_array().unwrap().iter().collect()
    }

    /// Without the rows.
    fn panels(&self) -> Vec<&Value> {
        self.json["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
    }

    /// Each query with its panel's title.
    fn queries(&self) -> Vec<(&str, &str)> {
        let targets = |panel| {
            let title = text(panel, "title");
            panel["targets"].as_array().unwrap().iter().map(move |target| (title, text(target, "expr")))
        };
        self.panels().into_iter().flat_map(targets).collect()
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn dashboards() -> Vec<Dashboard> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/dashboards");
    let mut dashboards: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    dashboards.sort();
    let read = |path: &std::path::PathBuf| Dashboard {
        json: serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap(),
        name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
    };
    assert_eq!(dashboards.len(), 3);
    dashboards.iter().map(read).collect()
}

#[test]
fn every_dashboard_can_be_pointed_at_a_data_source_a_namespace_a_job_and_an_instance() {
    for board in dashboards() {
        let (json, name) = (&board.json, &board.name);
        assert_eq!(text(json, "uid"), name);
        assert!(!text(json, "title").is_empty() && !text(json, "description").is_empty());
        assert_eq!(json["editable"], false);
        let variable = |name: &str| board.variables().into_iter().find(|v| v["name"] == name).unwrap().clone();
        let source = variable("datasource");
        assert_eq!((text(&source, "type"), text(&source, "label")), ("datasource", "Data source"));
        // Outside of Kubernetes there is no namespace: all of them must match that, too.
        for (name, all) in [("namespace", ".*"), ("job", ".+"), ("instance", ".+")] {
            let variable = variable(name);
            assert_eq!(text(&variable, "label").to_lowercase(), name);
            assert_eq!((&variable["multi"], text(&variable, "allValue")), (&Value::Bool(true), all));
        }
        for variable in board.variables().into_iter().filter(|variable| variable["type"] == "query") {
            assert_eq!(text(&variable["datasource"], "uid"), "${datasource}", "{name}: {variable}");
            // Anew whenever the time range changes.
            assert_eq!(variable["refresh"], 2, "{name}: {variable}");
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_what_unit() {
    for board in dashboards() {
        let mut titles = BTreeSet::new();
        for panel in board.panels() {
            let what = format!("{}: {}", board.name, text(panel, "title"));
            assert!(!text(panel, "title").is_empty() && titles.insert(text(panel, "title")), "{what}");
            assert!(text(panel, "description").len() > 20, "{what}");
            assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{what}");
            assert!(!panel["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array().unwrap().is_empty(), "{what}");
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{what}");
            for source in targets.iter().map(|target| &target["datasource"]).chain([&panel["datasource"]]) {
                assert_eq!(text(source, "uid"), "${datasource}", "{what}");
            }
        }
    }
}

#[test]
fn panels_do_not_lie_on_each_other() {
    for board in dashboards() {
        let mut taken = BTreeMap::new();
        for panel in board.json["panels"].as_array().unwrap() {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(x + w <= 24);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                let other = taken.insert(cell, text(panel, "title"));
                assert!(other.is_none(), "{}: {} and {other:?}", board.name, panel["title"]);
            }
        }
    }
}

/// What stands in the braces behind a name, wherever the name stands in a query.
fn selectors<'a>(query: &'a str, name: &str) -> Vec<&'a str> {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    for (at, _) in query.match_indices(name) {
        let (before, after) = (&query[..at], &query[at + name.len()..]);
        if before.ends_with(of_a_name) || after.starts_with(of_a_name) {
            continue;
        }
        // Not a label of that name, nor a text.
        found.push(after.strip_prefix('{').map_or("", |rest| rest.split('}').next().unwrap()));
    }
    found
}

#[test]
fn queries_ask_for_the_job_and_the_instance_and_take_counters_as_rates() {
    let recorded = super::rules::recorded().into_iter().map(|(name, _)| name);
    let own = super::alerts::recorded();
    let names: BTreeSet<String> = recorded.chain(own).filter(|name| name.starts_with("job:")).collect();
    let mut seen = 0;
    for board in dashboards() {
        for (title, query) in board.queries() {
            let what = format!("{}: {title}: {query}", board.name);
            for name in &names {
                for selector in selectors(query, name) {
                    // What is recorded has no instance any more.
                    assert!(selector.contains("namespace=~\"$namespace\", job=~\"$job\""), "{what}");
                    seen += 1;
                }
            }
            for family in families() {
                let histogram = [format!("{}_bucket", family.name), family.name.to_owned()];
                for selector in histogram.iter().flat_map(|name| selectors(query, name)) {
                    let own = "namespace=~\"$namespace\", job=~\"$job\", instance=~\"$instance\"";
                    assert!(selector.contains(own), "{what}");
                    seen += 1;
                }
                let is_counter = family.kind() == Type::Counter && !selectors(query, family.name).is_empty();
                let taken = ["rate(", "increase("].map(|function| query.contains(&(function.to_owned() + family.name)));
                assert!(!is_counter || taken.contains(&true), "{what}");
            }
            if query.contains("rate(") || query.contains("increase(") {
                assert!(query.contains("[$__rate_interval]"), "{what}");
            }
        }
    }
    assert!(seen > 80);
}

#[test]
fn the_links_of_the_alerts_lead_to_dashboards_that_have_their_variables() {
    let dashboards = dashboards();
    for (name, alert) in alerts() {
        let link = value(&alert, "dashboard_url").split_once("/d/").unwrap().1;
        let (uid, parameters) = link.split_once('?').unwrap();
        let board = dashboards.iter().find(|board| board.name == uid).unwrap_or_else(|| panic!("{name}: {link}"));
        for parameter in parameters.split("var-").skip(1) {
            let variable = parameter.split('=').next().unwrap();
            assert!(board.variables().iter().any(|v| v["name"] == variable), "{name}: no {variable} in {uid}");
        }
    }
}

/// Of a sample, 0 is its time and 1 its value.
fn text_at(series: &Value, index: usize) -> &str {
    series["value"][index].as_str().unwrap_or_default()
}

/// Runs every query of every panel, for the variables' values, and fails where one is refused, or finds no number.
pub fn assert_every_panel_has_data(prometheus: &Prometheus, cohort: &str) {
    let variables = [
        ("$namespace", ".*"),
        ("$job", ".+"),
        ("$instance", ".+"),
        ("$cohort_by", "plan,region"),
        ("${cohort:raw}", cohort),
        ("$window", "7d"),
        ("$currency", "EUR"),
        ("$__rate_interval", "1m"),
    ];
    let mut empty = Vec::new();
    let mut ran = 0;
    for board in dashboards() {
        for (title, query) in board.queries() {
            let query = variables.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
            assert!(!query.contains('$'), "{query}");
            ran += 1;
            let is_number = |series: &Value| text_at(series, 1).parse().is_ok_and(f64::is_finite);
            if !prometheus.query(&query).iter().any(is_number) {
                empty.push(format!("{}: {title}: {query}", board.name));
            }
        }
        for variable in board.variables().into_iter().filter(|variable| variable["type"] == "query") {
            let query = text(&variable["query"], "query");
            let query = variables.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
            let inner = query.split_once('(').unwrap().1.trim_end_matches(')');
            let series = if query.starts_with("label_values(") { inner.rsplit_once(',').unwrap().0 } else { inner };
            // What was cut off at the end may be needed.
            let closed = series.to_owned() + &")".repeat(series.matches('(').count() - series.matches(')').count());
            if prometheus.query(&closed).is_empty() {
                empty.push(format!("{}: {}: {closed}", board.name, text(variable, "name")));
            }
        }
    }
    println!("{ran} queries of panels ran");
    assert!(empty.is_empty(), "nothing found by:\n{}", empty.join("\n"));
}
