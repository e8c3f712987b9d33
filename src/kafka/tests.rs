//! The life of partitions under random sequences of what may happen to them: the real group, the real workers and what
//! the real writer tells, between a client, a store and other instances of paper. After every step the invariants 3, 4
//! and 5 of the crate hold.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use prost::Message as _;

use super::dead_letters::Outbox;
use super::group::{Client, Group, Mailbox};
use super::held::{Held, ReadError};
use super::lifecycle::Phase;
use super::queue::Queue;
use super::rejected::{Mode, Rejecting};
use super::restore::{self, Fresh, Outcome, Restored};
use super::worker::{Message, Setup, Worker};
use super::writer::{self, Durable, News, Saved};
use super::{Course, Lasting, Shared, TopicPartition};
use crate::cohort::Definitions;
use crate::event::Rejection;
use crate::framing::Framing;
use crate::own_metrics::{OwnMetrics, ProcessState};
use crate::proto::{LifecycleEvent, Started, lifecycle_event::Event as Kind};
use crate::publish::catching_up::CatchingUp;
use crate::publish::{Nudge, Page, Publication, Published};
use crate::readings::Readings;
use crate::settings::Settings;
use crate::shard::{Counts, HashKey, Shard};
use crate::snapshot;
use crate::store::{Epoch, SaveError, StoreError};
use crate::time::{Instant, Span};

/// Of failures; said when one is written there.
const SEEDS: &str = "tests/proptest-regressions/lifecycle.txt";
const PARTITIONS: i32 = 3;
const WORKERS: usize = 2;
/// 2026-01-01T00:00Z
const BEGIN_S: i64 = 1_767_225_600;

/// One partition's records, and from where on the client fetches it.
#[derive(Default)]
struct Log {
    records: Vec<Vec<u8>>,
    position: Option<usize>,
}

/// A handle on what the client fetches of a partition; as with the client's queues, all handles are the same queue.
#[derive(Clone, Default)]
pub(super) struct Tape(Arc<Mutex<Log>>);

impl Tape {
    /// From its beginning.
    pub fn of(records: Vec<Vec<u8>>) -> Self {
        Self(Arc::new(Mutex::new(Log { records, position: Some(0) })))
    }

    /// The next records and their offsets, in bites, so that there is something left for the next step.
    pub fn take(&self) -> Vec<(i64, Vec<u8>)> {
        let mut log = self.0.lock().unwrap();
        let Some(position) = log.position else { return Vec::new() };
        let records = log.records.iter().cloned().enumerate().skip(position).take(2);
        let taken: Vec<_> = records.map(|(offset, payload)| (offset as i64, payload)).collect();
        log.position = Some(position + taken.len());
        taken
    }
}

fn partition(number: usize) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: number as i32 }
}

fn masked(mask: u8) -> Vec<TopicPartition> {
    (0..PARTITIONS as usize).filter(|number| mask & (1 << number) != 0).map(partition).collect()
}

/// A snapshot: the epoch, the next offset, the bytes.
type Kept = (u64, i64, Vec<u8>);

/// A client that is as strict as librdkafka, the group behind it, and the store.
#[derive(Default)]
struct Outside {
    tapes: BTreeMap<TopicPartition, Tape>,
    /// What the group has given to this instance.
    owned: RefCell<BTreeSet<TopicPartition>>,
    fetched: RefCell<BTreeSet<TopicPartition>>,
    lost: Cell<bool>,
    claims: RefCell<BTreeMap<TopicPartition, u64>>,
    /// In the order in which they were written.
    snapshots: RefCell<BTreeMap<TopicPartition, Vec<Kept>>>,
    /// How far each has been committed, by whomever.
    committed: RefCell<BTreeMap<TopicPartition, i64>>,
}

