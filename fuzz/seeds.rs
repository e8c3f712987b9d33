//! Writes what the fuzzers start from: an event of each kind, and snapshots of a few customers.

mod definitions;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use churnwatch::proto::{Activity, Changed, Ended, LifecycleEvent, Money, Renewed, Started, lifecycle_event::Event};
use churnwatch::shard::{HashKey, Shard};
use churnwatch::snapshot;
use pbjson_types::Timestamp;
use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let mut shard = Shard::new(Arc::new(definitions::definitions()), HashKey([7; 16]));
    for (i, message) in messages().iter().enumerate() {
        write("decode", i, &message.encode_to_vec())?;
        write("decode", i + 100, &[&b"\x00\x00\x00\x00\x07\x02\x00"[..], &message.encode_to_vec()].concat())?;
        write("json", i, &serde_json::to_vec(message)?)?;
        shard.consume_message(message, None);
        let mut bytes = Vec::new();
        snapshot::write(&shard, "topic", 0, &mut bytes)?;
        write("snapshot", i, &bytes)?;
    }
    Ok(())
}

fn write(target: &str, number: usize, content: &[u8]) -> Result<(), Box<dyn Error>> {
    let directory: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&directory)?;
    Ok(fs::write(directory.join(format!("seed-{number}")), content)?)
}

fn messages() -> Vec<LifecycleEvent> {
    let time = |day: i64| Some(Timestamp { seconds: 1_700_000_000 + 86_400 * day, nanos: 123_456_789 });
    let money = Some(Money { currency_code: "EUR".to_owned(), minor_units: 1_990 });
    let events = [
        Event::Started(Started { recurring_amount: money.clone(), term_end_time: time(30), trial: false }),
        Event::Renewed(Renewed { term_end_time: time(60) }),
        Event::Changed(Changed { recurring_amount: money }),
        Event::Activity(Activity {}),
        Event::Ended(Ended { reason: 6, effective_time: time(90) }),
    ];
    let message = |(i, event)| LifecycleEvent {
        event_id: "e".to_owned(),
        customer_id: format!("c{}", i / 4),
        event_time: time(i as i64),
        subscription_id: if i == 3 { "s".to_owned() } else { String::new() },
        sequence: i as u64,
        attributes: [("plan".to_owned(), format!("p{i}"))].into(),
        event: Some(event),
    };
    events.into_iter().enumerate().map(message).collect()
}
