//! The proof of the alerts: `run`, a real Prometheus with the shipped rules and two weeks behind it, a wave of cancellations in one
//! cohort, and then the end of the process in the midst of a wave of failed payments, whose alert is the fastest.
//!
//! The past is the demo's population, moved so that it ends now. Its gauges as of every full hour are what `replay` makes of
//! the events until then, and promtool writes them into Prometheus as it would a user's.
//!
//! A second stands for a minute: every duration of the rules that is given in minutes is as many seconds here, and what happens once an
//! hour happens four times a second. Expressions are what is shipped; the durations as they are shipped are tested by promtool.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use churnwatch::cohort::Definitions;
use churnwatch::demo::delivery::event_time;
use churnwatch::demo::population::{Population, SPIKE};
use churnwatch::gauges;
use churnwatch::proto::{EndReason, Ended, LifecycleEvent, Started, lifecycle_event::Event};
use churnwatch::run::wall_clock;
use churnwatch::shard::{HashKey, Shard};
use churnwatch::time::{Instant, Span};
use pbjson_types::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use super::dashboards;
use super::server::Prometheus;
use crate::kafka::fixture::{Fixture, configuration};
use crate::support::process::Run;
use crate::support::{tool, until};

/// What README.md promises, from the events to the alert: 15 minutes.
const PROMISE: Duration = Duration::from_secs(15);
const CUSTOMERS: usize = 6_000;
/// How far back Prometheus remembers.
const PAST: Span = Span::days(14);
const MORE: &str = "[[groupings]]\nby = [\"plan\", \"region\"]\n";

fn rules(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("deploy/prometheus/rules/churnwatch.{name}.yml"))
}

/// The rules with a second for every minute.
fn scaled(name: &str) -> String {
    let text = fs::read_to_string(rules(name)).unwrap().replace("interval: 1h", "interval: 250ms");
    let mut scaled = String::new();
    let mut rest = text.as_str();
    // A number, an m, and no further letter: a duration, in these files.
    while let Some(at) = rest.find('m') {
        let digits = rest[..at].ends_with(|c: char| c.is_ascii_digit());
        let ends = !rest[at + 1..].starts_with(|c: char| c.is_ascii_alphanumeric());
        scaled += &rest[..at];
        scaled += if digits && ends { "s" } else { "m" };
        rest = &rest[at + 1..];
    }
    scaled + rest
}

/// Everything that happened to the population until shortly before the demo's own spike, as if that were now.
fn past(now: Instant) -> Vec<LifecycleEvent> {
    let end = SPIKE - Span::from_millis(6 * Span::HOUR.as_millis());
    let later_s = now.since(end).as_millis() / 1000;
    let shift = |time: &mut Option<Timestamp>| time.iter_mut().for_each(|time| time.seconds += later_s);
    let population = Population::new(42, CUSTOMERS).take_while(|event| event_time(event) <= end);
    // Without usage, which decides nothing here.
    let mut events: Vec<_> = population.filter(|event| !matches!(event.event, Some(Event::Activity(_)))).collect();
    for event in &mut events {
        shift(&mut event.event_time);
        match event.event.as_mut().unwrap() {
            Event::Started(started) => shift(&mut started.term_end_time),
            Event::Renewed(renewed) => shift(&mut renewed.term_end_time),
            Event::Ended(ended) => shift(&mut ended.effective_time),
            Event::Changed(_) | Event::Activity(_) => {}
        }
    }
    events
}

