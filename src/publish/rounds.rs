//! The publication loop: at every interval one consistent set of numbers, or none.
//!
//! A round asks Kafka for the end offsets (which also tells whether it answers), the workers how far they have
//! read, decides the as-of by that, and then asks every worker for its numbers as of that one instant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant as Moment};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, error};

use super::backfill::Backfill;
use super::catching_up::CatchingUp;
use super::topics::Topics;
use super::{Nudge, Page, Publication, Readiness};
use crate::cohort::Definitions;
use crate::gauges;
use crate::kafka::as_of::{AsOf, HowFar};
use crate::kafka::client::{Complaints, Events};
use crate::kafka::progress::{Position, Watch};
use crate::kafka::worker::{Message, Numbers, Progress, Reach};
use crate::kafka::{Course, Rebuild, Shared, TopicPartition};
use crate::own_metrics::{PartitionState, ProcessState, Tracked};
use crate::run::Carried;
use crate::settings::Clock;
use crate::time::{Instant, Span};

/// How long Kafka may take to answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a round waits for the partitions to be read to the end offsets that it asked for.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// The next round's distance while there is nothing to publish.
const SOON: Duration = Duration::from_millis(500);

type Offsets = BTreeMap<TopicPartition, i64>;

/// The publication loop's state; it lives in its thread.
pub(crate) struct Rounds {
    pub definitions: Arc<Definitions>,
    pub clock: Clock,
    pub now: fn() -> Instant,
    pub interval: Duration,
    pub topics: Topics,
    pub consumer: Weak<BaseConsumer<Events>>,
    pub workers: Vec<Sender<Message>>,
    pub complaints: Arc<Complaints>,
    pub shared: Arc<Shared>,
    pub as_of: AsOf,
    pub watch: Watch,
    pub catching_up: CatchingUp,
    pub backfill: Backfill,
    /// Of the last publication.
    pub tracked: Option<Tracked>,
}

impl Rounds {
    /// Publishes until the session is to end.
    pub fn run(mut self, nudges: &Receiver<Nudge>) -> Carried {
        loop {
            // A nudge from before this round is answered by it, one that comes meanwhile by the next.
            while nudges.try_recv().is_ok() {}
            if !self.goes_on() {
                return Carried { as_of: self.as_of, watch: self.watch };
            }
            let begun = Moment::now();
            let distance = self.round();
            let next = begun + distance;
            match nudges.recv_deadline(next.max(Moment::now())) {
                Ok(Nudge) | Err(RecvTimeoutError::Timeout) => {}
                // Nobody is left to nudge: the session ends.
                Err(RecvTimeoutError::Disconnected) => {
                    return Carried { as_of: self.as_of, watch: self.watch };
                }
            }
        }
    }

    fn goes_on(&self) -> bool {
        self.shared.course() == Course::GoOn
    }

