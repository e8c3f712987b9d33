//! Damaged input never panics and never takes more memory than its size justifies: thousands of the same
//! mutations of valid bytes at every run. `fuzz/` looks further.

mod mutation;
mod snapshot;

use std::io::Write as _;

use churnwatch::decode::{Decoder, Refusal};
use churnwatch::event::Rejection;
use churnwatch::framing::Framing;
use churnwatch::input::{EventReader, Format, from_json};
use churnwatch::proto::{Activity, Changed, Ended, LifecycleEvent, Money, Renewed, Started, lifecycle_event::Event};
use pbjson_types::Timestamp;
use prost::Message;

use crate::support::allocation::peak_bytes;
use mutation::{Dice, mutate};

const MUTATIONS: usize = 20_000;

/// One message of each kind, with every field set, and one of each with none.
fn messages() -> Vec<LifecycleEvent> {
    let time = |seconds| Some(Timestamp { seconds, nanos: 123_456_789 });
    let money = Some(Money { currency_code: "EUR".to_owned(), minor_units: 1_990 });
    let full = [
        Event::Started(Started { recurring_amount: money.clone(), term_end_time: time(1_800_000_000), trial: true }),
        Event::Renewed(Renewed { term_end_time: time(1_800_000_000) }),
        Event::Changed(Changed { recurring_amount: money }),
        Event::Activity(Activity {}),
        Event::Ended(Ended { reason: 6, effective_time: time(1_800_000_000) }),
    ];
    let empty = [
        Event::Started(Started::default()),
        Event::Renewed(Renewed::default()),
        Event::Changed(Changed::default()),
        Event::Activity(Activity {}),
        Event::Ended(Ended::default()),
    ];
    let attributes = ["plan", "region", "channel"].map(|name| (name.to_owned(), format!("{name} value")));
    let full = full.into_iter().enumerate().map(|(i, event)| LifecycleEvent {
        event_id: format!("event-{i}"),
        customer_id: "customer-1".to_owned(),
        event_time: time(1_700_000_000),
        subscription_id: "subscription-1".to_owned(),
        sequence: u64::MAX - i as u64,
        attributes: attributes.clone().into(),
        event: Some(event),
    });
    let empty = empty.into_iter().map(|event| LifecycleEvent { event: Some(event), ..Default::default() });
    full.chain(empty).collect()
}

#[test]
fn damaged_payloads_are_decoded_or_refused_within_bounds() {
    let valid: Vec<_> = messages().iter().map(Message::encode_to_vec).collect();
    let mut dice = Dice(1);
    let (mut accepted, mut undecodable) = (0, 0);
    for i in 0..MUTATIONS {
        let payload = mutate(&mut dice, &valid);
        // A fresh decoder, since a used one keeps its buffers.
        let mut decoder = Decoder::default();
        let (result, peak) = peak_bytes(|| decoder.decode(Some(&payload), None).map(|_| ()));
        assert!(peak <= decoding_limit(&payload), "mutation {i}: {peak} bytes for {}", payload.len());
        match result {
            Ok(()) => accepted += 1,
            Err(Refusal::Rejected(Rejection::Undecodable)) => undecodable += 1,
            Err(_) => {}
        }
    }
    // Else the mutations would show nothing.
    assert!(accepted > MUTATIONS / 50 && undecodable > MUTATIONS / 5, "{accepted} accepted, {undecodable} undecodable");
}

