//! Two instances of one group: every partition has one owner, and the sum is the whole.

use churnwatch::cohort::Definitions;
use churnwatch::gauges;
use churnwatch::proto::LifecycleEvent;
use churnwatch::publish::Readiness;
use churnwatch::readings::Readings;
use churnwatch::run::Options;
use churnwatch::settings::Settings;

use super::fixture::{Fixture, PARTITIONS, Running, ending_together, events, poll, produce, replayed};
use super::reading::GROUPINGS;

/// The page of the sum of all instances' numbers, where all publish as of the same instant.
pub fn union(definitions: &Definitions, instances: &[&Running]) -> Option<String> {
    let mut sum = Readings::default();
    let mut as_of = None;
    for running in instances {
        let page = running.instance.published().page();
        let publication = page.publication.as_ref()?;
        as_of = as_of.max(Some(publication.as_of));
        sum.add(publication.readings.clone());
    }
    Some(gauges::cohort_page(definitions, &sum, as_of?))
}

/// How many partitions an instance says it has.
pub fn assigned(running: &Running) -> f64 {
    running.metric("churnwatch_partitions_assigned").unwrap_or(0.0)
}

#[test]
fn a_second_instance_takes_half_and_gives_it_back() {
    let mut fixture = Fixture::new(GROUPINGS);
    // The embedded broker gives members all but a second of the session to join again, and on a busy machine half a
    // second is too little: whoever is late loses its partitions, and what it had not saved is read again.
    let session = fixture.settings.kafka.librdkafka.iter_mut().find(|property| property.name == "session.timeout.ms");
    session.unwrap().value = "5000".to_owned();
    hand_over(&fixture.settings, &ending_together(20, 8_000), 3_000);
}

/// A second instance takes half of what the first has read up to `joins` of the events, and all of it in the end.
pub fn hand_over(settings: &Settings, all: &[LifecycleEvent], joins: usize) {
    let start = || Running::start(Options::new(settings));
    produce(settings, &all[..joins]);
    let definitions = settings.definitions();
    let first = start();
    first.await_page(&replayed(&definitions, &all[..joins]));

    let second = start();
    let half = f64::from(PARTITIONS) / 2.0;
    assert!(poll(|| assigned(&first) == half && assigned(&second) == half));
    produce(settings, &all[joins..]);
    let expected = replayed(&definitions, all);
    assert!(poll(|| union(&definitions, &[&first, &second]).as_deref() == Some(&*expected)));

    let summary = first.stop();
    second.await_page(&expected);
    assert_eq!(assigned(&second), f64::from(PARTITIONS));
    assert_eq!(summary.records + second.stop().records, all.len() as u64, "handed over without reading anything twice");
}

#[test]
fn a_third_instance_for_no_partition_stands_by() {
    let fixture = Fixture::new("");
    let all = events(22, 500);
    fixture.produce(&all);
    let mut instances: Vec<Running> = (0..PARTITIONS).map(|_| fixture.start()).collect();
    assert!(poll(|| instances.iter().all(|running| assigned(running) == 1.0)));
    instances.push(fixture.start());
    // Not always the last one: a machine so busy that a session ends has somebody else stand by.
    let is_idle = |running: &Running| {
        let published = running.instance.published();
        **published.readiness.load() == Readiness::Ready && assigned(running) == 0.0 && running.page().is_empty()
    };
    let at_work = |running: &&Running| assigned(running) == 1.0;
    assert!(poll(|| {
        instances.iter().filter(at_work).count() as i32 == PARTITIONS
            && instances.iter().filter(|running| is_idle(running)).count() == 1
    }));
    for running in instances {
        running.stop();
    }
}
