//! The thread that polls the client: rebalances, errors and statistics come out of it, commits go in.

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use anyhow::anyhow;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use tracing::{debug, error, info, warn};

use super::client::{Events, Refused};
use super::group::{Client as _, Release, release_timeout};
use super::queue::Queue;
use super::restore::Restored;
use super::writer::{Durable, News};
use super::{Course, Rebuild, Shared, TopicPartition};

const POLL: Duration = Duration::from_millis(100);

/// What other threads tell this one.
pub(crate) struct Inbox {
    pub news: Receiver<News>,
    pub restored: Receiver<Restored>,
}

/// Polls the client until the session is to end.
pub(crate) fn poll(
    consumer: &Arc<BaseConsumer<Events>>,
    inbox: &Inbox,
    mut still_well: impl FnMut() -> anyhow::Result<()>,
) {
    let events = consumer.context();
    let shared = &events.shared;
    while shared.course() == Course::GoOn {
        shared.published.beat_of_kafka();
        poll_once(consumer);
        let mut group = events.group();
        // To take on a partition would make the client forget that it has lost all; that comes first.
        while !consumer.has_lost_everything()
            && let Ok(restored) = inbox.restored.try_recv()
        {
            settle(
                shared,
                group.restored(&**consumer, restored, |partition, wake| Queue::split(consumer, partition, wake)),
            );
        }
        settle(shared, group.heard(&**consumer, inbox.news.try_iter()));
        drop(group);
        if let Err(error) = still_well() {
            shared.fail(error);
        }
    }
}

/// Gives the partitions back, which has their last snapshots written.
pub(crate) fn give_back(consumer: &Arc<BaseConsumer<Events>>, static_member: bool, deadline: Moment) {
    let events = consumer.context();
    if consumer.client().fatal_error().is_some() {
        // No callback will take the partitions away.
        events.shared.withhold();
        return;
    }
    let holds_some = || events.shared.assignment().partitions.as_ref().is_some_and(|ours| !ours.is_empty());
    // To unsubscribe is to leave the group, for static members, too; to close is not.
    if static_member {
        if let Err(error) = consumer.close_queue() {
            debug!("the Kafka client cannot be closed: {error}");
        }
    } else {
        consumer.unsubscribe();
    }
    while holds_some() && Moment::now() < deadline {
        events.shared.published.beat_of_kafka();
        poll_once(consumer);
    }
}

/// Called by the client, on the thread that polls it.
pub(crate) fn rebalance(
    events: &Events,
    consumer: &BaseConsumer<Events>,
    err: RDKafkaRespErr,
    list: &TopicPartitionList,
) {
    let partitions: Vec<TopicPartition> = list
        .elements()
        .iter()
        .map(|element| TopicPartition { topic: element.topic().into(), partition: element.partition() })
        .collect();
    let done = match err {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => events.group().assigned(consumer, &partitions),
        _ => revoke(events, consumer, &partitions),
    };
    settle(&events.shared, done);
}

fn revoke(events: &Events, consumer: &BaseConsumer<Events>, partitions: &[TopicPartition]) -> anyhow::Result<()> {
    let lost = consumer.has_lost_everything() || events.shared.course() == Course::Abort;
    if lost {
        warn!("partitions lost: {}; another instance may own them, so nothing is saved or committed", partitions.len());
    } else {
        info!("partitions revoked: {}", partitions.len());
    }
    let release = events.group().release(partitions, lost)?;
    let durable = await_snapshots(events, &release);
    if !durable.is_empty() {
        consumer.commit_covered(&durable);
    }
    consumer.remove(&release.fetched)
}

/// Whose last snapshots became durable in time.
fn await_snapshots(events: &Events, release: &Release) -> Vec<Durable> {
    let deadline = Moment::now() + release_timeout(events.session_timeout, release.some_stay);
    let mut durable = Vec::new();
    loop {
        events.shared.published.beat_of_kafka();
        match release.replies.recv_deadline(deadline.min(Moment::now() + Duration::from_secs(1))) {
            Ok(news) => durable.push(news),
            // All workers have let go, and all snapshots are written or have failed.
            Err(RecvTimeoutError::Disconnected) => return durable,
            Err(RecvTimeoutError::Timeout) if Moment::now() < deadline => {}
            Err(RecvTimeoutError::Timeout) => {
                warn!("some snapshots took too long: their partitions' next owner starts from the ones before");
                return durable;
            }
        }
    }
}

fn poll_once(consumer: &Arc<BaseConsumer<Events>>) {
    let shared = &consumer.context().shared;
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
            let (code, reason) = consumer.client().fatal_error().unwrap_or((code, code.to_string()));
            fatal(shared, code, &reason);
        }
        // Said by the client's error callback.
        Some(Err(error)) => debug!("Kafka: {error}"),
    }
}

/// The client will do nothing any more. A new one may.
fn fatal(shared: &Shared, code: RDKafkaErrorCode, reason: &str) {
    match code {
        RDKafkaErrorCode::FencedInstanceId => shared.fail(anyhow!(
            "another running instance has the same group.instance.id: {reason}. Give each instance its own in \
             [kafka.librdkafka], or remove the line"
        )),
        RDKafkaErrorCode::UnsupportedVersion | RDKafkaErrorCode::UnsupportedFeature => shared.fail(anyhow!(
            "the brokers do not support what the Kafka client asks for: {reason}. With group.protocol = \"consumer\" \
             they have to be of Kafka 4.0 or newer; without the line older ones will do"
        )),
        _ => {
            warn!("the Kafka client cannot go on, and is made anew: {reason} ({code})");
            shared.rebuild(Rebuild::ClientError);
        }
    }
}

/// What fails ends the instance, unless another client may do better.
fn settle(shared: &Shared, done: anyhow::Result<()>) {
    match done {
        Ok(()) => {}
        Err(refused) if refused.is::<Refused>() => {
            error!("{refused}; the client is made anew");
            shared.rebuild(Rebuild::ClientError);
        }
        Err(error) => shared.fail(error),
    }
}