#[test]
fn damaged_frames_hold_a_message_or_none() {
    let prefixes = [&b"\x00\x00\x00\x00\x07\x00"[..], b"\x00\x00\x00\x00\x07\x02\x00", b"\x00\xff\xff\xff\xff\x01\x00"];
    let frame = |(i, message): (usize, LifecycleEvent)| [prefixes[i % 3], &message.encode_to_vec()].concat();
    let valid: Vec<_> = messages().into_iter().enumerate().map(frame).collect();
    let mut dice = Dice(4);
    let (mut accepted, mut unframed) = (0, 0);
    for i in 0..MUTATIONS {
        let value = mutate(&mut dice, &valid);
        for framing in [Framing::Detect, Framing::Confluent, Framing::Bare] {
            let mut decoder = Decoder::default();
            let (found, peak) = peak_bytes(|| framing.message(&value, || i % 2 == 0).ok());
            assert_eq!(peak, 0, "mutation {i}");
            match found {
                Some(message) => accepted += usize::from(decoder.decode(Some(message), None).is_ok()),
                None => unframed += 1,
            }
        }
    }
    assert!(accepted > MUTATIONS / 50 && unframed > MUTATIONS / 50, "{accepted} accepted, {unframed} unframed");
}

/// A map's entry takes five bytes on the wire at least, and some hundred in memory.
fn decoding_limit(payload: &[u8]) -> usize {
    4_096 + 40 * payload.len()
}

#[test]
fn many_tiny_attributes_stay_within_the_bounds() {
    let attributes = (0..20_000_u32).map(|i| (char::from_u32(0x100 + i).unwrap_or('x').to_string(), String::new()));
    let message = LifecycleEvent { attributes: attributes.collect(), ..messages().remove(0) };
    let payload = message.encode_to_vec();
    let mut decoder = Decoder::default();
    let (result, peak) = peak_bytes(|| decoder.decode(Some(&payload), None));
    assert_eq!(result.map(|event| event.attributes.to_map().len()), Ok(message.attributes.len()));
    assert!(peak <= decoding_limit(&payload), "{peak} bytes for {}", payload.len());
}

#[test]
fn damaged_lines_of_json_are_read_or_refused_within_bounds() {
    let valid: Vec<_> = messages().iter().map(|message| serde_json::to_vec(message).unwrap()).collect();
    let mut dice = Dice(2);
    let (mut read, mut refused) = (0, 0);
    for i in 0..MUTATIONS {
        let line = mutate(&mut dice, &valid);
        let (result, peak) = peak_bytes(|| from_json(&line));
        assert!(peak <= 8_192 + 100 * line.len(), "mutation {i}: {peak} bytes for {}", line.len());
        match result {
            Ok(_) => read += 1,
            Err(reason) => {
                assert!(!reason.is_empty());
                refused += 1;
            }
        }
    }
    assert!(read > MUTATIONS / 100 && refused > MUTATIONS / 5, "{read} read, {refused} refused");
}

#[test]
fn damaged_files_are_read_to_their_end_within_bounds() {
    let delimited: Vec<u8> = messages().iter().flat_map(Message::encode_length_delimited_to_vec).collect();
    let lines: Vec<u8> =
        messages().iter().flat_map(|m| [serde_json::to_vec(m).unwrap(), b"\n".to_vec()].concat()).collect();
    for (format, valid) in [(Format::Protobuf, delimited), (Format::Jsonl, lines)] {
        let mut dice = Dice(3);
        let (mut read, mut unreadable) = (0, 0);
        for i in 0..500 {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&mutate(&mut dice, std::slice::from_ref(&valid))).unwrap();
            let paths = vec![file.path().to_owned()];
            let (reader, peak) = peak_bytes(|| {
                let mut reader = EventReader::new(paths, Some(format)).unwrap();
                while let Some(item) = reader.next_item().unwrap() {
                    *if item.content.is_ok() { &mut read } else { &mut unreadable } += 1;
                }
                reader
            });
            // A read buffer, and no more than the file's size justifies: not the 64 MiB that a length may promise.
            assert!(peak <= (512 << 10) + 100 * valid.len(), "{format:?} {i}: {peak} bytes");
            assert!(reader.read_bytes() <= reader.total_bytes().unwrap());
        }
        assert!(read > 500 && unreadable > 100, "{format:?}: {read} read, {unreadable} unreadable");
    }
}
