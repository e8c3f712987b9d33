//! Instants, spans and the grid of window boundaries.
//!
//! An [`Instant`] is a point in time and a [`Span`] a length of it, both in whole milliseconds;
//! they are two types so that they cannot be swapped. A [`Boundary`] is a point of the [`Grid`] on
//! which windows may start.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A point in time: whole milliseconds since 1970-01-01T00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instant(i64);

impl Instant {
    /// Earlier than every event: the as-of of a shard in which nothing exists yet.
    pub const DISTANT_PAST: Self = Self(i64::MIN);
    /// Later than everything: the end of a term without an end.
    pub const DISTANT_FUTURE: Self = Self(i64::MAX);
    /// 1970-01-01T00:00:00Z, the earliest `event_time`.
    pub const EARLIEST_EVENT: Self = Self(0);
    /// 9999-12-31T23:59:59.999Z, the latest `event_time`.
    pub const LATEST_EVENT: Self = Self(253_402_300_799_999);

    /// The instant `ms` milliseconds after 1970-01-01T00:00Z.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01T00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Seconds since 1970-01-01T00:00Z, as Prometheus wants timestamps.
    pub fn as_seconds_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Reads an RFC 3339 time such as `2026-02-01T00:00:00Z`; finer than a millisecond is rounded down.
    pub fn parse_rfc3339(text: &str) -> Result<Self, jiff::Error> {
        let timestamp: jiff::Timestamp = text.parse()?;
        Ok(Self(timestamp.as_nanosecond().div_euclid(1_000_000) as i64))
    }

    /// What clocks and calendars in a zone showed at this instant.
    pub fn to_civil(self, zone: &jiff::tz::TimeZone) -> jiff::civil::DateTime {
        // jiff's timestamps end a day before the year 9999 does.
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => zone.to_datetime(timestamp),
            Err(_) => {
                let offset_ms = i64::from(zone.to_offset(jiff::Timestamp::MAX).seconds()) * 1000;
                let since_1970 = jiff::SignedDuration::from_millis(self.0.saturating_add(offset_ms));
                jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0).saturating_add(since_1970)
            }
        }
    }

    /// The time since `earlier`; negative where `earlier` is later.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Span> for Instant {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Instant {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

/// RFC 3339 in UTC, with milliseconds only where there are any.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", self.to_civil(&jiff::tz::TimeZone::UTC))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A length of time in whole milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Span(i64);

impl Span {
    pub const ZERO: Self = Self(0);
    pub const MINUTE: Self = Self(60_000);
    pub const HOUR: Self = Self(3_600_000);
    pub const DAY: Self = Self(86_400_000);

    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    pub const fn days(n: i64) -> Self {
        Self(n * Self::DAY.0)
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// A point of the grid at which a window may start. Ordered as the instants are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Boundary(u32);

impl Boundary {
    pub const FIRST: Self = Self(0);
    /// After every boundary: the end of a range that is still open.
    pub const NEVER: Self = Self(u32::MAX);

    /// The number of boundaries from the grid's first to this one.
    pub const fn ordinal(self) -> u32 {
        self.0
    }

    pub const fn from_ordinal(ordinal: u32) -> Self {
        Self(ordinal)
    }
}

/// The boundaries: multiples of a step since 1970-01-01T00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    step: Span,
}

impl Grid {
    /// The finest step: the boundaries up to the year 9999 then still fit 32 bits.
    pub const MIN_STEP: Span = Span::MINUTE;

    /// A grid of the given step, at least [`Self::MIN_STEP`].
    pub const fn new(step: Span) -> Option<Self> {
        if step.0 < Self::MIN_STEP.0 { None } else { Some(Self { step }) }
    }

    pub const fn step(self) -> Span {
        self.step
    }

    /// The earliest boundary at or after `instant`.
    pub const fn at_or_after(self, instant: Instant) -> Boundary {
        if instant.0 <= 0 {
            return Boundary::FIRST;
        }
        let ordinal = (instant.0 - 1) / self.step.0 + 1;
        if ordinal >= u32::MAX as i64 { Boundary::NEVER } else { Boundary(ordinal as u32) }
    }

    /// The latest boundary at or before `instant`; the grid's first where there is none.
    pub const fn at_or_before(self, instant: Instant) -> Boundary {
        if instant.0 <= 0 {
            return Boundary::FIRST;
        }
        let ordinal = instant.0 / self.step.0;
        if ordinal >= u32::MAX as i64 { Boundary::NEVER } else { Boundary(ordinal as u32) }
    }

    /// The instant of a boundary.
    pub const fn instant(self, boundary: Boundary) -> Instant {
        Instant((boundary.0 as i64).saturating_mul(self.step.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_enclose_the_instant() {
        let grid = Grid::new(Span::HOUR).unwrap();
        let h = Span::HOUR.as_millis();
        for (ms, before, after) in [(0, 0, 0), (1, 0, 1), (h - 1, 0, 1), (h, 1, 1), (h + 1, 1, 2)] {
            let x = Instant::from_millis(ms);
            assert_eq!(grid.at_or_before(x).ordinal(), before, "{ms}");
            assert_eq!(grid.at_or_after(x).ordinal(), after, "{ms}");
        }
    }

    #[test]
    fn the_last_instant_fits_the_finest_grid() {
        let grid = Grid::new(Grid::MIN_STEP).unwrap();
        assert!(grid.at_or_after(Instant::LATEST_EVENT) < Boundary::NEVER);
        assert_eq!(Grid::new(Span::from_millis(59_999)), None);
    }

    #[test]
    fn rfc3339_is_read_and_written() {
        let x = Instant::parse_rfc3339("2026-02-01T10:00:00.1239+01:00").unwrap();
        assert_eq!(x.to_string(), "2026-02-01T09:00:00.123Z");
        assert_eq!(Instant::LATEST_EVENT.to_string(), "9999-12-31T23:59:59.999Z");
    }
}
