//! Until when a certificate is valid: the one thing that is read from it, out of its DER.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls::pki_types::CertificateDer;

/// DER's tags of what is passed over or read.
mod tag {
    pub const INTEGER: u8 = 0x02;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
    pub const VERSION: u8 = 0xa0;
}

/// The end of the one that ends first; `None` where none says it as RFC 5280 has it.
pub(super) fn earliest(certificates: &[CertificateDer<'_>]) -> Option<SystemTime> {
    certificates.iter().filter_map(|certificate| not_after(certificate)).min()
}

fn not_after(der: &[u8]) -> Option<SystemTime> {
    let (certificate, _) = take(der, tag::SEQUENCE)?;
    let (signed, _) = take(certificate, tag::SEQUENCE)?;
    let rest = take(signed, tag::VERSION).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = take(rest, tag::INTEGER)?;
    let (_algorithm, rest) = take(rest, tag::SEQUENCE)?;
    let (_issuer, rest) = take(rest, tag::SEQUENCE)?;
    let (validity, _) = take(rest, tag::SEQUENCE)?;
    let (_not_before, rest) = take_time(validity)?;
    let (not_after, _) = take_time(rest)?;
    // 9999-12-31, which stands for no end, is a day behind the last that can be told.
    let not_after = not_after.to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |zoned| zoned.timestamp());
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(not_after.as_second()).ok()?))
}

/// The content of the value that comes first, if it has this tag, and what follows it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // So many bytes say how long it is.
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length).filter(|_| found == tag)
}

fn take_time(der: &[u8]) -> Option<(DateTime, &[u8])> {
    let time = |digits: &[u8], century: &str| {
        let text = format!("{century}{}", str::from_utf8(digits).ok()?);
        DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()
    };
    if let Some((digits, rest)) = take(der, tag::GENERALIZED_TIME) {
        return Some((time(digits, "")?, rest));
    }
    let (digits, rest) = take(der, tag::UTC_TIME)?;
    // Two digits of a year are those from 1950 to 2049.
    let century = if *digits.first()? < b'5' { "20" } else { "19" };
    Some((time(digits, century)?, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32, month: u8, day: u8) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(1990, 1, 1);
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_end_is_read_in_both_spellings() {
        for (year, month, day, timestamp) in [
            (1999, 12, 31, "1999-12-31T00:00:00Z"),
            (2026, 11, 22, "2026-11-22T00:00:00Z"),
            (2049, 12, 31, "2049-12-31T00:00:00Z"),
            (2050, 1, 1, "2050-01-01T00:00:00Z"),
            (9999, 12, 31, "9999-12-30T22:00:00Z"),
        ] {
            let expected: Timestamp = timestamp.parse().unwrap();
            assert_eq!(not_after(&certificate(year, month, day)), Some(expected.into()), "{timestamp}");
        }
        let chain = [certificate(2031, 1, 1), certificate(2030, 1, 1), certificate(2032, 1, 1)];
        assert_eq!(earliest(&chain), not_after(&chain[1]));
        assert_eq!(earliest(&[]), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let der = certificate(2030, 1, 1).to_vec();
        for length in 0..der.len() {
            assert_eq!(not_after(&der[..length]), None, "{length}");
        }
        assert_eq!(not_after(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(not_after(&[0x30, 0x89]), None);
    }
}
