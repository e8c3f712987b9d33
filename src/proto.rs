//! The contract with producers, generated from `proto/customer/lifecycle/v1` at build time, with serde in
//! the proto3 JSON mapping.

#![allow(clippy::allow_attributes_without_reason, clippy::too_many_lines, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/customer.lifecycle.v1.rs"));
include!(concat!(env!("OUT_DIR"), "/customer.lifecycle.v1.serde.rs"));

/// What a snapshot says about itself, generated from `proto/churnwatch/snapshot/v1`.
pub mod snapshot {
    include!(concat!(env!("OUT_DIR"), "/churnwatch.snapshot.v1.rs"));
}
