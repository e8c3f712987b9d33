//! What the service manager is told, by a socket that stands in for it.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::kafka::fixture::{Fixture, configuration, events};
use crate::support::process::Run;
use crate::support::until;

#[test]
fn the_service_manager_is_told_of_readiness_life_and_end() {
    let fixture = Fixture::new("");
    fixture.produce(&events(3, 100));
    let directory = fixture.directory.path();
    let config = directory.join("churnwatch.toml");
    fs::write(&config, configuration(&fixture.broker.bootstrap_servers().unwrap(), directory, "")).unwrap();
    let address = directory.join("notify");
    let manager = UnixDatagram::bind(&address).unwrap();
    manager.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut told = Vec::new();
    let mut hear = || {
        let mut bytes = [0; 4096];
        while let Ok(length) = manager.recv(&mut bytes) {
            told.extend(String::from_utf8(bytes[..length].to_vec()).unwrap().lines().map(str::to_owned));
        }
        told.clone()
    };

    let environment = [("NOTIFY_SOCKET", address.to_str().unwrap()), ("WATCHDOG_USEC", "300000")];
    let run = Run::start_with(&config, &environment);
    until("ready", || hear().iter().any(|line| line == "READY=1"));
    let metrics = run.metrics().unwrap();
    assert!(metrics.contains("churnwatch_customers{"), "ready means that the numbers are there");
    let lives = |told: Vec<String>| told.iter().filter(|line| *line == "WATCHDOG=1").count();
    let before = lives(hear());
    until("alive", || lives(hear()) > before + 3);
    assert_eq!(run.terminate().code(), Some(0));
    let told = hear();
    let at = |line: &str| told.iter().position(|told| told == line).unwrap_or_else(|| panic!("{line} in {told:?}"));
    assert!(at("EXTEND_TIMEOUT_USEC=60000000") < at("READY=1") && at("READY=1") < at("STOPPING=1"));
    assert!(
        at("STATUS=not ready: starting") < at("STATUS=ready") && at("STATUS=ready") < at("STATUS=not ready: ending")
    );
    assert_eq!(told.iter().filter(|line| *line == "READY=1").count(), 1);
}
