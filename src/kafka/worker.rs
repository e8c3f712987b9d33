//! A worker: owns some partitions' shards, reads their queues, and answers for their numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Moment};

use anyhow::anyhow;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rdkafka::error::RDKafkaErrorCode;
use tracing::error;

use super::held::{Held, ReadError};
use super::lifecycle::{Duty, Event, Phase, step};
use super::rejected::{self, Rejecting};
use super::writer::{Durable, Job, Saved};
use super::{Shared, TopicPartition};
use crate::framing::Framing;
use crate::readings::Readings;
use crate::shard::Counts;
use crate::time::{Instant, Span};

mod answers;
mod leaving;
mod saving;

use leaving::Leaving;
pub(crate) use saving::Serialising;

/// A wake-up that got lost would cost this much.
const IDLE: Duration = Duration::from_millis(500);

/// What a worker is told. A message about a partition of another worker is no concern of its.
pub(crate) enum Message {
    /// A queue is not empty any more.
    Wake,
    /// Own this shard, and read its queue.
    Start {
        partition: TopicPartition,
        held: Box<Held>,
    },
    /// The offsets that the broker holds, seen after the assignment.
    Bounds {
        partition: TopicPartition,
        low: i64,
        high: i64,
    },
    /// Everything below the offset has been handed over: what is missing up to it are not records.
    HandedOver {
        partition: TopicPartition,
        offset: i64,
    },
    /// Say how far everything is read, once read to these offsets, or at the deadline.
    Reach(Reach),
    /// Bring the tallies to `t` and give the numbers.
    Advance {
        t: Instant,
        /// What the round is about: a partition that is being assigned meanwhile is not caught up.
        of: Arc<BTreeMap<TopicPartition, u64>>,
        reply: Sender<Numbers>,
    },
    /// Nothing will be published as of an earlier instant any more.
    Fold {
        t: Instant,
    },
    /// A periodic snapshot was written, or could not be.
    Saved {
        partition: TopicPartition,
        generation: u64,
        saved: Option<Saved>,
    },
    /// The dead-letter topic has acknowledged the record at the offset.
    Delivered {
        partition: TopicPartition,
        offset: i64,
    },
    /// Stop reading, and save nothing any more.
    Quarantine {
        partition: TopicPartition,
    },
    /// Save and let go. The sender is dropped once the partition's queue and shard are.
    Revoke {
        partition: TopicPartition,
        reply: Sender<Durable>,
    },
    /// Let go without saving.
    Lose {
        partition: TopicPartition,
        reply: Sender<Durable>,
    },
    End,
}

/// See [`Message::Reach`].
pub(crate) struct Reach {
    pub of: Arc<BTreeMap<TopicPartition, u64>>,
    pub ends: Arc<BTreeMap<TopicPartition, i64>>,
    pub deadline: Moment,
    pub reply: Sender<Vec<Progress>>,
}

/// How far a partition is read.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub partition: TopicPartition,
    pub next_offset: i64,
    /// The Kafka timestamp of the last record read since the assignment.
    pub last_record: Option<Instant>,
    pub latest_event: Option<Instant>,
    pub saved: Option<Saved>,
    /// Whether it is not read on before the dead-letter topic takes what it has refused.
    pub waits_for_letters: bool,
}

/// The numbers of one worker's shards.
pub(crate) struct Numbers {
    pub readings: Readings,
    pub tracked_customers: u64,
    pub tracked_cohorts: u64,
    /// For each partition with records that these numbers count first: the oldest one's Kafka timestamp.
    pub oldest_new: Vec<Instant>,
}

impl Numbers {
    pub fn none() -> Self {
        Self { readings: Readings::default(), tracked_customers: 0, tracked_cohorts: 0, oldest_new: Vec::new() }
    }
}

/// What all workers of an instance have in common.
#[derive(Clone)]
pub(crate) struct Setup {
    pub framing: Framing,
    pub rejecting: Rejecting,
    pub max_future: Span,
    pub snapshot_interval: Duration,
    /// How much of a snapshot is serialised between two batches.
    pub slice_bytes: usize,
    /// On how many threads a worker builds the tallies of shards that have none.
    pub builders: usize,
    pub now: fn() -> Instant,
    pub shared: Arc<Shared>,
    pub writer: Sender<Job>,
}

