//! What is written into the bytes of a history as they lie there, as [`codec::encode`] would.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::super::codec;
use super::super::codec::write::{Sink, Writer};
use super::{Fact, Line};
use crate::time::Instant;

/// What a history's first eight bytes hold: its flags, behind them when the latest run of signs ends, if there is one,
/// and a byte more.
#[derive(Clone, Copy)]
pub(super) struct Front(u64);

impl Front {
    /// The bytes behind the flags.
    const LAST: u64 = 0x00ff_ffff_ffff_ff00;

    #[inline(always)]
    pub fn of(line: &Line) -> Option<Self> {
        line.first_chunk().map(|bytes| Self(u64::from_le_bytes(*bytes)))
    }

    #[inline(always)]
    pub fn is_steady(self) -> bool {
        self.0 & u64::from(codec::STEADY) != 0
    }

    #[inline(always)]
    pub fn last(self) -> Instant {
        Instant::from_millis(((self.0 & Self::LAST) >> 8) as i64)
    }

    #[inline(always)]
    pub fn with(self, last: Instant, is_steady: bool) -> Self {
        let others = self.0 & !(Self::LAST | u64::from(codec::STEADY));
        Self(
            others | (last.as_millis() as u64) << 8 & Self::LAST | if is_steady { u64::from(codec::STEADY) } else { 0 },
        )
    }

    #[inline(always)]
    pub fn write(self, line: &mut Line) -> Option<()> {
        *line.first_chunk_mut()? = self.0.to_le_bytes();
        Some(())
    }
}

/// How many bytes are read or written at a time.
pub(super) const WORD: usize = size_of::<u64>();

/// Writes behind the history's bytes. `at` goes beyond the room where that is not enough.
pub(super) struct Pen<'a> {
    pub line: &'a mut Line,
    pub room: usize,
    pub at: usize,
}

impl Pen<'_> {
    /// Appends a fact that is later than the one before, at `before`; `None` where there is no room.
    pub fn fact(&mut self, fact: &Fact, before: Instant, is_latest_run: bool) -> Option<()> {
        Writer::behind(self, before).fact(fact, is_latest_run);
        self.has_room().then_some(())
    }

    pub fn count_one_more(&mut self, count_at: usize) -> Option<()> {
        *self.line.get_mut(count_at)? += 1;
        Some(())
    }

    /// Makes room behind the flags for the end of the run that has been appended.
    pub fn make_room_for_run(&mut self) -> Option<()> {
        let end = self.at;
        self.at += codec::RUN_BYTES;
        if !self.has_room() {
            return None;
        }
        self.line.copy_within(1..end, 1 + codec::RUN_BYTES);
        *self.line.first_mut()? |= codec::RUN;
        Some(())
    }

    fn has_room(&self) -> bool {
        self.at <= self.room
    }
}

impl Sink for Pen<'_> {
    #[inline(always)]
    fn put(&mut self, word: u64, size: usize) {
        let start = self.at;
        self.at += size;
        if self.has_room()
            && let Some(place) = self.line.get_mut(start..).and_then(|rest| rest.first_chunk_mut::<WORD>())
        {
            let kept = u64::MAX.checked_shl(8 * size as u32).unwrap_or(0);
            *place = (u64::from_le_bytes(*place) & kept | word & !kept).to_le_bytes();
        }
    }
}
