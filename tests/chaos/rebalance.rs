//! How long the gauges are incomplete after one of three instances was killed: `make rebalance`.

use std::time::Instant as Moment;

use super::numbers::value;
use super::world::{Scale, World};

/// How many customers there are, in 12 partitions.
const CUSTOMERS: [usize; 2] = [100_000, 1_000_000];

#[test]
#[ignore = "a measurement, not a check: make rebalance"]
fn of_one_killed_instance_of_three() {
    println!(
        "| customers | customers moved | numbers whole again after | of which until the partitions are assigned |"
    );
    println!("|---|---|---|---|");
    for customers in CUSTOMERS {
        let scale = Scale { partitions: 12, instances: 3, customers, events_per_part: customers, long: false };
        let mut world = World::new(1, scale, None);
        let begun = world.write_customers();
        assert_eq!(world.await_right_numbers(begun).wrong, None);
        // Every snapshot covers everything then.
        world.await_snapshots();
        let page = world.fleet.processes[0].metrics().unwrap();
        let moved = value(&page, "churnwatch_tracked_customers").unwrap();

        let killed = Moment::now();
        world.fleet.kill(0);
        let assigned = world.await_assigned(killed);
        let outcome = world.await_right_numbers(killed);
        assert_eq!(outcome.wrong, None);
        let (whole, assigned) = (outcome.took.as_secs_f64(), assigned.as_secs_f64());
        println!("| {customers} | {moved} | {whole:.1} s | {assigned:.1} s |");
    }
    println!("session.timeout.ms = {}", super::world::SESSION.as_millis());
}
