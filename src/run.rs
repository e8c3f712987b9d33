//! `churnwatch run`: sessions, one after the other until the end, each a Kafka client and all that depends on it.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Moment};

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::cohort::Definitions;
use crate::http::{Listen, Server};
use crate::kafka::rejected::{self, Rejecting};
use crate::kafka::{Course, Lasting, dead_letters};
use crate::notify::Notifier;
use crate::own_metrics::OwnMetrics;
use crate::publish::Published;
use crate::settings::{Clock, Kafka, OnRejected, Settings, Snapshot};
use crate::shard::Counts;
use crate::store::Store;
use crate::time::{Instant, Span};

mod backoff;
mod session;
mod topics;

use backoff::Backoff;
pub(crate) use session::Carried;
use session::Session;

/// Without a sign of life of a thread for so long, something is stuck.
const STALLED_AFTER: Duration = Duration::from_secs(120);
/// How long a wait may go on unnoticed by who ends the instance.
const GLANCE: Duration = Duration::from_millis(50);

/// All that an instance is told.
#[derive(Clone, Debug)]
pub struct Options {
    pub definitions: Arc<Definitions>,
    pub kafka: Kafka,
    /// How many threads own shards.
    pub workers: usize,
    pub clock: Clock,
    /// `time.max_future`
    pub max_future: Span,
    pub snapshot: Snapshot,
    pub publish_interval: Duration,
    /// Sets the snapshots aside and reads the topics from their beginning.
    pub rebuild: bool,
    /// Whether a long catch-up draws a bar on standard error, rather than log a line a minute.
    pub bar: bool,
    /// The wall clock.
    pub now: fn() -> Instant,
}

impl Options {
    /// What the settings say, and the machine's own clock.
    pub fn new(settings: &Settings) -> Self {
        Self {
            definitions: Arc::new(settings.definitions()),
            kafka: settings.kafka.clone(),
            workers: settings.kafka.workers.unwrap_or_else(cores),
            clock: settings.time.clock,
            max_future: settings.time.max_future,
            snapshot: settings.snapshot.clone(),
            publish_interval: settings.http.publish_interval,
            rebuild: false,
            bar: false,
            now: wall_clock,
        }
    }
}

/// How many threads can run at a time.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What an instance did, known once it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records read, whatever became of them.
    pub records: u64,
    pub counts: Counts,
}

/// A running consumer with its publication loop: everything of `run` but HTTP and signals.
pub struct Instance {
    lasting: Arc<Lasting>,
    thread: JoinHandle<anyhow::Result<Summary>>,
}

impl Instance {
    /// Starts reading. Fails on what no retry can mend, such as an unknown client property; a broker that is
    /// not there is waited for.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        let store = Store::open(&options.snapshot)?;
        let lasting = Arc::new(Lasting::new(OwnMetrics::new(), Arc::new(Published::new(STALLED_AFTER))));
        // Says at once what is wrong with a property.
        topics::client(&options.kafka, Arc::default())?;
        let (rejecting, delivery) = rejecting(&options.kafka, &lasting.metrics)?;
        let session = Session::new(options, store, lasting.clone(), rejecting);
        let supervised = lasting.clone();
        let thread = spawn("kafka", move || {
            let delivery = delivery.map(|delivery| spawn("letters", move || delivery.run())).transpose()?;
            let ended = sessions(&session, &supervised);
            // It delivers as long as somebody may hand something in.
            drop(session);
            let delivered = delivery.map_or(Ok(()), JoinHandle::join);
            let ended =
                delivered.map_or_else(|_| Err(anyhow!("a thread ended by itself: please report this bug")), |()| ended);
            supervised.take_failure().map_or(ended, Err)
        })?;
        Ok(Self { lasting, thread })
    }

    /// What HTTP serves.
    pub fn published(&self) -> &Arc<Published> {
        &self.lasting.published
    }

    /// The process's own metrics.
    pub fn metrics(&self) -> &OwnMetrics {
        &self.lasting.metrics
    }

    /// How many records were read so far, whatever became of them.
    pub fn records(&self) -> u64 {
        self.lasting.records.load(Ordering::Acquire)
    }

    /// Whether it has ended, or failed: [`Self::join`] says why.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Asks it to end in good order: drain, snapshot, commit, leave the group. Returns at once.
    pub fn stop(&self) {
        self.lasting.set_course(Course::Stop);
    }

    /// Ends it as a crash would: nothing is saved. Returns at once.
    pub fn abort(&self) {
        self.lasting.set_course(Course::Abort);
    }

    /// Waits for the end.
    pub fn join(self) -> anyhow::Result<Summary> {
        self.thread.join().unwrap_or_else(|_| Err(anyhow!("the consumer panicked: please report this bug")))
    }
}

