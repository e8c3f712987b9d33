//! One Kafka client and everything that depends on it, wired in the direction in which data flows.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Moment};

use anyhow::{Context as _, anyhow};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tracing::warn;

use super::{GLANCE, Options, cores, spawn};
use crate::kafka::as_of::AsOf;
use crate::kafka::client::{self, Complaints, Events};
use crate::kafka::consumer_config;
use crate::kafka::group::{Group, Mailbox, release_timeout};
use crate::kafka::held::sum_counts;
use crate::kafka::poll::{self, Inbox};
use crate::kafka::progress::Watch;
use crate::kafka::rejected::Rejecting;
use crate::kafka::restore::{self, Restorer};
use crate::kafka::worker::{Message, Setup, Worker};
use crate::kafka::{Course, Lasting, Rebuild, Shared, TopicPartition, writer};
use crate::publish::Nudge;
use crate::publish::backfill::{Backfill, Display};
use crate::publish::rounds::Rounds;
use crate::publish::topics::Topics;
use crate::shard::Counts;
use crate::snapshot::SLICE_BYTES;
use crate::store::Store;

/// How long leaving the group may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What one session leaves to the next.
pub(crate) struct Carried {
    pub as_of: AsOf,
    pub watch: Watch,
}

impl Carried {
    pub fn new(options: &Options) -> Self {
        Self { as_of: AsOf::default(), watch: Watch::new(options.kafka.stall_timeout) }
    }
}

/// How a session ended.
pub(super) struct Ended {
    pub carried: Carried,
    /// Why another is to follow, if so.
    pub rebuild: Option<Rebuild>,
}

/// What all sessions of an instance have in common.
pub(super) struct Session {
    options: Options,
    store: Store,
    lasting: Arc<Lasting>,
    rejecting: Rejecting,
    /// For `--rebuild`: the partitions whose old snapshots are set aside already.
    set_aside: Option<Arc<Mutex<HashSet<TopicPartition>>>>,
}

/// The threads of a session, and what each is reached by.
struct Threads {
    restorers: Vec<JoinHandle<()>>,
    to_workers: Vec<Sender<Message>>,
    workers: Vec<JoinHandle<Counts>>,
    writer: JoinHandle<()>,
    to_publisher: Sender<Nudge>,
    publisher: RefCell<Option<JoinHandle<Carried>>>,
}

impl Session {
    pub fn new(options: Options, store: Store, lasting: Arc<Lasting>, rejecting: Rejecting) -> Self {
        let set_aside = options.rebuild.then(Arc::default);
        Self { options, store, lasting, rejecting, set_aside }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Reads until the instance ends or another client is needed.
    pub fn run(&self, carried: Carried, topics: Topics, counts: &mut Counts) -> anyhow::Result<Ended> {
        let shared = Arc::new(Shared::new(self.lasting.clone()));
        let (to_writer, jobs) = unbounded();
        let (to_group, news) = unbounded();
        let (to_publisher, nudges) = unbounded();
        let (to_restorer, to_restore) = unbounded();
        let (to_inbox, restored) = unbounded();

        let setup = Setup {
            framing: self.options.kafka.framing,
            rejecting: self.rejecting.clone(),
            max_future: self.options.max_future,
            snapshot_interval: self.options.snapshot.interval,
            slice_bytes: SLICE_BYTES,
            builders: cores().div_ceil(self.options.workers.max(1)),
            now: self.options.now,
            shared: shared.clone(),
            writer: to_writer,
        };
        let (mailboxes, workers) = workers(self.options.workers, setup);
        let to_workers: Vec<Sender<Message>> = mailboxes.iter().map(|mailbox| mailbox.messages.clone()).collect();
        let complaints: Arc<Complaints> = Arc::default();
        let group = Group::new(mailboxes, to_restorer, to_publisher.clone(), shared.clone());
        let consumer = self.consumer(topics.total(), shared.clone(), group, complaints.clone())?;

        let mut rounds = self.rounds(&consumer, to_workers.clone(), complaints, shared.clone(), carried, topics);
        rounds.watch.begin_again();
        let restorers = self.spawn_restorers(&to_restore, to_inbox, &shared)?;
        let (store, now, writer_shared) = (self.store.clone(), self.options.now, shared.clone());
        let threads = Threads {
            restorers,
            to_workers,
            workers: workers.into_iter().map(|worker| spawn("worker", || worker.run())).collect::<Result<_, _>>()?,
            writer: spawn("writer", move || writer::write_all(&jobs, &store, &writer_shared, &to_group, now))?,
            to_publisher,
            publisher: RefCell::new(Some(spawn("publisher", move || rounds.run(&nudges))?)),
        };

        poll::poll(&consumer, &Inbox { news, restored }, || threads.still_well(&shared));
        let carried = threads.end_publisher().unwrap_or_else(|error| {
            shared.fail(error);
            Carried::new(&self.options)
        });
        let deadline = Moment::now() + release_timeout(session_timeout(&self.options), false);
        let static_member = self.options.kafka.librdkafka.iter().any(|property| property.name == "group.instance.id");
        poll::give_back(&consumer, static_member, deadline);
        shared.retire();
        threads.end(&shared, deadline, counts);
        leave_group(consumer);
        Ok(Ended { carried, rebuild: shared.to_rebuild() })
    }

    fn consumer(
        &self,
        partitions: u64,
        shared: Arc<Shared>,
        group: Group,
        complaints: Arc<Complaints>,
    ) -> anyhow::Result<Arc<BaseConsumer<Events>>> {
        let kafka = &self.options.kafka;
        let events = Events::new(shared, group, complaints, session_timeout(&self.options));
        let consumer = client::consumer(&consumer_config(kafka, partitions), events)?;
        let topics: Vec<&str> = kafka.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).context("the topics cannot be subscribed to: check kafka.topics")?;
        Ok(Arc::new(consumer))
    }

