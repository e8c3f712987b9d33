//! The lines of a JSON Lines file.

use std::io::{self, BufRead, Read};

use super::{Found, MAX_RECORD_BYTES, Unreadable, from_json};
use crate::proto::LifecycleEvent;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
    result: Result<(), String>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0, result: Ok(()) }
    }

    /// Reads the next line that is not blank. Returns the bytes read, or `None` at the end.
    pub(super) fn read_next(&mut self, message: &mut LifecycleEvent) -> io::Result<Option<u64>> {
        let mut bytes = 0;
        loop {
            self.line.clear();
            let read = (&mut self.input).take(MAX_RECORD_BYTES as u64 + 1).read_until(b'\n', &mut self.line)?;
            if read == 0 {
                return Ok(None);
            }
            bytes += read as u64;
            self.number += 1;
            if self.line.len() > MAX_RECORD_BYTES {
                bytes += skip_line(&mut self.input)?;
                self.result = Err(format!("the line is longer than {} MiB", MAX_RECORD_BYTES >> 20));
                return Ok(Some(bytes));
            }
            let line = match self.line.strip_prefix(BYTE_ORDER_MARK) {
                Some(rest) if self.number == 1 => rest,
                _ => self.line.as_slice(),
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.result = from_json(line).map(|event| *message = event);
            return Ok(Some(bytes));
        }
    }

    pub(super) fn found(&self) -> Found<'_> {
        let content = self.result.clone().map(|()| None).map_err(Unreadable::Record);
        Found { number: self.number, byte: None, content }
    }
}

/// Reads up to and with the end of the line, keeping nothing. Returns the bytes read.
fn skip_line(input: &mut impl BufRead) -> io::Result<u64> {
    input.skip_until(b'\n').map(|bytes| bytes as u64)
}