/// The gauges as of every full hour, as OpenMetrics.
fn open_metrics(definitions: Definitions, events: &[LifecycleEvent], now: Instant) -> String {
    let definitions = Arc::new(definitions);
    let mut shard = Shard::new(definitions.clone(), HashKey([7; 16]));
    let mut text = String::new();
    let mut events = events.iter().peekable();
    let mut at = Instant::from_millis((now - PAST).as_millis() / Span::HOUR.as_millis() * Span::HOUR.as_millis());
    while at <= now {
        while let Some(event) = events.next_if(|event| event_time(event) <= at) {
            shard.consume_message(event, None);
        }
        shard.advance(at);
        let time_s = at.as_millis() / 1000;
        let page = gauges::cohort_page(&definitions, &shard.readings(), at);
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (name, rest) = line.split_once('{').unwrap();
            writeln!(text, "{name}{{job=\"churnwatch\",instance=\"past\",{rest} {time_s}").unwrap();
        }
        let labels = "job=\"churnwatch\",instance=\"past\"";
        writeln!(text, "churnwatch_as_of_timestamp_seconds{{{labels}}} {time_s} {time_s}").unwrap();
        writeln!(text, "churnwatch_topic_partitions{{{labels},topic=\"t\"}} 1 {time_s}").unwrap();
        writeln!(text, "churnwatch_partition_published{{{labels},topic=\"t\",partition=\"0\"}} 1 {time_s}").unwrap();
        shard.fold_before_windows_of(at);
        at = at + Span::HOUR;
    }
    text + "# EOF\n"
}

/// Has promtool make blocks of samples in the directory.
fn create_blocks(directory: &Path, arguments: &[&str]) {
    let command = tool::command("promtool", "prometheus", "a past for Prometheus").map(|mut command| {
        // All in a few blocks: promtool reads everything once for each.
        command.args(["tsdb", "create-blocks-from", "--max-block-duration=720h"]).args(arguments);
        command.current_dir(directory).output().unwrap()
    });
    let output = command.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The shipped rules that record these names, as a file of their own.
fn only(name: &str, recorded: &[&str]) -> String {
    let text = fs::read_to_string(rules(name)).unwrap();
    let rules = text.split("      - record: ").skip(1);
    let rules = rules.filter(|rule| recorded.contains(&rule.lines().next().unwrap()));
    // Up to the next group, or what is said of it.
    let rules = rules.map(|rule| format!("      - record: {}\n", rule.split("\n\n").next().unwrap().trim_end()));
    format!("groups:\n  - name: past\n    rules:\n{}", rules.collect::<String>())
}

/// A directory for Prometheus that holds the gauges of the past, and what the shipped rules would have recorded of them.
fn remembered(definitions: Definitions, events: &[LifecycleEvent], now: Instant) -> Option<TempDir> {
    let mut directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("past.txt"), open_metrics(definitions, events, now)).unwrap();
    tool::command("prometheus", "prometheus", "the alerts on churn in a real Prometheus")?;
    create_blocks(directory.path(), &["openmetrics", "past.txt", "data"]);
    let seconds = |at: Instant| (at.as_millis() / 1000).to_string();
    let kpis = ["churn", "involuntary_churn", "gross_revenue_churn"];
    let ratios = kpis.map(|kpi| format!("job:churnwatch_{kpi}:ratio"));
    let hourly = kpis.map(|kpi| format!("job:churnwatch_{kpi}:ratio_hourly"));
    let mut recorded: Vec<&str> = ratios.iter().map(String::as_str).collect();
    recorded.push("job:churnwatch_window_start_customers:sum");
    // One after the other: a rule does not see what another records in the same go.
    let steps = [
        (only("rules", &recorded), "10m"),
        (only("baseline", &["churnwatch:alert_window:info"]), "1h"),
        (only("baseline", &hourly.each_ref().map(String::as_str)), "1h"),
    ];
    for (rules, interval) in steps {
        let prometheus = Prometheus::start(
            directory,
            "global: {}\n",
            &[
                "--storage.tsdb.retention.time=60d",
                // The past has a sample an hour, and promtool evaluates at some minute of it.
                "--query.lookback-delta=1h",
            ],
        )?;
        let path = prometheus.directory.path().to_owned();
        fs::write(path.join("past.yml"), rules).unwrap();
        let (url, interval) = (format!("--url={}", prometheus.url), format!("--eval-interval={interval}"));
        let start = format!("--start={}", seconds(now - PAST));
        let end = format!("--end={}", seconds(now - Span::from_millis(3 * Span::HOUR.as_millis())));
        create_blocks(&path, &["rules", &url, &start, &end, &interval, "--output-dir=data", "past.yml"]);
        directory = prometheus.stop();
    }
    Some(directory)
}