    /// Returns how long after this round's begin the next one is due.
    fn round(&mut self) -> Duration {
        let published = self.shared.published.clone();
        published.beat();
        let now = (self.now)();
        let (epoch, assigned, restoring) = {
            let assignment = self.shared.assignment();
            (assignment.epoch, assignment.partitions.clone(), assignment.restoring.clone())
        };
        if assigned.as_ref().is_none_or(BTreeMap::is_empty) {
            self.backfill.give_up();
        }
        let Some(assigned) = assigned else {
            let (up, readiness) = self.look_around();
            self.withhold(up, &[], &BTreeMap::new());
            published.readiness.store(Arc::new(match readiness {
                Readiness::Ready => {
                    Readiness::NotReady("waiting for the consumer group to assign partitions".to_owned())
                }
                not_ready => not_ready,
            }));
            return SOON.min(self.interval);
        };
        self.catching_up.keep(&assigned);
        if assigned.is_empty() {
            // A standby: the other instances have all partitions.
            self.watch_over(&assigned, &[], &BTreeMap::new());
            let (up, readiness) = self.look_around();
            self.tracked = Some(Tracked::default());
            self.withhold(up, &[], &BTreeMap::new());
            published.readiness.store(Arc::new(readiness));
            return self.until_next_round(now);
        }

        let ends = self.offsets(assigned.keys(), Offset::End);
        let up = !ends.is_empty();
        if up {
            self.set_goals(&assigned, &restoring, &ends);
            self.refresh_topics();
        }
        let caught_up_before = self.catching_up.ends().is_empty();
        let (to_reach, patience) = match self.clock {
            _ if !caught_up_before => (self.catching_up.ends(), READ_TIMEOUT),
            Clock::Wall => (ends.clone(), READ_TIMEOUT.min(self.interval / 2)),
            Clock::Event => (BTreeMap::new(), Duration::ZERO),
        };
        let assigned = Arc::new(assigned);
        let Some(progress) = self.reach(&assigned, to_reach, patience) else { return SOON };
        self.watch_over(&assigned, &progress, &ends);
        match self.catching_up.remaining(&assigned, &progress) {
            Some(0) => self.backfill.end(Moment::now()),
            remaining => {
                if let Some(records) = remaining {
                    self.backfill.note(Moment::now(), records);
                }
                let reason = match remaining {
                    _ if !up => "Kafka does not answer".to_owned(),
                    _ if !restoring.is_empty() => format!("restoring: {} partitions to go", restoring.len()),
                    None => "waiting for the end offsets".to_owned(),
                    Some(records) => format!("catching up: {records} offsets to go"),
                };
                self.withhold(up, &progress, &ends);
                published.readiness.store(Arc::new(Readiness::NotReady(reason)));
                // Where there is something to read the round has waited for it.
                return if up && !self.catching_up.ends().is_empty() { Duration::ZERO } else { SOON };
            }
        }
        self.publish(epoch, &assigned, now, up, &progress, &ends);
        self.until_next_round(now)
    }

    /// By the wall clock the next multiple of the interval: so instances of one group, which know nothing of each other,
    /// publish as of the same instants.
    fn until_next_round(&self, now: Instant) -> Duration {
        match self.clock {
            Clock::Wall => {
                let interval_ms = self.interval.as_millis().max(1) as i64;
                Duration::from_millis((interval_ms - now.as_millis().rem_euclid(interval_ms)) as u64)
            }
            Clock::Event => self.interval,
        }
    }

    /// Publishes the numbers as of what has been read, unless partitions come or go meanwhile.
    fn publish(
        &mut self,
        epoch: u64,
        assigned: &Arc<BTreeMap<TopicPartition, u64>>,
        now: Instant,
        up: bool,
        progress: &[Progress],
        ends: &Offsets,
    ) {
        let begun = Moment::now();
        let published = self.shared.published.clone();
        let readiness = if up {
            Readiness::Ready
        } else {
            Readiness::NotReady("Kafka does not answer: the numbers stand still".to_owned())
        };
        let t = match self.clock {
            Clock::Wall => {
                let grain = Span::from_millis(self.interval.as_millis() as i64);
                self.as_of.by_wall_clock(now, grain, progress.iter().map(|p| how_far(p, ends)))
            }
            Clock::Event => self.as_of.by_events(progress.iter().filter_map(|p| p.latest_event).max()),
        };
        let Some(t) = t else {
            self.withhold(up, progress, ends);
            published.readiness.store(Arc::new(match self.clock {
                // A topic without events is read to its end.
                Clock::Event => readiness,
                Clock::Wall => Readiness::NotReady("no record has been read yet to tell the time by".to_owned()),
            }));
            return;
        };
        let Some(numbers) = self.advance(t, assigned) else { return };
        let text = gauges::cohort_page(&self.definitions, &numbers.readings, t);
        let publication = Publication { as_of: t, readings: numbers.readings };
        self.tracked = Some(Tracked { customers: numbers.tracked_customers, cohorts: numbers.tracked_cohorts });
        let mut state = self.state(up, progress, ends);
        state.history_start = gauges::history_start(&self.definitions, &publication.readings);
        let page = Page::published(publication, text, state);
        {
            // A rebalance changes the epoch and withholds under the same lock.
            let assignment = self.shared.assignment();
            if assignment.epoch != epoch || !self.goes_on() {
                return;
            }
            published.swap(page);
            published.readiness.store(Arc::new(readiness));
        }
        let after = (self.now)();
        let ages = numbers.oldest_new.iter().map(|&time| non_negative(after.since(time)));
        self.shared.metrics.published(begun.elapsed(), ages);
        for worker in &self.workers {
            let _ = worker.send(Message::Fold { t });
        }
    }

