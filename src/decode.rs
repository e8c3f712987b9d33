//! Bytes to a validated [`Event`]: the only place that judges input.
//!
//! Nothing here can panic or allocate more than in proportion to the payload, whatever its bytes.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]

mod wire;

use pbjson_types::Timestamp;
use prost::Message;

use crate::event::{Attributes, Currency, EndReason, Event, Ignored, Kind, Money, Rejection};
use crate::proto::{self, LifecycleEvent, lifecycle_event};
use crate::time::Instant;

/// The longest `customer_id`, in bytes.
pub const MAX_CUSTOMER_ID_BYTES: usize = 256;

/// Why there is no event in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Ignored(Ignored),
    Rejected(Rejection),
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// Decodes records one after the other into the same buffers.
#[derive(Default)]
pub struct Decoder {
    message: LifecycleEvent,
}

impl Decoder {
    /// The event in a payload. `None` is a tombstone; an event later than `latest_event_time` is rejected.
    pub fn decode<'a>(
        &'a mut self,
        payload: Option<&'a [u8]>,
        latest_event_time: Option<Instant>,
    ) -> Result<Event<'a>, Refusal> {
        let mut event = None;
        read_in_place(payload, latest_event_time, &mut event);
        if let Some(event) = event {
            return event;
        }
        let payload = payload.unwrap_or_default();
        self.message.clear();
        self.message.merge(payload).map_err(|_| Rejection::Undecodable)?;
        validate(&self.message, latest_event_time)
    }
}

/// The event in a payload (`None`: a tombstone) that can be read without a buffer; `None` needs a [`Decoder`].
///
/// It is written where it is to be: an event is long enough for a copy to cost.
pub(crate) fn read_in_place<'a>(
    payload: Option<&'a [u8]>,
    latest_event_time: Option<Instant>,
    event: &mut Option<Result<Event<'a>, Refusal>>,
) {
    *event = match payload {
        Some(payload) => wire::read(payload).map(|said| judge(said, latest_event_time)),
        None => Some(Err(Refusal::Ignored(Ignored::Tombstone))),
    };
}

/// The event in a message, checked in the order of [`Rejection::ALL`].
pub fn validate(message: &LifecycleEvent, latest_event_time: Option<Instant>) -> Result<Event<'_>, Refusal> {
    judge(Said::of(message), latest_event_time)
}

/// What a message says, borrowed from it or from its bytes, before anybody has judged it.
#[derive(Default)]
struct Said<'a> {
    customer_id: &'a [u8],
    subscription_id: &'a [u8],
    time: Option<Instant>,
    sequence: u64,
    attributes: Attributes<'a>,
    content: Option<Content<'a>>,
}

enum Content<'a> {
    Started { amount: Option<Amount<'a>>, term_end: Option<Instant>, trial: bool },
    Renewed { term_end: Option<Instant> },
    Changed { amount: Option<Amount<'a>> },
    Activity,
    Ended { reason: i32, effective: Option<Instant> },
}

#[derive(Clone, Copy)]
struct Amount<'a> {
    code: &'a str,
    minor_units: i64,
}

impl<'a> Said<'a> {
    fn of(message: &'a LifecycleEvent) -> Self {
        use lifecycle_event::Event::{Activity, Changed, Ended, Renewed, Started};

        fn instant(timestamp: &Timestamp) -> Instant {
            to_instant(timestamp.seconds, timestamp.nanos)
        }
        fn amount(money: &proto::Money) -> Amount<'_> {
            Amount { code: &money.currency_code, minor_units: money.minor_units }
        }
        let content = message.event.as_ref().map(|content| match content {
            Started(started) => Content::Started {
                amount: started.recurring_amount.as_ref().map(amount),
                term_end: started.term_end_time.as_ref().map(instant),
                trial: started.trial,
            },
            Renewed(renewed) => Content::Renewed { term_end: renewed.term_end_time.as_ref().map(instant) },
            Changed(changed) => Content::Changed { amount: changed.recurring_amount.as_ref().map(amount) },
            Activity(proto::Activity {}) => Content::Activity,
            Ended(ended) => {
                Content::Ended { reason: ended.reason, effective: ended.effective_time.as_ref().map(instant) }
            }
        });
        Self {
            customer_id: message.customer_id.as_bytes(),
            subscription_id: message.subscription_id.as_bytes(),
            time: message.event_time.as_ref().map(instant),
            sequence: message.sequence,
            attributes: Attributes::of(&message.attributes),
            content,
        }
    }
}

