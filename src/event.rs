//! The words of the contract: what one validated event says.
//!
//! [`crate::decode`] makes an [`Event`] from bytes and is the only place that judges input; everything
//! behind it may rely on what is written here.

use std::fmt;

pub(crate) mod attributes;

pub use attributes::Attributes;

use crate::time::Instant;

/// One validated customer-lifecycle event, borrowed from the decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// 1 to 256 bytes of UTF-8.
    pub customer_id: &'a [u8],
    /// UTF-8; empty where the customer has only one subscription.
    pub subscription_id: &'a [u8],
    /// From 1970 to 9999.
    pub time: Instant,
    /// Orders events of one subscription at the same instant.
    pub sequence: u64,
    /// Facts to group by.
    pub attributes: Attributes<'a>,
    pub kind: Kind,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Started {
        amount: Option<Money>,
        term_end: Option<Instant>,
        trial: bool,
    },
    Renewed {
        term_end: Option<Instant>,
    },
    Changed {
        amount: Money,
    },
    Activity,
    /// `effective` is the instant at which the ending stands: never before the event's time.
    Ended {
        effective: Instant,
        reason: EndReason,
    },
}

impl Kind {
    /// Every kind's name, in the order in which events of the same instant and sequence follow each other.
    pub const NAMES: [&'static str; 5] = ["started", "renewed", "changed", "activity", "ended"];

    /// Position in [`Self::NAMES`].
    pub const fn index(&self) -> usize {
        match self {
            Self::Started { .. } => 0,
            Self::Renewed { .. } => 1,
            Self::Changed { .. } => 2,
            Self::Activity => 3,
            Self::Ended { .. } => 4,
        }
    }
}

/// A recurring monthly amount, never negative. Larger is: more minor units, then the later currency code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money {
    pub minor_units: i64,
    pub currency: Currency,
}

/// An ISO 4217 code: three capital letters. Ordered as the letters are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(u16);

impl Currency {
    /// `None` unless the code is three capital letters.
    pub fn from_code(code: &str) -> Option<Self> {
        let [a, b, c] = code.as_bytes() else { return None };
        let letter = |byte: &u8| byte.is_ascii_uppercase().then(|| u16::from(byte - b'A'));
        Some(Self((letter(a)? * 26 + letter(b)?) * 26 + letter(c)?))
    }

    /// A number below 26³ that stands for the code in snapshots.
    pub const fn to_number(self) -> u16 {
        self.0
    }

    /// The inverse of [`Self::to_number`].
    pub const fn from_number(number: u16) -> Option<Self> {
        if number < 26 * 26 * 26 { Some(Self(number)) } else { None }
    }

    /// How many decimal places the minor unit has: that of ISO 4217, 2 for codes the standard does not
    /// list, 0 for those it lists without a minor unit (gold).
    pub fn exponent(self) -> u32 {
        match iso_currency::Currency::from_code(&self.to_string()) {
            Some(currency) => currency.exponent().map_or(0, u32::from),
            None => 2,
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in [self.0 / 676, self.0 / 26 % 26, self.0 % 26] {
            write!(f, "{}", char::from(b'A' + letter as u8))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a subscription ended. Numbers and order are those of the contract's enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EndReason {
    Unspecified = 0,
    Cancelled = 1,
    AccountDeleted = 2,
    EarlyTermination = 3,
    SwitchedProvider = 4,
    OptedOut = 5,
    PaymentFailed = 6,
    Suspended = 7,
    NotRenewed = 8,
    Inactive = 9,
}

impl EndReason {
    /// Every reason, by number.
    pub const ALL: [Self; 10] = [
        Self::Unspecified,
        Self::Cancelled,
        Self::AccountDeleted,
        Self::EarlyTermination,
        Self::SwitchedProvider,
        Self::OptedOut,
        Self::PaymentFailed,
        Self::Suspended,
        Self::NotRenewed,
        Self::Inactive,
    ];

    /// The reason of a number; `Unspecified` for one that only a newer contract knows.
    pub fn from_number(number: i32) -> Self {
        usize::try_from(number).ok().and_then(|i| Self::ALL.get(i)).copied().unwrap_or(Self::Unspecified)
    }

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Cancelled => "cancelled",
            Self::AccountDeleted => "account_deleted",
            Self::EarlyTermination => "early_termination",
            Self::SwitchedProvider => "switched_provider",
            Self::OptedOut => "opted_out",
            Self::PaymentFailed => "payment_failed",
            Self::Suspended => "suspended",
            Self::NotRenewed => "not_renewed",
            Self::Inactive => "inactive",
        }
    }

    /// Whether the customer decided (`voluntary`), something else did (`involuntary`), or nobody knows.
    pub const fn class(self) -> &'static str {
        match self as u8 {
            1..=5 => "voluntary",
            6..=7 => "involuntary",
            _ => "unknown",
        }
    }
}

/// Why an event was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    #[error("not a customer.lifecycle.v1.LifecycleEvent: the bytes cannot be decoded, or not as kafka.framing says")]
    Undecodable,
    #[error("customer_id is empty: set it to the id the topic is keyed by")]
    MissingCustomerId,
    #[error("customer_id is longer than 256 bytes")]
    CustomerIdTooLong,
    #[error("event_time is missing: set it to when the event happened")]
    MissingEventTime,
    #[error("event_time is before 1970 or after 9999")]
    EventTimeOutOfRange,
    #[error("event_time is later than the record's own timestamp by more than time.max_future")]
    EventTimeInFuture,
    #[error("the amount is negative, its currency is not three capital letters, or a `changed` has none")]
    InvalidAmount,
}

impl Rejection {
    /// Every reason, in the order in which they are checked.
    pub const ALL: [Self; 7] = [
        Self::Undecodable,
        Self::MissingCustomerId,
        Self::CustomerIdTooLong,
        Self::MissingEventTime,
        Self::EventTimeOutOfRange,
        Self::EventTimeInFuture,
        Self::InvalidAmount,
    ];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::MissingCustomerId => "missing_customer_id",
            Self::CustomerIdTooLong => "customer_id_too_long",
            Self::MissingEventTime => "missing_event_time",
            Self::EventTimeOutOfRange => "event_time_out_of_range",
            Self::EventTimeInFuture => "event_time_in_future",
            Self::InvalidAmount => "invalid_amount",
        }
    }
}

/// Why an event was ignored: nothing is wrong with it, and it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// A record without a payload.
    Tombstone,
    /// The `oneof` is not set: a kind that a newer producer knows.
    UnknownKind,
}

impl Ignored {
    pub const ALL: [Self; 2] = [Self::Tombstone, Self::UnknownKind];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::UnknownKind => "unknown_kind",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn currencies_are_three_capital_letters_and_sort_as_such() {
        let code = |c| Currency::from_code(c);
        assert_eq!(code("EUR").unwrap().to_string(), "EUR");
        assert!(code("EUR") < code("USD"));
        for bad in ["", "EU", "EURO", "eur", "E1R", "€"] {
            assert_eq!(code(bad), None, "{bad}");
        }
        let exponents = ["EUR", "JPY", "BHD", "QQQ", "XAU"].map(|c| code(c).unwrap().exponent());
        assert_eq!(exponents, [2, 0, 3, 2, 0]);
    }

    #[test]
    fn reasons_have_the_contracts_numbers() {
        for (number, reason) in EndReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            assert_eq!(EndReason::from_number(number as i32), reason);
        }
        assert_eq!(EndReason::from_number(10), EndReason::Unspecified);
        assert_eq!(EndReason::from_number(-1), EndReason::Unspecified);
    }
}
