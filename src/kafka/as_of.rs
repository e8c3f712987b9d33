//! The instant of the published numbers, by the text of docs/semantics.md, "As of".

use crate::time::Instant;

/// How far one partition has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HowFar {
    /// Whether everything that was in the partition at `now` has been read; never so while its broker does
    /// not answer.
    pub at_end: bool,
    /// The Kafka timestamp of the last record read.
    pub last_record: Option<Instant>,
}

/// The as-of of the last publication; never goes backwards.
#[derive(Default)]
pub(crate) struct AsOf {
    last: Option<Instant>,
}

impl AsOf {
    /// `time.clock = "wall"`. `None` where nothing can be said yet.
    pub fn by_wall_clock(&mut self, now: Instant, partitions: impl IntoIterator<Item = HowFar>) -> Option<Instant> {
        let mut t = Some(now);
        for partition in partitions {
            let reached = if partition.at_end { Some(now) } else { partition.last_record.or(self.last) };
            t = t.min(reached);
        }
        self.not_before(t)
    }

    /// `time.clock = "event"`. `None` where there was no event yet.
    pub fn by_events(&mut self, latest: Option<Instant>) -> Option<Instant> {
        self.not_before(latest)
    }

    fn not_before(&mut self, t: Option<Instant>) -> Option<Instant> {
        self.last = t.max(self.last);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Instant {
        Instant::from_millis(ms)
    }

    const fn end() -> HowFar {
        HowFar { at_end: true, last_record: None }
    }

    fn behind(ms: i64) -> HowFar {
        HowFar { at_end: false, last_record: Some(Instant::from_millis(ms)) }
    }

    #[test]
    fn the_partition_furthest_behind_decides() {
        let mut as_of = AsOf::default();
        assert_eq!(as_of.by_wall_clock(at(100), [end(), behind(40), behind(50)]), Some(at(40)));
        assert_eq!(as_of.by_wall_clock(at(110), [end(), end(), behind(70)]), Some(at(70)));
        assert_eq!(as_of.by_wall_clock(at(120), [end(), end(), end()]), Some(at(120)));
    }

    #[test]
    fn it_stands_still_rather_than_go_backwards() {
        let mut as_of = AsOf::default();
        assert_eq!(as_of.by_wall_clock(at(100), [end()]), Some(at(100)));
        // An outage: the last record is long ago, or there was none.
        assert_eq!(as_of.by_wall_clock(at(200), [behind(10)]), Some(at(100)));
        let unread = HowFar { at_end: false, last_record: None };
        assert_eq!(as_of.by_wall_clock(at(300), [unread]), Some(at(100)));
        // A clock that was set back.
        assert_eq!(as_of.by_wall_clock(at(90), [end()]), Some(at(100)));
        // A producer whose clock is ahead.
        assert_eq!(as_of.by_wall_clock(at(150), [behind(900)]), Some(at(150)));
    }

    #[test]
    fn nothing_is_said_before_something_is_known() {
        let unread = HowFar { at_end: false, last_record: None };
        assert_eq!(AsOf::default().by_wall_clock(at(5), [end(), unread]), None);
        let mut as_of = AsOf::default();
        assert_eq!(as_of.by_events(None), None);
        assert_eq!(as_of.by_events(Some(at(7))), Some(at(7)));
        assert_eq!(as_of.by_events(Some(at(3))), Some(at(7)));
    }
}
