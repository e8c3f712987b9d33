//! The process's own metrics.

use super::{Family, Source, Type};

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, unit, help, absent: "", source: Source::Process(Type::Counter, labels) }
}

const fn gauge(name: &'static str, unit: &'static str, help: &'static str, absent: &'static str) -> Family {
    Family { name, unit, help, absent, source: Source::Process(Type::Gauge, &[]) }
}

const UNTIL_PUBLISHED: &str = "nothing is published: no partition is assigned, or one has not been read to the end \
                               offset seen at its assignment";

/// In the order of the page, behind those of the cohorts.
pub(super) const PROCESS_FAMILIES: &[Family] = &[
    gauge(
        "churnwatch_as_of_timestamp_seconds",
        "seconds since 1970",
        "The instant that the published cohort gauges are as of.",
        UNTIL_PUBLISHED,
    ),
    gauge(
        "churnwatch_history_start_timestamp_seconds",
        "seconds since 1970",
        "From when on the histories are complete: time.complete_since, else the earliest event_time read.",
        "nothing is published, or no event has been read yet",
    ),
    gauge(
        "churnwatch_tracked_customers",
        "customers",
        "Customers who have a history in memory, active or not.",
        "nothing has been published yet",
    ),
    gauge(
        "churnwatch_tracked_cohorts",
        "cohorts",
        "Cohorts that are told apart, over all groupings and assigned partitions.",
        "nothing has been published yet",
    ),
    counter("churnwatch_events_total", "events", &["kind"], "Events read that changed a customer's history."),
    counter(
        "churnwatch_events_unchanged_total",
        "events",
        &[],
        "Events read that changed nothing: duplicates, and those superseded by what was known already.",
    ),
    counter(
        "churnwatch_events_ignored_total",
        "records",
        &["reason"],
        "Records read that say nothing: tombstones, and kinds of event that only a newer contract knows.",
    ),
    counter(
        "churnwatch_events_rejected_total",
        "records",
        &["reason"],
        "Records read that break the contract with producers, and count nowhere else.",
    ),
    counter(
        "churnwatch_beyond_horizon_events_total",
        "events",
        &[],
        "Events so old that folded history hides their exact effect; applied to what is kept of it.",
    ),
    counter(
        "churnwatch_unkeyed_records_total",
        "records",
        &[],
        "Records read without a key: a customer's events may then be spread over partitions, and count twice.",
    ),
    counter(
        "churnwatch_dead_letters_total",
        "records",
        &[],
        "Rejected records that the dead-letter topic has acknowledged.",
    ),
    gauge(
        "churnwatch_dead_letters_waiting",
        "records",
        "Rejected records that the dead-letter topic has not acknowledged yet: while one waits, no snapshot of its \
         partition is written.",
        "",
    ),
    gauge("churnwatch_kafka_up", "0 or 1", "1 while the brokers answer.", ""),
    gauge(
        "churnwatch_stalled_partitions",
        "partitions",
        "Partitions that were not read for kafka.stall_timeout although there was something to read, nor since.",
        "",
    ),
    counter(
        "churnwatch_client_rebuilds_total",
        "clients",
        &["reason"],
        "Times the Kafka client was made anew: another instance claimed a snapshot (fenced), a partition stood still \
         (stalled), the client gave up (client_error).",
    ),
    gauge(
        "churnwatch_partitions_assigned",
        "partitions",
        "Partitions that the consumer group has assigned to this instance.",
        "",
    ),
    Family {
        name: "churnwatch_topic_partitions",
        unit: "partitions",
        help: "Partitions that the topic has, whichever instance they are assigned to; 0 where it is not there.",
        absent: "Kafka has not told yet",
        source: Source::Process(Type::Gauge, &["topic"]),
    },
    Family {
        name: "churnwatch_partition_published",
        unit: "0 or 1",
        help: "1 where the cohort gauges on this very page count the partition in, 0 while they are withheld.",
        absent: "the partition is not assigned to this instance",
        source: Source::Process(Type::Gauge, &["topic", "partition"]),
    },
    Family {
        name: "churnwatch_kafka_consumer_lag",
        unit: "records",
        help: "End offset of the partition less the next offset to read.",
        absent: "the partition is not assigned to this instance, or its end offset is not known yet",
        source: Source::Process(Type::Gauge, &["topic", "partition"]),
    },
    Family {
        name: "churnwatch_kafka_consumer_lag_seconds",
        unit: "seconds",
        help: "How far the reading of the partition is behind: 0 at its end, else the age of the last record read.",
        absent: "the partition is not assigned to this instance, or no record of it has been read yet",
        source: Source::Process(Type::Gauge, &["topic", "partition"]),
    },
    gauge(
        "churnwatch_publication_duration_seconds",
        "seconds",
        "How long the last publication of the cohort gauges took, from the first shard to the finished page.",
        "nothing has been published yet",
    ),
    Family {
        // Plural, for promtool takes `_gauge_` for a type's name that does not belong in a metric's.
        name: "churnwatch_event_to_gauges_seconds",
        unit: "seconds",
        help: "From a record's Kafka timestamp to the publication that first counts it: the oldest record of each \
               partition at each publication.",
        absent: "",
        source: Source::Process(Type::Histogram, &[]),
    },
    gauge(
        "churnwatch_store_up",
        "0 or 1",
        "1 while the snapshot store does what it is asked to.",
        "no snapshot was to be read or written yet",
    ),
    gauge(
        "churnwatch_snapshot_last_success_timestamp_seconds",
        "seconds since 1970",
        "When the newest snapshot became durable; of the partition where that is longest ago.",
        "no partition is assigned, or one has no snapshot yet",
    ),
    gauge(
        "churnwatch_snapshot_duration_seconds",
        "seconds",
        "How long the last snapshot took, from its first byte until it was durable.",
        "no snapshot has been written yet",
    ),
    gauge(
        "churnwatch_snapshot_pause_seconds",
        "seconds",
        "For how long at a time serialising the last snapshot held up the reading of its worker's partitions, at most.",
        "no snapshot has been written yet",
    ),
    gauge(
        "churnwatch_snapshot_size_bytes",
        "bytes",
        "Size of the newest snapshots of the assigned partitions, together.",
        "no assigned partition has a snapshot yet",
    ),
    counter("churnwatch_snapshot_failures_total", "snapshots", &[], "Snapshots that could not be written."),
    counter(
        "churnwatch_snapshots_fenced_total",
        "snapshots",
        &[],
        "Snapshots refused because another instance has claimed the partition since.",
    ),
    gauge(
        "churnwatch_restore_duration_seconds",
        "seconds",
        "How long the last restoring of a partition from its snapshot took.",
        "nothing has been restored yet",
    ),
    counter(
        "churnwatch_restore_failures_total",
        "snapshots",
        &[],
        "Snapshots found torn or damaged when restoring; the one before was used.",
    ),
    gauge(
        "churnwatch_web_config_last_reload_successful",
        "0 or 1",
        "1 while the web configuration in force is what its files say; 0 where they cannot be used.",
        "no http.web_config_file is named",
    ),
    gauge(
        "churnwatch_web_config_last_reload_success_timestamp_seconds",
        "seconds since 1970",
        "When the web configuration was last put in force.",
        "no http.web_config_file is named",
    ),
    gauge(
        "churnwatch_web_certificate_expiry_timestamp_seconds",
        "seconds since 1970",
        "Until when the certificate of the pages is valid; of those shown with it, the one that ends first.",
        "the pages have no TLS",
    ),
    Family {
        name: "churnwatch_build_info",
        unit: "always 1",
        help: "The version that is running.",
        absent: "",
        source: Source::Process(Type::Gauge, &["version"]),
    },
    counter("process_cpu_seconds_total", "seconds", &[], "Total user and system CPU time spent, in whole seconds."),
    gauge("process_open_fds", "file descriptors", "Open file descriptors.", ""),
    gauge("process_max_fds", "file descriptors", "Maximum number of open file descriptors.", ""),
    gauge("process_virtual_memory_bytes", "bytes", "Virtual memory size.", ""),
    gauge("process_virtual_memory_max_bytes", "bytes", "Maximum amount of virtual memory available.", ""),
    gauge("process_resident_memory_bytes", "bytes", "Resident memory size.", ""),
    gauge("process_start_time_seconds", "seconds since 1970", "Start time of the process.", ""),
    gauge("process_threads", "threads", "Threads of the process.", ""),
];