impl Client for Outside {
    fn add(&self, partitions: &[(TopicPartition, Option<i64>)]) -> anyhow::Result<()> {
        assert!(partitions.is_empty() || !self.lost.get(), "to add would make the client forget what it has lost");
        for (partition, offset) in partitions {
            assert!(self.owned.borrow().contains(partition), "{partition} is fetched, and not ours");
            assert!(self.fetched.borrow_mut().insert(partition.clone()), "{partition} is fetched twice");
            self.tapes[partition].0.lock().unwrap().position = Some(offset.unwrap_or(0) as usize);
        }
        Ok(())
    }

    fn remove(&self, partitions: &[TopicPartition]) -> anyhow::Result<()> {
        for partition in partitions {
            assert!(self.fetched.borrow_mut().remove(partition), "{partition} is let go of, and not fetched");
            self.tapes[partition].0.lock().unwrap().position = None;
        }
        Ok(())
    }

    fn commit_covered(&self, durable: &[Durable]) {
        for Durable { partition, next_offset, .. } in durable {
            assert!(!self.lost.get() && self.owned.borrow().contains(partition), "{partition}: not ours to commit");
            let snapshots = self.snapshots.borrow();
            let covered = snapshots.get(partition).is_some_and(|all| all.iter().any(|(_, o, _)| o == next_offset));
            assert!(covered, "{partition}: {next_offset} committed, no snapshot says so");
            let before = self.committed.borrow_mut().insert(partition.clone(), *next_offset);
            assert!(before.is_none_or(|before| before <= *next_offset), "{partition} committed backwards");
        }
    }

    fn has_lost_everything(&self) -> bool {
        self.lost.get()
    }
}

impl Outside {
    fn claim(&self, partition: &TopicPartition) -> Epoch {
        let mut claims = self.claims.borrow_mut();
        let epoch = claims.entry(partition.clone()).or_default();
        *epoch += 1;
        Epoch(*epoch)
    }

    /// As the store does it: whoever is not the last to claim is refused.
    fn save(&self, job: &writer::Job) -> Result<(), SaveError> {
        let by = self.claims.borrow()[&job.partition];
        if by > job.epoch.0 {
            return Err(SaveError::Fenced { by: Epoch(by) });
        }
        let mut snapshots = self.snapshots.borrow_mut();
        snapshots.entry(job.partition.clone()).or_default().push((job.epoch.0, job.next_offset, job.parts.concat()));
        Ok(())
    }

