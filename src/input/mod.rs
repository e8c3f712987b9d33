//! Event files: JSON Lines in the proto3 JSON mapping, or length-delimited protobuf, one after the other.
//!
//! What cannot be read is an item like any other, with its place and reason, so that reading goes on.

mod json;
mod jsonl;
mod protobuf;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::proto::LifecycleEvent;

pub use json::from_json;

/// The longest line, and the longest protobuf message, in bytes.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

const BUFFER_BYTES: usize = 256 << 10;

/// How events stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One event in the proto3 JSON mapping per line.
    Jsonl,
    /// Each event as protobuf bytes behind their length as a varint.
    Protobuf,
}

impl Format {
    /// The format that a file's name suggests: standard input (`-`) is JSON Lines.
    pub fn of_name(path: &Path) -> Option<Self> {
        if is_stdin(path) {
            return Some(Self::Jsonl);
        }
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "pb" | "binpb" | "bin" | "protobuf" | "delimited" => Some(Self::Protobuf),
            _ => None,
        }
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "jsonl" => Ok(Self::Jsonl),
            "protobuf" => Ok(Self::Protobuf),
            _ => Err(format!("`{name}` is not a format: it is jsonl or protobuf")),
        }
    }
}

/// Why reading cannot begin, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("{}: cannot be read", display_name(.path))]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: the name does not say its format: add --format jsonl or --format protobuf", display_name(.0))]
    UnknownFormat(PathBuf),
}

/// One place in the input, and what stands there.
#[derive(Debug)]
pub struct Item<'a> {
    pub position: Position<'a>,
    pub content: Result<Record<'a>, Unreadable>,
}

/// One event as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub message: &'a LifecycleEvent,
    /// The bytes of a protobuf file's message; unlike `message` they also hold fields unknown here.
    pub payload: Option<&'a [u8]>,
}

/// Why there is no event at a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The line or message is not an event; the next one may be.
    #[error("{0}")]
    Record(String),
    /// Where the next message begins cannot be told: the rest of the file is not read.
    #[error("{0}; the rest of the file is not read")]
    Framing(String),
}

/// Where an item stands: `events.jsonl:7`, or `events.pb: record 7 at byte 1234`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'a> {
    pub path: &'a Path,
    /// The line or the record, from 1 on.
    pub number: u64,
    /// The position of a protobuf record's length in the file.
    pub byte: Option<u64>,
}

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, number) = (display_name(self.path), self.number);
        match self.byte {
            None => write!(f, "{name}:{number}"),
            Some(byte) => write!(f, "{name}: record {number} at byte {byte}"),
        }
    }
}

/// Reads the events of several files, in the order given.
pub struct EventReader {
    sources: std::vec::IntoIter<Source>,
    open: Option<OpenSource>,
    message: LifecycleEvent,
    total_bytes: Option<u64>,
    read_bytes: u64,
}

struct Source {
    path: PathBuf,
    format: Format,
}

struct OpenSource {
    path: PathBuf,
    records: Records,
}

enum Records {
    Jsonl(jsonl::Lines<Stream>),
    Protobuf(protobuf::Messages<Stream>),
}

type Stream = BufReader<Box<dyn Read + Send>>;

/// What a format's reader found at the next place.
struct Found<'a> {
    number: u64,
    byte: Option<u64>,
    content: Result<Option<&'a [u8]>, Unreadable>,
}

impl EventReader {
    /// Prepares to read `paths`, where `-` is standard input. Every file must exist and say its format by its
    /// name, unless `format` is given.
    pub fn new(paths: Vec<PathBuf>, format: Option<Format>) -> Result<Self, InputError> {
        let mut total_bytes = Some(0_u64);
        let mut sources = Vec::with_capacity(paths.len());
        for path in paths {
            let size_bytes = size_bytes(&path).map_err(|source| InputError::Io { path: path.clone(), source })?;
            total_bytes = total_bytes.zip(size_bytes).map(|(total, size)| total + size);
            let Some(format) = format.or_else(|| Format::of_name(&path)) else {
                return Err(InputError::UnknownFormat(path));
            };
            sources.push(Source { path, format });
        }
        let message = LifecycleEvent::default();
        Ok(Self { sources: sources.into_iter(), open: None, message, total_bytes, read_bytes: 0 })
    }

    /// The next event, or the next place that holds none; `None` at the end of the last file.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, InputError> {
        // In two steps, since the borrow checker cannot see that a finished source lends nothing.
        while !self.stand_on_next()? {
            if !self.open_next()? {
                return Ok(None);
            }
        }
        let Some(open) = &self.open else { return Ok(None) };
        let found = match &open.records {
            Records::Jsonl(lines) => lines.found(),
            Records::Protobuf(messages) => messages.found(),
        };
        let position = Position { path: &open.path, number: found.number, byte: found.byte };
        let content = found.content.map(|payload| Record { message: &self.message, payload });
        Ok(Some(Item { position, content }))
    }

    /// How many bytes of all files have been read.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// How many bytes there are to read; `None` where that cannot be known, as with standard input.
    pub fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// Reads the open source's next record into `message`; false where there is none.
    fn stand_on_next(&mut self) -> Result<bool, InputError> {
        let Some(open) = &mut self.open else { return Ok(false) };
        let step = match &mut open.records {
            Records::Jsonl(lines) => lines.read_next(&mut self.message),
            Records::Protobuf(messages) => messages.read_next(&mut self.message),
        };
        let bytes = step.map_err(|source| InputError::Io { path: open.path.clone(), source })?;
        self.read_bytes += bytes.unwrap_or(0);
        Ok(bytes.is_some())
    }

    /// False where no source is left.
    fn open_next(&mut self) -> Result<bool, InputError> {
        let Some(Source { path, format }) = self.sources.next() else {
            self.open = None;
            return Ok(false);
        };
        let stream = open(&path).map_err(|source| InputError::Io { path: path.clone(), source })?;
        let records = match format {
            Format::Jsonl => Records::Jsonl(jsonl::Lines::new(stream)),
            Format::Protobuf => Records::Protobuf(protobuf::Messages::new(stream)),
        };
        self.open = Some(OpenSource { path, records });
        Ok(true)
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn display_name(path: &Path) -> std::path::Display<'_> {
    if is_stdin(path) { Path::new("standard input").display() } else { path.display() }
}

/// `None` for what has no size: standard input, a pipe.
fn size_bytes(path: &Path) -> io::Result<Option<u64>> {
    if is_stdin(path) {
        return Ok(None);
    }
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(metadata.is_file().then_some(metadata.len()))
}

fn open(path: &Path) -> io::Result<Stream> {
    let stream: Box<dyn Read + Send> = if is_stdin(path) { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    Ok(BufReader::with_capacity(BUFFER_BYTES, stream))
}

#[cfg(test)]
mod tests;
