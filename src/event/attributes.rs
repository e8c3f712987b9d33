//! An event's attributes, borrowed from a message or from the bytes of one.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt;
use std::str;

use crate::varint;

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

    /// Passes over a field's key, if it is the next one's.
    #[inline(always)]
    pub fn has(&mut self, number: u8, kind: u8) -> bool {
        let Some((&key, rest)) = self.rest.split_first() else { return false };
        let is_next = key == number << 3 | kind;
        if is_next {
            self.rest = rest;
        }
        is_next
    }

    #[inline]
    pub fn varint(&mut self) -> Option<u64> {
        let (value, rest) = varint::read(self.rest)?;
        self.rest = rest;
        Some(value)
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

    /// The bytes of a text that nobody reads as one.
    #[inline]
    pub fn text_bytes(&mut self) -> Option<&'a [u8]> {
        let bytes = self.bytes()?;
        (is_ascii(bytes) || str::from_utf8(bytes).is_ok()).then_some(bytes)
    }
}

/// As the standard library's, in fewer instructions at the lengths that ids have.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk() else { return bytes.iter().fold(0, |all, &byte| all | byte) < 0x80 };
    let (eights, _) = bytes.as_chunks();
    let all = eights.iter().fold(u64::from_le_bytes(*last), |all, &eight| all | u64::from_le_bytes(eight));
    all & 0x8080_8080_8080_8080 == 0
}
