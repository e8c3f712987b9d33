//! Durations as people write them: `30d`, `1h30m`.

use crate::time::Span;

/// Units of fixed length, in milliseconds. A month is none: windows and timeouts need exact lengths.
const UNITS: [(&str, i64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// How a duration is to be written, for messages.
pub(super) const EXPECTED: &str =
    "write a number and a unit (ms, s, m, h, d, w), such as \"90s\", \"1h30m\" or \"30d\"";

/// Reads a duration; the error is what is wrong and what to write instead.
pub fn parse(text: &str) -> Result<Span, (String, String)> {
    let wrong = |what: String| Err((what, EXPECTED.to_owned()));
    let mut rest = text.trim();
    if rest.is_empty() {
        return wrong("the duration is empty".to_owned());
    }
    let mut total_ms: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if number.is_empty() {
            return wrong(format!("{text:?} is not a duration"));
        }
        if unit.is_empty() {
            return wrong(format!("{text:?} has no unit after {number}"));
        }
        let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(unknown_unit(text, unit));
        };
        let sum =
            number.parse::<i64>().ok().and_then(|n| n.checked_mul(*unit_ms)).and_then(|ms| total_ms.checked_add(ms));
        let Some(sum) = sum else {
            return wrong(format!("{text:?} is too long"));
        };
        total_ms = sum;
        rest = after.trim_start();
    }
    Ok(Span::from_millis(total_ms))
}

fn unknown_unit(text: &str, unit: &str) -> (String, String) {
    let calendar = ["M", "mo", "mon", "month", "months", "y", "yr", "year", "years", "q", "quarter", "quarters"];
    if calendar.contains(&unit) {
        let why = format!("{text:?}: months and years differ in length");
        return (why, "write days, such as \"30d\", \"91d\" or \"365d\"".to_owned());
    }
    (format!("{text:?}: no unit is called {unit:?}"), EXPECTED.to_owned())
}

/// A span as the longest units that divide it, `1d12h`; reads back as the same.
pub(crate) fn display(span: Span) -> String {
    let mut rest = span.as_millis();
    let mut out = String::new();
    for (unit, unit_ms) in UNITS.iter().rev().filter(|(unit, _)| *unit != "w") {
        let n = rest / unit_ms;
        if n != 0 {
            out += &format!("{n}{unit}");
            rest -= n * unit_ms;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let h = 3_600_000;
        for (text, ms) in
            [("30d", 720 * h), ("1h30m", h * 3 / 2), ("1h 30m", h * 3 / 2), ("2w", 336 * h), ("0s", 0), ("7ms", 7)]
        {
            assert_eq!(parse(text), Ok(Span::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn wrong_durations_say_why() {
        for (text, why) in [
            ("", "is empty"),
            ("d", "is not a duration"),
            ("-1d", "is not a duration"),
            ("30", "has no unit"),
            ("1.5h", "has no unit after 1"),
            ("1month", "differ in length"),
            ("1y", "differ in length"),
            ("3parsecs", "no unit is called \"parsecs\""),
            ("99999999999999999999d", "too long"),
            ("9999999999999999d", "too long"),
        ] {
            let (message, _) = parse(text).unwrap_err();
            assert!(message.contains(why), "{text}: {message}");
        }
    }

    #[test]
    fn what_is_displayed_reads_back() {
        for text in ["30d", "1h30m", "0s", "1d1ms"] {
            assert_eq!(display(parse(text).unwrap()), text);
        }
    }
}
