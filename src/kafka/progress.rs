//! Whether every partition is read on while there is something to read. Time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant as Moment};

use super::TopicPartition;

/// Where a partition stands, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub partition: TopicPartition,
    pub next_offset: i64,
    /// `None` while the brokers do not tell.
    pub end_offset: Option<i64>,
}

/// Partitions that are not read although there is something to read.
pub(crate) struct Watch {
    timeout: Duration,
    seen: BTreeMap<TopicPartition, Seen>,
}

struct Seen {
    next_offset: i64,
    /// Since when it stands there while its end is beyond.
    since: Option<Moment>,
    /// Whether this standstill was returned already.
    told: bool,
    /// How far it has to be read to count as read on.
    stalled_at: Option<i64>,
}

impl Watch {
    /// A partition has stalled once it stands still for `timeout`.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, seen: BTreeMap::new() }
    }

    /// Takes note of where the partitions stand that are read, out of those that are ours. Returns those that have
    /// just stalled.
    pub fn observe(
        &mut self,
        now: Moment,
        is_ours: impl Fn(&TopicPartition) -> bool,
        positions: &[Position],
    ) -> Vec<Position> {
        self.seen.retain(|partition, _| is_ours(partition));
        let mut stalled = Vec::new();
        for position in positions {
            let next_offset = position.next_offset;
            let begin = Seen { next_offset, since: None, told: false, stalled_at: None };
            let seen = self.seen.entry(position.partition.clone()).or_insert(begin);
            if next_offset != seen.next_offset {
                *seen = Seen { next_offset, since: None, told: false, ..*seen };
            }
            let at_end = position.end_offset.is_some_and(|end_offset| next_offset >= end_offset);
            if at_end || seen.stalled_at.is_some_and(|stalled_at| next_offset > stalled_at) {
                seen.stalled_at = None;
            }
            // While nothing is known of the end the time does not count.
            if at_end || position.end_offset.is_none() {
                seen.since = None;
                continue;
            }
            let since = *seen.since.get_or_insert(now);
            if !seen.told && now.saturating_duration_since(since) >= self.timeout {
                (seen.told, seen.stalled_at) = (true, Some(next_offset));
                stalled.push(position.clone());
            }
        }
        stalled
    }

    /// A new client begins: each partition has its time again. What has stalled counts as stalled until it is read on.
    pub fn begin_again(&mut self) {
        self.seen.values_mut().for_each(|seen| (seen.since, seen.told) = (None, false));
    }

    /// How many have stalled and were not read on since.
    pub fn stalled(&self) -> usize {
        self.seen.values().filter(|seen| seen.stalled_at.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// Observes one partition through (seconds, next offset, end offset, expected: just stalled, stalled).
    fn check(steps: &[(u64, i64, Option<i64>, bool, usize)]) {
        let begin = Moment::now();
        let mut watch = Watch::new(TIMEOUT);
        for &(seconds, next_offset, end_offset, expected, stalled) in steps {
            let partition = TopicPartition { topic: "t".into(), partition: 0 };
            let position = Position { partition, next_offset, end_offset };
            let now = begin + Duration::from_secs(seconds);
            let told = watch.observe(now, |_| true, &[position]).len() == 1;
            assert_eq!((told, watch.stalled()), (expected, stalled), "after {seconds} s at {next_offset}");
        }
    }

    #[test]
    fn who_stands_still_before_the_end_has_stalled_and_is_told_once() {
        let end = Some(9);
        check(&[(0, 5, end, false, 0), (59, 5, end, false, 0), (60, 5, end, true, 1), (99, 5, end, false, 1)]);
        check(&[(0, 5, end, false, 0), (59, 6, end, false, 0), (60, 6, end, false, 0), (119, 6, end, true, 1)]);
        check(&[(0, 5, end, false, 0), (60, 5, end, true, 1), (61, 6, end, false, 0), (121, 6, end, true, 1)]);
    }

    #[test]
    fn at_the_end_and_in_an_outage_nobody_stalls() {
        let end = Some(9);
        check(&[
            (0, 9, end, false, 0),
            (99, 9, end, false, 0),
            (100, 9, Some(10), false, 0),
            (160, 9, Some(10), true, 1),
        ]);
        check(&[(0, 5, end, false, 0), (50, 5, None, false, 0), (70, 5, end, false, 0), (130, 5, end, true, 1)]);
        check(&[(0, 5, end, false, 0), (60, 5, end, true, 1), (61, 5, None, false, 1), (62, 9, end, false, 0)]);
    }

    #[test]
    fn a_new_client_has_its_time_but_is_well_only_once_it_has_read_on() {
        let partition = TopicPartition { topic: "t".into(), partition: 0 };
        let at = |next_offset| [Position { partition: partition.clone(), next_offset, end_offset: Some(9) }];
        let begin = Moment::now();
        let mut watch = Watch::new(TIMEOUT);
        watch.observe(begin, |_| true, &at(5));
        assert_eq!(watch.observe(begin + TIMEOUT, |_| true, &at(5)).len(), 1);
        watch.begin_again();
        // Its snapshot lies behind.
        assert!(watch.observe(begin + 2 * TIMEOUT, |_| true, &at(3)).is_empty());
        assert_eq!(watch.stalled(), 1);
        assert_eq!(watch.observe(begin + 3 * TIMEOUT, |_| true, &at(3)).len(), 1, "and is told again");
        watch.observe(begin + 3 * TIMEOUT, |_| true, &at(6));
        assert_eq!(watch.stalled(), 0);
        watch.observe(begin + 4 * TIMEOUT, |_| true, &at(6));
        assert_eq!(watch.stalled(), 1);
        watch.observe(begin + 4 * TIMEOUT, |_| false, &[]);
        assert_eq!(watch.stalled(), 0, "somebody else's now");
    }
}
