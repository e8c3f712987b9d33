//! An event's attributes, borrowed from a message or from the bytes of one.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt;
use std::str;

/// The attributes of an event: texts by name.
#[derive(Clone, Copy, Default)]
pub struct Attributes<'a>(Source<'a>);

#[derive(Clone, Copy, Default)]
enum Source<'a> {
    #[default]
    None,
    Message(&'a BTreeMap<String, String>),
    /// Entries as they lie in the payload, which the decoder has checked.
    Encoded(&'a [u8]),
}

impl<'a> Attributes<'a> {
    /// Those of a message.
    pub fn of(attributes: &'a BTreeMap<String, String>) -> Self {
        Self(Source::Message(attributes))
    }

    pub(crate) fn encoded(entries: &'a [u8]) -> Self {
        Self(Source::Encoded(entries))
    }

    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        match self.0 {
            Source::None => None,
            Source::Message(attributes) => attributes.get(name).map(String::as_str),
            Source::Encoded(entries) => find(entries, name),
        }
    }

    /// All of them, in the order of their names.
    pub fn to_map(&self) -> BTreeMap<&'a str, &'a str> {
        match self.0 {
            Source::None => BTreeMap::new(),
            Source::Message(attributes) => attributes.iter().map(|(name, value)| (&**name, &**value)).collect(),
            Source::Encoded(entries) => all(entries).collect(),
        }
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        match self.0 {
            Source::None => true,
            Source::Message(attributes) => attributes.is_empty(),
            Source::Encoded(entries) => entries.is_empty(),
        }
    }
}

impl PartialEq for Attributes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.to_map() == other.to_map()
    }
}

impl Eq for Attributes<'_> {}

impl fmt::Debug for Attributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.to_map()).finish()
    }
}

/// The value of an attribute among entries that the decoder has accepted: the last one of that name.
fn find<'a>(entries: &'a [u8], name: &str) -> Option<&'a str> {
    let mut found = None;
    let mut fields = Fields { rest: entries };
    while !fields.rest.is_empty() {
        let _ = fields.key()?;
        let (key, value) = entry(fields.bytes()?)?;
        if key == name {
            found = Some(value);
        }
    }
    found
}

/// Every attribute among entries that the decoder has accepted; of a repeated name all values, the last one counts.
fn all(entries: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let mut fields = Fields { rest: entries };
    std::iter::from_fn(move || {
        let _ = fields.key()?;
        entry(fields.bytes()?)
    })
}

/// Name and value of an entry; `None` unless each stands there at most once, as text.
pub(crate) fn entry(bytes: &[u8]) -> Option<(&str, &str)> {
    let (mut name, mut value) = ("", "");
    each_field(bytes, |number, kind, fields| {
        match (number, kind) {
            (1, BYTES) => name = fields.text()?,
            (2, BYTES) => value = fields.text()?,
            _ => return None,
        }
        Some(())
    })?;
    Some((name, value))
}

/// Has `read` take the value of each field, by its number and how it is written. `None` where a field stands twice, or
/// where `read` says so.
#[inline]
pub(crate) fn each_field<'a>(
    bytes: &'a [u8],
    mut read: impl FnMut(u8, u8, &mut Fields<'a>) -> Option<()>,
) -> Option<()> {
    let mut seen = Seen(0);
    let mut fields = Fields { rest: bytes };
    while !fields.rest.is_empty() {
        let (number, kind) = fields.key()?;
        seen.once(number)?;
        read(number, kind, &mut fields)?;
    }
    Some(())
}

/// How a field's value is written.
pub(crate) const VARINT: u8 = 0;
pub(crate) const BYTES: u8 = 2;

/// The numbers of the fields read so far.
pub(crate) struct Seen(pub u16);

impl Seen {
    /// `None` if the field was there before, or its number is none of the contract's.
    #[inline]
    pub fn once(&mut self, number: u8) -> Option<()> {
        let bit = 1u16.checked_shl(u32::from(number))?;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new.then_some(())
    }
}

/// The fields of a message, one after the other.
pub(crate) struct Fields<'a> {
    pub rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// A field's number and how its value is written; only keys of one byte, which all of the contract's are.
    #[inline]
    pub fn key(&mut self) -> Option<(u8, u8)> {
        let (&key, rest) = self.rest.split_first()?;
        self.rest = rest;
        (key < 0x80).then_some((key >> 3, key & 7))
    }

    #[inline]
    pub fn varint(&mut self) -> Option<u64> {
        let (&first, rest) = self.rest.split_first()?;
        if first < 0x80 {
            self.rest = rest;
            return Some(u64::from(first));
        }
        let Some((&word, _)) = self.rest.split_first_chunk() else { return self.varint_bytewise() };
        let word = u64::from_le_bytes(word);
        // The first byte without its highest bit is the last one.
        let ends = !word & 0x8080_8080_8080_8080;
        if ends == 0 {
            return self.varint_bytewise();
        }
        let (_, rest) = self.rest.split_at_checked(ends.trailing_zeros() as usize / 8 + 1)?;
        self.rest = rest;
        // All bits up to that byte's highest, then seven of each byte moved together, by pairs.
        let bits = word & (ends ^ (ends - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
        let bits = bits & 0x007f_007f_007f_007f | (bits & 0x7f00_7f00_7f00_7f00) >> 1;
        let bits = bits & 0x0000_3fff_0000_3fff | (bits & 0x3fff_0000_3fff_0000) >> 2;
        Some(bits & 0x0fff_ffff | (bits & 0x0fff_ffff_0000_0000) >> 4)
    }

    /// Near the end of the payload, and the longest ones.
    fn varint_bytewise(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        // The tenth byte has room for one bit.
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        (byte < 2).then_some(value | u64::from(byte) << 63)
    }

    #[inline]
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    #[inline]
    pub fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.bytes()?).ok()
    }

    /// A text that nobody asks for.
    #[inline]
    pub fn skip_text(&mut self) -> Option<()> {
        let bytes = self.bytes()?;
        (bytes.is_ascii() || str::from_utf8(bytes).is_ok()).then_some(())
    }
}
