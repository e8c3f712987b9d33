//! A page's texts as the beginning of a gzip stream: compressed once, and ended anew for each who asks.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// Of a stream without a name or a time.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const INTO_MEMORY: &str = "a vector takes all that is written";

/// A stream up to the end of a byte, behind which more can follow. Not a whole one: of several in a row, which the
/// format allows, some clients read the first alone.
#[derive(Debug)]
pub(crate) struct Beginning {
    stream: Bytes,
    crc: Crc,
}

impl Beginning {
    /// The stream of these texts.
    pub fn of(texts: &[&str]) -> Self {
        let (mut stream, crc) = deflate(HEADER.to_vec(), texts, |mut encoder| {
            encoder.flush()?;
            // What dropping the encoder writes is the end of a stream that goes on.
            Ok(std::mem::take(encoder.get_mut()))
        })
        .expect(INTO_MEMORY);
        stream.shrink_to_fit();
        Self { stream: stream.into(), crc }
    }

    /// The whole stream, of which this text is the end. What was compressed before is shared.
    pub fn ended_by(&self, text: &str) -> [Bytes; 2] {
        let (mut end, crc_of_end) = deflate(Vec::new(), &[text], DeflateEncoder::finish).expect(INTO_MEMORY);
        let mut crc = Crc::new();
        crc.combine(&self.crc);
        crc.combine(&crc_of_end);
        end.extend(crc.sum().to_le_bytes());
        end.extend(crc.amount().to_le_bytes());
        [self.stream.clone(), end.into()]
    }
}

fn deflate(
    into: Vec<u8>,
    texts: &[&str],
    end: impl FnOnce(DeflateEncoder<Vec<u8>>) -> io::Result<Vec<u8>>,
) -> io::Result<(Vec<u8>, Crc)> {
    let (mut encoder, mut crc) = (DeflateEncoder::new(into, Compression::default()), Crc::new());
    for text in texts {
        encoder.write_all(text.as_bytes())?;
        crc.update(text.as_bytes());
    }
    Ok((end(encoder)?, crc))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn decompressed(chunks: [Bytes; 2]) -> String {
        let stream = chunks.concat();
        let mut decoder = GzDecoder::new(stream.as_slice());
        let mut text = String::new();
        decoder.read_to_string(&mut text).unwrap();
        assert!(decoder.into_inner().is_empty(), "one stream, whole");
        text
    }

    #[test]
    fn beginning_and_end_are_one_stream() {
        let large: String = (0..100_000).map(|n| format!("a{{b=\"{n}\"}} {}\n", n * 7919 % 104_729)).collect();
        for texts in [["", ""], ["", "a 1\n"], ["a 1\n", ""], [&large, "b 2\n"]] {
            let beginning = Beginning::of(&texts);
            for end in ["", "c 3\n", &large] {
                assert!(decompressed(beginning.ended_by(end)) == [texts[0], texts[1], end].concat());
            }
        }
        let beginning = Beginning::of(&[&large]);
        assert!(beginning.stream.len() < large.len() / 2);
        let shared = |end: &str| beginning.ended_by(end)[0].as_ptr();
        assert_eq!(shared("c 3\n"), shared("d 4\n"), "nothing is copied");
    }
}
