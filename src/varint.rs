//! Numbers of as many bytes as they need, seven bits in each: in protobuf's messages and in packed histories.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

/// The number that some bytes begin with, and the bytes behind it. `None` where they end before it, or it has more
/// than 64 bits.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((u64::from(first), rest));
    }
    let Some((number, len)) = read_word(next_eight(bytes)) else { return read_long(bytes) };
    let (_, rest) = bytes.split_at_checked(len)?;
    Some((number, rest))
}

/// The number in the lowest of eight bytes, and how many it takes; `None` where eight are not enough.
#[inline]
pub(crate) fn read_word(word: u64) -> Option<(u64, usize)> {
    // The first byte without its highest bit is the last one.
    let ends = !word & HIGHEST_BITS;
    if ends == 0 {
        return None;
    }
    // All bits up to that byte's highest, then seven of each byte moved together, by pairs.
    let bits = word & (ends ^ (ends - 1)) & !HIGHEST_BITS;
    let bits = bits & 0x007f_007f_007f_007f | (bits & 0x7f00_7f00_7f00_7f00) >> 1;
    let bits = bits & 0x0000_3fff_0000_3fff | (bits & 0x3fff_0000_3fff_0000) >> 2;
    Some((bits & 0x0fff_ffff | (bits & 0x0fff_ffff_0000_0000) >> 4, ends.trailing_zeros() as usize / 8 + 1))
}

/// The bytes of a number, and how many they are; `None` where eight are not enough.
#[inline]
pub(crate) fn write_word(number: u64) -> Option<(u64, usize)> {
    if number >> 56 != 0 {
        return None;
    }
    let len = (70 - (number | 1).leading_zeros() as usize) / 7;
    // As they are read, backwards.
    let bits = number & 0x0fff_ffff | (number & 0x00ff_ffff_f000_0000) << 4;
    let bits = bits & 0x0000_3fff_0000_3fff | (bits & 0x0fff_c000_0fff_c000) << 2;
    let bits = bits & 0x007f_007f_007f_007f | (bits & 0x3f80_3f80_3f80_3f80) << 1;
    let all_but_last = (1u64 << (8 * (len - 1))) - 1;
    Some((bits | HIGHEST_BITS & all_but_last, len))
}

/// Set in every byte but a number's last.
const HIGHEST_BITS: u64 = 0x8080_8080_8080_8080;

/// One of more than eight bytes.
#[cold]
fn read_long(mut bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        bytes = rest;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some((value, bytes));
        }
    }
    None
}

/// The first eight bytes as a little-endian number, zeros where there are fewer.
#[inline]
pub(crate) fn next_eight(bytes: &[u8]) -> u64 {
    if let Some(eight) = bytes.first_chunk() {
        return u64::from_le_bytes(*eight);
    }
    match (bytes.first_chunk(), bytes.last_chunk()) {
        // Two times four, which overlap.
        (Some(low), Some(high)) => {
            u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << (8 * (bytes.len() - 4))
        }
        _ => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::expect_used, reason = "a test that fails says where")]
mod tests {
    use proptest::prelude::*;

    use super::{read, read_word, write_word};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn a_number_is_read_as_prost_reads_it(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x80), Just(0xff), Just(1)], 0..14)) {
            let mut rest = bytes.as_slice();
            let expected = prost::encoding::decode_varint(&mut rest).ok();
            prop_assert_eq!(read(&bytes), expected.map(|number| (number, rest)));
        }

        #[test]
        fn a_number_that_is_written_comes_back(number in any::<u64>(), shift in 0u32..64, behind in prop::collection::vec(any::<u8>(), 0..9)) {
            let number = number >> shift;
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(number, &mut bytes);
            bytes.extend(&behind);
            prop_assert_eq!(read(&bytes), Some((number, behind.as_slice())));
            let len = bytes.len() - behind.len();
            match write_word(number) {
                Some((word, written)) => {
                    prop_assert_eq!(&word.to_le_bytes()[..written], &bytes[..len]);
                    prop_assert_eq!(read_word(word), Some((number, len)));
                }
                None => prop_assert!(len > 8),
            }
        }
    }
}
