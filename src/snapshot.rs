//! The snapshot codec: a shard's histories and next offset, as bytes and back.
//!
//! The format is described in `proto/churnwatch/snapshot/v1/snapshot.proto`. Every frame carries a checksum and
//! the header says how much follows, so that a torn or damaged snapshot is recognised as such.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod writing;

use std::io::{self, Read};
use std::sync::Arc;

use prost::Message;
use prost::encoding::decode_varint;

pub use writing::{SLICE_BYTES, Slices, write};

use crate::cohort::{Definitions, Lifecycle};
use crate::proto::snapshot as proto;
use crate::shard::{HashKey, Shard, State};
use crate::time::{Instant, Span};

const MAGIC: &[u8; 8] = b"CHURNWSN";
const FORMAT_VERSION: u32 = 3;
/// Where each customer will be lies all over the memory: what one waits for, so many wait for together.
const LOOKED_UP_TOGETHER: usize = 32;

/// What a snapshot says about itself, readable without restoring it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub topic: String,
    pub partition: i32,
    pub next_offset: i64,
    pub customers: u64,
}

/// Why a snapshot cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("cannot be read: {0}")]
    Io(#[source] io::Error),
    /// Torn, flipped, or never a snapshot: use the one before.
    #[error("is damaged: {0}")]
    Damaged(String),
    #[error("has format version {0}, which this version of churnwatch does not read")]
    Version(u32),
    /// Made under settings that the histories depend on.
    #[error("was made with {was}, but the configuration now says {now}")]
    Settings { was: String, now: String },
}

impl From<io::Error> for RestoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it ends too early"),
            _ => Self::Io(error),
        }
    }
}

fn damaged(what: impl Into<String>) -> RestoreError {
    RestoreError::Damaged(what.into())
}

/// Reads back what [`write()`] wrote. Never panics and never allocates beyond the input's size, whatever the bytes.
pub fn read(input: &mut impl Read, definitions: Arc<Definitions>) -> Result<(Header, Shard), RestoreError> {
    read_and_build(input, definitions, |_| None)
}

/// As [`read()`], and builds the tallies on the way as of what is likely the instant of the first [`Shard::advance`],
/// which then has little to do. `as_of` gets the latest `event_time`; a later instant than that advance's costs time only.
pub fn read_and_build(
    input: &mut impl Read,
    definitions: Arc<Definitions>,
    as_of: impl FnOnce(Option<Instant>) -> Option<Instant>,
) -> Result<(Header, Shard), RestoreError> {
    let mut frame = Vec::new();
    let header = read_proto_header(input, &mut frame)?;
    let state = state(&header)?;
    check_settings(&state, &definitions)?;
    let mut shard = Shard::from_state(definitions, &state);
    check_attributes(&state, &shard)?;

    // The first text, `unknown`, has its number already.
    let mut texts = 0;
    while texts < header.texts {
        read_frame(input, &mut frame)?;
        let part = proto::Texts::decode(frame.as_slice()).map_err(|_| damaged("its dictionary cannot be decoded"))?;
        if part.texts.is_empty() {
            return Err(damaged("a part of its dictionary is empty"));
        }
        for text in part.texts {
            let fits = if texts == 0 { text == crate::cohort::UNKNOWN } else { shard.add_text(&text) };
            if !fits {
                return Err(damaged("its dictionary repeats itself"));
            }
            texts += 1;
        }
    }
    if let Some(t) = as_of(state.latest_event) {
        shard.build_ahead(t);
    }
    let texts_known = shard.texts().len();
    shard.expect_customers(header.customers);
    let mut customers = 0;
    while customers < header.customers {
        read_frame(input, &mut frame)?;
        customers += read_customers(&frame, &state.attributes, texts_known, &mut shard)?;
    }
    if texts != header.texts || customers != header.customers || input.read(&mut [0])? != 0 {
        return Err(damaged("it holds more than its header says"));
    }
    Ok((Header::of(&header), shard))
}

/// Reads the header alone.
pub fn read_header(input: &mut impl Read) -> Result<Header, RestoreError> {
    Ok(Header::of(&read_proto_header(input, &mut Vec::new())?))
}

impl Header {
    fn of(header: &proto::Header) -> Self {
        Self {
            topic: header.topic.clone(),
            partition: header.partition,
            next_offset: header.next_offset,
            customers: header.customers,
        }
    }
}

fn read_proto_header(input: &mut impl Read, frame: &mut Vec<u8>) -> Result<proto::Header, RestoreError> {
    let mut magic = [0; MAGIC.len()];
    input.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(damaged("it does not begin as a churnwatch snapshot"));
    }
    read_frame(input, frame)?;
    let header = proto::Header::decode(frame.as_slice()).map_err(|_| damaged("its header cannot be decoded"))?;
    if header.format_version == FORMAT_VERSION { Ok(header) } else { Err(RestoreError::Version(header.format_version)) }
}