    fn records(&self, partition: &TopicPartition) -> usize {
        self.tapes[partition].0.lock().unwrap().records.len()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The group gives those of them that are not ours.
    Assign {
        mask: u8,
    },
    /// A restoration comes to its end.
    Restored {
        which: usize,
    },
    RestoreFailed {
        which: usize,
    },
    /// The thread that polls the client listens to the restorers and the writer.
    Listen,
    Produce {
        partition: usize,
        records: usize,
    },
    /// A worker hears its messages, reads, and begins the snapshots that are due.
    Hear {
        worker: usize,
    },
    Read {
        worker: usize,
    },
    Save {
        worker: usize,
    },
    /// The writer's oldest job is done, unless another instance has claimed the partition.
    Written,
    NotWritten,
    /// Another instance claims the partition, reads all of it, and saves.
    ClaimedElsewhere {
        partition: usize,
    },
    /// The group takes away those of them that are ours. Late: the callback's patience ends before the workers hear.
    Revoke {
        mask: u8,
        late: bool,
    },
    /// The client has noticed that everything is lost, and calls back only later.
    LoseAll,
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    let mask = 1..(1_u8 << PARTITIONS);
    let (partitions, workers) = (0..PARTITIONS as usize, 0..WORKERS);
    prop_oneof![
        3 => mask.clone().prop_map(|mask| Step::Assign { mask }),
        6 => (0..4_usize).prop_map(|which| Step::Restored { which }),
        1 => (0..4_usize).prop_map(|which| Step::RestoreFailed { which }),
        6 => Just(Step::Listen),
        4 => (partitions.clone(), 1..5_usize).prop_map(|(partition, records)| Step::Produce { partition, records }),
        6 => workers.clone().prop_map(|worker| Step::Hear { worker }),
        6 => workers.clone().prop_map(|worker| Step::Read { worker }),
        3 => workers.prop_map(|worker| Step::Save { worker }),
        4 => Just(Step::Written),
        1 => Just(Step::NotWritten),
        1 => partitions.prop_map(|partition| Step::ClaimedElsewhere { partition }),
        2 => (mask, any::<bool>()).prop_map(|(mask, late)| Step::Revoke { mask, late }),
        1 => Just(Step::LoseAll),
        4 => Just(Step::Publish),
    ]
}

struct World {
    outside: Outside,
    definitions: Arc<Definitions>,
    shared: Arc<Shared>,
    group: Group,
    workers: Vec<Worker>,
    restores: Receiver<restore::Job>,
    restoring: Vec<restore::Job>,
    to_inbox: Sender<Restored>,
    inbox: Receiver<Restored>,
    jobs: Receiver<writer::Job>,
    to_group: Sender<News>,
    news: Receiver<News>,
    _nudges: Receiver<Nudge>,
    catching_up: CatchingUp,
    /// The epoch of the published page.
    published: Option<u64>,
    produced: usize,
    /// Whether a restoration has failed that was wanted: the instance would end.
    failed: bool,
}

impl World {
    fn new() -> Self {
        let lasting = Lasting::new(OwnMetrics::new(), Arc::new(Published::new(Duration::MAX)));
        let shared = Arc::new(Shared::new(Arc::new(lasting)));
        let (to_writer, jobs) = unbounded();
        let (to_group, news) = unbounded();
        let (to_publisher, nudges) = unbounded();
        let (to_restorer, restores) = unbounded();
        let (to_inbox, inbox) = unbounded();
        let setup = Setup {
            framing: Framing::Bare,
            rejecting: Rejecting::new(Mode::Skip),
            max_future: Span::DAY,
            snapshot_interval: Duration::ZERO,
            // One customer at a time, so that records come in between.
            slice_bytes: 1,
            builders: 2,
            now: || Instant::from_millis(BEGIN_S * 1_000),
            shared: shared.clone(),
            writer: to_writer,
        };
        let (mailboxes, workers) = (0..WORKERS)
            .map(|_| {
                let (messages, inbox) = unbounded::<Message>();
                let awake = Arc::new(AtomicBool::new(false));
                let worker = Worker::new(setup.clone(), messages.clone(), inbox, awake.clone());
                (Mailbox { messages, awake }, worker)
            })
            .unzip();
        let tapes = (0..PARTITIONS as usize).map(|number| (partition(number), Tape::default())).collect();
        Self {
            outside: Outside { tapes, ..Outside::default() },
            definitions: Arc::new(Settings::default().definitions()),
            group: Group::new(mailboxes, to_restorer, to_publisher, shared.clone()),
            shared,
            workers,
            restores,
            restoring: Vec::new(),
            to_inbox,
            inbox,
            jobs,
            to_group,
            news,
            _nudges: nudges,
            catching_up: CatchingUp::default(),
            published: None,
            produced: 0,
            failed: false,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Assign { mask } => {
                let owned = self.outside.owned.borrow().clone();
                let new: Vec<_> = masked(mask).into_iter().filter(|partition| !owned.contains(partition)).collect();
                if !new.is_empty() && !self.outside.lost.get() {
                    self.outside.owned.borrow_mut().extend(new.iter().cloned());
                    self.group.assigned(&self.outside, &new).unwrap();
                }
            }
            Step::Restored { which } => self.finish_restoring(which, false),
            Step::RestoreFailed { which } => self.finish_restoring(which, true),
            Step::Listen => self.listen(),
            Step::Produce { partition: number, records } => {
                let mut log = self.outside.tapes[&partition(number)].0.lock().unwrap();
                for _ in 0..records {
                    self.produced += 1;
                    log.records.push(event(number, self.produced));
                }
            }
            Step::Hear { worker } => assert!(self.workers[worker].hear_all()),
            Step::Read { worker } => {
                self.workers[worker].read_all();
            }
            Step::Save { worker } => {
                self.workers[worker].save_due();
            }
            Step::Written => self.write(true),
            Step::NotWritten => self.write(false),
            Step::ClaimedElsewhere { partition: number } => {
                let epoch = self.outside.claim(&partition(number));
                let all = self.outside.records(&partition(number));
                let shard = self.replayed(&partition(number), all);
                let mut bytes = Vec::new();
                snapshot::write(&shard, "t", number as i32, &mut bytes).unwrap();
                let mut snapshots = self.outside.snapshots.borrow_mut();
                snapshots.entry(partition(number)).or_default().push((epoch.0, all as i64, bytes));
                // One of another group that shares the store, while the partition is still ours in this one.
                if !self.outside.owned.borrow().contains(&partition(number)) {
                    self.outside.committed.borrow_mut().insert(partition(number), all as i64);
                }
            }
            Step::Revoke { mask, late } => {
                // What is lost is called back about as a whole.
                let mask = if self.outside.lost.get() { u8::MAX } else { mask };
                let owned = self.outside.owned.borrow().clone();
                let gone: Vec<_> = masked(mask).into_iter().filter(|partition| owned.contains(partition)).collect();
                self.revoke(&gone, late);
                self.outside.lost.set(false);
            }
            Step::LoseAll => self.outside.lost.set(true),
            Step::Publish => self.publish(),
        }
    }

