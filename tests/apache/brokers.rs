//! Brokers that go and come back.

use churnwatch::publish::Readiness;

use super::fixture::{Fixture, LONG_WINDOWS};
use crate::kafka::fixture::{Running, events, poll, replayed};
use crate::support::apache_kafka;

fn is_ready(running: &Running) -> bool {
    **running.instance.published().readiness.load() == Readiness::Ready
}

#[test]
fn a_broker_that_is_killed_and_comes_back_changes_no_number() {
    let Some(mut cluster) = apache_kafka::own("a_broker_that_is_killed_and_comes_back_changes_no_number", 1) else {
        return;
    };
    let fixture = Fixture::new(&cluster.bootstrap_servers(), LONG_WINDOWS);
    let all = events(70, 9_000);
    let definitions = fixture.settings.definitions();
    fixture.produce(&all[..3_000]);
    let running = fixture.start();
    running.await_page(&replayed(&definitions, &all[..3_000]));

    cluster.kill(0);
    assert!(poll(|| !is_ready(&running)));
    cluster.start_again(0);
    fixture.produce(&all[3_000..6_000]);
    running.await_page(&replayed(&definitions, &all[..6_000]));
    assert!(poll(|| is_ready(&running)));

    cluster.stop(0);
    assert!(poll(|| !is_ready(&running)));
    cluster.start_again(0);
    fixture.produce(&all[6_000..]);
    running.await_page(&replayed(&definitions, &all));
    running.stop();
    let after = fixture.start();
    after.await_page(&replayed(&definitions, &all));
    assert_eq!(after.stop().records, 0);
}

#[test]
fn a_rolling_restart_of_three_brokers_changes_no_number() {
    let Some(mut cluster) = apache_kafka::own("a_rolling_restart_of_three_brokers_changes_no_number", 3) else {
        return;
    };
    let fixture = Fixture::new(&cluster.bootstrap_servers(), LONG_WINDOWS);
    let all = events(71, 20_000);
    let definitions = fixture.settings.definitions();
    let parts: Vec<_> = all.chunks(5_000).collect();
    fixture.produce(parts[0]);
    let (first, second) = (fixture.start(), fixture.start());
    std::thread::scope(|scope| {
        let producing = scope.spawn(|| parts[1..].iter().for_each(|part| fixture.produce(part)));
        for broker in 0..3 {
            cluster.stop(broker);
            cluster.start_again(broker);
        }
        producing.join().unwrap();
    });
    first.stop();
    second.await_page(&replayed(&definitions, &all));
    assert!(poll(|| is_ready(&second)));
    second.stop();
}
