//! The instant of the published numbers, by the text of docs/semantics.md, "As of".

use crate::settings::Clock;
use crate::time::{Instant, Span};

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
    /// `time.clock = "wall"`: a multiple of `grain`. `None` where nothing can be said yet.
    pub fn by_wall_clock(
        &mut self,
        now: Instant,
        grain: Span,
        partitions: impl IntoIterator<Item = HowFar>,
    ) -> Option<Instant> {
        let mut t = Some(now);
        for partition in partitions {
            let reached = if partition.at_end { Some(now) } else { partition.last_record.or(self.last) };
            t = t.min(reached);
        }
        self.not_before(t.map(|t| rounded_down(t, grain)))
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

/// What the first publication after a restoration is hardly ever before, nor long after, seen from `now`.
pub(crate) fn expected_first(
    clock: Clock,
    now: Instant,
    grain: Span,
    latest_event: Option<Instant>,
) -> Option<Instant> {
    match clock {
        Clock::Wall => latest_event.map(|latest| latest.min(rounded_down(now, grain))),
        Clock::Event => latest_event,
    }
}

fn rounded_down(t: Instant, grain: Span) -> Instant {
    t - Span::from_millis(t.as_millis().rem_euclid(grain.as_millis().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Instant {
        Instant::from_millis(ms)
    }

    const MS: Span = Span::from_millis(1);

    const fn end() -> HowFar {
        HowFar { at_end: true, last_record: None }
    }

    fn behind(ms: i64) -> HowFar {
        HowFar { at_end: false, last_record: Some(Instant::from_millis(ms)) }
    }

    #[test]
    fn the_partition_furthest_behind_decides() {
        let mut as_of = AsOf::default();
        assert_eq!(as_of.by_wall_clock(at(100), MS, [end(), behind(40), behind(50)]), Some(at(40)));
        assert_eq!(as_of.by_wall_clock(at(110), MS, [end(), end(), behind(70)]), Some(at(70)));
        assert_eq!(as_of.by_wall_clock(at(120), MS, [end(), end(), end()]), Some(at(120)));
    }

    #[test]
    fn instances_whose_rounds_fall_between_the_same_multiples_say_the_same() {
        let grain = Span::from_millis(5_000);
        let say = |now, partition| AsOf::default().by_wall_clock(at(now), grain, [partition]);
        for now in [20_000, 20_003, 24_999] {
            assert_eq!(say(now, end()), Some(at(20_000)));
            assert_eq!(say(now + 5_000, behind(now)), Some(at(20_000)), "a busy partition is a moment behind");
        }
        let mut as_of = AsOf::default();
        assert_eq!(as_of.by_wall_clock(at(20_003), grain, [end()]), Some(at(20_000)));
        assert_eq!(as_of.by_wall_clock(at(19_999), grain, [end()]), Some(at(20_000)), "never backwards");
    }

    #[test]
    fn it_stands_still_rather_than_go_backwards() {
        let mut as_of = AsOf::default();
        assert_eq!(as_of.by_wall_clock(at(100), MS, [end()]), Some(at(100)));
        // An outage: the last record is long ago, or there was none.
        assert_eq!(as_of.by_wall_clock(at(200), MS, [behind(10)]), Some(at(100)));
        let unread = HowFar { at_end: false, last_record: None };
        assert_eq!(as_of.by_wall_clock(at(300), MS, [unread]), Some(at(100)));
        // A clock that was set back.
        assert_eq!(as_of.by_wall_clock(at(90), MS, [end()]), Some(at(100)));
        // A producer whose clock is ahead.
        assert_eq!(as_of.by_wall_clock(at(150), MS, [behind(900)]), Some(at(150)));
    }

    #[test]
    fn what_is_expected_after_a_restoration_is_not_too_late() {
        let grain = Span::from_millis(5_000);
        for (now, later) in [(20_003, 20_003), (24_999, 25_000), (20_000, 31_000)] {
            for latest in [0, 19_999, 20_001, 90_000] {
                let expected = expected_first(Clock::Wall, at(now), grain, Some(at(latest)));
                assert!(expected.is_some() && expected <= AsOf::default().by_wall_clock(at(later), grain, [end()]));
                let expected = expected_first(Clock::Event, at(now), grain, Some(at(latest)));
                assert_eq!(expected, AsOf::default().by_events(Some(at(latest))));
            }
        }
        assert_eq!(expected_first(Clock::Wall, at(20_003), grain, None), None);
    }

    #[test]
    fn nothing_is_said_before_something_is_known() {
        let unread = HowFar { at_end: false, last_record: None };
        assert_eq!(AsOf::default().by_wall_clock(at(5), MS, [end(), unread]), None);
        let mut as_of = AsOf::default();
        assert_eq!(as_of.by_events(None), None);
        assert_eq!(as_of.by_events(Some(at(7))), Some(at(7)));
        assert_eq!(as_of.by_events(Some(at(3))), Some(at(7)));
    }
}
