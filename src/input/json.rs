//! One event in the proto3 JSON mapping.

use serde_json::error::Category;
use serde_json::{Error, Map, Number, Value};

use crate::proto::{EndReason, Ended, LifecycleEvent, lifecycle_event::Event};

/// The event in a line of JSON.
///
/// # Errors
/// Says what is wrong, naming the field or the column.
pub fn from_json(line: &[u8]) -> Result<LifecycleEvent, String> {
    serde_json::from_slice(line).or_else(|error| by_the_letter(line).ok_or_else(|| describe(&error)))
}

/// What the mapping allows and the generated code refuses: null for the default of a scalar or map and beside the
/// kind that is set, an integer written as `1990.0` or `1.99e3`, an enum number without a name. Only a refused line
/// takes this slower way.
fn by_the_letter(line: &[u8]) -> Option<LifecycleEvent> {
    let mut value: Value = serde_json::from_slice(line).ok()?;
    let mut rewritten = Rewritten::default();
    rewritten.rewrite(value.as_object_mut()?);
    if !rewritten.any {
        return None;
    }
    let mut message: LifecycleEvent = serde_json::from_value(value).ok()?;
    if let (Some(number), Some(Event::Ended(Ended { reason, .. }))) = (rewritten.unnamed_reason, &mut message.event) {
        *reason = number;
    }
    Some(message)
}

#[derive(Default)]
struct Rewritten {
    any: bool,
    unnamed_reason: Option<i32>,
}

impl Rewritten {
    fn rewrite(&mut self, fields: &mut Map<String, Value>) {
        fields.retain(|name, value| {
            let keep = self.rewrite_field(name, value);
            self.any |= !keep;
            keep
        });
    }

    /// False where the field is to be left out. No message of the contract gives one of these names another type.
    fn rewrite_field(&mut self, name: &str, value: &mut Value) -> bool {
        match (name, &mut *value) {
            (
                "eventId" | "event_id" | "customerId" | "customer_id" | "subscriptionId" | "subscription_id",
                Value::Null,
            )
            | ("sequence" | "attributes" | "trial" | "reason", Value::Null)
            | ("started" | "renewed" | "changed" | "activity" | "ended", Value::Null)
            | ("currencyCode" | "currency_code" | "minorUnits" | "minor_units", Value::Null) => return false,
            ("sequence" | "minorUnits" | "minor_units", _) => {
                if let Some(integer) = to_integer(value) {
                    *value = Value::Number(integer);
                    self.any = true;
                }
            }
            ("reason", Value::Number(number)) => {
                let number = number.as_i64().and_then(|n| i32::try_from(n).ok());
                self.unnamed_reason = number.filter(|&n| EndReason::try_from(n).is_err());
                return self.unnamed_reason.is_none();
            }
            ("attributes", _) => {}
            (_, Value::Object(fields)) => self.rewrite(fields),
            _ => {}
        }
        true
    }
}

/// The integer in a number or string with a fraction or an exponent, up to 2⁵³, where floating point is exact.
fn to_integer(value: &Value) -> Option<Number> {
    let float: f64 = match value {
        Value::Number(number) if number.is_f64() => number.as_f64()?,
        Value::String(text) if text.contains(['.', 'e', 'E']) => text.parse().ok()?,
        _ => return None,
    };
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then(|| Number::from(float as i64))
}

/// What the parser of times says, without saying that it is about a time.
const NO_TIME: [&str; 4] =
    ["premature end of input", "input contains invalid characters", "input is out of range", "trailing input"];

