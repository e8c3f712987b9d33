//! Three instances, a real Prometheus with the shipped rules, and rebalances in the middle: every recorded sample is
//! what a single reader of the whole log says, or there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant as Moment};

use churnwatch::proto::LifecycleEvent;
use churnwatch::run::wall_clock;
use serde_json::Value;

use super::rules::recorded;
use super::server::Prometheus;
use crate::kafka::fixture::{Fixture, configuration, events, replayed};
use crate::kafka::reading::GROUPINGS;
use crate::support::process::Run;

/// For anything that has to happen.
const PATIENCE: Duration = Duration::from_secs(180);
/// How many whole evaluations there have to be before, between and after the rebalances.
const EVALUATIONS: usize = 5;

/// Prometheus with the shipped rules, which it evaluates every second.
fn prometheus(instances: &[&Run]) -> Option<Prometheus> {
    let directory = tempfile::tempdir().unwrap();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/rules/churnwatch.rules.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}']\n\
         scrape_configs:\n  - job_name: churnwatch\n    file_sd_configs: [{{files: ['{}']}}]\n",
        rules.display(),
        directory.path().join("targets.json").display()
    );
    scrape(directory.path(), instances);
    Prometheus::start(directory, &text, &[])
}

impl Prometheus {
    /// The samples of all series that a selector finds, each with its name, labels and times in milliseconds.
    fn samples(&self, selector: &str) -> Vec<Samples> {
        self.query(&format!("{selector}[1h]")).iter().map(Samples::of).collect()
    }

    /// When the rules were evaluated, and whether everything was complete then.
    fn evaluations(&self) -> Vec<(i64, bool)> {
        let samples = self.samples("job:churnwatch_complete:bool");
        samples.into_iter().flat_map(|samples| samples.values).map(|(time, value)| (time, value == 1.0)).collect()
    }

    /// Waits until enough evaluations after the instant were complete, and one before those was not, where there
    /// has to be a gap. Returns the time of the last of them.
    fn await_complete(&self, after: i64, gap: bool) -> i64 {
        let deadline = Moment::now() + PATIENCE;
        loop {
            let evaluations: Vec<_> = self.evaluations().into_iter().filter(|(time, _)| *time > after).collect();
            let since_gap = evaluations.iter().rev().take_while(|(_, complete)| *complete).count();
            if since_gap >= EVALUATIONS && (since_gap < evaluations.len() || !gap) {
                return evaluations.last().unwrap().0;
            }
            assert!(Moment::now() < deadline, "not complete again: {evaluations:?}");
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }
}

/// Tells Prometheus which instances there are, and were.
fn scrape(directory: &Path, instances: &[&Run]) {
    let address = |run: &&Run| run.url.split('/').nth(2).unwrap().to_owned();
    let targets: Vec<String> = instances.iter().map(address).collect();
    write_targets(directory, &targets);
}

fn write_targets(directory: &Path, targets: &[String]) {
    let new = directory.join("targets.new");
    fs::write(&new, serde_json::json!([{ "targets": targets }]).to_string()).unwrap();
    fs::rename(new, directory.join("targets.json")).unwrap();
}

struct Samples {
    name: String,
    labels: BTreeMap<String, String>,
    values: Vec<(i64, f64)>,
}

impl Samples {
    fn of(series: &Value) -> Self {
        let labels = series["metric"].as_object().unwrap().iter();
        let mut labels: BTreeMap<String, String> =
            labels.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        let value = |pair: &Value| {
            let time = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
            (time, pair[1].as_str().unwrap().parse().unwrap())
        };
        let values = series["values"].as_array().unwrap().iter().map(value).collect();
        Self { name: labels.remove("__name__").unwrap(), labels, values }
    }
}

/// The series of a page without escapes: name, labels, value.
fn parse(page: &str) -> BTreeMap<(String, BTreeMap<String, String>), f64> {
    let series = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        let label =
            |label: &str| label.trim_end_matches('"').split_once("=\"").map(|(n, v)| (n.to_owned(), v.to_owned()));
        ((name.to_owned(), labels.map(|text| label(text).unwrap()).collect()), value.parse().unwrap())
    };
    page.lines().filter(|line| !line.starts_with('#')).map(series).collect()
}

