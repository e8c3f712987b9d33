//! Which partitions are ours, and what follows from their coming and going. It decides; the client is an argument.
//!
//! An assignment is taken at once and empty-handed: each partition is fetched from the moment at which its shard is
//! restored, so that those that stay are read on meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use crossbeam_channel::{Receiver, Sender, unbounded};
use tracing::{debug, error, info};

use super::emptied::{Emptied, Seen};
use super::held::Held;
use super::lifecycle::{Duty, Event, Phase, step};
use super::queue::Queue;
use super::restore::{self, Outcome, Restored};
use super::worker::Message;
use super::writer::{Durable, News};
use super::{Course, Rebuild, Shared, TopicPartition};
use crate::publish::Nudge;

/// What the group asks of the Kafka client.
pub(crate) trait Client {
    /// Takes on partitions, each to be fetched from its offset on (`None`: from its beginning), beside those there
    /// are. It also answers a rebalance; then it may be about none.
    fn add(&self, partitions: &[(TopicPartition, Option<i64>)]) -> anyhow::Result<()>;
    /// Lets go of partitions, and answers a rebalance; it may be about none.
    fn remove(&self, partitions: &[TopicPartition]) -> anyhow::Result<()>;
    /// Tells the group how far the durable snapshots reach.
    fn commit_covered(&self, durable: &[Durable]);
    /// Whether the group has taken everything away already.
    fn has_lost_everything(&self) -> bool;
}

/// How a worker is reached.
pub(crate) struct Mailbox {
    pub messages: Sender<Message>,
    /// Whether a wake-up is on its way.
    pub awake: Arc<AtomicBool>,
}

/// The partitions of this instance, each with what it lives through.
pub(crate) struct Group {
    lives: BTreeMap<TopicPartition, Life>,
    /// The restorations under way, at most one a partition, and what cancels each.
    under_way: BTreeMap<TopicPartition, Arc<AtomicBool>>,
    workers: Vec<Mailbox>,
    load: Vec<usize>,
    /// Which worker had a partition last. It gets it again: whatever it has not heard of yet, it hears in order.
    last_worker: BTreeMap<TopicPartition, usize>,
    restorer: Sender<restore::Job>,
    publisher: Sender<Nudge>,
    shared: Arc<Shared>,
}

struct Life {
    phase: Phase,
    /// The epoch of the assignment in which it became ours.
    generation: u64,
    /// Once it is restored.
    worker: Option<usize>,
    /// Set once it is let go of: its worker, which hears of that later, reads nothing more.
    released: Arc<AtomicBool>,
    emptied: Emptied,
}

/// Partitions that are being let go of.
pub(crate) struct Release {
    /// Those that the client fetches.
    pub fetched: Vec<TopicPartition>,
    /// Whose last snapshots are durable; disconnected once all have been written or have failed.
    pub replies: Receiver<Durable>,
    /// Whether others stay.
    pub some_stay: bool,
}

impl Group {
    pub fn new(
        workers: Vec<Mailbox>,
        restorer: Sender<restore::Job>,
        publisher: Sender<Nudge>,
        shared: Arc<Shared>,
    ) -> Self {
        let load = vec![0; workers.len()];
        Self {
            lives: BTreeMap::new(),
            under_way: BTreeMap::new(),
            workers,
            load,
            last_worker: BTreeMap::new(),
            restorer,
            publisher,
            shared,
        }
    }

    /// What the statistics say of a partition. Once everything up to its end was handed over, its worker hears of it.
    pub fn observed(&mut self, partition: TopicPartition, seen: Seen) {
        let Some(life) = self.lives.get_mut(&partition) else { return };
        if let (Some(worker), Some(offset)) = (life.worker, life.emptied.observe(seen)) {
            let _ = self.workers[worker].messages.send(Message::HandedOver { partition, offset });
        }
    }

    /// Every rebalance has the client throw away what is queued, of those that stay, too.
    fn begin_observing_anew(&mut self) {
        self.lives.values_mut().for_each(|life| life.emptied = Emptied::default());
    }