#[inline(always)]
fn judge(said: Said<'_>, latest_event_time: Option<Instant>) -> Result<Event<'_>, Refusal> {
    // Before every rejection: a newer producer's kind is not at fault, whatever else the message lacks.
    let content = said.content.ok_or(Refusal::Ignored(Ignored::UnknownKind))?;

    if said.customer_id.is_empty() {
        return Err(Rejection::MissingCustomerId.into());
    }
    if said.customer_id.len() > MAX_CUSTOMER_ID_BYTES {
        return Err(Rejection::CustomerIdTooLong.into());
    }
    let time = said.time.ok_or(Rejection::MissingEventTime)?;
    if time != into_range(time) {
        return Err(Rejection::EventTimeOutOfRange.into());
    }
    if latest_event_time.is_some_and(|latest| time > latest) {
        return Err(Rejection::EventTimeInFuture.into());
    }
    Ok(Event {
        customer_id: said.customer_id,
        subscription_id: said.subscription_id,
        time,
        sequence: said.sequence,
        attributes: said.attributes,
        kind: to_kind(content, time)?,
    })
}

#[inline(always)]
fn to_kind(content: Content<'_>, time: Instant) -> Result<Kind, Rejection> {
    Ok(match content {
        Content::Started { amount, term_end, trial } => {
            Kind::Started { amount: amount.map(to_money).transpose()?, term_end: term_end.map(into_range), trial }
        }
        Content::Renewed { term_end } => Kind::Renewed { term_end: term_end.map(into_range) },
        Content::Changed { amount } => Kind::Changed { amount: to_money(amount.ok_or(Rejection::InvalidAmount)?)? },
        Content::Activity => Kind::Activity,
        Content::Ended { reason, effective } => Kind::Ended {
            effective: effective.map_or(time, |t| into_range(t).max(time)),
            reason: EndReason::from_number(reason),
        },
    })
}

fn to_money(amount: Amount<'_>) -> Result<Money, Rejection> {
    let currency = Currency::from_code(amount.code).ok_or(Rejection::InvalidAmount)?;
    if amount.minor_units < 0 {
        return Err(Rejection::InvalidAmount);
    }
    Ok(Money { minor_units: amount.minor_units, currency })
}

/// Whole milliseconds, rounded down. Nanoseconds outside 0..=999,999,999 carry over; what does not fit saturates,
/// far outside the range of event times.
#[inline(always)]
fn to_instant(seconds: i64, nanos: i32) -> Instant {
    let ms = i64::from(nanos.div_euclid(1_000_000));
    Instant::from_millis(seconds.saturating_mul(1_000).saturating_add(ms))
}

fn into_range(instant: Instant) -> Instant {
    instant.clamp(Instant::EARLIEST_EVENT, Instant::LATEST_EVENT)
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that fails says where"
)]
mod tests {
    use lifecycle_event::Event as Content;
    use proptest::prelude::*;

    use super::*;

    const LATEST_SECONDS: i64 = 253_402_300_799;

    fn message(content: Content) -> LifecycleEvent {
        LifecycleEvent {
            customer_id: "c-1".to_owned(),
            event_time: Some(Timestamp { seconds: 1_000, nanos: 0 }),
            event: Some(content),
            ..Default::default()
        }
    }

    fn activity() -> LifecycleEvent {
        message(Content::Activity(proto::Activity {}))
    }

