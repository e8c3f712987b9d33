//! The consumer group: which partitions are ours, and the thread that polls the client.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant as Moment};

use anyhow::{Context as _, anyhow};
use crossbeam_channel::{Receiver, Sender, unbounded};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, info, warn};

use super::client::Events;
use super::queue::Queue;
use super::worker::Message;
use super::writer::Durable;
use super::{Course, Shared, TopicPartition};
use crate::publish::Nudge;

/// How long a rebalance waits for the snapshots of what it takes away: well inside max.poll.interval.ms.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// Which worker holds which partition.
pub(crate) struct Group {
    owners: BTreeMap<TopicPartition, Owner>,
    load: Vec<usize>,
    /// Per worker: whether a wake-up is on its way to it.
    awake: Vec<Arc<AtomicBool>>,
    publisher: Sender<Nudge>,
}

struct Owner {
    worker: usize,
    /// Statistics seen since the assignment. The first may have been taken before the client started to
    /// fetch, and then tell of an earlier assignment of the same partition.
    statistics: u32,
}

impl Group {
    pub fn new(awake: Vec<Arc<AtomicBool>>, publisher: Sender<Nudge>) -> Self {
        Self { owners: BTreeMap::new(), load: vec![0; awake.len()], awake, publisher }
    }

    /// The worker of a partition whose statistics can be relied on.
    pub fn worker_of_settled(&self, partition: &TopicPartition) -> Option<usize> {
        self.owners.get(partition).filter(|owner| owner.statistics > 0).map(|owner| owner.worker)
    }

    /// Notes that statistics have come.
    pub fn settle(&mut self) {
        self.owners.values_mut().for_each(|owner| owner.statistics += 1);
    }

    fn add(&mut self, partition: &TopicPartition) -> usize {
        let worker = (0..self.load.len()).min_by_key(|&worker| self.load[worker]).unwrap_or(0);
        self.load[worker] += 1;
        self.owners.insert(partition.clone(), Owner { worker, statistics: 0 });
        worker
    }

    fn remove(&mut self, partition: &TopicPartition) -> Option<usize> {
        let owner = self.owners.remove(partition)?;
        self.load[owner.worker] -= 1;
        Some(owner.worker)
    }
}

/// Called by the client, on the thread that polls it.
pub(crate) fn rebalance(
    events: &Events,
    consumer: &BaseConsumer<Events>,
    err: RDKafkaRespErr,
    list: &mut TopicPartitionList,
) {
    let partitions: Vec<TopicPartition> = list
        .elements()
        .iter()
        .map(|element| TopicPartition { topic: element.topic().into(), partition: element.partition() })
        .collect();
    let done = match err {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => assign(events, consumer, &partitions, list),
        _ => revoke(events, consumer, &partitions, list),
    };
    if let Err(error) = done {
        events.shared.fail(error);
    }
    let _ = events.group.lock().unwrap_or_else(PoisonError::into_inner).publisher.send(Nudge);
}

fn assign(
    events: &Events,
    consumer: &BaseConsumer<Events>,
    partitions: &[TopicPartition],
    list: &mut TopicPartitionList,
) -> anyhow::Result<()> {
    let restored = restore(events, partitions);
    match &restored {
        Ok(offsets) => {
            for (partition, offset) in offsets {
                let offset = offset.map_or(Offset::Beginning, Offset::Offset);
                list.set_partition_offset(&partition.topic, partition.partition, offset)?;
            }
        }
        // The client wants its answer all the same; what it fetches is not read any more.
        Err(_) => list.set_all_offsets(Offset::End)?,
    }
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
    }
    .context("the Kafka client refuses its assignment")?;
    restored?;

    let mut assignment = events.shared.assignment();
    assignment.epoch += 1;
    let epoch = assignment.epoch;
    let ours = assignment.partitions.get_or_insert_default();
    ours.extend(partitions.iter().map(|partition| (partition.clone(), epoch)));
    // With the lock held: a publication of the epoch before cannot come after this.
    events.shared.withhold();
    info!("{} partitions assigned, {} in all", partitions.len(), ours.len());
    Ok(())
}

/// Has the workers restore the shards, and gives them their queues. Returns where to read from.
fn restore(events: &Events, partitions: &[TopicPartition]) -> anyhow::Result<Vec<(TopicPartition, Option<i64>)>> {
    let consumer = events.consumer.get().and_then(std::sync::Weak::upgrade).context("the consumer is gone")?;
    let mut group = events.group.lock().unwrap_or_else(PoisonError::into_inner);
    let (reply, replies) = unbounded();
    let workers: Vec<usize> = partitions.iter().map(|partition| group.add(partition)).collect();
    for (partition, &worker) in partitions.iter().zip(&workers) {
        let message = Message::Assign { partition: partition.clone(), reply: reply.clone() };
        events.workers[worker].send(message).map_err(|_| anyhow!("a worker is gone"))?;
    }
    drop(reply);
    let offsets = replies.iter().collect::<anyhow::Result<Vec<_>>>()?;
    if offsets.len() < partitions.len() {
        return Err(anyhow!("a worker ended while restoring"));
    }
    for (partition, &worker) in partitions.iter().zip(&workers) {
        let (sender, awake) = (events.workers[worker].clone(), group.awake[worker].clone());
        let wake = move || {
            if !awake.swap(true, std::sync::atomic::Ordering::AcqRel) {
                let _ = sender.send(Message::Wake);
            }
        };
        let queue = Queue::split(&consumer, partition, wake).with_context(|| format!("{partition} has no queue"))?;
        let _ = events.workers[worker].send(Message::Start { partition: partition.clone(), queue });
    }
    for (partition, offset) in &offsets {
        match offset {
            Some(offset) => info!("{partition} goes on from its snapshot at offset {offset}"),
            None => info!("{partition} has no snapshot and is read from its beginning"),
        }
    }
    Ok(offsets)
}

