//! A fatal error, brought about for a test: only librdkafka itself can.

#![cfg(test)]

use rdkafka::bindings::rd_kafka_test_fatal_error;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaRespErr;

/// Has the client fail for good.
pub(crate) fn fail<C: ClientContext>(client: &Client<C>, code: RDKafkaRespErr) {
    // SAFETY: the client lives as long as the borrow, and the text, which is copied, ends in a zero.
    unsafe {
        rd_kafka_test_fatal_error(client.native_ptr(), code, c"brought about by a test".as_ptr());
    }
}