/// Prometheus as of now, on that past.
fn prometheus(directory: TempDir, run: &Run) -> Option<Prometheus> {
    for name in ["baseline", "alerts"] {
        fs::write(directory.path().join(format!("{name}.yml")), scaled(name)).unwrap();
    }
    let configuration = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}}\n\
         rule_files: ['{}', baseline.yml, alerts.yml]\n\
         scrape_configs:\n  - job_name: churnwatch\n    static_configs: [{{targets: ['{}']}}]\n",
        rules("rules").display(),
        run.url.split('/').nth(2).unwrap()
    );
    Prometheus::start(directory, &configuration, &["--storage.tsdb.retention.time=60d", "--query.lookback-delta=5s"])
}

/// An alert and the cohort it is about.
type Alert = (String, String);

impl Prometheus {
    /// The alerts in a state now, or at any time since a range.
    fn alerts(&self, state: &str, range: &str) -> BTreeSet<Alert> {
        let label = |alert: &Value, name: &str| alert["metric"][name].as_str().unwrap_or_default().to_owned();
        let cohort = |alert: &Value| match label(alert, "cohort_by").as_str() {
            "plan,region" => format!("{} · {}", label(alert, "plan"), label(alert, "region")),
            other => other.to_owned(),
        };
        let found = self.query(&format!("ALERTS{{alertstate=\"{state}\"}}{range}"));
        found.iter().map(|alert| (label(alert, "alertname"), cohort(alert))).collect()
    }
}

fn alert(name: &str, cohort: &str) -> Alert {
    (name.to_owned(), cohort.to_owned())
}

/// So many customers of a cohort who have been in it for ten days and have paid beyond now, each with what it began with.
fn settled(events: &[LifecycleEvent], cohort: [&str; 2], now: Instant, number: usize) -> Vec<LifecycleEvent> {
    let mut began: BTreeMap<&str, &LifecycleEvent> = BTreeMap::new();
    for event in events {
        match event.event.as_ref().unwrap() {
            Event::Started(_) => _ = began.insert(&event.customer_id, event),
            // A change of plan moves it to another cohort.
            Event::Ended(_) | Event::Changed(_) => _ = began.remove(event.customer_id.as_str()),
            Event::Renewed(_) | Event::Activity(_) => {}
        }
    }
    let paid: BTreeSet<&str> =
        events.iter().filter(|event| term_end(event) > Some(now)).map(|event| event.customer_id.as_str()).collect();
    let is_settled = |event: &&LifecycleEvent| {
        ["plan", "region"].map(|name| event.attributes[name].as_str()) == cohort
            && event_time(event) < now - Span::days(10)
            && paid.contains(event.customer_id.as_str())
    };
    let settled: Vec<_> = began.into_values().filter(is_settled).take(number).cloned().collect();
    assert_eq!(settled.len(), number);
    settled
}

fn term_end(event: &LifecycleEvent) -> Option<Instant> {
    let end = match event.event.as_ref()? {
        Event::Started(started) => started.term_end_time,
        Event::Renewed(renewed) => renewed.term_end_time,
        _ => None,
    };
    end.map(|end| Instant::from_millis(end.seconds * 1000))
}

fn timestamp(at: Instant) -> Option<Timestamp> {
    Some(Timestamp { seconds: at.as_millis() / 1000, nanos: (at.as_millis() % 1000) as i32 * 1_000_000 })
}

/// They end now.
fn ended(customers: &[LifecycleEvent], reason: EndReason) -> Vec<LifecycleEvent> {
    let ended = Ended { reason: reason.into(), effective_time: None };
    let at = timestamp(wall_clock());
    customers.iter().map(|c| LifecycleEvent { event_time: at, event: Some(Event::Ended(ended)), ..c.clone() }).collect()
}

