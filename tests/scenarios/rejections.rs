//! Every reason to refuse a record, one record each side of the line.

use churnwatch::decode::Refusal;
use churnwatch::event::{Ignored, Rejection};
use churnwatch::proto::{
    Activity, Changed, Ended, LifecycleEvent, Money, Renewed, Started, lifecycle_event::Event as Payload,
};
use churnwatch::shard::{HashKey, Outcome, Shard};
use churnwatch::time::Instant;
use pbjson_types::Timestamp;
use prost::Message;

use crate::model::generate::amount;
use crate::model::naive::judge;
use crate::model::subject::Subject;

const LATEST: Instant = Instant::from_millis(1_800_000_000_000);

fn activity() -> LifecycleEvent {
    LifecycleEvent {
        customer_id: "alice".to_owned(),
        event_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        event: Some(Payload::Activity(Activity {})),
        ..LifecycleEvent::default()
    }
}

fn at(seconds: i64, nanos: i32) -> LifecycleEvent {
    LifecycleEvent { event_time: Some(Timestamp { seconds, nanos }), ..activity() }
}

fn named(customer_id: &str) -> LifecycleEvent {
    LifecycleEvent { customer_id: customer_id.to_owned(), ..activity() }
}

fn saying(payload: impl Into<Option<Payload>>) -> LifecycleEvent {
    LifecycleEvent { event: payload.into(), ..activity() }
}

fn started(recurring_amount: Option<Money>) -> LifecycleEvent {
    saying(Payload::Started(Started { recurring_amount, ..Started::default() }))
}

fn changed(recurring_amount: Option<Money>) -> LifecycleEvent {
    saying(Payload::Changed(Changed { recurring_amount }))
}

/// What must become of a message, `None` for an event.
fn table() -> Vec<(&'static str, LifecycleEvent, Option<Refusal>)> {
    use Rejection::*;
    let rejected = |reason| Some(Refusal::Rejected(reason));
    let unknown_kind = Some(Refusal::Ignored(Ignored::UnknownKind));
    let out_of_range = rejected(EventTimeOutOfRange);
    let invalid_amount = rejected(InvalidAmount);
    vec![
        ("no customer", named(""), rejected(MissingCustomerId)),
        ("the longest customer id", named(&"x".repeat(256)), None),
        ("a byte more", named(&"x".repeat(257)), rejected(CustomerIdTooLong)),
        ("bytes, not characters", named(&"é".repeat(129)), rejected(CustomerIdTooLong)),
        ("no time", LifecycleEvent { event_time: None, ..activity() }, rejected(MissingEventTime)),
        ("the first instant", at(0, 0), None),
        ("a nanosecond before 1970", at(-1, 999_999_999), out_of_range),
        ("the same, not normal", at(0, -1), out_of_range),
        ("nanoseconds that lift it to 1970", at(-1, 1_000_000_000), None),
        ("before anything", at(i64::MIN, i32::MIN), out_of_range),
        ("after 9999", at(253_402_300_800, 0), out_of_range),
        ("after everything", at(i64::MAX, i32::MAX), out_of_range),
        ("as late as may be", at(1_800_000_000, 999_999), None),
        ("a millisecond later", at(1_800_000_000, 1_000_000), rejected(EventTimeInFuture)),
        ("the last instant there is", at(253_402_300_799, 999_999_999), rejected(EventTimeInFuture)),
        ("a negative amount", started(Some(amount("EUR", -1))), invalid_amount),
        ("the least amount", started(Some(amount("EUR", i64::MIN))), invalid_amount),
        ("an amount of nothing", started(Some(amount("EUR", 0))), None),
        ("the largest amount", changed(Some(amount("EUR", i64::MAX))), None),
        ("no amount where none is needed", started(None), None),
        ("no amount where one is", changed(None), invalid_amount),
        ("small letters", changed(Some(amount("eur", 1))), invalid_amount),
        ("no currency", changed(Some(amount("", 1))), invalid_amount),
        ("four letters", started(Some(amount("EURO", 1))), invalid_amount),
        ("three bytes that are no letters", started(Some(amount("€", 1))), invalid_amount),
        ("a currency nobody lists", started(Some(amount("QQQ", 1))), None),
        ("a kind of tomorrow", saying(None), unknown_kind),
        ("a reason of tomorrow", saying(Payload::Ended(Ended { reason: 77, effective_time: None })), None),
        ("a negative reason", saying(Payload::Ended(Ended { reason: -1, effective_time: None })), None),
        ("an end out of range", ended_at(i64::MAX), None),
        ("a term that ended before 1970", until(i64::MIN), None),
    ]
}