/// All kinds of events, the last of each customer at the same instant: so all instances, whatever they own, are as of it.
fn log() -> Vec<LifecycleEvent> {
    let mut log = events(50, 4_000);
    let last = log.last().unwrap().event_time.unwrap().seconds;
    let mut ends = events(51, 4_000);
    ends.iter_mut().for_each(|event| event.event_time.as_mut().unwrap().seconds = last);
    log.extend(ends);
    log
}

#[test]
fn the_rules_give_the_single_readers_numbers_or_none_through_every_rebalance() {
    let fixture = Fixture::new(GROUPINGS);
    let config = fixture.directory.path().join("churnwatch.toml");
    let text = configuration(&fixture.broker.bootstrap_servers().unwrap(), fixture.directory.path(), GROUPINGS);
    // On a busy machine members have to be given time to join again.
    let text = text.replace("\"session.timeout.ms\" = 1500", "\"session.timeout.ms\" = 6000");
    fs::write(&config, text).unwrap();
    let log = log();
    fixture.produce(&log);
    let page = replayed(&fixture.settings.definitions(), &log);

    let [a, b, c] = [0; 3].map(|_| Run::start(&config));
    let Some(prometheus) = prometheus(&[&a, &b, &c]) else { return };
    let mut targets = [&a, &b, &c].map(|run| run.url.split('/').nth(2).unwrap().to_owned()).to_vec();
    let mut phases = vec![prometheus.await_complete(0, false)];

    assert!(a.terminate().success());
    phases.push(prometheus.await_complete(wall_clock().as_millis(), false));

    b.kill();
    let killed = wall_clock().as_millis();
    let d = Run::start(&config);
    targets.push(d.url.split('/').nth(2).unwrap().to_owned());
    write_targets(prometheus.directory.path(), &targets);
    phases.push(prometheus.await_complete(killed, true));

    let owned = "sum by (instance) (churnwatch_partition_published)";
    let owners: Vec<_> = prometheus.query(owned);
    assert_eq!(owners.len(), 2, "{owners:?}");
    check(&prometheus, &page, &phases);
    assert!(c.terminate().success() && d.terminate().success());
}

/// Compares every sample that was ever recorded.
fn check(prometheus: &Prometheus, page: &str, phases: &[i64]) {
    let family_of: BTreeMap<String, &str> = recorded().into_iter().collect();
    let expected = parse(page);
    let expected_series = |family: &str| expected.keys().filter(|(name, _)| name == family).count();
    let mut compared = 0;
    let mut series_at: BTreeMap<(String, i64), usize> = BTreeMap::new();
    for mut series in prometheus.samples("{__name__=~\"job:churnwatch_.+\"}") {
        let Some(&family) = family_of.get(&series.name) else { continue };
        assert_eq!(series.labels.remove("job").as_deref(), Some("churnwatch"));
        let value = expected.get(&(family.to_owned(), series.labels.clone()));
        let value =
            value.unwrap_or_else(|| panic!("{} {:?} is no series of a single reader", series.name, series.labels));
        for (time, recorded) in series.values {
            // To the last bit.
            assert_eq!(recorded.to_bits(), value.to_bits(), "{} {:?} at {time}", series.name, series.labels);
            compared += 1;
            *series_at.entry((series.name.clone(), time)).or_default() += 1;
        }
    }
    for ((name, time), series) in &series_at {
        assert_eq!(*series, expected_series(family_of[name]), "{name} at {time} is not whole");
    }
    let names: BTreeSet<&String> = series_at.keys().map(|(name, _)| name).collect();
    for (name, family) in &family_of {
        assert!(names.contains(name) || expected_series(family) == 0, "{name} was never recorded");
    }

    let evaluations: Vec<i64> = prometheus.evaluations().into_iter().map(|(time, _)| time).collect();
    let whole = |time: i64| series_at.contains_key(&("job:churnwatch_churn:ratio".to_owned(), time));
    let (with, without): (Vec<i64>, Vec<i64>) = evaluations.iter().partition(|time| whole(**time));
    println!("{compared} samples compared; {} evaluations with values, {} without", with.len(), without.len());
    assert!(without.len() >= 3, "no gap was seen");
    let mut since = 0;
    for &until in phases {
        let values = with.iter().filter(|time| (since..=until).contains(*time)).count();
        assert!(values >= EVALUATIONS - 1, "{values} evaluations with values until {until}");
        since = until;
    }
    assert!(compared > 10_000);
}