/// One session after the other, until one ends without a reason for another.
fn sessions(session: &Session, lasting: &Lasting) -> anyhow::Result<Summary> {
    let mut counts = Counts::default();
    let mut carried = Carried::new(session.options());
    let mut backoff = Backoff::default();
    while let Some(topics) = topics::wait(session.options(), lasting)? {
        let begun = Moment::now();
        let ended = session.run(carried, topics, &mut counts)?;
        carried = ended.carried;
        let (Course::GoOn, Some(reason)) = (lasting.course(), ended.rebuild) else { break };
        lasting.metrics.client_rebuilt(reason);
        lasting.withhold("the Kafka client is made anew");
        let until = Moment::now() + backoff.after(begun.elapsed());
        while lasting.course() == Course::GoOn && Moment::now() < until {
            lasting.published.beat_of_kafka();
            lasting.published.beat();
            std::thread::sleep(GLANCE);
        }
    }
    Ok(Summary { records: lasting.records.load(Ordering::Acquire), counts })
}

/// Reads and serves until SIGTERM, Ctrl-C or an error that no retry can mend.
pub fn run(settings: &Settings, rebuild: bool) -> anyhow::Result<ExitCode> {
    settings.check_topics()?;
    // Said before anything is read, and before the group has to rebalance for nothing.
    let listen = Listen::from(&settings.http);
    listen.check()?;
    let bar = io::stderr().is_terminal() && tracing::enabled!(tracing::Level::INFO);
    let instance = Instance::start(Options { rebuild, bar, ..Options::new(settings) })?;
    let server = Server::start(listen, instance.published().clone(), instance.metrics().clone());
    let server = match server {
        Ok(server) => server,
        Err(error) => {
            instance.abort();
            return instance.join().and(Err(error));
        }
    };
    info!("serving {}", server.url());
    let notifier = Notifier::start(instance.published().clone(), |name| std::env::var_os(name))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(asked_to_end(|| instance.is_finished()))?;
    instance.stop();
    notifier.stopping();
    // Impatient: the second signal ends the process at once.
    let impatient = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if runtime.block_on(asked_to_end(|| false)).is_ok() {
            warn!("ended at once: what was read since the last snapshot is read again");
            #[expect(clippy::exit, reason = "whoever signals twice does not want to wait for destructors")]
            std::process::exit(1);
        }
    });
    impatient.context("cannot start the thread of the signals")?;
    let ended = instance.join();
    server.stop();
    let summary = ended?;
    info!("ended after {} records", summary.records);
    Ok(ExitCode::SUCCESS)
}

/// What becomes of rejected records, and who delivers them where they are kept.
fn rejecting(kafka: &Kafka, metrics: &OwnMetrics) -> anyhow::Result<(Rejecting, Option<dead_letters::Delivery>)> {
    let (mode, delivery) = match &kafka.on_rejected {
        OnRejected::Skip => (rejected::Mode::Skip, None),
        OnRejected::Fail => (rejected::Mode::Fail, None),
        OnRejected::DeadLetter { topic } => {
            let (outbox, delivery) = dead_letters::open(kafka, topic, metrics.clone())?;
            (rejected::Mode::DeadLetter(outbox), Some(delivery))
        }
    };
    Ok((Rejecting::new(mode), delivery))
}

/// Waits for SIGTERM, Ctrl-C, or the end of the instance by itself.
async fn asked_to_end(ended: impl Fn() -> bool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = tick.tick() => if ended() { return Ok(()) },
        }
    }
    info!("asked to end: saving what was read, then leaving the group");
    Ok(())
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<JoinHandle<T>> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(work).with_context(|| format!("cannot start the thread {name:?}"))
}

/// The wall clock of the machine.
pub fn wall_clock() -> Instant {
    Instant::from_millis(jiff::Timestamp::now().as_millisecond())
}
