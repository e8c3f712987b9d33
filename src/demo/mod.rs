//! The main job on an embedded default: nothing to install, nothing to configure.

mod customer;
pub mod delivery;
mod market;
mod page;
pub mod population;
mod screen;
mod spike;
mod table;
