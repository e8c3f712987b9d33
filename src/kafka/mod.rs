//! The Kafka side of the shell: partitions in, shards read to a known offset, snapshots before commits.
//!
//! One thread polls the client (rebalances, errors, statistics), workers own the shards and pull from their
//! partitions' queues. They exchange messages; no lock is held on the path of an event.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How to reach the cluster, and what to read.
#[derive(Clone, Debug)]
pub struct Options {
    /// `host:port,host:port`
    pub brokers: String,
    pub topics: Vec<String>,
    pub group_id: String,
    /// Client properties of the user's, set after (so instead of) this program's own.
    pub properties: BTreeMap<String, String>,
    /// How many threads own shards.
    pub workers: usize,
}

/// One partition of one topic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}