    /// What a restorer does: claims, then reads the newest snapshot.
    fn finish_restoring(&mut self, which: usize, fails: bool) {
        self.restoring.extend(self.restores.try_iter());
        let under_way: BTreeSet<_> = self.restoring.iter().map(|job| &job.partition).collect();
        assert_eq!(under_way.len(), self.restoring.len(), "one at a time, or the later claim is the older one's");
        if self.restoring.is_empty() {
            return;
        }
        let job = self.restoring.remove(which % self.restoring.len());
        let partition = job.partition.clone();
        let outcome = if job.cancelled.load(Ordering::Acquire) {
            Outcome::Cancelled
        } else if fails {
            Outcome::Failed(anyhow::anyhow!("no retry mends it"))
        } else {
            let epoch = self.outside.claim(&partition);
            let snapshots = self.outside.snapshots.borrow();
            let newest = snapshots.get(&partition).and_then(|all| all.iter().max_by_key(|(epoch, _, _)| *epoch));
            let mut fresh = Fresh::empty(self.definitions.clone(), epoch).unwrap();
            if let Some((epoch, ..)) = newest {
                let (_, next_offset, bytes) = snapshots[&partition].iter().rfind(|(e, ..)| e == epoch).unwrap();
                // The tallies as of the latest event, as for `time.clock = "event"`.
                let restored =
                    snapshot::read_and_build(&mut bytes.as_slice(), self.definitions.clone(), |latest| latest);
                let (header, shard) = restored.unwrap();
                assert_eq!(header.next_offset, *next_offset);
                let time = Instant::from_millis(0);
                fresh.shard = shard;
                fresh.saved = Some(Saved { next_offset: *next_offset, time, size_bytes: bytes.len() as u64 });
            }
            Outcome::Ready(Box::new(fresh))
        };
        self.to_inbox.send(Restored { partition, generation: job.generation, outcome }).unwrap();
    }

    /// One turn of the thread that polls the client.
    fn listen(&mut self) {
        while !self.outside.has_lost_everything()
            && let Ok(restored) = self.inbox.try_recv()
        {
            let failed = matches!(restored.outcome, Outcome::Failed(_));
            let tapes = &self.outside.tapes;
            let split = |partition: &TopicPartition, _| Some(Queue::of_tape(tapes[partition].clone()));
            let done = self.group.restored(&self.outside, restored, split);
            assert!(done.is_ok() || failed, "{done:?}");
            self.failed |= done.is_err();
        }
        let news: Vec<News> = self.news.try_iter().collect();
        self.group.heard(&self.outside, news).unwrap();
    }