/// They are back, with what they had.
fn back(customers: &[LifecycleEvent]) -> Vec<LifecycleEvent> {
    let now = wall_clock();
    let begin = |customer: &LifecycleEvent| {
        let Some(Event::Started(started)) = &customer.event else { panic!("{customer:?}") };
        let started = Started { term_end_time: timestamp(now + Span::days(30)), ..started.clone() };
        LifecycleEvent { event_time: timestamp(now), event: Some(Event::Started(started)), ..customer.clone() }
    };
    customers.iter().map(begin).collect()
}

/// Waits until the condition holds, asking a few times a second.
#[track_caller]
fn eventually(what: &str, holds: impl Fn() -> bool) {
    until(what, || {
        std::thread::park_timeout(Duration::from_millis(100));
        holds()
    });
}

#[test]
fn a_wave_of_cancellations_fires_for_its_cohort_alone_and_nothing_does_that_dies_with_the_process() {
    let now = wall_clock();
    let events = past(now);
    let fixture = Fixture::new(MORE);
    let Some(directory) = remembered(fixture.settings.definitions(), &events, now) else { return };

    let config = fixture.directory.path().join("churnwatch.toml");
    let text = configuration(&fixture.broker.bootstrap_servers().unwrap(), fixture.directory.path(), MORE);
    let text = text.replace("clock = \"event\"", "clock = \"wall\"").replace("\"100ms\"", "\"250ms\"");
    fs::write(&config, text).unwrap();
    fixture.produce(&events);
    let run = Run::start(&config);
    let prometheus = prometheus(directory, &run).unwrap();
    eventually("with a baseline", || !prometheus.query("job:churnwatch_churn:baseline_upper").is_empty());
    eventually("evaluated", || {
        prometheus.query("count_over_time(job:churnwatch_churn:ratio{cohort_by=\"everyone\"}[1m]) > 12").len() == 3
    });
    let usual = prometheus.query("job:churnwatch_churn:ratio_beyond_baseline");
    assert!(usual.is_empty(), "{usual:?}");

    let (spike, cohort) = ("ChurnwatchChurnSpike", "basic · eu");
    let wave = settled(&events, ["basic", "eu"], now, 45);
    let produced = Moment::now();
    fixture.produce(&ended(&wave, EndReason::Cancelled));
    eventually("firing", || prometheus.alerts("firing", "").contains(&alert(spike, cohort)));
    let took = produced.elapsed();
    dashboards::assert_every_panel_has_data(&prometheus, "cohort_by=\"plan,region\",plan=\"basic\",region=\"eu\"");
    fixture.produce(&back(&wave));
    eventually("over", || !prometheus.alerts("firing", "").contains(&alert(spike, cohort)));
    let fired = prometheus.alerts("firing", "[1h]");
    println!("fired after {took:?}, over after {:?}: {fired:?}", produced.elapsed());
    assert!(took < PROMISE, "{took:?}");
    assert!(fired.iter().all(|(_, whose)| whose == cohort), "{fired:?}");

    fixture.produce(&ended(&settled(&events, ["plus", "eu"], now, 60), EndReason::PaymentFailed));
    let beyond = "job:churnwatch_involuntary_churn:ratio_beyond_baseline{plan=\"plus\",region=\"eu\"}";
    eventually("beyond", || !prometheus.query(beyond).is_empty());
    run.kill();
    // The alert takes five minutes of what is beyond, and for six it is bridged.
    eventually("bridged", || !prometheus.query(&format!("count_over_time({beyond}[5s:1s]) >= 5")).is_empty());
    let known = BTreeSet::from([alert("ChurnwatchDown", ""), alert("ChurnwatchAbsent", "")]);
    eventually("known to be gone", || prometheus.alerts("firing", "") == known);
    dashboards::assert_an_outage_is_shown(&prometheus);
    eventually("over", || prometheus.query(beyond).is_empty() && prometheus.alerts("pending", "").is_empty());
    assert_eq!(prometheus.alerts("firing", "[1h]"), &fired | &known);
}
