//! The main job on an embedded default: nothing to install, nothing to configure.

mod customer;
pub mod delivery;
mod market;
pub mod population;
