//! Several instances of one group, and one after the other.

use churnwatch::publish::Readiness;
use churnwatch::run::Options;

use super::fixture::{Fixture, LONG_WINDOWS, set};
use crate::kafka::fixture::{PARTITIONS, Running, ending_together, events, poll, replayed};
use crate::kafka::rebalance::{assigned, hand_over, union};
use crate::support::apache_kafka;

#[test]
fn two_instances_add_up_and_one_takes_over() {
    let Some(servers) = apache_kafka::shared("two_instances_add_up_and_one_takes_over") else { return };
    hand_over(&Fixture::new(servers, LONG_WINDOWS).settings, &ending_together(60, 10_000), 8_000);
}

#[test]
fn the_brokers_assign_where_they_are_asked_to() {
    let Some(servers) = apache_kafka::shared("the_brokers_assign_where_they_are_asked_to") else { return };
    let mut fixture = Fixture::new(servers, LONG_WINDOWS);
    // They decide these, too.
    let decided = ["session.timeout.ms", "heartbeat.interval.ms"];
    fixture.settings.kafka.librdkafka.retain(|property| !decided.contains(&property.name.as_str()));
    fixture.set("group.protocol", "consumer");
    hand_over(&fixture.settings, &ending_together(60, 10_000), 8_000);
}

#[test]
fn an_instance_after_another_reads_on_from_its_snapshots() {
    let Some(servers) = apache_kafka::shared("an_instance_after_another_reads_on_from_its_snapshots") else { return };
    let mut fixture = Fixture::new(servers, LONG_WINDOWS);
    // The crashed one's partitions are free again when its session is over.
    fixture.set("session.timeout.ms", "3000");
    let all = events(61, 12_000);
    let definitions = fixture.settings.definitions();
    fixture.produce(&all[..8_000]);
    let first = fixture.start();
    first.await_page(&replayed(&definitions, &all[..8_000]));
    assert_eq!(first.stop().records, 8_000);

    fixture.produce(&all[8_000..10_000]);
    let second = fixture.start();
    second.await_page(&replayed(&definitions, &all[..10_000]));
    assert_eq!(second.instance.records(), 2_000, "nothing before the snapshots is read again");
    second.instance.abort();
    second.instance.join().unwrap();

    fixture.produce(&all[10_000..]);
    let third = fixture.start();
    third.await_page(&replayed(&definitions, &all));
    assert!((2_000..=4_000).contains(&third.stop().records));
}

/// The settings of one of several static members.
fn member(fixture: &Fixture, name: &str) -> Running {
    let mut settings = fixture.settings.clone();
    set(&mut settings, "group.instance.id", name);
    Running::start(Options::new(&settings))
}

#[test]
fn a_static_member_that_restarts_within_its_session_disturbs_nobody() {
    let test = "a_static_member_that_restarts_within_its_session_disturbs_nobody";
    let Some(servers) = apache_kafka::shared(test) else { return };
    let mut fixture = Fixture::new(servers, LONG_WINDOWS);
    fixture.set("session.timeout.ms", "60000");
    let all = ending_together(62, 6_000);
    let definitions = fixture.settings.definitions();
    fixture.produce(&all[..4_000]);
    let first = member(&fixture, "first");
    first.await_page(&replayed(&definitions, &all[..4_000]));
    let second = member(&fixture, "second");
    let half = f64::from(PARTITIONS) / 2.0;
    assert!(poll(|| assigned(&first) == half && assigned(&second) == half));
    let is_ready = |running: &Running| **running.instance.published().readiness.load() == Readiness::Ready;
    assert!(poll(|| is_ready(&first) && is_ready(&second)));

    // A rebalance takes the page away, if only until the next round; a broker that is slow to answer does not.
    let mut disturbed = None;
    first.stop();
    let again = member(&fixture, "first");
    assert!(poll(|| {
        if disturbed.is_none() && second.page().is_empty() {
            disturbed = Some(format!("{:?}", second.instance.published().readiness.load()));
        }
        assigned(&again) == half && is_ready(&again)
    }));
    assert_eq!((disturbed, assigned(&second)), (None, half), "the other one had to rebalance");

    fixture.produce(&all[4_000..]);
    let expected = replayed(&definitions, &all);
    assert!(poll(|| union(&definitions, &[&again, &second]).as_deref() == Some(&*expected)));
    again.stop();
    second.stop();
}
