//! The messages of a length-delimited protobuf file.

use std::io::{self, BufRead, Read};

use prost::Message;

use super::{Found, MAX_RECORD_BYTES, Unreadable};
use crate::proto::LifecycleEvent;

/// A varint of 64 bits.
const MAX_LENGTH_BYTES: usize = 10;

pub(super) struct Messages<R> {
    input: R,
    payload: Vec<u8>,
    number: u64,
    /// Where the record begins at which the reader stands, and where the next one does.
    start_byte: u64,
    next_byte: u64,
    result: Result<(), Unreadable>,
    /// Framing is lost, or the input has ended.
    ended: bool,
}

impl<R: BufRead> Messages<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, payload: Vec::new(), number: 0, start_byte: 0, next_byte: 0, result: Ok(()), ended: false }
    }

    /// Reads the next message. Returns the bytes read, or `None` at the end.
    pub(super) fn read_next(&mut self, message: &mut LifecycleEvent) -> io::Result<Option<u64>> {
        if self.ended || self.input.fill_buf()?.is_empty() {
            self.ended = true;
            return Ok(None);
        }
        self.number += 1;
        self.start_byte = self.next_byte;
        self.result = match self.read_frame()? {
            Ok(()) => decode(&self.payload, message),
            Err(reason) => {
                self.ended = true;
                Err(Unreadable::Framing(reason))
            }
        };
        Ok(Some(self.next_byte - self.start_byte))
    }

    pub(super) fn found(&self) -> Found<'_> {
        let content = self.result.clone().map(|()| Some(self.payload.as_slice()));
        Found { number: self.number, byte: Some(self.start_byte), content }
    }

    /// Reads a length and as many bytes; the inner error is why there is no such frame.
    fn read_frame(&mut self) -> io::Result<Result<(), String>> {
        let length = match self.read_length()? {
            Ok(length) if length <= MAX_RECORD_BYTES as u64 => length,
            Ok(length) => {
                let limit = MAX_RECORD_BYTES >> 20;
                return Ok(Err(format!("the message's length is given as {length} bytes, more than {limit} MiB")));
            }
            Err(reason) => return Ok(Err(reason)),
        };
        self.payload.clear();
        // `read_to_end` allocates as bytes arrive: a large length in front of nothing costs nothing.
        let read = (&mut self.input).take(length).read_to_end(&mut self.payload)? as u64;
        self.next_byte += read;
        if read < length {
            return Ok(Err(format!("the file ends after {read} of the message's {length} bytes")));
        }
        Ok(Ok(()))
    }

    fn read_length(&mut self) -> io::Result<Result<u64, String>> {
        let mut length = 0_u64;
        for i in 0..MAX_LENGTH_BYTES {
            let Some(&byte) = self.input.fill_buf()?.first() else {
                return Ok(Err("the file ends inside the message's length".to_owned()));
            };
            self.input.consume(1);
            self.next_byte += 1;
            // The tenth byte has room for one bit.
            if i == MAX_LENGTH_BYTES - 1 && byte > 1 {
                break;
            }
            length |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(Ok(length));
            }
        }
        Ok(Err("the message's length is not a varint: is this length-delimited protobuf?".to_owned()))
    }
}

fn decode(payload: &[u8], message: &mut LifecycleEvent) -> Result<(), Unreadable> {
    message.clear();
    message.merge(payload).map_err(|error| Unreadable::Record(error.to_string()))
}
