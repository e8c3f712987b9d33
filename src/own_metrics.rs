//! The process's own metrics: what lives as long as the process in [`OwnMetrics`], what comes and goes with
//! the assigned partitions in [`ProcessState`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metrics::{Counter, Gauge, Histogram, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

use crate::event::{Ignored, Kind, Rejection};
use crate::gauges::{self, Exposition, Label, Type, families, family};
use crate::kafka::Rebuild;
use crate::shard::Counts;
use crate::time::Instant;

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// From the publication interval's order of magnitude up to what only a restart explains.
const EVENT_TO_GAUGE_BUCKETS_SECONDS: [f64; 12] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

/// Counters and gauges that live as long as the process. Clones are the same metrics.
#[derive(Clone)]
pub struct OwnMetrics {
    recorder: Arc<PrometheusRecorder>,
    events: [Counter; Kind::NAMES.len()],
    unchanged: Counter,
    ignored: [Counter; Ignored::ALL.len()],
    rejected: [Counter; Rejection::ALL.len()],
    beyond_horizon: Counter,
    event_to_gauges_seconds: Histogram,
    client_rebuilds: [Counter; Rebuild::ALL.len()],
    process: metrics_process::Collector,
    /// Records without a key.
    pub unkeyed_records: Counter,
    /// Rejected records that the dead-letter topic has acknowledged.
    pub dead_letters: Counter,
    /// Rejected records that it has not acknowledged yet.
    pub dead_letters_waiting: Gauge,
    /// Snapshots that could not be written.
    pub snapshot_failures: Counter,
    /// Snapshots refused because the partition has another owner.
    pub snapshots_fenced: Counter,
    /// Snapshots that could not be restored, being damaged.
    pub restore_failures: Counter,
}

impl Default for OwnMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl OwnMetrics {
    /// All counters at 0, with every label they can have.
    pub fn new() -> Self {
        let matcher = Matcher::Full("churnwatch_event_to_gauges_seconds".to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(matcher, &EVENT_TO_GAUGE_BUCKETS_SECONDS)
            .expect("there are buckets")
            .build_recorder();
        families().for_each(|family| gauges::describe(&recorder, family));

        let counter = |name: &str| counter(&recorder, name, &[]);
        let reason = |name: &str, reason: &str| self::counter(&recorder, name, &[label("reason", reason)]);
        let this = Self {
            events: Kind::NAMES.map(|kind| self::counter(&recorder, "churnwatch_events_total", &[label("kind", kind)])),
            unchanged: counter("churnwatch_events_unchanged_total"),
            ignored: Ignored::ALL.map(|ignored| reason("churnwatch_events_ignored_total", ignored.name())),
            rejected: Rejection::ALL.map(|rejection| reason("churnwatch_events_rejected_total", rejection.name())),
            beyond_horizon: counter("churnwatch_beyond_horizon_events_total"),
            event_to_gauges_seconds: recorder
                .register_histogram(&gauges::key(family("churnwatch_event_to_gauges_seconds"), &[]), &METADATA),
            client_rebuilds: Rebuild::ALL.map(|why| reason("churnwatch_client_rebuilds_total", why.name())),
            process: metrics_process::Collector::default(),
            unkeyed_records: counter("churnwatch_unkeyed_records_total"),
            dead_letters: counter("churnwatch_dead_letters_total"),
            dead_letters_waiting: gauge(&recorder, "churnwatch_dead_letters_waiting", &[]),
            snapshot_failures: counter("churnwatch_snapshot_failures_total"),
            snapshots_fenced: counter("churnwatch_snapshots_fenced_total"),
            restore_failures: counter("churnwatch_restore_failures_total"),
            recorder: Arc::new(recorder),
        };
        this.gauge("churnwatch_build_info", &[label("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        this
    }

    /// Counts the records that a shard has counted since it last had the counts `before`.
    pub fn count_records(&self, before: &Counts, now: &Counts) {
        let add = |counter: &Counter, before: u64, now: u64| counter.increment(now.saturating_sub(before));
        let add_all = |counters: &[Counter], before: &[u64], now: &[u64]| {
            for ((counter, before), now) in counters.iter().zip(before).zip(now) {
                add(counter, *before, *now);
            }
        };
        add_all(&self.events, &before.applied, &now.applied);
        add(&self.unchanged, before.unchanged, now.unchanged);
        add_all(&self.ignored, &before.ignored, &now.ignored);
        add_all(&self.rejected, &before.rejected, &now.rejected);
        add(&self.beyond_horizon, before.beyond_horizon, now.beyond_horizon);
    }

    /// A publication took so long. `ages` are, for each partition with records that it counts first, the time
    /// since the Kafka timestamp of the oldest of them.
    pub fn published(&self, took: Duration, ages: impl IntoIterator<Item = Duration>) {
        self.gauge("churnwatch_publication_duration_seconds", &[]).set(took.as_secs_f64());
        ages.into_iter().for_each(|age| self.event_to_gauges_seconds.record(age.as_secs_f64()));
        // Unscraped, the recorder would keep every single recorded value.
        self.recorder.handle().run_upkeep();
    }

    /// A snapshot became durable after so long.
    pub fn snapshot_written(&self, took: Duration) {
        self.gauge("churnwatch_snapshot_duration_seconds", &[]).set(took.as_secs_f64());
    }

    /// A snapshot held up reading for so long at a time.
    pub fn snapshot_serialised(&self, longest_pause: Duration) {
        self.gauge("churnwatch_snapshot_pause_seconds", &[]).set(longest_pause.as_secs_f64());
    }

    /// Whether the snapshot store did what was last asked of it.
    pub fn store_up(&self, up: bool) {
        self.gauge("churnwatch_store_up", &[]).set(f64::from(u8::from(up)));
    }

    /// A partition was restored from its snapshot.
    pub fn restored(&self, took: Duration) {
        self.gauge("churnwatch_restore_duration_seconds", &[]).set(took.as_secs_f64());
    }

    /// The web configuration was put in force at that time, or could not be.
    pub fn web_config_read(&self, in_force: Option<SystemTime>) {
        let good = f64::from(u8::from(in_force.is_some()));
        self.gauge("churnwatch_web_config_last_reload_successful", &[]).set(good);
        if let Some(since_1970) = in_force.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            let name = "churnwatch_web_config_last_reload_success_timestamp_seconds";
            self.gauge(name, &[]).set(since_1970.as_secs_f64());
        }
    }

    /// Until when the certificate of the pages is valid, where they have one.
    pub fn web_certificate(&self, expiry: Option<SystemTime>) {
        if let Some(since_1970) = expiry.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            self.gauge("churnwatch_web_certificate_expiry_timestamp_seconds", &[]).set(since_1970.as_secs_f64());
        }
    }

    /// The Kafka client is made anew.
    pub fn client_rebuilt(&self, reason: Rebuild) {
        self.client_rebuilds[reason as usize].increment(1);
    }

    /// The exposition text, with `process_*` as of now.
    pub fn page(&self) -> String {
        metrics::with_local_recorder(&*self.recorder, || self.process.collect());
        gauges::in_table_order(&self.recorder.handle().render())
    }

    /// Registered when first set: before, it is absent.
    fn gauge(&self, name: &str, labels: &[Label]) -> Gauge {
        gauge(&self.recorder, name, labels)
    }
}

fn gauge(recorder: &PrometheusRecorder, name: &str, labels: &[Label]) -> Gauge {
    debug_assert_eq!(family(name).kind(), Type::Gauge);
    recorder.register_gauge(&gauges::key(family(name), labels), &METADATA)
}

fn counter(recorder: &PrometheusRecorder, name: &str, labels: &[Label]) -> Counter {
    debug_assert_eq!(family(name).kind(), Type::Counter);
    recorder.register_counter(&gauges::key(family(name), labels), &METADATA)
}

fn label(name: &str, value: &str) -> Label {
    (name.into(), value.into())
}

/// What the process knows right now of things that come and go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessState {
    /// Of the published cohort gauges; `None` while they are withheld.
    pub as_of: Option<Instant>,
    /// Of the published cohort gauges ([`gauges::history_start`]).
    pub history_start: Option<Instant>,
    /// Of the last publication; `None` before the first.
    pub tracked: Option<Tracked>,
    /// Whether the brokers answer.
    pub kafka_up: bool,
    /// How many are not read although there is something to read.
    pub stalled_partitions: usize,
    /// Those assigned to this instance.
    pub partitions: Vec<PartitionState>,
    /// How many partitions each subscribed topic has, where that is known; assigned to whomever.
    pub topics: BTreeMap<String, u64>,
}

/// What is held in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    pub customers: u64,
    pub cohorts: u64,
}

