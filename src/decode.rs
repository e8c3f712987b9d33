//! Bytes to a validated [`Event`]: the only place that judges input.

use crate::event::{Event, Ignored, Rejection};
use crate::proto::LifecycleEvent;
use crate::time::Instant;

/// Why there is no event in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Ignored(Ignored),
    Rejected(Rejection),
}

/// Decodes records one after the other into the same buffers.
#[derive(Default)]
pub struct Decoder {
    message: LifecycleEvent,
}

impl Decoder {
    /// The event in a payload. `None` is a tombstone; an event later than `latest_event_time` is rejected.
    pub fn decode(
        &mut self,
        _payload: Option<&[u8]>,
        _latest_event_time: Option<Instant>,
    ) -> Result<Event<'_>, Refusal> {
        let _ = &self.message;
        todo!()
    }
}

/// The event in a message, checked in the order of [`Rejection::ALL`].
pub fn validate(_message: &LifecycleEvent, _latest_event_time: Option<Instant>) -> Result<Event<'_>, Refusal> {
    todo!()
}