    /// The group gives partitions to this instance.
    pub fn assigned(&mut self, client: &impl Client, partitions: &[TopicPartition]) -> anyhow::Result<()> {
        let generation = {
            let mut assignment = self.shared.assignment();
            assignment.epoch += 1;
            let epoch = assignment.epoch;
            assignment.restoring.extend(partitions.iter().cloned());
            let ours = assignment.partitions.get_or_insert_default();
            ours.extend(partitions.iter().map(|partition| (partition.clone(), epoch)));
            info!("partitions assigned: {}, {} in all", partitions.len(), ours.len());
            // With the lock held: a publication of the epoch before cannot come after this.
            self.shared.withhold();
            epoch
        };
        client.add(&[])?;
        self.begin_observing_anew();
        for partition in partitions {
            if self.step(partition, Event::Assigned)? == Duty::Restore {
                let life = Life {
                    phase: Phase::Restoring,
                    generation,
                    worker: None,
                    released: Arc::default(),
                    emptied: Emptied::default(),
                };
                self.lives.insert(partition.clone(), life);
                self.restore(partition, generation);
            }
        }
        let _ = self.publisher.send(Nudge);
        Ok(())
    }

    /// Has the shard restored, after an earlier restoration of the same partition: its claim must not come second.
    fn restore(&mut self, partition: &TopicPartition, generation: u64) {
        if self.under_way.contains_key(partition) || self.shared.course() != Course::GoOn {
            return;
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        self.under_way.insert(partition.clone(), cancelled.clone());
        let _ = self.restorer.send(restore::Job { partition: partition.clone(), generation, cancelled });
    }

    /// A shard is restored: has it read, if it is still wanted. `split` gives a partition's queue.
    pub fn restored(
        &mut self,
        client: &impl Client,
        restored: Restored,
        split: impl FnOnce(&TopicPartition, Box<dyn Fn() + Send + Sync>) -> Option<Queue>,
    ) -> anyhow::Result<()> {
        let Restored { partition, generation, outcome } = restored;
        self.under_way.remove(&partition);
        match self.lives.get(&partition) {
            None => return Ok(()),
            Some(life) if life.generation != generation => {
                let generation = life.generation;
                self.restore(&partition, generation);
                return Ok(());
            }
            Some(_) => {}
        }
        let fresh = match outcome {
            Outcome::Ready(fresh) => fresh,
            // Only what nobody wants is cancelled, or when everything ends.
            Outcome::Cancelled => return Ok(()),
            Outcome::Failed(error) => return Err(error),
        };
        if self.step(&partition, Event::Restored)? != Duty::Read {
            return Ok(());
        }
        let least_busy = (0..self.load.len()).min_by_key(|&worker| self.load[worker]).unwrap_or(0);
        let worker = *self.last_worker.entry(partition.clone()).or_insert(least_busy);
        let mailbox = &self.workers[worker];
        let (sender, awake) = (mailbox.messages.clone(), mailbox.awake.clone());
        let wake = move || {
            if !awake.swap(true, Ordering::AcqRel) {
                let _ = sender.send(Message::Wake);
            }
        };
        let queue = split(&partition, Box::new(wake)).with_context(|| format!("{partition} has no queue"))?;
        let offset = fresh.saved.map(|saved| saved.next_offset);
        match offset {
            Some(offset) => info!("{partition} goes on from its snapshot at offset {offset}"),
            None => info!("{partition} has no snapshot and is read from its beginning"),
        }
        let released = self.lives.get(&partition).map(|life| life.released.clone()).unwrap_or_default();
        let held = Box::new(Held::new(*fresh, generation, queue, released));
        let start = Message::Start { partition: partition.clone(), held };
        mailbox.messages.send(start).map_err(|_| anyhow!("a worker is gone"))?;
        self.load[worker] += 1;
        if let Some(life) = self.lives.get_mut(&partition) {
            life.worker = Some(worker);
            life.emptied = Emptied::default();
        }
        client.add(&[(partition.clone(), offset)])?;
        // Only now may the publication loop ask for the partition's bounds: they reach a worker that holds it.
        self.shared.assignment().restoring.remove(&partition);
        let _ = self.publisher.send(Nudge);
        Ok(())
    }

    /// The group takes partitions away, or has done so already: has the workers save, where they may, and let go.
    pub fn release(&mut self, partitions: &[TopicPartition], lost: bool) -> anyhow::Result<Release> {
        let some_stay = {
            let mut assignment = self.shared.assignment();
            assignment.epoch += 1;
            assignment.restoring.retain(|partition| !partitions.contains(partition));
            self.shared.withhold();
            assignment.partitions.as_mut().is_some_and(|ours| {
                ours.retain(|partition, _| !partitions.contains(partition));
                !ours.is_empty()
            })
        };
        self.begin_observing_anew();
        let (reply, replies) = unbounded();
        let mut fetched = Vec::new();
        for partition in partitions {
            let duty = self.step(partition, if lost { Event::Lost } else { Event::Revoked })?;
            let Some(life) = self.lives.remove(partition) else { continue };
            life.released.store(true, Ordering::Release);
            if let Some(worker) = life.worker {
                self.load[worker] -= 1;
                fetched.push(partition.clone());
                let (partition, reply) = (partition.clone(), reply.clone());
                let message = match duty {
                    Duty::SaveAndRelease => Message::Revoke { partition, reply },
                    _ => Message::Lose { partition, reply },
                };
                let _ = self.workers[worker].messages.send(message);
            } else if let Some(cancelled) = self.under_way.get(partition) {
                cancelled.store(true, Ordering::Release);
            }
        }
        let _ = self.publisher.send(Nudge);
        Ok(Release { fetched, replies, some_stay })
    }

    /// What the writer has to say: offsets to commit, or that this instance has been fenced.
    pub fn heard(&mut self, client: &impl Client, news: impl IntoIterator<Item = News>) -> anyhow::Result<()> {
        let mut durable = Vec::new();
        for news in news {
            match news {
                News::Durable(news) if self.reads(&news.partition, news.generation) => durable.push(news),
                News::Fenced { partition, generation } if self.reads(&partition, generation) => {
                    self.fenced(&partition)?;
                }
                // It was let go of meanwhile: its next owner commits, and has claimed it.
                News::Durable(Durable { partition, .. }) | News::Fenced { partition, .. } => {
                    debug!("{partition} is not ours any more");
                }
            }
        }
        if !durable.is_empty() && !client.has_lost_everything() {
            client.commit_covered(&durable);
        }
        Ok(())
    }

    fn reads(&self, partition: &TopicPartition, generation: u64) -> bool {
        self.lives.get(partition).is_some_and(|life| life.generation == generation && life.phase == Phase::Reading)
    }

    fn fenced(&mut self, partition: &TopicPartition) -> anyhow::Result<()> {
        if self.step(partition, Event::Fenced)? != Duty::Quarantine {
            return Ok(());
        }
        error!(
            "another instance has claimed the snapshots of {partition}: either the group gave it away while this \
             instance was paused or cut off, which mends itself, or instances of different groups share \
             snapshot.store: give each kafka.group_id a store of its own. Nothing more of {partition} is saved or \
             committed here, and the client is made anew"
        );
        if let Some(worker) = self.lives.get(partition).and_then(|life| life.worker) {
            let _ = self.workers[worker].messages.send(Message::Quarantine { partition: partition.clone() });
        }
        {
            let mut assignment = self.shared.assignment();
            assignment.epoch += 1;
            self.shared.withhold();
        }
        self.shared.rebuild(Rebuild::Fenced);
        Ok(())
    }

    /// Steps the partition's life and says what is to be done.
    fn step(&mut self, partition: &TopicPartition, event: Event) -> anyhow::Result<Duty> {
        let phase = self.lives.get(partition).map_or(Phase::Vacant, |life| life.phase);
        let (next, duty) = step(phase, event);
        if let Some(life) = self.lives.get_mut(partition) {
            life.phase = next;
        }
        if duty == Duty::Refuse {
            return Err(anyhow!("{partition} is {phase:?} and cannot be {event:?}: please report this bug"));
        }
        Ok(duty)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.under_way.values().for_each(|cancelled| cancelled.store(true, Ordering::Release));
    }
}

/// How long a rebalance waits for the snapshots of what it takes away. The client pauses the partitions that stay
/// for as long, so theirs is the shorter wait: whose snapshot is late starts from the one before.
pub(crate) fn release_timeout(session_timeout: Duration, some_stay: bool) -> Duration {
    if some_stay { session_timeout / 3 } else { session_timeout.max(Duration::from_secs(10)) }
}