/// One assigned partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionState {
    pub topic: String,
    pub partition: i32,
    /// Whether the cohort gauges on the page cover it.
    pub published: bool,
    /// End offset less next offset, once the end offset is known.
    pub lag: Option<u64>,
    /// Zero at the end; else the age of the last record read, once there is one.
    pub lag_time: Option<Duration>,
    /// When the newest snapshot became durable (or was found unchanged and still covers everything).
    pub snapshot_time: Option<Instant>,
    pub snapshot_size_bytes: Option<u64>,
}

/// The exposition text of what comes and goes: a revoked partition's series are gone.
pub fn process_page(state: &ProcessState) -> String {
    let page = Exposition::default();
    let set = |name: &str, value: f64| page.set(family(name), &[], value);
    let set_time =
        |name: &str, time: Option<Instant>| time.into_iter().for_each(|time| set(name, time.as_seconds_f64()));
    set_time("churnwatch_as_of_timestamp_seconds", state.as_of);
    set_time("churnwatch_history_start_timestamp_seconds", state.history_start);
    if let Some(tracked) = state.tracked {
        set("churnwatch_tracked_customers", tracked.customers as f64);
        set("churnwatch_tracked_cohorts", tracked.cohorts as f64);
    }
    set("churnwatch_kafka_up", f64::from(u8::from(state.kafka_up)));
    set("churnwatch_stalled_partitions", state.stalled_partitions as f64);
    set("churnwatch_partitions_assigned", state.partitions.len() as f64);
    for (topic, &partitions) in &state.topics {
        page.set(family("churnwatch_topic_partitions"), &[label("topic", topic)], partitions as f64);
    }
    for partition in &state.partitions {
        let labels = [label("topic", &partition.topic), label("partition", &partition.partition.to_string())];
        let set = |name: &str, value: f64| page.set(family(name), &labels, value);
        set("churnwatch_partition_published", f64::from(u8::from(partition.published)));
        if let Some(lag) = partition.lag {
            set("churnwatch_kafka_consumer_lag", lag as f64);
        }
        if let Some(lag) = partition.lag_time {
            set("churnwatch_kafka_consumer_lag_seconds", lag.as_secs_f64());
        }
    }
    let snapshot_times: Option<Vec<Instant>> = state.partitions.iter().map(|p| p.snapshot_time).collect();
    let oldest = snapshot_times.and_then(|times| times.into_iter().min());
    set_time("churnwatch_snapshot_last_success_timestamp_seconds", oldest);
    let sizes: Vec<u64> = state.partitions.iter().filter_map(|p| p.snapshot_size_bytes).collect();
    if !sizes.is_empty() {
        set("churnwatch_snapshot_size_bytes", sizes.iter().sum::<u64>() as f64);
    }
    page.render()
}
