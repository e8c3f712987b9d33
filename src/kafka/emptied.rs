//! Whether everything up to a partition's end has been handed over: its last offsets may be markers of transactions,
//! which are no records, and only the client's statistics tell of them.
//!
//! A rebalance makes the client throw away what it has queued and fetch it again, and until then its statistics go on
//! to tell of the end that it had seen before. So what they say counts only once the partition has been fetched anew.

/// So many more fetches of its broker have asked for the partition since: the first may have been under way.
const FETCHES: i64 = 3;

/// What the statistics say of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether it is being fetched.
    pub active: bool,
    /// The end that was reached, where nothing is queued.
    pub emptied_up_to: Option<i64>,
    pub broker: i32,
    /// How many fetches that broker has been asked for in all.
    pub fetches: i64,
}

/// What is known of a partition since the last rebalance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Emptied {
    /// The first statistics may have been taken before.
    skipped: bool,
    /// The broker that the partition is fetched from, and its fetches at that time.
    since: Option<(i32, i64)>,
}

impl Emptied {
    /// Everything below the offset has been handed over.
    pub fn observe(&mut self, seen: Seen) -> Option<i64> {
        if !std::mem::replace(&mut self.skipped, true) {
            return None;
        }
        match self.since.filter(|(broker, _)| seen.active && *broker == seen.broker) {
            Some((_, fetches)) if seen.fetches - fetches >= FETCHES => seen.emptied_up_to,
            Some(_) => None,
            None => {
                self.since = seen.active.then_some((seen.broker, seen.fetches));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &[(Seen, Option<i64>)]) {
        let mut emptied = Emptied::default();
        for (number, (seen, expected)) in steps.iter().enumerate() {
            assert_eq!(emptied.observe(*seen), *expected, "step {number}: {seen:?}");
        }
    }

    const fn seen(broker: i32, fetches: i64) -> Seen {
        Seen { active: true, emptied_up_to: Some(7), broker, fetches }
    }

    #[test]
    fn an_end_counts_once_it_was_fetched_anew() {
        let queued = Seen { emptied_up_to: None, ..seen(1, 60) };
        check(&[
            (seen(1, 10), None),
            (seen(1, 20), None),
            (seen(1, 30), Some(7)),
            (queued, None),
            (seen(1, 70), Some(7)),
        ]);
    }

    #[test]
    fn a_broker_that_answers_nothing_proves_nothing() {
        check(&[(seen(1, 10), None), (seen(1, 20), None), (seen(1, 22), None), (seen(1, 23), Some(7))]);
    }

    #[test]
    fn another_broker_or_an_interrupted_fetch_begins_afresh() {
        let waiting = Seen { active: false, ..seen(1, 40) };
        check(&[
            (seen(1, 10), None),
            (seen(1, 20), None),
            (waiting, None),
            (seen(1, 50), None),
            (seen(1, 60), Some(7)),
            (seen(2, 900), None),
            (seen(2, 910), Some(7)),
        ]);
    }
}
