//! How long to wait before the client is made anew, so that what it does not mend does not spin.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);
/// A session that lasted so long was well.
const WELL: Duration = Duration::from_secs(300);

/// The waits between sessions.
#[derive(Default)]
pub(super) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// How long to wait after a session that lasted so long.
    pub fn after(&mut self, lasted: Duration) -> Duration {
        let wait = match self.last {
            Some(last) if lasted < WELL => (last * 2).min(LAST),
            _ => FIRST,
        };
        self.last = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_sessions_wait_ever_longer_and_a_long_one_begins_afresh() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.after(Duration::from_secs(2)).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.after(WELL), FIRST);
        assert_eq!(backoff.after(Duration::ZERO), FIRST * 2);
    }
}
