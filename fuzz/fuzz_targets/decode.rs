//! Any bytes as a record's value in each framing, and what is accepted keeps what an event promises.

#![no_main]

use churnwatch::decode::{Decoder, MAX_CUSTOMER_ID_BYTES};
use churnwatch::event::Kind;
use churnwatch::framing::Framing;
use churnwatch::time::Instant;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    for framing in [Framing::Detect, Framing::Bare, Framing::Confluent] {
        for in_header in [false, true] {
            let Ok(message) = framing.message(value, || in_header) else { continue };
            assert!(value.ends_with(message));
            judge(message);
        }
    }
});

fn judge(payload: &[u8]) {
    let mut decoder = Decoder::default();
    let Ok(event) = decoder.decode(Some(payload), None) else { return };
    let range = Instant::EARLIEST_EVENT..=Instant::LATEST_EVENT;
    assert!((1..=MAX_CUSTOMER_ID_BYTES).contains(&event.customer_id.len()));
    assert!(range.contains(&event.time));
    match event.kind {
        Kind::Started { amount, term_end, .. } => {
            assert!(amount.is_none_or(|amount| amount.minor_units >= 0));
            assert!(term_end.is_none_or(|end| range.contains(&end)));
        }
        Kind::Renewed { term_end } => assert!(term_end.is_none_or(|end| range.contains(&end))),
        Kind::Changed { amount } => assert!(amount.minor_units >= 0),
        Kind::Ended { effective, .. } => assert!(effective >= event.time && range.contains(&effective)),
        Kind::Activity => {}
    }
}
