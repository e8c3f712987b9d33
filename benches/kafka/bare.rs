//! A bare consumer: batches from the partitions' queues, counted and dropped, in a process of its own; and one that does
//! the least that any program with a state per customer has to do with them.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use churnwatch::kafka::consumer_config;
use churnwatch::native::{Message, PartitionQueue};
use churnwatch::proto::LifecycleEvent;
use churnwatch::settings::Settings;
use rdkafka::consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use prost::Message as _;

use crate::process::{all_cpu_s, cpu_s, peak_bytes};
use crate::topic::Topic;

/// Has this very program consume rather than measure.
const ASKED: &str = "CHURNWATCH_BARE_CONSUMER";

/// What becomes of the records.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Use {
    /// They are counted.
    Count,
    /// They are decoded, and noted in a flat table: [`Floor`].
    Table,
}

/// What is to be consumed.
#[derive(Serialize, Deserialize)]
pub struct Asked {
    then: Use,
    servers: String,
    topic: String,
    partitions: i32,
    records: u64,
    fetch_bytes: Option<u32>,
}

/// What a consumer has cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Records a second, from the first to the last.
    pub rate: f64,
    /// Of the whole process, from its start.
    pub cpu_s: f64,
    /// Of the whole machine meanwhile: the broker's, too.
    pub all_cpu_s: f64,
    pub peak_bytes: f64,
}

/// Whether this process is to be the consumer.
pub fn asked_for() -> Option<Asked> {
    let text = std::env::var(ASKED).ok()?;
    Some(serde_json::from_str(&text).expect("it was written by `run`"))
}

/// Consumes the topic in a process of its own. With fetches of so many bytes of a partition, where they are not those of `run`.
pub fn run(topic: &Topic, records: u64, then: Use, fetch_bytes: Option<u32>) -> Cost {
    let Topic { servers, name, partitions } = topic;
    let (servers, topic) = (servers.clone(), name.clone());
    let asked = Asked { then, servers, topic, partitions: *partitions, records, fetch_bytes };
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.env(ASKED, serde_json::to_string(&asked).expect("it is JSON"));
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("this program can be run");
    assert!(output.status.success(), "the bare consumer failed");
    serde_json::from_slice(&output.stdout).expect("it says what it has cost")
}

/// As the workers of `run` read: one thread takes batches from all queues, and sleeps where they are empty; another
/// one polls the client.
pub fn consume(asked: &Asked) {
    let before = all_cpu_s();
    let mut kafka = Settings::default().kafka;
    kafka.brokers = vec![asked.servers.clone()];
    kafka.group_id = "bare".to_owned();
    let mut config = consumer_config(&kafka, asked.partitions as u64);
    if let Some(bytes) = asked.fetch_bytes {
        config.set("fetch.message.max.bytes", bytes.to_string());
    }
    let consumer: Arc<BaseConsumer<DefaultConsumerContext>> = Arc::new(config.create().expect("a consumer"));
    let (awake, wakes) = mpsc::sync_channel(1);
    let mut list = TopicPartitionList::new();
    let mut queues: Vec<_> = (0..asked.partitions)
        .map(|partition| {
            list.add_partition_offset(&asked.topic, partition, Offset::Beginning).expect("an offset");
            let awake = awake.clone();
            // Where one is on its way already, that one will do.
            let wake = Box::new(move || awake.try_send(()).unwrap_or_default());
            PartitionQueue::split(&consumer, &asked.topic, partition, wake).expect("a queue")
        })
        .collect();
    consumer.assign(&list).expect("an assignment");
    let over = AtomicBool::new(false);
    let cost = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert!(consumer.poll(Duration::from_millis(100)).is_none(), "records come in their own queues");
            }
        });
        let mut floor = match asked.then {
            Use::Count => None,
            Use::Table => Some(Floor::default()),
        };
        let rate = take_all(&mut queues, &wakes, asked.records, |taken| {
            if let Some(floor) = &mut floor {
                floor.take(taken);
            }
        });
        black_box(&floor);
        over.store(true, Ordering::Relaxed);
        let process = std::process::id();
        Cost { rate, cpu_s: cpu_s(process), all_cpu_s: all_cpu_s() - before, peak_bytes: peak_bytes(process) }
    });
    println!("{}", serde_json::to_string(&cost).expect("it is JSON"));
}

/// Takes so many records out of the queues. Returns how many a second, from the first batch to the last.
fn take_all(
    queues: &mut [PartitionQueue<DefaultConsumerContext>],
    wakes: &mpsc::Receiver<()>,
    all: u64,
    mut each: impl FnMut(&[Message]),
) -> f64 {
    let (mut records, mut first) = (0, None);
    while records < all {
        let mut taken = 0;
        for queue in queues.iter_mut() {
            let batch = queue.take();
            each(batch);
            taken += batch.len() as u64;
            queue.give_back();
        }
        records += taken;
        if taken == 0 {
            wakes.recv_timeout(Duration::from_secs(60)).expect("the topic holds what is asked for");
        } else {
            first.get_or_insert_with(|| (Instant::now(), taken));
        }
    }
    let (begun, before) = first.expect("there was a record");
    (records - before) as f64 / begun.elapsed().as_secs_f64()
}

/// A line of memory for each customer, found by the hash of its id, with when it was last heard of: no history, no windows,
/// no cohorts, no second look at whether the line is that customer's.
struct Floor {
    lines: Vec<[u64; 8]>,
    hasher: RandomState,
    event: LifecycleEvent,
}

impl Default for Floor {
    fn default() -> Self {
        Self { lines: vec![[1; 8]; 1 << 21], hasher: RandomState::new(), event: LifecycleEvent::default() }
    }
}

impl Floor {
    fn take(&mut self, messages: &[Message]) {
        for block in messages.chunks(32) {
            let mut found = [(0, 0); 32];
            for (found, message) in found.iter_mut().zip(block) {
                self.event.clear();
                self.event.merge(message.payload().unwrap_or_default()).expect("the bench wrote it");
                let line = self.hasher.hash_one(&self.event.customer_id) as usize % self.lines.len();
                *found = (line, self.event.event_time.map_or(0, |time| time.seconds as u64));
            }
            // All are asked for before any is waited for.
            black_box(found.iter().fold(0, |sum, &(line, _)| sum ^ self.lines[line][7]));
            for (line, second) in &found[..block.len()] {
                let line = &mut self.lines[*line];
                line[0] = line[0].max(*second);
                line[1] += 1;
            }
        }
    }
}