    /// Whether Kafka answers, and whether it has the topics.
    fn look_around(&mut self) -> (bool, Readiness) {
        let Some(consumer) = self.consumer.upgrade() else {
            return (false, Readiness::NotReady("ending".to_owned()));
        };
        if let Err(error) = self.topics.ask(&consumer, QUERY_TIMEOUT) {
            self.complaints.hear(error.rdkafka_error_code(), &error.to_string());
            return (false, Readiness::NotReady("Kafka does not answer".to_owned()));
        }
        self.complaints.mended();
        match self.topics.missing() {
            Some(topic) => (true, Readiness::NotReady(format!("the topic {topic:?} is not there"))),
            None => (true, Readiness::Ready),
        }
    }

    fn refresh_topics(&mut self) {
        let Some(consumer) = self.consumer.upgrade() else { return };
        if let Err(error) = self.topics.refresh(&consumer, QUERY_TIMEOUT) {
            debug!("Kafka does not tell the number of partitions: {error}");
        }
    }

    /// The first or the end offsets right now; empty where Kafka does not answer.
    fn offsets<'a>(&self, partitions: impl Iterator<Item = &'a TopicPartition>, at: Offset) -> Offsets {
        let answer = (|| {
            let mut list = TopicPartitionList::new();
            for key in partitions {
                list.add_partition_offset(&key.topic, key.partition, at)?;
            }
            let Some(consumer) = self.consumer.upgrade() else { return Ok(list) };
            consumer.offsets_for_times(list, QUERY_TIMEOUT)
        })();
        let list: TopicPartitionList = match answer as KafkaResult<_> {
            Ok(list) => list,
            Err(error) => {
                self.complaints.hear(error.rdkafka_error_code(), &error.to_string());
                return Offsets::new();
            }
        };
        let mut offsets = Offsets::new();
        for element in list.elements() {
            if let (Ok(()), Offset::Offset(offset)) = (element.error(), element.offset()) {
                let partition = TopicPartition { topic: element.topic().into(), partition: element.partition() };
                offsets.insert(partition, offset);
            }
        }
        if !offsets.is_empty() {
            self.complaints.mended();
        }
        offsets
    }

    /// Sees to it that every assigned partition has an end offset to be read to.
    fn set_goals(
        &mut self,
        assigned: &BTreeMap<TopicPartition, u64>,
        restoring: &BTreeSet<TopicPartition>,
        ends: &Offsets,
    ) {
        // Those that are restored: a worker holds them that can compare their bounds.
        let lacks = |partition: &TopicPartition| !restoring.contains(partition) && self.catching_up.lacks(partition);
        let new: Vec<_> = assigned.iter().filter(|(partition, _)| lacks(partition)).collect();
        if new.is_empty() || !self.goes_on() {
            return;
        }
        // Of all at once: each request may have to wait until a fetch of the same broker has waited for records.
        let starts = self.offsets(new.iter().map(|(partition, _)| *partition), Offset::Beginning);
        for (partition, &epoch) in new {
            let (Some(&low), Some(&high)) = (starts.get(partition), ends.get(partition)) else { continue };
            self.catching_up.set(partition.clone(), epoch, high);
            for worker in &self.workers {
                let _ = worker.send(Message::Bounds { partition: partition.clone(), low, high });
            }
        }
    }

    /// Sees to it that no partition stands still while there is something to read.
    fn watch_over(&mut self, assigned: &BTreeMap<TopicPartition, u64>, progress: &[Progress], ends: &Offsets) {
        let position = |progress: &Progress| Position {
            partition: progress.partition.clone(),
            next_offset: progress.next_offset,
            // What is to be read next has to wait for dead letters: no new client would help.
            end_offset: ends.get(&progress.partition).copied().filter(|_| !progress.waits_for_letters),
        };
        let positions: Vec<Position> = progress.iter().map(position).collect();
        for Position { partition, next_offset, end_offset } in
            self.watch.observe(Moment::now(), |partition| assigned.contains_key(partition), &positions)
        {
            error!(
                "{partition} is not read on: it stands at offset {next_offset} of {} although its broker answers. The \
                 Kafka client is made anew; if that does not help, look at the broker that leads the partition and \
                 at what stands between, then restart this instance",
                end_offset.unwrap_or(next_offset)
            );
            self.shared.rebuild(Rebuild::Stalled);
        }
        self.shared.published.stalled_partitions.store(self.watch.stalled(), Ordering::Relaxed);
    }

    /// How far everything is read, once it is read to `ends` or after `patience`.
    fn reach(
        &self,
        of: &Arc<BTreeMap<TopicPartition, u64>>,
        ends: Offsets,
        patience: Duration,
    ) -> Option<Vec<Progress>> {
        let ends = Arc::new(ends);
        let deadline = Moment::now() + patience;
        let replies =
            self.ask(|reply| Message::Reach(Reach { of: of.clone(), ends: ends.clone(), deadline, reply }))?;
        Some(replies.into_iter().flatten().collect())
    }

    fn advance(&self, t: Instant, of: &Arc<BTreeMap<TopicPartition, u64>>) -> Option<Numbers> {
        let mut sum = Numbers::none();
        for numbers in self.ask(|reply| Message::Advance { t, of: of.clone(), reply })? {
            sum.readings.add(numbers.readings);
            sum.tracked_customers += numbers.tracked_customers;
            sum.tracked_cohorts += numbers.tracked_cohorts;
            sum.oldest_new.extend(numbers.oldest_new);
        }
        Some(sum)
    }

    /// Asks every worker; `None` where one does not answer because the instance ends.
    fn ask<T>(&self, message: impl Fn(Sender<T>) -> Message) -> Option<Vec<T>> {
        let (reply, replies) = unbounded();
        for worker in &self.workers {
            worker.send(message(reply.clone())).ok()?;
        }
        drop(reply);
        let mut answers = Vec::new();
        while answers.len() < self.workers.len() {
            match replies.recv_timeout(SOON) {
                Ok(answer) => answers.push(answer),
                Err(RecvTimeoutError::Timeout) if self.goes_on() => {}
                Err(_) => return None,
            }
        }
        Some(answers)
    }

    /// Publishes what comes and goes with the assigned partitions, without cohort gauges.
    fn withhold(&self, kafka_up: bool, progress: &[Progress], ends: &Offsets) {
        let page = Page::withheld(self.state(kafka_up, progress, ends));
        self.shared.published.swap(page);
    }

    fn state(&self, kafka_up: bool, progress: &[Progress], ends: &Offsets) -> ProcessState {
        let now = (self.now)();
        ProcessState {
            tracked: self.tracked,
            kafka_up,
            stalled_partitions: self.watch.stalled(),
            partitions: progress.iter().map(|p| partition_state(p, ends, now)).collect(),
            topics: self.topics.partitions(progress.iter().map(|p| &p.partition)),
            ..ProcessState::default()
        }
    }
}

fn how_far(progress: &Progress, ends: &Offsets) -> HowFar {
    let at_end = ends.get(&progress.partition).is_some_and(|&end| progress.next_offset >= end);
    HowFar { at_end, last_record: progress.last_record }
}

fn partition_state(progress: &Progress, ends: &Offsets, now: Instant) -> PartitionState {
    let end = ends.get(&progress.partition);
    let lag = end.map(|end| end.saturating_sub(progress.next_offset).max(0) as u64);
    let lag_time = match lag {
        Some(0) => Some(Duration::ZERO),
        _ => progress.last_record.map(|time| non_negative(now.since(time))),
    };
    PartitionState {
        topic: progress.partition.topic.to_string(),
        partition: progress.partition.partition,
        published: false,
        lag,
        lag_time,
        snapshot_time: progress.saved.map(|saved| saved.time),
        snapshot_size_bytes: progress.saved.map(|saved| saved.size_bytes),
    }
}

fn non_negative(span: Span) -> Duration {
    Duration::from_millis(span.as_millis().max(0) as u64)
}