    fn write(&self, well: bool) {
        let Ok(job) = self.jobs.try_recv() else { return };
        let written = match well {
            true => self.outside.save(&job),
            false => Err(SaveError::Unavailable(StoreError::Unavailable {
                place: "paper".to_owned(),
                error: std::io::ErrorKind::TimedOut.into(),
            })),
        };
        let saved = |next_offset| Saved { next_offset, time: Instant::from_millis(0), size_bytes: 1 };
        writer::tell(job, written, saved, &self.to_group);
    }

    fn revoke(&mut self, gone: &[TopicPartition], late: bool) {
        if gone.is_empty() {
            return;
        }
        let release = self.group.release(gone, self.outside.lost.get()).unwrap();
        if !late {
            assert!(self.workers.iter_mut().all(Worker::hear_all));
            while !self.jobs.is_empty() {
                self.write(true);
            }
        }
        let durable: Vec<Durable> = release.replies.try_iter().collect();
        if !durable.is_empty() {
            self.outside.commit_covered(&durable);
        }
        self.outside.remove(&release.fetched).unwrap();
        for partition in gone {
            self.outside.owned.borrow_mut().remove(partition);
            assert!(!self.outside.fetched.borrow().contains(partition), "{partition} is fetched on");
        }
    }

    /// What a round of the publication loop does, as of the latest event there can be.
    fn publish(&mut self) {
        let (epoch, assigned, restoring) = {
            let assignment = self.shared.assignment();
            (assignment.epoch, assignment.partitions.clone(), assignment.restoring.clone())
        };
        let Some(assigned) = assigned else { return };
        self.catching_up.keep(&assigned);
        for (partition, epoch) in &assigned {
            if self.catching_up.lacks(partition) && !restoring.contains(partition) {
                let end = self.outside.records(partition) as i64;
                self.catching_up.set(partition.clone(), *epoch, end);
            }
        }
        let progress: Vec<_> = self
            .workers
            .iter()
            .flat_map(|worker| &worker.held)
            .filter(|(partition, _)| assigned.contains_key(partition))
            .map(|(partition, held)| held.progress(partition))
            .collect();
        if self.catching_up.remaining(&assigned, &progress) != Some(0) || self.shared.course() != Course::GoOn {
            return;
        }
        let as_of = self.as_of();
        let mut readings = Readings::default();
        for worker in &mut self.workers {
            readings.add(worker.advance(as_of, &assigned).readings);
        }
        let mut expected = Readings::default();
        for partition in assigned.keys() {
            let next_offset = progress.iter().find(|p| p.partition == *partition).unwrap().next_offset;
            let mut shard = self.replayed(partition, next_offset as usize);
            shard.advance(as_of);
            expected.add(shard.readings());
        }
        assert_eq!(readings, expected, "what is published is every assigned partition, and nothing else");
        let publication = Publication { as_of, readings };
        self.shared.published.swap(Page::published(publication, String::new(), ProcessState::default()));
        self.published = Some(epoch);
    }

    /// Lets everything that is under way come to its end, and publishes: whatever is ours is then read, and on the page.
    fn settle(&mut self) {
        if self.outside.lost.get() {
            self.take(&Step::Revoke { mask: u8::MAX, late: false });
        }
        for _ in 0..50 {
            self.finish_restoring(0, false);
            self.listen();
            for worker in &mut self.workers {
                assert!(worker.hear_all());
                worker.read_all();
            }
            self.check();
        }
        self.publish();
        self.check();
        if self.failed || self.shared.course() != Course::GoOn {
            return;
        }
        let held: BTreeSet<_> = self.workers.iter().flat_map(|worker| worker.held.keys().cloned()).collect();
        let owned = self.outside.owned.borrow();
        assert_eq!(held, *owned, "whatever is ours is restored in the end, unless the instance ends");
        assert!(owned.is_empty() || self.shared.published.page().publication.is_some(), "and published");
    }

