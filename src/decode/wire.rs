//! The bytes of a well-formed event, read in place.
//!
//! prost decides what a message is. This reads only what every producer of the contract writes: known fields, each
//! at most once, of the right type. Anything else is `None`, and left to prost; what it does read, prost reads the same.

use super::{Amount, Content, Said, to_instant};
use crate::event::Attributes;
use crate::event::attributes::{BYTES, Fields, Seen, VARINT, each_field, entry};
use crate::time::Instant;

/// What a payload says, where it is well-formed.
#[inline(always)]
pub(super) fn read(payload: &[u8]) -> Option<Said<'_>> {
    let mut said = Said::default();
    let mut seen = Seen(0);
    let mut attributes: Option<(usize, usize)> = None;
    let mut fields = Fields { rest: payload };
    while !fields.rest.is_empty() {
        match fields.key()? {
            (1, BYTES) => {
                seen.once(1)?;
                fields.text_bytes()?;
            }
            (2, BYTES) => {
                seen.once(2)?;
                said.customer_id = fields.text_bytes()?;
            }
            (3, BYTES) => {
                seen.once(3)?;
                said.time = Some(timestamp(fields.bytes()?)?);
            }
            (4, BYTES) => {
                seen.once(4)?;
                said.subscription_id = fields.text_bytes()?;
            }
            (5, VARINT) => {
                seen.once(5)?;
                said.sequence = fields.varint()?;
            }
            (6, BYTES) => {
                // Of the key, which is one byte.
                let at = payload.len().checked_sub(fields.rest.len())?.checked_sub(1)?;
                let (_, _) = entry(fields.bytes()?)?;
                let end = payload.len().checked_sub(fields.rest.len())?;
                // Entries that follow one another are read again when one is asked for.
                attributes = match attributes {
                    None => Some((at, end)),
                    Some((start, last)) if last == at => Some((start, end)),
                    Some(_) => return None,
                };
            }
            (number, BYTES) => {
                // The kinds share a place: only the last of several would count.
                seen.once(10)?;
                let bytes = fields.bytes()?;
                said.content = Some(match number {
                    10 => started(bytes)?,
                    11 => renewed(bytes)?,
                    12 => changed(bytes)?,
                    13 if bytes.is_empty() => Content::Activity,
                    14 => ended(bytes)?,
                    _ => return None,
                });
            }
            _ => return None,
        }
    }
    if let Some((start, end)) = attributes {
        said.attributes = Attributes::encoded(payload.get(start..end)?);
    }
    Some(said)
}

#[inline]
fn timestamp(bytes: &[u8]) -> Option<Instant> {
    let mut usual = Fields { rest: bytes };
    if let (Some((1, VARINT)), Some(seconds)) = (usual.key(), usual.varint()) {
        if usual.rest.is_empty() {
            return Some(to_instant(seconds as i64, 0));
        }
        if let (Some((2, VARINT)), Some(nanos), []) = (usual.key(), usual.varint(), usual.rest) {
            return Some(to_instant(seconds as i64, nanos as i32));
        }
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