    fn at(seconds: i64, nanos: i32) -> LifecycleEvent {
        LifecycleEvent { event_time: Some(Timestamp { seconds, nanos }), ..activity() }
    }

    fn money(code: &str, minor_units: i64) -> Option<proto::Money> {
        Some(proto::Money { currency_code: code.to_owned(), minor_units })
    }

    fn rejection(message: &LifecycleEvent) -> Option<Rejection> {
        match validate(message, None) {
            Ok(_) => None,
            Err(Refusal::Rejected(rejection)) => Some(rejection),
            Err(Refusal::Ignored(ignored)) => panic!("ignored: {ignored:?}"),
        }
    }

    fn kind(content: Content) -> Kind {
        validate(&message(content), None).unwrap().kind
    }

    #[test]
    fn a_tombstone_and_an_unknown_kind_are_ignored_whatever_else_is_wrong() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(None, None), Err(Refusal::Ignored(Ignored::Tombstone)));
        assert_eq!(decoder.decode(Some(b""), None), Err(Refusal::Ignored(Ignored::UnknownKind)));
        // Field 15, reserved for kinds to come, holding a message of two bytes; no customer, no time.
        assert_eq!(decoder.decode(Some(b"\x7a\x02\x08\x01"), None), Err(Refusal::Ignored(Ignored::UnknownKind)));
    }

    #[test]
    fn bytes_that_are_no_message_are_undecodable() {
        let mut decoder = Decoder::default();
        let valid = activity().encode_to_vec();
        let torn = &valid[..valid.len() - 1];
        for bytes in [b"\xff".as_slice(), b"{\"customerId\":\"c-1\"}", b"\x12\x02\xff\xfe", torn] {
            let refusal = decoder.decode(Some(bytes), None).unwrap_err();
            assert_eq!(refusal, Refusal::Rejected(Rejection::Undecodable), "{bytes:?}");
        }
    }

    #[test]
    fn nothing_of_one_record_is_left_for_the_next() {
        let mut decoder = Decoder::default();
        let mut full = activity();
        full.subscription_id = "s".to_owned();
        full.sequence = 9;
        full.attributes.insert("plan".to_owned(), "pro".to_owned());
        decoder.decode(Some(&full.encode_to_vec()), None).unwrap();
        // Torn after its customer and subscription were read.
        decoder.decode(Some(b"\x12\x01x\x22\x01y\xff"), None).unwrap_err();

        let next = activity().encode_to_vec();
        let event = decoder.decode(Some(&next), None).unwrap();
        assert_eq!((event.customer_id, event.subscription_id, event.sequence), (&b"c-1"[..], &b""[..], 0));
        assert!(event.attributes.is_empty());
    }

    #[test]
    fn the_customer_id_has_1_to_256_bytes() {
        let with_id = |id: String| rejection(&LifecycleEvent { customer_id: id, ..activity() });
        assert_eq!(with_id(String::new()), Some(Rejection::MissingCustomerId));
        assert_eq!(with_id("x".to_owned()), None);
        assert_eq!(with_id("x".repeat(256)), None);
        assert_eq!(with_id("x".repeat(257)), Some(Rejection::CustomerIdTooLong));
        assert_eq!(with_id("é".repeat(128)), None);
        assert_eq!(with_id("é".repeat(129)), Some(Rejection::CustomerIdTooLong));
    }

    #[test]
    fn the_event_time_is_from_1970_to_9999() {
        assert_eq!(rejection(&LifecycleEvent { event_time: None, ..activity() }), Some(Rejection::MissingEventTime));
        for (seconds, nanos, accepted) in [
            (0, 0, true),
            (0, -1, false),
            (-1, 999_999_999, false),
            (-1, 1_000_000_000, true),
            (LATEST_SECONDS, 999_999_999, true),
            (LATEST_SECONDS, 1_000_000_000, false),
            (LATEST_SECONDS + 1, -1, true),
            (LATEST_SECONDS + 1, 0, false),
            (i64::MIN, i32::MIN, false),
            (i64::MIN, i32::MAX, false),
            (i64::MAX, i32::MIN, false),
            (i64::MAX, i32::MAX, false),
        ] {
            let expected = (!accepted).then_some(Rejection::EventTimeOutOfRange);
            assert_eq!(rejection(&at(seconds, nanos)), expected, "{seconds} s {nanos} ns");
        }
    }

    #[test]
    fn the_event_time_is_rounded_down_to_milliseconds() {
        for (seconds, nanos, ms) in [
            (1, 0, 1_000),
            (1, 999_999, 1_000),
            (1, 1_000_000, 1_001),
            (1, 999_999_999, 1_999),
            (1, 2_000_000_000, 3_000),
            (1, -1, 999),
            (1, -1_000_000, 999),
            (1, -1_000_001, 998),
        ] {
            let time = validate(&at(seconds, nanos), None).unwrap().time;
            assert_eq!(time.as_millis(), ms, "{seconds} s {nanos} ns");
        }
    }

    #[test]
    fn an_event_may_be_as_late_as_the_latest_event_time() {
        let latest = Instant::from_millis(1_000_000);
        assert!(validate(&at(1_000, 999_999), Some(latest)).is_ok());
        assert_eq!(validate(&at(1_000, 1_000_000), Some(latest)), Err(Refusal::Rejected(Rejection::EventTimeInFuture)));
    }

    #[test]
    fn amounts_are_of_a_currency_and_not_negative() {
        let started =
            |amount| message(Content::Started(proto::Started { recurring_amount: amount, ..Default::default() }));
        let changed = |amount| message(Content::Changed(proto::Changed { recurring_amount: amount }));
        assert_eq!(rejection(&started(None)), None);
        assert_eq!(rejection(&changed(None)), Some(Rejection::InvalidAmount));
        for (code, minor_units, accepted) in [
            ("EUR", 0, true),
            ("QQQ", i64::MAX, true),
            ("EUR", -1, false),
            ("EUR", i64::MIN, false),
            ("", 0, false),
            ("eur", 1, false),
            ("EURO", 1, false),
            ("E1R", 1, false),
            ("€", 1, false),
        ] {
            let expected = (!accepted).then_some(Rejection::InvalidAmount);
            assert_eq!(rejection(&started(money(code, minor_units))), expected, "{code} {minor_units}");
            assert_eq!(rejection(&changed(money(code, minor_units))), expected, "{code} {minor_units}");
        }
    }

    #[test]
    fn rejections_are_checked_in_the_order_of_their_list() {
        // Everything is wrong with it; then one thing after the other is put right.
        let mut broken = message(Content::Changed(proto::Changed { recurring_amount: money("eur", -1) }));
        broken.customer_id = String::new();
        broken.event_time = None;
        let repairs: [fn(&mut LifecycleEvent); 5] = [
            |m| m.customer_id = "x".repeat(300),
            |m| m.customer_id = "x".to_owned(),
            |m| m.event_time = Some(Timestamp { seconds: -1, nanos: 0 }),
            |m| m.event_time = Some(Timestamp { seconds: 2_000, nanos: 0 }),
            |m| m.event_time = Some(Timestamp { seconds: 1, nanos: 0 }),
        ];
        let latest = Some(Instant::from_millis(1_000_000));
        let mut found = vec![validate(&broken, latest).unwrap_err()];
        for repair in repairs {
            repair(&mut broken);
            found.push(validate(&broken, latest).unwrap_err());
        }
        let expected: Vec<_> = Rejection::ALL.into_iter().skip(1).map(Refusal::Rejected).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_kind_carries_what_it_says() {
        let term_end = Some(Timestamp { seconds: 5_000, nanos: 1_999_999 });
        let euros = Money { minor_units: 1_990, currency: Currency::from_code("EUR").unwrap() };
        assert_eq!(
            kind(Content::Started(proto::Started {
                recurring_amount: money("EUR", 1_990),
                term_end_time: term_end,
                trial: true
            })),
            Kind::Started { amount: Some(euros), term_end: Some(Instant::from_millis(5_000_001)), trial: true }
        );
        assert_eq!(
            kind(Content::Renewed(proto::Renewed { term_end_time: term_end })),
            Kind::Renewed { term_end: Some(Instant::from_millis(5_000_001)) }
        );
        assert_eq!(
            kind(Content::Changed(proto::Changed { recurring_amount: money("EUR", 1_990) })),
            Kind::Changed { amount: euros }
        );
        assert_eq!(kind(Content::Activity(proto::Activity {})), Kind::Activity);
    }

    #[test]
    fn a_term_end_outside_the_range_stands_at_its_edge() {
        for (seconds, expected) in [(i64::MIN, Instant::EARLIEST_EVENT), (i64::MAX, Instant::LATEST_EVENT)] {
            let renewed = proto::Renewed { term_end_time: Some(Timestamp { seconds, nanos: 0 }) };
            assert_eq!(kind(Content::Renewed(renewed)), Kind::Renewed { term_end: Some(expected) });
        }
    }

    #[test]
    fn an_ending_stands_at_the_later_of_its_two_times() {
        let ended = |effective: Option<i64>, reason| {
            let effective_time = effective.map(|seconds| Timestamp { seconds, nanos: 0 });
            kind(Content::Ended(proto::Ended { reason, effective_time }))
        };
        let stands = |ms, reason| Kind::Ended { effective: Instant::from_millis(ms), reason };
        assert_eq!(ended(None, 6), stands(1_000_000, EndReason::PaymentFailed));
        assert_eq!(ended(Some(999), 1), stands(1_000_000, EndReason::Cancelled));
        assert_eq!(ended(Some(1_001), 1), stands(1_001_000, EndReason::Cancelled));
        assert_eq!(ended(Some(i64::MIN), 0), stands(1_000_000, EndReason::Unspecified));
        assert_eq!(
            ended(Some(i64::MAX), 10),
            Kind::Ended { effective: Instant::LATEST_EVENT, reason: EndReason::Unspecified }
        );
        assert_eq!(ended(None, -7), stands(1_000_000, EndReason::Unspecified));
    }

    fn any_timestamp() -> impl Strategy<Value = Option<Timestamp>> {
        let seconds = prop_oneof![any::<i64>(), -10..10_i64, LATEST_SECONDS - 3..LATEST_SECONDS + 3];
        proptest::option::of((seconds, any::<i32>()).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos }))
    }

    fn any_money() -> impl Strategy<Value = Option<proto::Money>> {
        let money = ("[A-Z]{3}|[a-zA-Z]{0,4}", any::<i64>());
        proptest::option::of(money.prop_map(|(currency_code, minor_units)| proto::Money { currency_code, minor_units }))
    }

    fn any_content() -> impl Strategy<Value = Content> {
        prop_oneof![
            (any_money(), any_timestamp(), any::<bool>()).prop_map(|(recurring_amount, term_end_time, trial)| {
                Content::Started(proto::Started { recurring_amount, term_end_time, trial })
            }),
            any_timestamp().prop_map(|term_end_time| Content::Renewed(proto::Renewed { term_end_time })),
            any_money().prop_map(|recurring_amount| Content::Changed(proto::Changed { recurring_amount })),
            Just(Content::Activity(proto::Activity {})),
            (any::<i32>(), any_timestamp())
                .prop_map(|(reason, effective_time)| Content::Ended(proto::Ended { reason, effective_time })),
        ]
    }

    #[derive(Clone, Debug)]
    enum Change {
        Byte(u8),
        Insert(u8),
        Tear,
        Append,
        Field(Vec<u8>),
    }

    fn any_change() -> impl Strategy<Value = Change> {
        // Unknown fields, groups, repeated and empty known ones, numbers of several bytes.
        let fields = [
            &b"\x7a\x00"[..],
            b"\x7b\x7c",
            b"\x1a\x00",
            b"\x12\x01x",
            b"\x32\x00",
            b"\x32\x04\x0a\x00\x0a\x00",
            b"\x6a\x02\x08\x01",
            b"\x52\x00",
            b"\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x28\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
            b"\x28\x80\x00",
            b"\x92\x80\x00\x01y",
            b"\xa2\x06\x01z",
        ];
        prop_oneof![
            any::<u8>().prop_map(Change::Byte),
            any::<u8>().prop_map(Change::Insert),
            Just(Change::Tear),
            Just(Change::Append),
            proptest::sample::select(fields.map(<[u8]>::to_vec).to_vec()).prop_map(Change::Field),
        ]
    }

    prop_compose! {
        fn any_message()(
            event_id in ".{0,5}",
            customer_id in ".{0,5}",
            event_time in any_timestamp(),
            subscription_id in ".{0,5}",
            sequence in any::<u64>(),
            attributes in proptest::collection::btree_map(".{0,3}", ".{0,3}", 0..4),
            event in proptest::option::of(any_content()),
        ) -> LifecycleEvent {
            LifecycleEvent { event_id, customer_id, event_time, subscription_id, sequence, attributes, event }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(payloads in proptest::collection::vec(any::<Vec<u8>>(), 1..4)) {
            let mut decoder = Decoder::default();
            for payload in payloads {
                let _ = decoder.decode(Some(&payload), Some(Instant::from_millis(0)));
            }
        }

        #[test]
        fn decoding_what_was_encoded_judges_as_the_message_itself(messages in proptest::collection::vec(any_message(), 1..4)) {
            let mut decoder = Decoder::default();
            for message in messages {
                let bytes = message.encode_to_vec();
                prop_assert!(wire::read(&bytes).is_some(), "left to prost: {:?}", message);
                prop_assert_eq!(decoder.decode(Some(&bytes), None), validate(&message, None));
            }
        }

        /// Bytes taken from two messages, turned, torn and overwritten: prost has the last word on each.
        #[test]
        fn every_payload_is_read_as_prost_reads_it(
            messages in (any_message(), any_message()),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any_change()), 0..4),
        ) {
            let (mut bytes, other) = (messages.0.encode_to_vec(), messages.1.encode_to_vec());
            for (at, change) in changes {
                let at = at.index(bytes.len() + 1);
                match change {
                    Change::Byte(byte) => bytes.splice(at..(at + 1).min(bytes.len()), [byte]).for_each(drop),
                    Change::Insert(byte) => bytes.insert(at, byte),
                    Change::Tear => bytes.truncate(at),
                    Change::Append => bytes.extend_from_slice(&other),
                    Change::Field(field) => bytes.splice(0..0, field).for_each(drop),
                }
            }
            let prost = LifecycleEvent::decode(&*bytes);
            let expected = match &prost {
                Ok(message) => validate(message, None),
                Err(_) => Err(Rejection::Undecodable.into()),
            };
            let mut decoder = Decoder::default();
            prop_assert_eq!(decoder.decode(Some(&bytes), None), expected, "{:?}", bytes);
        }

        #[test]
        fn an_accepted_event_keeps_what_is_promised(message in any_message()) {
            if let Ok(event) = validate(&message, None) {
                let range = Instant::EARLIEST_EVENT..=Instant::LATEST_EVENT;
                prop_assert!(range.contains(&event.time));
                match event.kind {
                    Kind::Started { amount, term_end, .. } => {
                        prop_assert!(amount.is_none_or(|a| a.minor_units >= 0));
                        prop_assert!(term_end.is_none_or(|t| range.contains(&t)));
                    }
                    Kind::Renewed { term_end } => prop_assert!(term_end.is_none_or(|t| range.contains(&t))),
                    Kind::Changed { amount } => prop_assert!(amount.minor_units >= 0),
                    Kind::Ended { effective, .. } => prop_assert!(effective >= event.time && range.contains(&effective)),
                    Kind::Activity => {}
                }
            }
        }
    }
}