fn describe(error: &Error) -> String {
    let text = error.to_string();
    // The line is known to the caller: what is left of serde_json's "at line 1 column 7" is the column.
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    if NO_TIME.contains(&reason) {
        return format!("not a time as RFC 3339 has it, such as 2026-02-01T00:00:00Z (column {})", error.column());
    }
    let reason = reason
        .replace("data did not match any variant of untagged enum Content", "not an integer that fits the field")
        .replace("expected expected", "expected");
    let kind = if matches!(error.classify(), Category::Syntax | Category::Eof) { "not a line of JSON: " } else { "" };
    format!("{kind}{reason} (column {})", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Changed, EndReason, Ended, Money, Started, lifecycle_event::Event};
    use pbjson_types::Timestamp;

    fn read(json: &str) -> LifecycleEvent {
        from_json(json.as_bytes()).unwrap_or_else(|reason| panic!("{json}: {reason}"))
    }

    fn refusal(json: &str) -> String {
        match from_json(json.as_bytes()) {
            Ok(message) => panic!("{json} was read as {message:?}"),
            Err(reason) => reason,
        }
    }

    fn event_time(text: &str) -> Timestamp {
        read(&format!(r#"{{"eventTime":"{text}"}}"#)).event_time.unwrap()
    }

    fn minor_units(json: &str) -> i64 {
        match read(&format!(r#"{{"changed":{{"recurringAmount":{{"minorUnits":{json}}}}}}}"#)).event {
            Some(Event::Changed(Changed { recurring_amount: Some(Money { minor_units, .. }) })) => minor_units,
            other => panic!("{other:?}"),
        }
    }

    fn reason(json: &str) -> i32 {
        match read(&format!(r#"{{"ended":{{"reason":{json}}}}}"#)).event {
            Some(Event::Ended(Ended { reason, .. })) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_whole_event_is_read_under_both_spellings_of_its_names() {
        let camel = r#"{"eventId":"e","customerId":"c","eventTime":"1970-01-01T00:00:01Z","subscriptionId":"s","sequence":"7",
            "attributes":{"plan":"pro","some_Key":"x"},
            "started":{"recurringAmount":{"currencyCode":"EUR","minorUnits":"1990"},"termEndTime":"1970-01-01T00:00:02Z","trial":true}}"#;
        let snake = camel
            .replace("eventId", "event_id")
            .replace("customerId", "customer_id")
            .replace("eventTime", "event_time")
            .replace("subscriptionId", "subscription_id")
            .replace("recurringAmount", "recurring_amount")
            .replace("currencyCode", "currency_code")
            .replace("minorUnits", "minor_units")
            .replace("termEndTime", "term_end_time");
        let expected = LifecycleEvent {
            event_id: "e".to_owned(),
            customer_id: "c".to_owned(),
            event_time: Some(Timestamp { seconds: 1, nanos: 0 }),
            subscription_id: "s".to_owned(),
            sequence: 7,
            attributes: [("plan", "pro"), ("some_Key", "x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            event: Some(Event::Started(Started {
                recurring_amount: Some(Money { currency_code: "EUR".to_owned(), minor_units: 1990 }),
                term_end_time: Some(Timestamp { seconds: 2, nanos: 0 }),
                trial: true,
            })),
        };
        assert_eq!(read(camel), expected);
        assert_eq!(read(&snake), expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let message = read(
            r#"{"customerId":"c\n\"ü","eventTime":"2026-02-01T10:00:00.123456789+01:00","ended":{"reason":6,"effectiveTime":"2026-03-01T00:00:00Z"}}"#,
        );
        assert_eq!(read(&serde_json::to_string(&message).unwrap()), message);
    }

    #[test]
    fn times_have_offsets_and_fractions() {
        let second = 1_769_936_400;
        for (text, seconds, nanos) in [
            ("2026-02-01T09:00:00Z", second, 0),
            ("2026-02-01t09:00:00z", second, 0),
            ("2026-02-01T10:00:00+01:00", second, 0),
            ("2026-02-01T03:30:00-05:30", second, 0),
            ("2026-02-01T09:00:00.5Z", second, 500_000_000),
            ("2026-02-01T09:00:00.123456789Z", second, 123_456_789),
            ("1969-12-31T23:59:59.999Z", -1, 999_000_000),
            ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799, 999_999_999),
        ] {
            assert_eq!(event_time(text), Timestamp { seconds, nanos }, "{text}");
        }
        for bad in ["2026-02-01", "2026-02-01T09:00:00", "2026-02-30T09:00:00Z", "yesterday", ""] {
            let reason = refusal(&format!(r#"{{"eventTime":"{bad}"}}"#));
            assert!(reason.starts_with("not a time as RFC 3339 has it"), "{bad}: {reason}");
        }
        refusal(r#"{"eventTime":1769936400}"#);
    }

    #[test]
    fn integers_are_numbers_or_strings() {
        for json in ["1990", "\"1990\"", "1990.0", "1.99e3", "\"1990.0\"", "\"1.99e3\""] {
            assert_eq!(minor_units(json), 1990, "{json}");
        }
        assert_eq!(minor_units("\"-9223372036854775808\""), i64::MIN);
        assert_eq!(minor_units("9223372036854775807"), i64::MAX);
        for bad in
            ["9223372036854775808", "\"\"", "\"12 \"", "1.5", "1e300", "true", "\"1_000\"", "\"NaN\"", "\"inf.\""]
        {
            refusal(&format!(r#"{{"changed":{{"recurringAmount":{{"minorUnits":{bad}}}}}}}"#));
        }
        assert_eq!(read(r#"{"sequence":18446744073709551615}"#).sequence, u64::MAX);
        assert_eq!(read(r#"{"sequence":"18446744073709551615"}"#).sequence, u64::MAX);
        refusal(r#"{"sequence":-1}"#);
    }

    #[test]
    fn enums_are_names_or_numbers() {
        assert_eq!(reason("\"END_REASON_PAYMENT_FAILED\""), EndReason::PaymentFailed as i32);
        assert_eq!(reason("6"), EndReason::PaymentFailed as i32);
        assert_eq!(reason("0"), 0);
        let refused = refusal(r#"{"ended":{"reason":"PAYMENT_FAILED"}}"#);
        assert!(refused.contains("END_REASON_PAYMENT_FAILED"), "{refused}");
    }

    #[test]
    fn a_number_that_a_newer_contract_has_a_name_for_is_kept() {
        for number in [42, -1, i32::MIN, i32::MAX] {
            assert_eq!(reason(&number.to_string()), number);
        }
        refusal(r#"{"ended":{"reason":2147483648}}"#);
        refusal(r#"{"ended":{"reason":1.5}}"#);
    }

    #[test]
    fn null_is_the_default() {
        let message = read(
            r#"{"eventId":null,"customerId":"c","subscriptionId":null,"sequence":null,"attributes":null,"started":null,
                "ended":{"reason":null,"effectiveTime":null}}"#,
        );
        let event = Some(Event::Ended(Ended::default()));
        assert_eq!(message, LifecycleEvent { customer_id: "c".to_owned(), event, ..Default::default() });
        // In the order that the generated code accepts, and in the one that it does not.
        for json in [r#"{"started":null,"ended":{}}"#, r#"{"ended":{},"started":null}"#] {
            assert_eq!(read(json).event, Some(Event::Ended(Ended::default())), "{json}");
        }
        refusal(r#"{"attributes":{"plan":null}}"#);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, expected) in [
            (r#"{"custmerId":"c"}"#, "unknown field `custmerId`"),
            (r#"{"ended":{"why":1}}"#, "unknown field `why`"),
            (r#"{"custmerId":null}"#, "unknown field `custmerId`"),
            (r#"{"started":{},"ended":{}}"#, "duplicate field"),
            (r#"{"customerId":7}"#, "invalid type: integer `7`, expected a string (column 15)"),
            (r#"{"customerId":"c""#, "EOF while parsing an object (column 17)"),
            (r#"{} {}"#, "trailing characters (column 4)"),
            (r#"{"sequence":-1}"#, "not an integer that fits the field (column "),
            (
                r#"{"ended":{"reason":true}}"#,
                "invalid type: boolean `true`, expected one of: [\"END_REASON_UNSPECIFIED\"",
            ),
            ("[]", "invalid type"),
            ("null", "invalid type"),
            ("customer,time", "not a line of JSON: expected value (column 1)"),
        ] {
            let refused = refusal(json);
            assert!(refused.contains(expected), "{json}: {refused}");
        }
        assert!(from_json(b"{\"customerId\":\"\xff\"}").unwrap_err().contains("invalid unicode"));
        let deep = [r#"{"started":"#.repeat(10_000), "}".repeat(10_000)].concat();
        refusal(&deep);
    }
}
