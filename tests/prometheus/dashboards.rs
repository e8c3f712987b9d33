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

/// What a field is drawn by: the defaults of its panel, and what an override says otherwise.
struct Look<'a> {
    panel: &'a Value,
    changes: Option<&'a Value>,
}

impl<'a> Look<'a> {
    /// That of all fields of a panel that no override is about, and that of each that one is.
    fn of(panel: &'a Value) -> Vec<Self> {
        let overrides = panel["fieldConfig"]["overrides"].as_array().unwrap();
        let changes = overrides.iter().map(|change| Some(&change["properties"]));
        [None].into_iter().chain(changes).map(|changes| Self { panel, changes }).collect()
    }

    fn property(&self, name: &str) -> &'a Value {
        let mut changes = self.changes.and_then(Value::as_array).into_iter().flatten();
        let default = name.split('.').fold(&self.panel["fieldConfig"]["defaults"], |value, key| &value[key]);
        changes.rfind(|change| change["id"] == name).map_or(default, |change| &change["value"])
    }

    /// Whether the number decides on a colour.
    fn is_coloured(&self) -> bool {
        match text(self.panel, "type") {
            "stat" => self.panel["options"]["colorMode"] != "none",
            "gauge" | "bargauge" => true,
            "table" => text(self.property("custom.cellOptions"), "type").starts_with("color-"),
            "timeseries" => false,
            other => panic!("what colours a {other}?"),
        }
    }

    /// What would be one colour, or one that says nothing, for whatever number.
    fn fault(&self) -> Option<String> {
        let steps = self.property("thresholds")["steps"].as_array().unwrap();
        let colours: BTreeSet<_> = steps.iter().map(|step| text(step, "color")).collect();
        let line = text(self.property("custom.thresholdsStyle"), "mode");
        if !["", "off"].contains(&line) && colours.len() < 2 {
            return Some(format!("thresholds drawn as {line}, and none but {colours:?}"));
        }
        let colour = self.property("color");
        match text(colour, "mode") {
            _ if !self.is_coloured() => None,
            "fixed" => text(colour, "fixedColor").is_empty().then(|| "a fixed colour that is none".to_owned()),
            "thresholds" => (colours.len() < 2).then(|| format!("whatever the number, it is {colours:?}")),
            other => Some(format!("coloured by value, but the mode of colours is {other}")),
        }
    }
}

#[test]
fn what_is_coloured_by_its_value_has_thresholds_that_tell_good_from_bad() {
    let mut faults = Vec::new();
    let mut coloured = 0;
    for board in dashboards() {
        for panel in board.panels() {
            for look in Look::of(panel) {
                coloured += usize::from(look.is_coloured());
                faults.extend(look.fault().map(|fault| format!("{}: {}: {fault}", board.name, text(panel, "title"))));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(coloured > 15, "{coloured}");
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

/// A query for the variables' values.
fn filled_in(query: &str, cohort: &str) -> String {
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
    let query = variables.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
    assert!(!query.contains('$'), "{query}");
    query
}

/// A query without the 0 that stands for nothing found, which would hide a label or a name that there is not.
fn without_zero(query: &str) -> &str {
    let bare = query.strip_suffix(" or vector(0)").unwrap_or(query);
    assert!(!bare.contains("vector("), "{query} never comes back empty");
    bare
}

/// What has something to show only once the pipeline is broken.
const OF_A_BROKEN_PIPELINE: &str = "Alerts on the pipeline";

fn number(series: &Value) -> Option<f64> {
    text_at(series, 1).parse().ok().filter(|number: &f64| number.is_finite())
}

/// Runs every query of every panel, and fails where one is refused, or finds no number.
pub fn assert_every_panel_has_data(prometheus: &Prometheus, cohort: &str) {
    let mut empty = Vec::new();
    let mut ran = 0;
    for board in dashboards() {
        for (title, query) in board.queries() {
            let bare = if title == OF_A_BROKEN_PIPELINE { query } else { without_zero(query) };
            let query = filled_in(bare, cohort);
            ran += 1;
            if prometheus.query(&query).iter().all(|series| number(series).is_none()) {
                empty.push(format!("{}: {title}: {query}", board.name));
            }
        }
        for variable in board.variables().into_iter().filter(|variable| variable["type"] == "query") {
            let query = filled_in(text(&variable["query"], "query"), cohort);
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

/// What the dashboard of the pipeline shows once its only instance is gone.
pub fn assert_an_outage_is_shown(prometheus: &Prometheus) {
    let board = dashboards().into_iter().find(|board| board.name == "churnwatch-pipeline").unwrap();
    let shown = |panel: &str| -> Vec<f64> {
        let (_, query) = board.queries().into_iter().find(|(title, _)| *title == panel).unwrap();
        prometheus.query(&filled_in(without_zero(query), "")).iter().filter_map(number).collect()
    };
    assert_eq!(shown("Instances up"), [0.0]);
    assert_eq!(shown(OF_A_BROKEN_PIPELINE), [2.0]);
}
