//! From an empty start to the page.

use churnwatch::publish::Readiness;

use super::fixture::{Fixture, events, poll, replayed};

pub const GROUPINGS: &str = "
    [[groupings]]
    by = ['plan', 'region']
    [[groupings]]
    by = ['signup_month']";

#[test]
fn the_page_is_that_of_replay_whatever_the_partitions() {
    let fixture = Fixture::new(GROUPINGS);
    let events = events(1, 5_000);
    fixture.produce(&events);
    let running = fixture.start();
    let expected = replayed(&fixture.settings.definitions(), &events);
    assert!(expected.contains("plan=\"basic\"") && expected.contains("churnwatch_churn_ratio"));
    running.await_page(&expected);
    assert_eq!(**running.instance.published().readiness.load(), Readiness::Ready);
    assert!(poll(|| running.metric("churnwatch_partitions_assigned") == Some(4.0)));
    assert_eq!(running.metric("churnwatch_kafka_up"), Some(1.0));
    assert_eq!(running.instance.records(), 5_000);

    let summary = running.stop();
    let counted = summary.counts.applied.iter().sum::<u64>() + summary.counts.unchanged;
    assert_eq!((summary.records, counted), (5_000, 5_000));
}
