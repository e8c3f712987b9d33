//! What librdkafka and the processor can do and nobody wraps, in safe terms. All `unsafe` code of the crate is in here.
//!
//! It knows nothing of this program: clients, queues, messages, memory.

#![allow(unsafe_code, reason = "a C library and an instruction; each use says why it is sound")]

mod fault;
mod message;
mod mock;
mod prefetch;
mod queue;

#[cfg(test)]
pub(crate) use fault::fail;
pub use message::Message;
pub(crate) use mock::join_groups_at_once;
pub(crate) use prefetch::prefetch;
pub use queue::{BATCH, PartitionQueue};
