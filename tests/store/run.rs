//! `run` with its snapshots in S3.

use std::fs;
use std::path::{Path, PathBuf};

use super::moto::{self, BUCKET, Moto};
use crate::kafka::fixture::{Fixture, configuration, events, poll, replayed};
use crate::support::process::Run;
use crate::support::proxy::{Proxy, Traffic};

fn write_config(fixture: &Fixture) -> PathBuf {
    let path = fixture.directory.path().join("churnwatch.toml");
    let text = configuration(&fixture.broker.bootstrap_servers().unwrap(), fixture.directory.path(), "");
    let directory = format!("file://{}", fixture.directory.path().join("snapshots").display());
    assert!(text.contains(&directory));
    fs::write(&path, text.replace(&directory, &format!("s3://{BUCKET}/churnwatch"))).unwrap();
    path
}

fn start(config: &Path, address: &str) -> Run {
    let environment = moto::environment(address);
    Run::start_with(config, &environment.each_ref().map(|(name, value)| (*name, value.as_str())))
}

fn await_page(run: &Run, expected: &str) {
    assert!(poll(|| run.metrics().is_some_and(|page| page.contains(expected))), "{:?}", run.metrics());
}

/// The sum of a family's series.
fn sum(run: &Run, family: &str) -> f64 {
    let page = run.metrics().unwrap_or_default();
    let lines = page.lines().filter(|line| line.split([' ', '{']).next() == Some(family));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

fn committed(fixture: &Fixture) -> i64 {
    fixture.committed().iter().sum()
}

#[test]
fn a_restart_goes_on_from_the_bucket() {
    let Some(moto) = Moto::start("run with its snapshots in S3") else { return };
    let fixture = Fixture::new("");
    let config = write_config(&fixture);
    let all = events(50, 2_000);
    let definitions = fixture.settings.definitions();
    fixture.produce(&all[..1_500]);
    let first = start(&config, &moto.address);
    await_page(&first, &replayed(&definitions, &all[..1_500]));
    assert_eq!(first.terminate().code(), Some(0));
    assert_eq!(committed(&fixture), 1_500);
    assert!(!fixture.directory.path().join("snapshots").exists());

    fixture.produce(&all[1_500..]);
    let second = start(&config, &moto.address);
    await_page(&second, &replayed(&definitions, &all));
    let read: f64 = ["events", "events_unchanged", "events_ignored", "events_rejected"]
        .map(|family| sum(&second, &format!("churnwatch_{family}_total")))
        .iter()
        .sum();
    assert_eq!(read, 500.0, "nothing before the snapshots is read again");
    assert_eq!(second.terminate().code(), Some(0));
}

#[test]
fn a_store_that_refuses_or_hangs_never_stops_the_gauges() {
    let Some(moto) = Moto::start("run with a store that refuses and hangs") else { return };
    let proxy = Proxy::start(moto.port());
    let fixture = Fixture::new("");
    let config = write_config(&fixture);
    let all = events(51, 1_500);
    let definitions = fixture.settings.definitions();
    fixture.produce(&all[..500]);
    let run = start(&config, &format!("127.0.0.1:{}", proxy.port));
    assert!(poll(|| committed(&fixture) == 500));
    for (mode, upto) in [(Traffic::Cut, 1_000), (Traffic::Stalled, 1_500)] {
        let before = committed(&fixture);
        let failures = sum(&run, "churnwatch_snapshot_failures_total");
        proxy.set(mode);
        fixture.produce(&all[upto - 500..upto]);
        await_page(&run, &replayed(&definitions, &all[..upto]));
        assert!(poll(|| sum(&run, "churnwatch_snapshot_failures_total") > failures));
        assert_eq!(sum(&run, "churnwatch_store_up"), 0.0);
        assert_eq!(committed(&fixture), before, "nothing is committed that is not saved");
        assert!(run.metrics().unwrap().contains(&replayed(&definitions, &all[..upto])));
        proxy.set(Traffic::Flows);
        assert!(poll(|| committed(&fixture) == upto as i64), "{}", committed(&fixture));
        assert!(poll(|| sum(&run, "churnwatch_store_up") == 1.0));
    }
    assert_eq!(run.terminate().code(), Some(0));
}