fn revoke(
    events: &Events,
    consumer: &BaseConsumer<Events>,
    partitions: &[TopicPartition],
    list: &TopicPartitionList,
) -> anyhow::Result<()> {
    let lost = consumer.assignment_lost() || events.shared.course() == Course::Abort;
    {
        let mut assignment = events.shared.assignment();
        assignment.epoch += 1;
        if let Some(ours) = &mut assignment.partitions {
            ours.retain(|partition, _| !partitions.contains(partition));
        }
        events.shared.withhold();
    }
    if lost {
        warn!("{} partitions lost: another instance may own them, so nothing is saved or committed", partitions.len());
    } else {
        info!("{} partitions revoked", partitions.len());
    }
    let durable = release(events, partitions, lost);
    commit(consumer, &durable);
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
    .context("the Kafka client refuses to let go of its assignment")
}

/// Has the workers save and let go. Returns whose snapshots are durable.
fn release(events: &Events, partitions: &[TopicPartition], lost: bool) -> Vec<Durable> {
    let (reply, replies) = unbounded();
    let mut group = events.group.lock().unwrap_or_else(PoisonError::into_inner);
    for partition in partitions {
        let Some(worker) = group.remove(partition) else { continue };
        let (partition, reply) = (partition.clone(), reply.clone());
        let message = if lost { Message::Lose { partition, reply } } else { Message::Revoke { partition, reply } };
        let _ = events.workers[worker].send(message);
    }
    drop(reply);
    let deadline = Moment::now() + RELEASE_TIMEOUT;
    let mut durable = Vec::new();
    loop {
        match replies.recv_deadline(deadline) {
            Ok(news) => durable.push(news),
            // All workers have let go, and all snapshots are written or have failed.
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return durable,
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                warn!("some snapshots took too long: their partitions' next owner starts from the ones before");
                return durable;
            }
        }
    }
}

/// Tells the group how far the durable snapshots reach. For others to look at: a restart begins at the snapshot.
fn commit(consumer: &BaseConsumer<Events>, durable: &[Durable]) {
    if durable.is_empty() {
        return;
    }
    let mut list = TopicPartitionList::new();
    for Durable { partition, next_offset } in durable {
        let offset = Offset::Offset(*next_offset);
        if let Err(error) = list.add_partition_offset(&partition.topic, partition.partition, offset) {
            debug!("cannot commit {partition}: {error}");
        }
    }
    if let Err(error) = consumer.commit(&list, CommitMode::Async) {
        debug!("a commit failed, the next one will do: {error}");
    }
}

/// Polls the client until the instance is to end, then gives the partitions back.
pub(crate) fn poll(
    consumer: &BaseConsumer<Events>,
    shared: &Shared,
    durable: &Receiver<Durable>,
    mut still_well: impl FnMut() -> anyhow::Result<()>,
    before_leaving: impl FnOnce(),
) {
    while shared.course() == Course::GoOn {
        poll_once(consumer, shared);
        let newly: Vec<Durable> = {
            let assignment = shared.assignment();
            let ours = |news: &Durable| assignment.partitions.as_ref().is_some_and(|p| p.contains_key(&news.partition));
            durable.try_iter().filter(ours).collect()
        };
        commit(consumer, &newly);
        if let Err(error) = still_well() {
            shared.fail(error);
        }
    }
    before_leaving();
    consumer.unsubscribe();
    let deadline = Moment::now() + RELEASE_TIMEOUT;
    let holds_some = || shared.assignment().partitions.as_ref().is_some_and(|partitions| !partitions.is_empty());
    while holds_some() && Moment::now() < deadline {
        poll_once(consumer, shared);
    }
}

fn poll_once(consumer: &BaseConsumer<Events>, shared: &Shared) {
    match consumer.poll(POLL) {
        None => {}
        Some(Ok(message)) => {
            use rdkafka::Message as _;
            // It would be counted out of turn. Only while leaving nobody minds.
            if shared.course() == Course::GoOn {
                let (topic, partition) = (message.topic(), message.partition());
                shared.fail(anyhow!("{topic}[{partition}] is not read by its worker: please report this bug"));
            }
        }
        Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
            shared.fail(anyhow!("the Kafka client cannot go on: {code}"));
        }
        // Said by the client's error callback.
        Some(Err(error)) => debug!("Kafka: {error}"),
    }
}
