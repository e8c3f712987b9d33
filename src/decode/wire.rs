//! The bytes of a well-formed event, read in place.
//!
//! prost decides what a message is. This reads only what the producers of the contract write: known fields of the right
//! type, each at most once, in the order of their numbers. Anything else is `None`, and left to prost; what it does read, prost
//! reads the same.

use super::{Amount, Content, Said, to_instant};
use crate::event::Attributes;
use crate::event::attributes::{BYTES, Fields, VARINT, each_field, entry};
use crate::time::Instant;
use crate::varint;

/// What a payload says, where it is well-formed.
#[inline(always)]
pub(super) fn read(payload: &[u8]) -> Option<Said<'_>> {
    let mut said = Said::default();
    let mut fields = Fields { rest: payload };
    if fields.has(1, BYTES) {
        fields.text_bytes()?;
    }
    if fields.has(2, BYTES) {
        said.customer_id = fields.text_bytes()?;
    }
    if fields.has(3, BYTES) {
        said.time = Some(timestamp(fields.bytes()?)?);
    }
    if fields.has(4, BYTES) {
        said.subscription_id = fields.text_bytes()?;
    }
    if fields.has(5, VARINT) {
        said.sequence = fields.varint()?;
    }
    let entries = fields.rest;
    while fields.has(6, BYTES) {
        let (_, _) = entry(fields.bytes()?)?;
    }
    if fields.rest.len() < entries.len() {
        // They are read again when one is asked for.
        said.attributes = Attributes::encoded(entries.get(..entries.len().checked_sub(fields.rest.len())?)?);
    }
    if fields.rest.is_empty() {
        return Some(said);
    }
    let (number, kind) = fields.key()?;
    if kind != BYTES {
        return None;
    }
    let bytes = fields.bytes()?;
    said.content = Some(match number {
        13 if bytes.is_empty() => Content::Activity,
        10 => started(bytes)?,
        11 => renewed(bytes)?,
        12 => changed(bytes)?,
        14 => ended(bytes)?,
        _ => return None,
    });
    fields.rest.is_empty().then_some(said)
}

fn timestamp(bytes: &[u8]) -> Option<Instant> {
    if let Some((seconds, nanos)) = usual_timestamp(bytes) {
        return Some(to_instant(seconds, nanos));
    }
    let (mut seconds, mut nanos) = (0, 0);
    each_field(bytes, |number, kind, fields| {
        match (number, kind) {
            (1, VARINT) => seconds = fields.varint()? as i64,
            (2, VARINT) => nanos = fields.varint()? as i32,
            _ => return None,
        }
        Some(())
    })?;
    Some(to_instant(seconds, nanos))
}

/// Seconds of five bytes, as those of the years 1978 to 3058 have, with or without nanoseconds, each read as one word.
#[inline(always)]
fn usual_timestamp(bytes: &[u8]) -> Option<(i64, i32)> {
    /// Bits to look at, and what they are where the first key is the seconds' and these end with the sixth byte.
    const SECONDS: (u64, u64) = (0x0000_8080_8080_80ff, 0x0000_0080_8080_8008);
    const SECONDS_END: usize = 6;
    const NANOS_KEY: u8 = 2 << 3 | VARINT;
    let word = varint::next_eight(bytes);
    if word & SECONDS.0 != SECONDS.1 {
        return None;
    }
    let (seconds, _) = varint::read_word(word >> 8)?;
    let nanos = match bytes.get(SECONDS_END..)? {
        [] => 0,
        [NANOS_KEY, nanos @ ..] => {
            let (value, size) = varint::read_word(varint::next_eight(nanos))?;
            (size == nanos.len()).then_some(value)?
        }
        _ => return None,
    };
    Some((seconds as i64, nanos as i32))
}

fn money(bytes: &[u8]) -> Option<Amount<'_>> {
    let mut amount = Amount { code: "", minor_units: 0 };
    each_field(bytes, |number, kind, fields| {
        match (number, kind) {
            (1, BYTES) => amount.code = fields.text()?,
            (2, VARINT) => amount.minor_units = fields.varint()? as i64,
            _ => return None,
        }
        Some(())
    })?;
    Some(amount)
}

fn started(bytes: &[u8]) -> Option<Content<'_>> {
    let (mut amount, mut term_end, mut trial) = (None, None, false);
    each_field(bytes, |number, kind, fields| {
        match (number, kind) {
            (1, BYTES) => amount = Some(money(fields.bytes()?)?),
            (2, BYTES) => term_end = Some(timestamp(fields.bytes()?)?),
            (3, VARINT) => trial = fields.varint()? != 0,
            _ => return None,
        }
        Some(())
    })?;
    Some(Content::Started { amount, term_end, trial })
}

fn renewed(bytes: &[u8]) -> Option<Content<'_>> {
    let mut term_end = None;
    each_field(bytes, |number, kind, fields| {
        match (number, kind) {
            (1, BYTES) => term_end = Some(timestamp(fields.bytes()?)?),
            _ => return None,
        }
        Some(())
    })?;
    Some(Content::Renewed { term_end })
}

fn changed(bytes: &[u8]) -> Option<Content<'_>> {
    let mut amount = None;
    each_field(bytes, |number, kind, fields| {
        match (number, kind) {
            (1, BYTES) => amount = Some(money(fields.bytes()?)?),
            _ => return None,
        }
        Some(())
    })?;
    Some(Content::Changed { amount })
}

fn ended(bytes: &[u8]) -> Option<Content<'_>> {
    let (mut reason, mut effective) = (0, None);
    each_field(bytes, |number, kind, fields| {
        match (number, kind) {
            (1, VARINT) => reason = fields.varint()? as i32,
            (2, BYTES) => effective = Some(timestamp(fields.bytes()?)?),
            _ => return None,
        }
        Some(())
    })?;
    Some(Content::Ended { reason, effective })
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test that fails says where")]
mod tests {
    use pbjson_types::Timestamp;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::{timestamp, to_instant, usual_timestamp};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn a_timestamp_is_read_as_prost_reads_it(
            seconds in prop_oneof![0i64..1 << 36, any::<i64>()],
            nanos in prop_oneof![Just(0), (0..1_000_000_000i32, 0u32..30).prop_map(|(nanos, shift)| nanos >> shift), any::<i32>()],
            change in prop::option::of((any::<prop::sample::Index>(), any::<u8>(), any::<bool>())),
        ) {
            let mut bytes = Timestamp { seconds, nanos }.encode_to_vec();
            if change.is_none() && (1 << 28..1 << 35).contains(&seconds) && nanos >= 0 {
                prop_assert_eq!(usual_timestamp(&bytes), Some((seconds, nanos)));
            }
            if let Some((at, byte, instead)) = change {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..(at + usize::from(instead)).min(bytes.len()), [byte]);
            }
            let expected = Timestamp::decode(&*bytes).map(|t| to_instant(t.seconds, t.nanos));
            if let Some(read) = timestamp(&bytes) {
                prop_assert_eq!(Ok(read), expected);
            }
        }
    }
}
