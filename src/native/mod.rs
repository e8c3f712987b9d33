//! What librdkafka can do and rdkafka does not wrap, in safe terms. All `unsafe` code of the crate is in here.
//!
//! It knows nothing of this program: clients, queues, messages.

#![allow(unsafe_code, reason = "librdkafka is a C library; each use says why it is sound")]

mod fault;
mod message;
mod mock;
mod queue;

#[cfg(test)]
pub(crate) use fault::fail;
pub use message::Message;
pub(crate) use mock::join_groups_at_once;
pub use queue::{BATCH, PartitionQueue};