/// One worker's state; it lives in its thread.
pub(crate) struct Worker {
    setup: Setup,
    own: Sender<Message>,
    messages: Receiver<Message>,
    pub(super) held: BTreeMap<TopicPartition, Held>,
    leaving: Vec<Leaving>,
    pending: Vec<Reach>,
    /// Whether a wake-up is on its way: more than one would only fill the channel.
    awake: Arc<AtomicBool>,
    pub(super) total: Counts,
}

impl Worker {
    pub fn new(setup: Setup, own: Sender<Message>, messages: Receiver<Message>, awake: Arc<AtomicBool>) -> Self {
        Self {
            setup,
            own,
            messages,
            held: BTreeMap::new(),
            leaving: Vec::new(),
            pending: Vec::new(),
            awake,
            total: Counts::default(),
        }
    }

    /// Works until told to end; returns what became of all records.
    pub fn run(mut self) -> Counts {
        loop {
            if !self.hear_all() {
                return self.total;
            }
            let mut busy = self.read_all();
            busy |= self.save_due();
            self.give_up_overdue();
            self.answer_reached();
            if busy {
                continue;
            }
            match self.messages.recv_timeout(self.idle_time()) {
                Ok(message) => {
                    if !self.hear(message) {
                        return self.total;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.total,
            }
        }
    }

    /// Returns whether to go on.
    pub(super) fn hear_all(&mut self) -> bool {
        while let Ok(message) = self.messages.try_recv() {
            if !self.hear(message) {
                return false;
            }
        }
        true
    }

    /// Returns whether to go on.
    fn hear(&mut self, message: Message) -> bool {
        match message {
            Message::Wake => self.awake.store(false, Ordering::Release),
            Message::Start { partition, held } => self.start(partition, held),
            Message::Bounds { partition, low, high } => self.check_bounds(&partition, low, high),
            Message::HandedOver { partition, offset } => {
                if let Some(held) = self.held.get_mut(&partition) {
                    held.handed_over = Some(offset);
                }
            }
            Message::Reach(reach) => self.pending.push(reach),
            Message::Advance { t, of, reply } => {
                let _ = reply.send(self.advance(t, &of));
            }
            Message::Fold { t } => self.held.values_mut().for_each(|held| held.shard.fold_before_windows_of(t)),
            Message::Saved { partition, generation, saved } => {
                if let Some(held) = self.held.get_mut(&partition).filter(|held| held.generation == generation) {
                    held.saving = false;
                    held.saved = saved.or(held.saved);
                }
            }
            Message::Delivered { partition, offset } => self.delivered(&partition, offset),
            Message::Quarantine { partition } => {
                self.quarantine(&partition, Event::Fenced);
            }
            Message::Revoke { partition, reply } => self.release(&partition, Event::Revoked, reply),
            Message::Lose { partition, reply } => self.release(&partition, Event::Lost, reply),
            Message::End => return false,
        }
        true
    }

    /// Steps the partition's life and says what is to be done.
    fn duty(&mut self, partition: &TopicPartition, event: Event) -> Duty {
        let phase = self.held.get(partition).map_or(Phase::Vacant, |held| held.phase);
        let (next, duty) = step(phase, event);
        if let Some(held) = self.held.get_mut(partition) {
            held.phase = next;
        }
        if duty == Duty::Refuse {
            error!("{partition} is {phase:?} and cannot be {event:?}: please report this bug");
        }
        duty
    }

    fn start(&mut self, partition: TopicPartition, mut held: Box<Held>) {
        if self.held.contains_key(&partition) {
            self.setup.shared.fail(anyhow!("{partition} was assigned twice: please report this bug"));
            return;
        }
        held.save_due = Moment::now() + self.setup.snapshot_interval;
        self.held.insert(partition.clone(), *held);
        self.duty(&partition, Event::Restored);
    }

    /// Compares where the shard goes on with what the broker still holds.
    fn check_bounds(&mut self, partition: &TopicPartition, low: i64, high: i64) {
        let Some(held) = self.held.get_mut(partition) else { return };
        let next = held.shard.next_offset();
        if std::mem::take(&mut held.snapshots_unreadable) && low > 0 {
            let what = format!("no snapshot of it can be read, and the broker holds offsets {low} to {high} only");
            self.broke(partition, &what);
        } else if held.untouched && held.from_beginning {
            held.shard.set_next_offset(next.max(low));
        } else if held.untouched && !(low..=high).contains(&next) {
            self.broke(partition, &format!("the broker holds offsets {low} to {high} only"));
        }
    }

    /// Records that were never read are gone from the broker: whatever is counted from here on is wrong.
    fn broke(&mut self, partition: &TopicPartition, what: &str) {
        let Some(next_offset) = self.held.get(partition).map(|held| held.shard.next_offset()) else { return };
        if self.quarantine(partition, Event::Broke) {
            self.setup.shared.fail(anyhow!(
                "{partition} is to be read from offset {next_offset} on, but {what}: the records between were \
                 deleted (retention) or the topic was created anew. Either bring them back, or start once with \
                 `churnwatch run --rebuild`, which counts from what the topic still holds; and let the topic keep \
                 records for longer than churnwatch may be down"
            ));
        }
    }

    /// Stops reading where the event asks for it, which is said.
    fn quarantine(&mut self, partition: &TopicPartition, event: Event) -> bool {
        let stops = self.duty(partition, event) == Duty::Quarantine;
        if stops && let Some(held) = self.held.get_mut(partition) {
            held.queue = None;
            held.give_up_saving();
        }
        stops
    }

    /// Takes a batch from every queue; whether there was anything.
    pub(super) fn read_all(&mut self) -> bool {
        let mut busy = false;
        let (mut broken, mut rejected) = (Vec::new(), Vec::new());
        for (partition, held) in &mut self.held {
            if held.phase != Phase::Reading {
                continue;
            }
            let taken = held.read(partition, &self.setup, &self.own);
            held.report(&self.setup, &mut self.total);
            match taken {
                Ok(0) => held.pass_handed_over(),
                Ok(_) => busy = true,
                Err(ReadError::Client(error))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) =>
                {
                    broken.push(partition.clone());
                }
                // Said once where it was received; the client goes on trying.
                Err(ReadError::Client(_)) => busy = true,
                Err(ReadError::Rejected { offset, why }) => rejected.push((partition.clone(), offset, why)),
            }
        }
        for partition in broken {
            self.broke(&partition, "the broker does not hold that offset");
        }
        for (partition, offset, why) in rejected {
            self.quarantine(&partition, Event::Broke);
            self.setup.shared.fail(rejected::failure(&partition, offset, why));
        }
        busy
    }

    fn release(&mut self, partition: &TopicPartition, event: Event, reply: Sender<Durable>) {
        let duty = self.duty(partition, event);
        let Some(mut held) = self.held.remove(partition) else { return };
        held.queue = None;
        match duty {
            Duty::SaveAndRelease => {
                let next_offset = held.shard.next_offset();
                if held.saved.is_some_and(|saved| saved.next_offset == next_offset) {
                    let generation = held.generation;
                    let _ = reply.send(Durable { partition: partition.clone(), generation, next_offset });
                } else {
                    if let Err(error) = held.save_last(partition, &self.setup, reply) {
                        saving::complain(partition, &error);
                    }
                    self.leave(partition, held);
                }
            }
            Duty::Release
            | Duty::Cancel
            | Duty::Nothing
            | Duty::Restore
            | Duty::Read
            | Duty::Quarantine
            | Duty::Refuse => {}
        }
    }

    /// How long there is nothing to do unless a message comes.
    fn idle_time(&self) -> Duration {
        let due = self.pending.iter().map(|reach| reach.deadline).min();
        due.map_or(IDLE, |due| due.saturating_duration_since(Moment::now()).min(IDLE))
    }
}