    fn rounds(
        &self,
        consumer: &Arc<BaseConsumer<Events>>,
        workers: Vec<Sender<Message>>,
        complaints: Arc<Complaints>,
        shared: Arc<Shared>,
        carried: Carried,
        topics: Topics,
    ) -> Rounds {
        let options = &self.options;
        Rounds {
            definitions: options.definitions.clone(),
            clock: options.clock,
            now: options.now,
            interval: options.publish_interval,
            topics,
            consumer: Arc::downgrade(consumer),
            workers,
            complaints,
            shared,
            as_of: carried.as_of,
            watch: carried.watch,
            catching_up: Default::default(),
            backfill: Backfill::new(if options.bar { Display::Bar } else { Display::Log }),
            tracked: None,
        }
    }

    /// They end by themselves, once the group is gone: nobody waits for a store that does not answer.
    fn spawn_restorers(
        &self,
        jobs: &Receiver<restore::Job>,
        restored: Sender<restore::Restored>,
        shared: &Arc<Shared>,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let restorer = Restorer {
            definitions: self.options.definitions.clone(),
            store: self.store.clone(),
            rebuild: self.set_aside.clone(),
            now: self.options.now,
            clock: self.options.clock,
            publish_interval: self.options.publish_interval,
            shared: shared.clone(),
            store_is_away: Arc::new(AtomicBool::new(false)),
            restored,
        };
        let one = |_| {
            let (restorer, jobs) = (restorer.clone(), jobs.clone());
            spawn("restorer", move || restorer.run(&jobs))
        };
        (0..restore::THREADS).map(one).collect()
    }
}

impl Threads {
    fn still_well(&self, shared: &Shared) -> anyhow::Result<()> {
        let ended = self.workers.iter().any(JoinHandle::is_finished)
            || self.restorers.iter().any(JoinHandle::is_finished)
            || self.writer.is_finished()
            || self.publisher.borrow().as_ref().is_some_and(JoinHandle::is_finished) && shared.course() == Course::GoOn;
        if ended { Err(anyhow!("a thread ended by itself: please report this bug")) } else { Ok(()) }
    }

    fn end_publisher(&self) -> anyhow::Result<Carried> {
        let _ = self.to_publisher.send(Nudge);
        let publisher = self.publisher.take().context("the publication loop has ended twice")?;
        publisher.join().map_err(|_| anyhow!("the publication loop panicked: please report this bug"))
    }

    fn end(self, shared: &Shared, deadline: Moment, counts: &mut Counts) {
        self.to_workers.iter().for_each(|worker| drop(worker.send(Message::End)));
        for worker in self.workers {
            match worker.join() {
                Ok(more) => sum_counts(counts, &more),
                Err(_) => shared.fail(anyhow!("a worker panicked: please report this bug")),
            }
        }
        while !self.writer.is_finished() && Moment::now() < deadline {
            std::thread::sleep(GLANCE);
        }
        if !self.writer.is_finished() {
            warn!("the snapshot store does not answer: what was read since the last snapshots is read again");
        }
    }
}

fn workers(count: usize, setup: Setup) -> (Vec<Mailbox>, Vec<Worker>) {
    let worker = |_| {
        let (messages, inbox) = unbounded();
        let awake = Arc::new(AtomicBool::new(false));
        let worker = Worker::new(setup.clone(), messages.clone(), inbox, awake.clone());
        (Mailbox { messages, awake }, worker)
    };
    (0..count.max(1)).map(worker).unzip()
}

/// How long the group waits for a sign of this instance.
fn session_timeout(options: &Options) -> Duration {
    let set = options.kafka.librdkafka.iter().find(|property| property.name == "session.timeout.ms");
    let set_ms = set.and_then(|property| property.value.parse().ok());
    Duration::from_millis(set_ms.unwrap_or(45_000))
}

/// Closing the client tells the group, and can wait for ever for a broker that is gone: the group notices by itself.
fn leave_group<C: Send + 'static>(consumer: C) {
    let (left, leaving) = bounded::<()>(1);
    let closing = spawn("leave", move || {
        drop(consumer);
        drop(left);
    });
    if closing.is_ok() && leaving.recv_timeout(LEAVE_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
        warn!("Kafka does not answer: the group learns from the end of the session that this instance left");
    }
}