fn read_frame(input: &mut impl Read, payload: &mut Vec<u8>) -> Result<(), RestoreError> {
    let mut number = [0; 4];
    input.read_exact(&mut number)?;
    let len = u32::from_le_bytes(number);
    input.read_exact(&mut number)?;
    let checksum = u32::from_le_bytes(number);
    payload.clear();
    // Grows with what is there, not with what the length claims.
    input.by_ref().take(u64::from(len)).read_to_end(payload)?;
    if payload.len() as u64 != u64::from(len) {
        return Err(damaged("it ends too early"));
    }
    if crc32c::crc32c(payload) == checksum { Ok(()) } else { Err(damaged("a checksum does not match")) }
}

fn read_customers(frame: &[u8], attributes: &[String], texts: usize, shard: &mut Shard) -> Result<u64, RestoreError> {
    let mut rest = frame;
    let mut customers = 0;
    loop {
        let mut block: [Customer<'_>; LOOKED_UP_TOGETHER] = [(&[0; 16], &[]); LOOKED_UP_TOGETHER];
        let mut count = 0;
        for customer in &mut block {
            let Some(next) = next_customer(&mut rest)? else { break };
            *customer = next;
            count += 1;
        }
        let block = block.get(..count).unwrap_or_default();
        if block.is_empty() {
            break;
        }
        shard.ask_for_places(block.iter().map(|(key, _)| *key));
        for (key, packed) in block {
            match shard.add_packed(key, packed, attributes, texts) {
                Ok(true) => customers += 1,
                Ok(false) => return Err(damaged("a customer is in it twice")),
                Err(malformed) => return Err(damaged(malformed.to_string())),
            }
        }
    }
    if customers == 0 || !rest.is_empty() {
        return Err(damaged("a frame of customers is cut off"));
    }
    Ok(customers)
}

/// A customer's key and packed history.
type Customer<'a> = (&'a [u8; 16], &'a [u8]);

/// The next customer; nothing where what is left does not begin with a key.
fn next_customer<'a>(rest: &mut &'a [u8]) -> Result<Option<Customer<'a>>, RestoreError> {
    let Some((key, after_key)) = rest.split_first_chunk() else { return Ok(None) };
    *rest = after_key;
    let len = decode_varint(rest).map_err(|_| damaged("a customer's length cannot be read"))?;
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let (packed, after) = rest.split_at_checked(len).ok_or_else(|| damaged("a customer is cut off"))?;
    *rest = after;
    Ok(Some((key, packed)))
}

fn state(header: &proto::Header) -> Result<State, RestoreError> {
    let key = header.hash_key.as_slice().try_into().map_err(|_| damaged("its hash key does not have 16 bytes"))?;
    if !header.attributes.is_sorted_by(|a, b| a < b) {
        return Err(damaged("its attributes are out of order"));
    }
    Ok(State {
        key: HashKey(key),
        next_offset: header.next_offset,
        earliest_event: header.earliest_event_ms.map(Instant::from_millis),
        latest_event: header.latest_event_ms.map(Instant::from_millis),
        folded_before: header.folded_before_ms.map(Instant::from_millis),
        lifecycle: Lifecycle {
            inactivity_timeout: header.inactivity_timeout_ms.map(Span::from_millis),
            grace_period: Span::from_millis(header.grace_period_ms),
        },
        attributes: header.attributes.clone(),
    })
}

fn check_settings(state: &State, definitions: &Definitions) -> Result<(), RestoreError> {
    let say = |lifecycle: &Lifecycle| {
        let span = |span: Span| format!("{} s", span.as_millis() as f64 / 1000.0);
        let timeout = lifecycle.inactivity_timeout.map_or("none".to_owned(), span);
        format!(
            "lifecycle.inactivity_timeout = {timeout} and lifecycle.grace_period = {}",
            span(lifecycle.grace_period)
        )
    };
    if state.lifecycle == definitions.lifecycle {
        return Ok(());
    }
    Err(RestoreError::Settings { was: say(&state.lifecycle), now: say(&definitions.lifecycle) })
}

fn check_attributes(state: &State, shard: &Shard) -> Result<(), RestoreError> {
    let missing = shard.attributes().iter().find(|attribute| !state.attributes.contains(attribute));
    match missing {
        None => Ok(()),
        Some(attribute) => Err(RestoreError::Settings {
            was: format!("histories of the attributes {:?}", state.attributes),
            now: format!("that a dimension asks for the attribute {attribute:?}"),
        }),
    }
}