fn ended_at(seconds: i64) -> LifecycleEvent {
    saying(Payload::Ended(Ended { reason: 0, effective_time: Some(Timestamp { seconds, nanos: 0 }) }))
}

fn until(seconds: i64) -> LifecycleEvent {
    saying(Payload::Renewed(Renewed { term_end_time: Some(Timestamp { seconds, nanos: 0 }) }))
}

fn shard() -> Shard {
    let definitions = Subject::new(&super::script::defaults(), 1, [0; 16]).definitions().clone();
    Shard::new(definitions.into(), HashKey([0; 16]))
}

#[test]
fn the_naive_model_refuses_what_the_contract_does() {
    for (what, message, refusal) in table() {
        assert_eq!(judge(&message, Some(LATEST)).err(), refusal, "{what}");
    }
}

#[test]
fn the_core_refuses_and_counts_what_the_contract_does() {
    for (what, message, refusal) in table() {
        let bytes = message.encode_to_vec();
        for as_bytes in [true, false] {
            let mut shard = shard();
            let outcome = match as_bytes {
                true => shard.consume(Some(&bytes), Some(LATEST)),
                false => shard.consume_message(&message, Some(LATEST)),
            };
            let expected = match refusal {
                None => Outcome::Applied,
                Some(Refusal::Ignored(ignored)) => Outcome::Ignored(ignored),
                Some(Refusal::Rejected(rejection)) => Outcome::Rejected(rejection),
            };
            assert_eq!(outcome, expected, "{what}");
            let counts = shard.counts();
            let rejected = Rejection::ALL.map(|r| u64::from(refusal == Some(Refusal::Rejected(r))));
            let ignored = Ignored::ALL.map(|i| u64::from(refusal == Some(Refusal::Ignored(i))));
            assert_eq!((counts.rejected, counts.ignored), (rejected, ignored), "{what}");
            assert_eq!(counts.applied.iter().sum::<u64>() + counts.unchanged, u64::from(refusal.is_none()), "{what}");
        }
    }
}

#[test]
fn bytes_that_are_no_message_are_undecodable() {
    let whole = activity().encode_to_vec();
    let torn = &whole[..whole.len() - 1];
    for bytes in [torn, b"\xff", b"not protobuf", &[0x12, 0x02, 0xc3, 0x28]] {
        let mut shard = shard();
        assert_eq!(shard.consume(Some(bytes), None), Outcome::Rejected(Rejection::Undecodable), "{bytes:?}");
        assert_eq!(shard.counts().rejected[0], 1);
    }
}

#[test]
fn a_tombstone_is_ignored() {
    let mut shard = shard();
    assert_eq!(shard.consume(None, None), Outcome::Ignored(Ignored::Tombstone));
    assert_eq!(shard.counts().ignored, Ignored::ALL.map(|i| u64::from(i == Ignored::Tombstone)));
}

#[test]
fn an_empty_payload_is_an_event_of_no_kind() {
    let mut shard = shard();
    assert_eq!(shard.consume(Some(&[]), None), Outcome::Ignored(Ignored::UnknownKind));
}

#[test]
fn every_rejection_is_in_the_table() {
    let mut tried: Vec<_> = table().into_iter().filter_map(|(_, _, refusal)| refusal).collect();
    tried.push(Refusal::Rejected(Rejection::Undecodable));
    for rejection in Rejection::ALL {
        assert!(tried.contains(&Refusal::Rejected(rejection)), "{rejection:?}");
    }
}