    fn as_of(&self) -> Instant {
        Instant::from_millis((BEGIN_S + 10_000_000) * 1_000)
    }

    fn replayed(&self, partition: &TopicPartition, records: usize) -> Shard {
        let mut shard = Shard::new(self.definitions.clone(), HashKey([7; 16]));
        for payload in &self.outside.tapes[partition].0.lock().unwrap().records[..records] {
            shard.consume(Some(payload), None);
        }
        shard.set_next_offset(records as i64);
        shard
    }

    fn check(&self) {
        // 3 is checked whenever something is committed. 5: what is published is of this very assignment.
        let epoch = self.shared.assignment().epoch;
        let page = self.shared.published.page();
        assert!(page.publication.is_none() || self.published == Some(epoch), "published of another assignment");
        let ours = self.shared.assignment().partitions.clone().unwrap_or_default();
        assert!(ours.keys().eq(self.outside.owned.borrow().iter()), "what is ours is what the group gave");
        // 4: of each shard all records up to its offset are in it, once; and all that were read are counted.
        let mut read = 0;
        for (partition, held) in self.workers.iter().flat_map(|worker| &worker.held) {
            assert_ne!(held.phase, Phase::Vacant);
            let mut bytes = Vec::new();
            snapshot::write(&held.shard, "t", partition.partition, &mut bytes).unwrap();
            let (_, mut shard) = snapshot::read(&mut bytes.as_slice(), self.definitions.clone()).unwrap();
            let mut expected = self.replayed(partition, shard.next_offset() as usize);
            shard.advance(self.as_of());
            expected.advance(self.as_of());
            assert_eq!(shard.readings(), expected.readings(), "{partition} up to {}", shard.next_offset());
        }
        for worker in &self.workers {
            read += counted(&worker.total);
        }
        assert_eq!(read, self.shared.records.load(Ordering::Relaxed), "read, and counted");
        let held: BTreeSet<_> = self.workers.iter().flat_map(|worker| worker.held.keys()).collect();
        assert_eq!(held.len(), self.workers.iter().map(|worker| worker.held.len()).sum::<usize>(), "one owner each");
    }
}

fn counted(counts: &Counts) -> u64 {
    [&counts.applied[..], &counts.ignored[..], &counts.rejected[..]].concat().iter().sum::<u64>() + counts.unchanged
}

fn setup_of(mode: Mode) -> Setup {
    Setup {
        framing: Framing::Bare,
        rejecting: Rejecting::new(mode),
        max_future: Span::DAY,
        snapshot_interval: Duration::ZERO,
        // One customer at a time, so that records come in between.
        slice_bytes: 1,
        builders: 1,
        now: || Instant::from_millis(BEGIN_S * 1_000),
        shared: Arc::new(Shared::new(Arc::new(Lasting::new(
            OwnMetrics::new(),
            Arc::new(Published::new(Duration::MAX)),
        )))),
        writer: unbounded().0,
    }
}

fn held_of(records: Vec<Vec<u8>>) -> Held {
    let fresh = Fresh::empty(Arc::new(Settings::default().definitions()), Epoch(1)).unwrap();
    Held::new(fresh, 1, Queue::of_tape(Tape::of(records)), Arc::default())
}

#[test]
fn what_waits_for_letters_is_read_before_anything_that_the_client_says_is_handed_over() {
    let (letters, waiting) = unbounded();
    let setup = setup_of(Mode::DeadLetter(Outbox::of(letters)));
    let (own, _messages) = unbounded();
    // One letter of it is as much as may wait.
    let mut held = held_of(vec![vec![0xff; 4 << 20], event(0, 1), event(0, 2)]);
    let read = |held: &mut Held| {
        let count = held.read(&partition(0), &setup, &own).unwrap();
        if count == 0 {
            held.pass_handed_over();
        }
        (count, held.shard.next_offset(), held.shard.tracked_customers())
    };
    held.handed_over = Some(9);
    assert_eq!(read(&mut held), (1, 1, 0), "two are taken from the client");
    assert_eq!(read(&mut held), (0, 1, 0));
    assert!(held.letters.acknowledge(0).is_none() && waiting.len() == 1);
    assert_eq!(read(&mut held), (1, 2, 1));
    assert_eq!(read(&mut held), (1, 3, 2));
    assert_eq!(read(&mut held), (0, 9, 2), "markers of transactions");
    assert_eq!(setup.shared.records.load(Ordering::Relaxed), 3);
}

#[test]
fn nothing_from_the_record_that_ends_the_process_on_is_read() {
    let setup = setup_of(Mode::Fail);
    let (own, _messages) = unbounded();
    let mut held = held_of(vec![event(0, 1), event(0, 2), vec![0xff], event(0, 3)]);
    assert_eq!(held.read(&partition(0), &setup, &own).unwrap(), 2);
    let failed = held.read(&partition(0), &setup, &own);
    assert!(matches!(failed, Err(ReadError::Rejected { offset: 2, why: Rejection::Undecodable })));
    assert_eq!((held.shard.next_offset(), held.shard.tracked_customers()), (2, 2));
    assert_eq!(counted(held.shard.counts()), setup.shared.records.load(Ordering::Relaxed), "with the one it ends at");
}

#[test]
fn what_is_handed_over_again_is_not_counted_again() {
    let setup = setup_of(Mode::Skip);
    let (own, _messages) = unbounded();
    let mut held = held_of((0..6).map(|number| event(0, number)).collect());
    held.shard.set_next_offset(3);
    let mut read = || {
        let count = held.read(&partition(0), &setup, &own).unwrap();
        (count, held.shard.next_offset(), held.shard.tracked_customers())
    };
    assert_eq!([read(), read(), read(), read()], [(2, 3, 0), (2, 4, 1), (2, 6, 3), (0, 6, 3)]);
    assert_eq!(setup.shared.records.load(Ordering::Relaxed), 3);
}

#[test]
fn who_has_not_heard_of_a_loss_takes_nothing_from_who_comes_next() {
    let mut world = World::new();
    let assigned = [Step::Assign { mask: 1 }, Step::Restored { which: 0 }, Step::Listen];
    let lost = [Step::Hear { worker: 0 }, Step::LoseAll, Step::Revoke { mask: 1, late: true }];
    let produced = [Step::Produce { partition: 0, records: 3 }];
    let read = [Step::Read { worker: 0 }, Step::Hear { worker: 0 }, Step::Read { worker: 0 }];
    for step in assigned.iter().chain(&lost).chain(&produced).chain(&assigned).chain(&read) {
        world.take(step);
        world.check();
    }
    world.settle();
}

/// A customer of its own, so that an event that is left out or of another partition shows.
fn event(partition: usize, number: usize) -> Vec<u8> {
    let message = LifecycleEvent {
        customer_id: format!("{partition}-{number}"),
        event_time: Some(pbjson_types::Timestamp { seconds: BEGIN_S + number as i64, nanos: 0 }),
        event: Some(Kind::Started(Started::default())),
        ..LifecycleEvent::default()
    };
    message.encode_to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(SEEDS))),
        ..ProptestConfig::default()
    })]

    /// A failure prints the steps, shrunk, and keeps the seed to be tried first from then on.
    #[test]
    fn no_sequence_of_events_breaks_an_invariant(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.check();
        }
        world.settle();
        // The end: everything is given back, and nobody owns anything.
        world.take(&Step::Revoke { mask: u8::MAX, late: false });
        for worker in 0..WORKERS {
            world.take(&Step::Hear { worker });
        }
        world.check();
        prop_assert!(world.outside.fetched.borrow().is_empty());
        prop_assert!(world.workers.iter().all(|worker| worker.held.is_empty()));
    }
}
