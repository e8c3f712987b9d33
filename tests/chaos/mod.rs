//! Everything fails at some time, and no number changes: processes, brokers, connections, snapshots and disks, in an
//! order that a seed decides, while a known log is written. After each fault the sum over all instances is compared
//! with one shard that has read the same log, and at the end with `replay`.
//!
//! `CHURNWATCH_SEED` repeats a run, `CHURNWATCH_CHAOS_FAULTS` and `CHURNWATCH_CHAOS_EVENTS` set how long it is;
//! `make chaos` runs the long form.

use std::time::Duration;

use self::fault::{Fault, Undo};
use self::table::Table;
use self::world::{Scale, World};
use crate::store::moto::Moto;
use crate::support::apache_kafka;

mod fault;
mod fleet;
mod log;
mod numbers;
mod rebalance;
mod store;
mod table;
mod world;

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

#[test]
fn no_fault_changes_a_number() {
    if apache_kafka::available("chaos::no_fault_changes_a_number") {
        run(None, 60_000);
    }
}

#[test]
fn no_fault_changes_a_number_with_snapshots_in_a_bucket() {
    let test = "chaos::no_fault_changes_a_number_with_snapshots_in_a_bucket";
    if !apache_kafka::available(test) {
        return;
    }
    let Some(server) = Moto::start(test) else { return };
    run(Some(server), 20_000);
}

/// A run, of so many events in the short form.
fn run(bucket: Option<Moto>, events: usize) {
    let seed =
        from_environment("CHURNWATCH_SEED").unwrap_or_else(|| churnwatch::run::wall_clock().as_millis().unsigned_abs());
    let asked: Option<usize> = from_environment("CHURNWATCH_CHAOS_FAULTS");
    let faults = asked.unwrap_or(Fault::short(bucket.is_some()));
    let events = from_environment("CHURNWATCH_CHAOS_EVENTS").unwrap_or(events);
    println!("CHURNWATCH_SEED={seed}, {faults} faults, {events} events");

    let mut world = World::new(seed, Scale::of(faults, events, asked.is_some()), bucket);
    let mut table = Table::new(seed);
    let begun = world.write_part(|_| {});
    assert_eq!(world.await_right_numbers(begun).wrong, None);
    for number in 0..faults {
        let chosen = world.choose(number, faults);
        let begun = world.write_part(|world| {
            let undo: Vec<Undo> = chosen.iter().map(|fault| fault.begin(world)).collect();
            hold(chosen.iter().map(|fault| fault.length()).max().unwrap_or_default());
            undo.into_iter().rev().for_each(|undo| undo.apply(world));
        });
        let outcome = world.await_right_numbers(begun);
        println!("{number}: {chosen:?}: {:.1} s", outcome.took.as_secs_f64());
        table.add(&chosen, &outcome, world.fleet.take_exits());
        if let Some(wrong) = outcome.wrong {
            panic!("{table}\n\nCHURNWATCH_SEED={seed}, fault {number}: {chosen:?}\n{wrong}");
        }
    }
    println!("{table}");
    world.compare_with_replay();
    world.fleet.end();
}

/// How long a fault is given to do harm.
fn hold(time: Duration) {
    let end = std::time::Instant::now() + time;
    while let Some(left) = end.checked_duration_since(std::time::Instant::now()) {
        std::thread::park_timeout(left);
    }
}
