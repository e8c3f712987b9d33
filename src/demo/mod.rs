//! The main job on an embedded default: nothing to install, nothing to configure.
//!
//! A simulated population's events go through an embedded broker into the same code path as `run`; the
//! terminal shows what a scrape would get.

mod customer;
pub mod delivery;
mod market;
pub mod page;
pub mod population;
mod screen;
mod spike;
pub mod table;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::settings::{self, ConfigError, Override, Settings};
use crate::time::Span;

/// What the demo is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// After how long it ends by itself; never, where it is not said.
    pub for_: Option<Duration>,
    /// How much simulated time passes in a second.
    pub speed: Span,
    /// Equal seeds give equal events.
    pub seed: u64,
    /// How many subscribers there are at the beginning.
    pub customers: usize,
    /// Where `/metrics` is served; a free port is taken where this one is in use.
    pub listen: SocketAddr,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            for_: None,
            speed: Span::DAY,
            seed: 42,
            customers: 20_000,
            listen: SocketAddr::from(([127, 0, 0, 1], 8642)),
        }
    }
}

/// The demo's configuration: what a user of the same events would write.
pub const CONFIGURATION: &str = include_str!("churnwatch.toml");

/// The settings in [`CONFIGURATION`], with some overridden.
pub fn settings(overrides: &[Override]) -> Result<Settings, ConfigError> {
    settings::parse("the demo's configuration", CONFIGURATION, Path::new(""), [], overrides)
}
