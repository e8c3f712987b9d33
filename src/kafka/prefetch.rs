//! How much the client may read ahead: a total, divided among the partitions before the client is made.

/// What a user may set instead, for each partition.
pub(crate) const QUEUED_KBYTES: &str = "queued.max.messages.kbytes";

/// Below this a partition would be fetched in crumbs.
const LEAST_BYTES_PER_PARTITION: u64 = 64 << 10;
/// The client's own default for one fetch of one partition.
const MOST_BYTES_PER_FETCH: u64 = 1 << 20;
/// About what the client needs for a record besides its bytes.
const BYTES_PER_RECORD: u64 = 512;

/// The client's limits for each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefetch {
    /// Nothing is fetched while so much is queued.
    queued_kbytes: u64,
    /// Nor while so many records are.
    queued_records: u64,
    /// What one fetch may bring on top.
    fetch_bytes: u64,
}

impl Prefetch {
    /// Divides a total among partitions, any number of which may be this instance's.
    pub fn of(total_bytes: u64, partitions: u64) -> Self {
        let each = (total_bytes / partitions.max(1)).max(LEAST_BYTES_PER_PARTITION);
        let fetch_bytes = (each / 2).min(MOST_BYTES_PER_FETCH);
        let queued_bytes = each - fetch_bytes;
        Self { queued_kbytes: queued_bytes >> 10, queued_records: queued_bytes / BYTES_PER_RECORD, fetch_bytes }
    }

    /// As properties of the client.
    pub fn properties(self) -> [(&'static str, String); 3] {
        [
            (QUEUED_KBYTES, self.queued_kbytes.to_string()),
            ("queued.min.messages", self.queued_records.to_string()),
            ("fetch.message.max.bytes", self.fetch_bytes.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_holds_until_partitions_would_starve() {
        let total = 64 << 20;
        for partitions in [1, 2, 3, 12, 100, 1_000] {
            let Prefetch { queued_kbytes, fetch_bytes, queued_records } = Prefetch::of(total, partitions);
            let all = ((queued_kbytes << 10) + fetch_bytes) * partitions;
            assert!(all <= total && all > total / 2, "{partitions}: {all}");
            assert!(queued_records * BYTES_PER_RECORD <= queued_kbytes << 10);
        }
        let least = Prefetch { queued_kbytes: 32, queued_records: 64, fetch_bytes: 32 << 10 };
        assert_eq!(Prefetch::of(total, 100_000), least);
        assert_eq!(Prefetch::of(total, 0), Prefetch::of(total, 1));
    }
}
