//! The one table of every key: the reader, `docs/configuration.md` and the reference configuration follow it.

/// A section of the configuration.
pub(super) struct Section {
    pub name: &'static str,
    /// `[[name]]`, any number of times.
    pub repeated: bool,
    pub doc: &'static str,
    pub keys: &'static [Key],
}

/// A key of a section.
pub(super) struct Key {
    pub name: &'static str,
    /// The type of its value, for people.
    pub kind: &'static str,
    /// As TOML; `None` where there is no value unless one is given.
    pub default: Option<&'static str>,
    /// A value as TOML, where there is no default to show one.
    pub example: &'static str,
    pub doc: &'static str,
}

impl Key {
    /// Whether a variable may give several values, separated by commas.
    pub fn is_list(&self) -> bool {
        self.kind.starts_with("list")
    }
}

/// The section whose keys are the Kafka client's.
pub(super) const LIBRDKAFKA: &str = "librdkafka";

pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "kafka",
        repeated: false,
        doc: "Where the events are read from.",
        keys: &[
            Key {
                name: "brokers",
                kind: "list of host:port",
                default: Some(r#"["localhost:9092"]"#),
                example: "",
                doc: "Some of the cluster's brokers; the others are found through them.",
            },
            Key {
                name: "topics",
                kind: "list of names",
                default: Some("[]"),
                example: "",
                doc: "The topics to read, keyed by customer id. `run` needs at least one, `replay` none.",
            },
            Key {
                name: "group_id",
                kind: "string",
                default: Some(r#""churnwatch""#),
                example: "",
                doc: "The consumer group. Instances of the same group share the partitions among them.",
            },
            Key {
                name: "framing",
                kind: r#""detect", "bare" or "confluent""#,
                default: Some(r#""detect""#),
                example: "",
                doc: "How a record's value holds the message: `bare`, as protobuf alone; `confluent`, behind the prefix of a \
                      schema registry's serializers, or bare with the schema's id in the header `__value_schema_id`; `detect`, \
                      behind the prefix where there is one. The schema's first message is meant, and no registry is asked.",
            },
            Key {
                name: "on_rejected",
                kind: r#""skip", "fail" or "dead_letter""#,
                default: None,
                example: r#""dead_letter""#,
                doc: "What becomes of a record that breaks the contract, besides being counted: `skip`, nothing; `fail`, the \
                      process ends with an error that names it; `dead_letter`, it is written to dead_letter_topic. Default: \
                      `skip`, or `dead_letter` where a dead_letter_topic is named.",
            },
            Key {
                name: "dead_letter_topic",
                kind: "name",
                default: None,
                example: r#""customer-lifecycle-dead-letters""#,
                doc: "Where rejected records are kept, as they were, with headers that say where each came from and what is \
                      wrong with it. It is not created: do that first.",
            },
            Key {
                name: "prefetch_bytes",
                kind: "integer",
                default: Some("33554432"),
                example: "",
                doc: "How much of the topics may be read ahead of the counting, over all partitions, which share it equally; each \
                      has at least 65536. `queued.max.messages.kbytes` in `librdkafka` takes its place, and counts per partition.",
            },
            Key {
                name: "stall_timeout",
                kind: "duration",
                default: Some(r#""1m""#),
                example: "",
                doc: "How long a partition may stand still while its broker says that there is more to read, before the Kafka client \
                      is made anew. At least 10s.",
            },
            Key {
                name: "workers",
                kind: "integer",
                default: None,
                example: "2",
                doc: "How many threads count, each the events of some of the partitions. Default: as many as there are cores.",
            },
            Key {
                name: LIBRDKAFKA,
                kind: "table of client properties",
                default: None,
                example: r#"{ "security.protocol" = "SASL_SSL", "sasl.password" = { file = "/run/secrets/kafka" } }"#,
                doc: "Any property of the Kafka client librdkafka, under its own name, as a string, a number or a boolean. \
                      `{ file = \"path\" }` takes the value from a file, a line break at its end removed: write secrets so. \
                      A relative path starts at the configuration file. Properties that churnwatch sets itself are refused.",
            },
        ],
    },
    Section {
        name: "windows",
        repeated: false,
        doc: "Over what time churn is counted. None of these keys needs the topic to be read again when it changes.",
        keys: &[
            Key {
                name: "lengths",
                kind: "list of durations",
                default: Some(r#"["1d", "7d", "30d"]"#),
                example: "",
                doc: "The lengths of the windows; each is a value of the label `window`, spelled as here. \
                      None is shorter than the step.",
            },
            Key {
                name: "step",
                kind: "duration",
                default: Some(r#""1h""#),
                example: "",
                doc: "Windows start at multiples of this since 1970-01-01T00:00Z: the latest one at or before the as-of less \
                      the length. At least 1m. A finer step costs memory for every cohort.",
            },
            Key {
                name: "max_cohorts",
                kind: "integer",
                default: Some("1000"),
                example: "",
                doc: "How many cohorts of a grouping are exported: the largest by customers. The rest add up in one cohort \
                      `other`.",
            },
        ],
    },
    Section {
        name: "dimensions",
        repeated: true,
        doc: "A question about a customer, answered by an attribute of the events: which plan, which region? Built in, and \
              not to be declared: `signup_day`, `signup_week`, `signup_month`, `signup_quarter`, `signup_year`.",
        keys: &[
            Key {
                name: "name",
                kind: "string",
                default: None,
                example: r#""plan""#,
                doc: "Required. The name of the label: letters, digits and underscores.",
            },
            Key {
                name: "attribute",
                kind: "string",
                default: None,
                example: r#""plan_code""#,
                doc: "The attribute of the events that answers it. Default: the dimension's name.",
            },
            Key {
                name: "value",
                kind: r#""window" or "first""#,
                default: Some(r#""window""#),
                example: "",
                doc: "Which of a customer's values counts: `window`, the one in force at the instant in question; `first`, the \
                      earliest event's, always.",
            },
        ],
    },
    Section {
        name: "groupings",
        repeated: true,
        doc: "A list of dimensions to count by. The empty list, everyone, is always there.",
        keys: &[Key {
            name: "by",
            kind: "list of dimensions",
            default: None,
            example: r#"["plan", "signup_month"]"#,
            doc: "Required. Names of declared or built-in dimensions, in the order of the label `cohort_by`.",
        }],
    },
    Section {
        name: "lifecycle",
        repeated: false,
        doc: "When a customer is active, beyond what the events say themselves. Histories depend on both keys: a change needs \
              `churnwatch run --rebuild`, which reads the topic from its beginning.",
        keys: &[
            Key {
                name: "inactivity_timeout",
                kind: "duration",
                default: None,
                example: r#""90d""#,
                doc: "How long after the last sign of life a subscription without an end of term stays active. Default: for ever.",
            },
            Key {
                name: "grace_period",
                kind: "duration",
                default: Some(r#""0s""#),
                example: "",
                doc: "How long after the end of a term the subscription stays active, in case a renewal is late.",
            },
        ],
    },
    Section {
        name: "time",
        repeated: false,
        doc: "What time it is for the numbers.",
        keys: &[
            Key {
                name: "clock",
                kind: r#""wall" or "event""#,
                default: Some(r#""wall""#),
                example: "",
                doc: "What the as-of follows in `run`: `wall`, the clock on the wall once the log is read to its end; `event`, \
                      the latest event_time seen.",
            },
            Key {
                name: "zone",
                kind: "IANA time zone",
                default: Some(r#""UTC""#),
                example: "",
                doc: "The time zone in which signup_day to signup_year are dated.",
            },
            Key {
                name: "max_future",
                kind: "duration",
                default: Some(r#""1h""#),
                example: "",
                doc: "How much later than its record's Kafka timestamp an event may claim to be before it is rejected. \
                      Not checked in `replay`.",
            },
            Key {
                name: "complete_since",
                kind: "RFC 3339 time",
                default: None,
                example: "2026-01-01T00:00:00Z",
                doc: "Since when the topic holds every event. Windows that start earlier are not exported. Default: the time of \
                      the earliest event.",
            },
        ],
    },
    Section {
        name: "snapshot",
        repeated: false,
        doc: "What survives a restart.",
        keys: &[
            Key {
                name: "store",
                kind: "URL",
                default: Some(r#""file:///var/lib/churnwatch""#),
                example: "",
                doc: "Where the snapshots are kept: a directory as `file:///path`, created where it is absent, or a part of a \
                      bucket or container as `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or \
                      `abfss://container@account.dfs.core.windows.net/prefix`. Instances of a group need the same one, groups \
                      one each. Credentials come from the environment: `AWS_*`, `GOOGLE_*`, `AZURE_*`.",
            },
            Key {
                name: "interval",
                kind: "duration",
                default: Some(r#""30s""#),
                example: "",
                doc: "How often a snapshot of a partition is written. After a crash at most this much of the topic is read again.",
            },
            Key {
                name: "keep",
                kind: "integer",
                default: Some("3"),
                example: "",
                doc: "How many snapshots of a partition are kept; where the newest is damaged, the one before is used.",
            },
        ],
    },
    Section {
        name: "http",
        repeated: false,
        doc: "What Prometheus sees, when and where.",
        keys: &[
            Key {
                name: "listen",
                kind: "address:port",
                default: Some(r#""0.0.0.0:8642""#),
                example: "",
                doc: "Where /metrics is served.",
            },
            Key {
                name: "web_config_file",
                kind: "path",
                default: None,
                example: r#""web.yml""#,
                doc: "TLS, client certificates, passwords (bcrypt), headers and a rate limit, as YAML in the schema that Prometheus's \
                      exporters share; read again when it changes. In a configuration file a relative path starts at that file. \
                      Default: plain HTTP, for everybody who reaches the port.",
            },
            Key {
                name: "publish_interval",
                kind: "duration",
                default: Some(r#""5s""#),
                example: "",
                doc: "How often the page is computed; a scrape is answered with the last one. It stands here because the page is \
                      made for the scrapes: more often than they come is wasted.",
            },
        ],
    },
];

/// The section of that name.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|s| s.name == name)
}

/// The variable that sets a key.
pub(super) fn variable(section: &str, key: &str) -> String {
    format!("CHURNWATCH__{}__{}", section.to_uppercase(), key.to_uppercase())
}
