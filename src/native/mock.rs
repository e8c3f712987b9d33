//! A setting of the mock cluster.

use rdkafka::bindings::{rd_kafka_handle_mock_cluster, rd_kafka_mock_group_initial_rebalance_delay_ms};
use rdkafka::client::{Client, ClientContext};

/// A new group's first assignment otherwise waits three seconds for further members. Does nothing where the client runs
/// no mock cluster.
pub(crate) fn join_groups_at_once<C: ClientContext>(host: &Client<C>) {
    // SAFETY: the client lives as long as the borrow, and its cluster as long as the client. The setter locks what it
    // sets, and may be called from any thread.
    unsafe {
        let cluster = rd_kafka_handle_mock_cluster(host.native_ptr());
        if !cluster.is_null() {
            rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
    }
}
