//! `churnwatch run`: the whole path, wired in the direction in which data flows.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use crossbeam_channel::unbounded;
use rdkafka::consumer::Consumer as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::cohort::Definitions;
use crate::http::{self, Server};
use crate::kafka::as_of::AsOf;
use crate::kafka::client::{self, Events};
use crate::kafka::group::{self, Group};
use crate::kafka::held::sum_counts;
use crate::kafka::worker::{Message, Setup, Worker};
use crate::kafka::{Course, Shared, writer};
use crate::own_metrics::OwnMetrics;
use crate::publish::backfill::{Backfill, Display};
use crate::publish::rounds::Rounds;
use crate::publish::topics::Topics;
use crate::publish::{Nudge, Published};
use crate::settings::{Clock, Kafka, Settings, Snapshot};
use crate::shard::Counts;
use crate::store::Store;
use crate::time::{Instant, Span};

/// How long leaving the group may take.
const LEAVE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Without a round of the publication loop for so long, something is stuck.
const STALLED_AFTER: Duration = Duration::from_secs(120);

/// Closing the client tells the group, and can wait for ever for a broker that is gone: the group notices by itself.
fn leave_group<C: Send + 'static>(consumer: C) {
    let (left, leaving) = crossbeam_channel::bounded::<()>(1);
    let closing = std::thread::Builder::new().name("leave".to_owned()).spawn(move || {
        drop(consumer);
        drop(left);
    });
    if closing.is_ok() && leaving.recv_timeout(LEAVE_TIMEOUT) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
        warn!("Kafka does not answer: the group learns from the end of the session that this instance left");
    }
}

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
    /// What the settings say; a worker for every core, and the machine's own clock.
    pub fn new(settings: &Settings) -> Self {
        Self {
            definitions: Arc::new(settings.definitions()),
            kafka: settings.kafka.clone(),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
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

/// What an instance did, known once it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records read, whatever became of them.
    pub records: u64,
    pub counts: Counts,
}

/// A running consumer with its publication loop: everything of `run` but HTTP and signals.
pub struct Instance {
    shared: Arc<Shared>,
    thread: JoinHandle<anyhow::Result<Summary>>,
}

impl Instance {
    /// Starts reading. Fails on what no retry can mend, such as an unknown client property; a broker that is
    /// not there is waited for.
    #[expect(clippy::too_many_lines, reason = "all threads and channels, wired in one place in the order data flows")]
    pub fn start(options: Options) -> anyhow::Result<Self> {
        let store = Store::open(&options.snapshot)?;
        let shared = Arc::new(Shared::new(OwnMetrics::new(), Arc::new(Published::new(STALLED_AFTER))));

        let (to_writer, jobs) = unbounded();
        let (to_group, durable) = unbounded();
        let (to_publisher, nudges) = unbounded();
        let setup = Setup {
            definitions: options.definitions.clone(),
            store: store.clone(),
            rebuild: options.rebuild.then(|| Arc::new(Mutex::new(HashSet::new()))),
            max_future: options.max_future,
            snapshot_interval: options.snapshot.interval,
            now: options.now,
            shared: shared.clone(),
            writer: to_writer,
        };
        let (mut to_workers, mut awake, mut workers) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.workers.max(1) {
            let (sender, messages) = unbounded();
            let flag = Arc::new(AtomicBool::new(false));
            workers.push(Worker::new(setup.clone(), sender.clone(), messages, flag.clone()));
            to_workers.push(sender);
            awake.push(flag);
        }
        // The workers hold what the writer waits for.
        drop(setup);

        let events = Events {
            shared: shared.clone(),
            group: Mutex::new(Group::new(awake, to_publisher.clone())),
            workers: to_workers.clone(),
            complaints: Arc::default(),
            consumer: OnceLock::new(),
        };
        let complaints = events.complaints.clone();
        let consumer = client::consumer(&options.kafka, events)?;
        let topics: Vec<&str> = options.kafka.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).context("the topics cannot be subscribed to: check kafka.topics")?;

        let rounds = Rounds {
            definitions: options.definitions,
            clock: options.clock,
            now: options.now,
            interval: options.publish_interval,
            topics: Topics::new(options.kafka.topics.clone()),
            consumer: Arc::downgrade(&consumer),
            workers: to_workers.clone(),
            complaints,
            shared: shared.clone(),
            as_of: AsOf::default(),
            catching_up: Default::default(),
            backfill: Backfill::new(if options.bar { Display::Bar } else { Display::Log }),
            tracked: None,
        };

        let now = options.now;
        let supervised = shared.clone();
        let supervise = move || {
            let shared = supervised;
            let writer_shared = shared.clone();
            let writer = spawn("writer", move || writer::write_all(&jobs, &store, &writer_shared, &to_group, now))?;
            let workers: Vec<JoinHandle<Counts>> =
                workers.into_iter().map(|worker| spawn("worker", move || worker.run())).collect::<Result<_, _>>()?;
            let publisher = RefCell::new(Some(spawn("publisher", move || rounds.run(&nudges))?));

            let still_well = || {
                let ended = workers.iter().any(JoinHandle::is_finished)
                    || writer.is_finished()
                    || publisher.borrow().as_ref().is_some_and(JoinHandle::is_finished)
                        && shared.course() == Course::GoOn;
                if ended { Err(anyhow!("a thread ended by itself: please report this bug")) } else { Ok(()) }
            };
            let before_leaving = || {
                let _ = to_publisher.send(Nudge);
                let _ = publisher.take().map(JoinHandle::join);
            };
            group::poll(&consumer, &shared, &durable, still_well, before_leaving);

            to_workers.iter().for_each(|worker| drop(worker.send(Message::End)));
            let mut summary = Summary { records: shared.records.load(Ordering::Acquire), ..Summary::default() };
            for worker in workers {
                match worker.join() {
                    Ok(counts) => sum_counts(&mut summary.counts, &counts),
                    Err(_) => shared.fail(anyhow!("a worker panicked: please report this bug")),
                }
            }
            let _ = writer.join();
            leave_group(consumer);
            shared.take_failure().map_or(Ok(summary), Err)
        };
        Ok(Self { shared, thread: spawn("kafka", supervise)? })
    }

    /// What HTTP serves.
    pub fn published(&self) -> &Arc<Published> {
        &self.shared.published
    }

    /// The process's own metrics.
    pub fn metrics(&self) -> &OwnMetrics {
        &self.shared.metrics
    }

    /// How many records were read so far, whatever became of them.
    pub fn records(&self) -> u64 {
        self.shared.records.load(Ordering::Acquire)
    }

    /// Whether it has ended, or failed: [`Self::join`] says why.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Asks it to end in good order: drain, snapshot, commit, leave the group. Returns at once.
    pub fn stop(&self) {
        self.shared.set_course(Course::Stop);
    }

    /// Ends it as a crash would: nothing is saved. Returns at once.
    pub fn abort(&self) {
        self.shared.set_course(Course::Abort);
    }

    /// Waits for the end.
    pub fn join(self) -> anyhow::Result<Summary> {
        self.thread.join().unwrap_or_else(|_| Err(anyhow!("the consumer panicked: please report this bug")))
    }
}

/// Reads and serves until SIGTERM, Ctrl-C or an error that no retry can mend.
pub fn run(settings: &Settings, rebuild: bool) -> anyhow::Result<ExitCode> {
    settings.check_topics()?;
    // Said before anything is read, and before the group has to rebalance for nothing.
    drop(http::bind(settings.http.listen)?);
    let bar = io::stderr().is_terminal() && tracing::enabled!(tracing::Level::INFO);
    let instance = Instance::start(Options { rebuild, bar, ..Options::new(settings) })?;
    let server = Server::start(settings.http.listen, instance.published().clone(), instance.metrics().clone());
    let server = match server {
        Ok(server) => server,
        Err(error) => {
            instance.abort();
            return instance.join().and(Err(error));
        }
    };
    info!("serving http://{}/metrics", server.address());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(asked_to_end(|| instance.is_finished()))?;
    instance.stop();
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
