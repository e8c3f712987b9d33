//! The message inside a record's value: bare, or behind the prefix with which serializers of a schema registry begin.
//!
//! The prefix is 0x00, the schema's id in four bytes, and the place of the message's type in the schema: which of its
//! messages, as a list of indexes. The id says nothing to a reader that knows its message, and is not looked up.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]

use std::ffi::CStr;

use crate::event::Rejection;

/// The header in which newer serializers name the schema, and then write the value bare.
pub const SCHEMA_ID_HEADER: &CStr = c"__value_schema_id";

/// How a record's value holds its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Behind a prefix where there is one: no protobuf message begins with the prefix's first byte.
    #[default]
    Detect,
    /// The value is the message.
    Bare,
    /// Behind a prefix, or bare in a record with the header [`SCHEMA_ID_HEADER`].
    Confluent,
}

impl Framing {
    /// The message in a value. `schema_in_header` is asked only where it matters.
    pub fn message(self, value: &[u8], schema_in_header: impl FnOnce() -> bool) -> Result<&[u8], Rejection> {
        match (self, value) {
            (Self::Detect | Self::Confluent, [0x00, prefixed @ ..]) => behind_prefix(prefixed),
            (Self::Detect | Self::Bare, message) => Ok(message),
            (Self::Confluent, message) if schema_in_header() => Ok(message),
            (Self::Confluent, _) => Err(Rejection::Undecodable),
        }
    }
}

/// What follows the schema's id and the indexes, where these name the schema's first message.
fn behind_prefix(bytes: &[u8]) -> Result<&[u8], Rejection> {
    match bytes {
        // The short spelling of the list that holds index 0 alone.
        [_, _, _, _, 0x00, message @ ..] => Ok(message),
        // Its length and the index: as zig-zag, and as some serializers wrote it before they knew of zig-zag.
        [_, _, _, _, 0x02 | 0x01, 0x00, message @ ..] => Ok(message),
        _ => Err(Rejection::Undecodable),
    }
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says where"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: [u8; 5] = [0x00, 0x00, 0x01, 0x02, 0x03];

    fn framed(rest: &[u8]) -> Vec<u8> {
        [&ID, rest].concat()
    }

    fn in_no_header() -> bool {
        false
    }

    #[test]
    fn the_prefix_is_taken_off_in_every_spelling() {
        for framing in [Framing::Detect, Framing::Confluent] {
            for indexes in [&[0x00][..], &[0x02, 0x00], &[0x01, 0x00]] {
                for message in [&b"\x0a\x01x"[..], b"", b"\x00\x00", b"\x02\x00"] {
                    let value = framed(&[indexes, message].concat());
                    assert_eq!(framing.message(&value, in_no_header), Ok(message), "{framing:?} {value:?}");
                }
            }
        }
    }

    #[test]
    fn other_messages_and_torn_prefixes_are_undecodable() {
        let second_message = framed(&[0x02, 0x02, 0x0a, 0x00]);
        let nested_message = framed(&[0x04, 0x00, 0x00, 0x0a, 0x00]);
        let negative_count = framed(&[0x03, 0x00]);
        let torn = (1..=ID.len()).map(|length| ID[..length].to_vec());
        let torn_indexes = [framed(&[0x02]), framed(&[0x01]), framed(&[0x80])];
        for value in torn.chain(torn_indexes).chain([second_message, nested_message, negative_count]) {
            for framing in [Framing::Detect, Framing::Confluent] {
                assert_eq!(framing.message(&value, || true), Err(Rejection::Undecodable), "{framing:?} {value:?}");
            }
        }
    }

    #[test]
    fn without_a_prefix_the_value_is_the_message_unless_framing_is_asked_for() {
        for value in [&b"\x0a\x01x"[..], b""] {
            assert_eq!(Framing::Detect.message(value, || panic!("asked for nothing")), Ok(value));
            assert_eq!(Framing::Bare.message(value, || panic!("asked for nothing")), Ok(value));
            assert_eq!(Framing::Confluent.message(value, || true), Ok(value));
            assert_eq!(Framing::Confluent.message(value, in_no_header), Err(Rejection::Undecodable));
        }
        let value = framed(&[0x00, 0x0a]);
        assert_eq!(Framing::Bare.message(&value, in_no_header), Ok(&value[..]), "for the decoder to judge");
    }

    proptest! {
        #[test]
        fn what_is_taken_for_the_message_is_the_end_of_the_value(value: Vec<u8>, header: bool) {
            for framing in [Framing::Detect, Framing::Bare, Framing::Confluent] {
                if let Ok(message) = framing.message(&value, || header) {
                    prop_assert!(value.ends_with(message) && value.len() - message.len() <= 7);
                }
            }
        }
    }
}
