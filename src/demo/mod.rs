//! The main job on an embedded default: nothing to install, nothing to configure.
//!
//! A simulated population's events go through an embedded broker into the same code path as `run`; the
//! terminal shows what a scrape would get.

mod customer;
pub mod delivery;
mod ending;
mod feed;
mod market;
pub mod page;
pub mod population;
mod screen;
mod show;
mod spike;
pub mod table;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Moment};

use anyhow::{Context, anyhow, ensure};

use self::delivery::Deliveries;
use self::ending::{EndSignal, TemporaryDirectory};
use self::feed::{Feed, Progress};
use self::population::Population;
use self::show::Show;
use crate::embedded::Broker;
use crate::http::{self, ListenError};
use crate::run::{self, Instance};
use crate::settings::{self, ConfigError, Settings, StoreUrl};
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

/// The settings in [`CONFIGURATION`].
pub fn settings() -> Result<Settings, ConfigError> {
    settings::parse("the demo's configuration", CONFIGURATION, Path::new(""), [], &[])
}

const FRAME_INTERVAL: Duration = Duration::from_millis(200);
/// For what was produced to be read and published in the end.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the demo until it is told to end, then says on standard output what it was. Fails where a record was
/// lost on the way.
pub fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.speed > Span::ZERO, "--speed must be more than nothing, such as 1d");
    ensure!(options.customers > 0, "--customers must be more than none, such as 5000");
    let started = Moment::now();
    let ends_at = options.for_.map(|length| started + length);
    let end_signal = EndSignal::listen()?;
    let snapshots = TemporaryDirectory::create()?;
    let broker = Broker::start()?;
    let mut settings = settings()?;
    settings.kafka.brokers = vec![broker.bootstrap_servers()?];
    settings.snapshot.store = StoreUrl::Directory(snapshots.path().to_owned());
    let topic = settings.kafka.topics.first().context("the demo's configuration names no topic")?;
    broker.create_topic(topic, partitions(options.customers))?;

    let progress = Progress::default();
    let deliveries = Deliveries::new(Population::new(options.seed, options.customers), options.seed);
    let mut feed = Feed::new(settings.kafka.client_config(), topic, deliveries, &progress)?;
    feed.produce_book()?;

    let instance = Instance::start(run::Options::new(&settings))?;
    let server = serve(options.listen, &instance)?;
    let mut show = Show::new(&instance, &progress, url(server.address()));

    let stop = AtomicBool::new(false);
    let fed = std::thread::scope(|scope| {
        let feed = scope.spawn(|| feed.produce_life(options.speed, || instance.records(), &stop));
        while !end_signal.wait(FRAME_INTERVAL) {
            let over = ends_at.is_some_and(|ends_at| Moment::now() >= ends_at);
            if over || feed.is_finished() || instance.is_finished() || show.frame().is_err() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        feed.join().unwrap_or_else(|_| Err(anyhow!("the demo's producer panicked, please report this")))
    });
    if fed.is_ok() {
        settle(&instance, &progress);
    }
    let shown = show.end();
    server.stop();
    instance.stop();
    let summary = instance.join()?;
    fed?;

    shown.report(&summary, progress.produced(), started.elapsed())?;
    show::check_nothing_lost(progress.produced(), &summary)
}

/// The embedded broker keeps 5 MiB of a partition, and the book must fit before anything is read: about 300
/// bytes a customer.
fn partitions(customers: usize) -> i32 {
    i32::try_from(customers / 6_000).unwrap_or(i32::MAX).max(4)
}

/// Serves the metrics on the address asked for, or on a free port where that one is taken.
fn serve(address: SocketAddr, instance: &Instance) -> anyhow::Result<http::Server> {
    let start = |address| http::Server::start(address, instance.published().clone(), instance.metrics().clone());
    start(address).or_else(|error| match error.downcast_ref() {
        Some(ListenError::InUse(_)) => {
            let server = start(SocketAddr::new(address.ip(), 0))?;
            writeln!(io::stderr(), "{address} is in use: /metrics is served on {} instead", server.address())?;
            Ok(server)
        }
        _ => Err(error),
    })
}

/// Where a browser on this machine finds the metrics.
fn url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        return format!("http://localhost:{}/metrics", address.port());
    }
    format!("http://{address}/metrics")
}

/// Waits until everything produced is read and published, as far as that happens.
fn settle(instance: &Instance, progress: &Progress) {
    let deadline = Moment::now() + SETTLE_TIMEOUT;
    let settled = || {
        let published = instance.published().as_of().is_some_and(|as_of| as_of >= progress.latest_event());
        instance.records() >= progress.produced() && published
    };
    while !settled() && !instance.is_finished() && Moment::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
}
