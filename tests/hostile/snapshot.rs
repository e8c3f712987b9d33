//! Damaged snapshots: as a disk damages them, and with checksums that match, as only somebody who wants to does.

use std::sync::Arc;

use churnwatch::cohort::{
    Definitions, Dimension, DimensionRef, DimensionValue, Grouping, Lifecycle, SignupPeriod, Window,
};
use churnwatch::shard::{HashKey, Shard};
use churnwatch::snapshot::{self, RestoreError};
use churnwatch::time::{Grid, Instant, Span};

use super::mutation::{Dice, mutate};
use super::{MUTATIONS, messages};
use crate::support::allocation::peak_bytes;

const MAGIC_BYTES: usize = 8;
const FRAME_HEAD_BYTES: usize = 8;

fn definitions() -> Arc<Definitions> {
    let dimension = |name: &str, value| Dimension { name: name.to_owned(), attribute: name.to_owned(), value };
    Arc::new(Definitions {
        grid: Grid::new(Span::HOUR).unwrap(),
        windows: vec![Window { label: "30d".to_owned(), length: Span::days(30) }],
        dimensions: vec![dimension("plan", DimensionValue::Window), dimension("region", DimensionValue::First)],
        groupings: vec![
            Grouping::default(),
            Grouping { by: vec![DimensionRef::Declared(0), DimensionRef::Declared(1)] },
            Grouping { by: vec![DimensionRef::Signup(SignupPeriod::Week)] },
        ],
        lifecycle: Lifecycle { inactivity_timeout: Some(Span::days(30)), grace_period: Span::DAY },
        zone: jiff::tz::TimeZone::UTC,
        complete_since: None,
        max_cohorts: 1_000,
    })
}

/// Snapshots of no customer, of a few, and of some whose early history is folded.
fn valid() -> Vec<Vec<u8>> {
    let mut shard = Shard::new(definitions(), HashKey([7; 16]));
    let mut snapshots = vec![bytes_of(&shard)];
    for day in 0..120_i64 {
        for (i, mut message) in messages().into_iter().enumerate() {
            message.customer_id = format!("customer-{}", (day + i as i64) % 7);
            message.subscription_id = if i % 2 == 0 { String::new() } else { format!("subscription-{}", day % 3) };
            message.event_time = Some(pbjson_types::Timestamp { seconds: 1_700_000_000 + 86_400 * day, nanos: 0 });
            message.attributes.insert("plan".to_owned(), format!("plan {}", day % 5));
            shard.consume_message(&message, None);
        }
        if day == 10 {
            snapshots.push(bytes_of(&shard));
        }
    }
    snapshots.push(bytes_of(&shard));
    let as_of = Instant::from_millis((1_700_000_000 + 86_400 * 120) * 1_000);
    shard.fold_before_windows_of(as_of);
    shard.advance(as_of);
    snapshots.push(bytes_of(&shard));
    snapshots
}

fn bytes_of(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    snapshot::write(shard, "customer-lifecycle", 3, &mut bytes).unwrap();
    bytes
}

fn payloads(snapshot: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &snapshot[MAGIC_BYTES..];
    let mut payloads = Vec::new();
    while let Some(length) = rest.first_chunk() {
        let (frame, after) = rest.split_at(FRAME_HEAD_BYTES + u32::from_le_bytes(*length) as usize);
        payloads.push(frame[FRAME_HEAD_BYTES..].to_vec());
        rest = after;
    }
    payloads
}

fn seal(snapshot: &[u8], payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut sealed = snapshot[..MAGIC_BYTES].to_vec();
    for payload in payloads {
        sealed.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        sealed.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        sealed.extend_from_slice(payload);
    }
    sealed
}

/// Reads it within bounds; what is restored goes on living, and is restored again alike.
fn restore(bytes: &[u8]) -> Result<(), RestoreError> {
    // An empty shard costs some kilobytes; a customer takes 17 bytes in a snapshot at least, and some hundred in
    // memory with its part in the index.
    let (restored, peak) = peak_bytes(|| snapshot::read(&mut &*bytes, definitions()));
    assert!(peak <= (128 << 10) + 64 * bytes.len(), "{peak} bytes for {}", bytes.len());
    let (header, mut shard) = restored?;
    assert_eq!(header.customers, shard.tracked_customers() as u64);

    let again = bytes_of(&shard);
    let (_, twice) = snapshot::read(&mut again.as_slice(), definitions()).expect("what was written is read");
    assert!(bytes_of(&twice) == again, "restored from its own snapshot, it is another");

    let ((), peak) = peak_bytes(|| {
        shard.advance(Instant::from_millis(1_720_000_000_000));
        shard.readings();
    });
    assert!(peak <= (1 << 20) + 4_096 * bytes.len(), "{peak} bytes of tallies for {}", bytes.len());
    Ok(())
}

#[test]
fn the_valid_ones_are_restored() {
    let valid = valid();
    assert!(valid.iter().all(|bytes| payloads(bytes).len() <= 3 && seal(bytes, &payloads(bytes)) == *bytes));
    for bytes in &valid {
        restore(bytes).unwrap();
    }
}

#[test]
fn a_damaged_snapshot_is_never_restored() {
    let valid = valid();
    let mut dice = Dice(4);
    for i in 0..MUTATIONS {
        let damaged = mutate(&mut dice, &valid);
        if !valid.contains(&damaged) {
            let (result, peak) = peak_bytes(|| snapshot::read(&mut damaged.as_slice(), definitions()).map(|_| ()));
            assert!(matches!(result, Err(RestoreError::Damaged(_))), "mutation {i}: {result:?}");
            assert!(peak <= (128 << 10) + 64 * damaged.len(), "mutation {i}: {peak} bytes for {}", damaged.len());
        }
    }
}

#[test]
fn a_forged_snapshot_is_restored_or_refused_within_bounds() {
    let valid = valid();
    let mut dice = Dice(5);
    let (mut restored, mut damaged) = (0, 0);
    for _ in 0..MUTATIONS {
        let genuine = &valid[dice.below(valid.len())];
        let mut payloads = payloads(genuine);
        let i = dice.below(payloads.len());
        payloads[i] = mutate(&mut dice, std::slice::from_ref(&payloads[i]));
        match restore(&seal(genuine, &payloads)) {
            Ok(()) => restored += 1,
            Err(RestoreError::Damaged(what)) if !what.is_empty() => damaged += 1,
            Err(RestoreError::Version(_) | RestoreError::Settings { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(restored > MUTATIONS / 100 && damaged > MUTATIONS / 5, "{restored} restored, {damaged} damaged");
}
