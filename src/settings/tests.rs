use super::*;
use crate::cohort::{DimensionRef, DimensionValue, SignupPeriod};

const NOTHING: [(String, String); 0] = [];

fn of(text: &str) -> Result<Settings, ConfigError> {
    parse("c.toml", text, Path::new(""), NOTHING, &[])
}

fn with_environment(text: &str, variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    parse("c.toml", text, Path::new(""), variables, &[])
}

/// Every line of `expected` must be a line of the error, in order, and there must be no other.
#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    assert_eq!(of(text).unwrap_err().to_string(), expected.join("\n"), "{text}");
}

#[test]
fn the_defaults() {
    let s = Settings::default();
    assert_eq!(s.kafka.brokers, ["localhost:9092"]);
    assert!(s.kafka.topics.is_empty() && s.kafka.librdkafka.is_empty());
    assert_eq!(s.kafka.group_id, "churnwatch");
    assert_eq!((s.kafka.prefetch_bytes, s.kafka.stall_timeout), (32 << 20, Duration::from_secs(60)));
    assert_eq!(s.kafka.group_protocol(), "classic");
    assert_eq!((s.kafka.framing, s.kafka.on_rejected), (Framing::Detect, OnRejected::Skip));
    let windows: Vec<_> = s.windows.lengths.iter().map(|w| (w.label.as_str(), w.length)).collect();
    assert_eq!(windows, [("1d", Span::DAY), ("7d", Span::days(7)), ("30d", Span::days(30))]);
    assert_eq!((s.windows.grid.step(), s.windows.max_cohorts), (Span::HOUR, 1000));
    assert_eq!(s.groupings, [Grouping::default()]);
    assert_eq!(s.lifecycle, Lifecycle { inactivity_timeout: None, grace_period: Span::ZERO });
    assert_eq!((s.time.clock, s.time.max_future, s.time.complete_since), (Clock::Wall, Span::HOUR, None));
    assert_eq!(s.time.zone.iana_name(), Some("UTC"));
    assert_eq!(s.snapshot.store, StoreUrl::Directory("/var/lib/churnwatch".into()));
    assert_eq!((s.snapshot.interval, s.snapshot.keep), (Duration::from_secs(30), 3));
    assert_eq!(s.http.listen.to_string(), "0.0.0.0:8642");
    assert_eq!(s.http.publish_interval, Duration::from_secs(5));
}

#[test]
fn every_key_is_read() {
    let s = of(r#"
        [kafka]
        brokers = ["a:1", "b:2"]
        topics = "events"
        group_id = "g"
        framing = "confluent"
        on_rejected = "dead_letter"
        dead_letter_topic = "rejects"
        prefetch_bytes = 1000000
        stall_timeout = "2m"
        workers = 3
        [kafka.librdkafka]
        "sasl.mechanism" = "PLAIN"
        session.timeout.ms = 45000
        socket.keepalive.enable = true
        [windows]
        lengths = ["1w", "90d"]
        step = "30m"
        max_cohorts = 5
        [[dimensions]]
        name = "plan"
        [[dimensions]]
        name = "channel"
        attribute = "utm"
        value = "first"
        [[groupings]]
        by = []
        [[groupings]]
        by = ["signup_week", "channel"]
        [lifecycle]
        inactivity_timeout = "60d"
        grace_period = "3d"
        [time]
        clock = "event"
        zone = "Europe/Berlin"
        max_future = "0s"
        complete_since = 2026-01-01T00:00:00+01:00
        [snapshot]
        store = "file:///a%20b"
        interval = "1m"
        keep = 1
        [http]
        listen = "[::1]:1"
        publish_interval = "500ms"
    "#)
    .unwrap();
    assert_eq!(s.kafka.bootstrap_servers(), "a:1,b:2");
    assert_eq!((s.kafka.prefetch_bytes, s.kafka.stall_timeout), (1_000_000, Duration::from_secs(120)));
    assert_eq!((s.kafka.workers, Settings::default().kafka.workers), (Some(3), None));
    assert_eq!((s.kafka.topics.as_slice(), s.kafka.group_id.as_str()), (["events".to_owned()].as_slice(), "g"));
    let on_rejected = OnRejected::DeadLetter { topic: "rejects".to_owned() };
    assert_eq!((s.kafka.framing, &s.kafka.on_rejected), (Framing::Confluent, &on_rejected));
    let properties: Vec<_> = s.kafka.librdkafka.iter().map(ToString::to_string).collect();
    assert_eq!(properties, ["sasl.mechanism=PLAIN", "session.timeout.ms=45000", "socket.keepalive.enable=true"]);
    let d = s.definitions();
    assert_eq!(d.windows[0], Window { label: "1w".to_owned(), length: Span::days(7) });
    assert_eq!(d.longest_window(), Span::days(90));
    assert_eq!((d.grid.step(), d.max_cohorts), (Span::from_millis(1_800_000), 5));
    let plan = Dimension { name: "plan".to_owned(), attribute: "plan".to_owned(), value: DimensionValue::Window };
    let channel = Dimension { name: "channel".to_owned(), attribute: "utm".to_owned(), value: DimensionValue::First };
    assert_eq!(d.dimensions, [plan, channel]);
    let by = vec![DimensionRef::Signup(SignupPeriod::Week), DimensionRef::Declared(1)];
    assert_eq!(d.groupings, [Grouping::default(), Grouping { by }]);
    assert_eq!(d.lifecycle, Lifecycle { inactivity_timeout: Some(Span::days(60)), grace_period: Span::days(3) });
    assert_eq!(d.zone.iana_name(), Some("Europe/Berlin"));
    assert_eq!(d.complete_since.unwrap().to_string(), "2025-12-31T23:00:00Z");
    assert_eq!((s.time.clock, s.time.max_future), (Clock::Event, Span::ZERO));
    assert_eq!((&s.snapshot.store, s.snapshot.keep), (&StoreUrl::Directory("/a b".into()), 1));
    assert_eq!(s.http.publish_interval, Duration::from_millis(500));
}

#[test]
fn flags_hold_over_the_environment_and_that_over_the_file() {
    let text = "[kafka]\ngroup_id = 'file'\ntopics = ['file']\nbrokers = ['file']";
    let variables = [("CHURNWATCH__KAFKA__GROUP_ID", "env"), ("CHURNWATCH__KAFKA__TOPICS", "env, env2")];
    let flags = [Override::new("--topic", "kafka.topics", ["flag".to_owned()])];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let s = parse("", text, Path::new(""), variables.clone(), &[]).unwrap();
    assert_eq!(s.kafka.topics, ["env", "env2"]);
    let s = parse("", text, Path::new(""), variables, &flags).unwrap();
    assert_eq!(
        (s.kafka.group_id, s.kafka.topics, s.kafka.brokers),
        ("env".into(), vec!["flag".into()], vec!["file".into()])
    );
}

#[test]
fn the_environment_reaches_every_kind_of_value() {
    let s = with_environment(
        "[[groupings]]\nby = ['signup_day']\n[kafka.librdkafka]\nclient.id = 'file'",
        &[
            ("CHURNWATCH__WINDOWS__LENGTHS", r#"["2d"]"#),
            ("CHURNWATCH__WINDOWS__MAX_COHORTS", "7"),
            ("CHURNWATCH__TIME__COMPLETE_SINCE", "2026-01-01T00:00:00Z"),
            ("CHURNWATCH__DIMENSIONS", r#"[{ name = "plan" }]"#),
            ("CHURNWATCH__GROUPINGS", r#"[{ by = ["plan"] }]"#),
            ("CHURNWATCH__KAFKA__LIBRDKAFKA__CLIENT_ID", "env"),
            ("CHURNWATCH__KAFKA__LIBRDKAFKA__LOG_LEVEL", "3"),
            ("CHURNWATCH_CONFIG", "not ours"),
        ],
    )
    .unwrap();
    assert_eq!((s.windows.lengths[0].label.as_str(), s.windows.max_cohorts), ("2d", 7));
    assert!(s.time.complete_since.is_some());
    assert_eq!(s.groupings[1..], [Grouping { by: vec![DimensionRef::Declared(0)] }]);
    let properties: Vec<_> = s.kafka.librdkafka.iter().map(ToString::to_string).collect();
    assert_eq!(properties, ["client.id=env", "log_level=3"]);
}

#[test]
fn problems_of_the_environment_and_of_flags_name_them() {
    let variables = [
        ("CHURNWATCH__KAFKA__TOPIC", "a"),
        ("CHURNWATCH__WINDOWS__STEP", "1s"),
        ("CHURNWATCH__GROUPINGS", "[{"),
        ("CHURNWATCH__X", ""),
    ];
    let error = with_environment("", &variables).unwrap_err().to_string();
    for expected in [
        "environment variable CHURNWATCH__KAFKA__TOPIC: sets nothing that churnwatch knows; did you mean CHURNWATCH__KAFKA__TOPICS?",
        "environment variable CHURNWATCH__WINDOWS__STEP: `windows.step` is 1s; write 1m or more",
        "environment variable CHURNWATCH__GROUPINGS: not a TOML value",
        "environment variable CHURNWATCH__X: sets nothing that churnwatch knows",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    let flag = [Override::new("--listen", "http.listen", ["8642".to_owned()])];
    let error = parse("", "", Path::new(""), NOTHING, &flag).unwrap_err().to_string();
    assert!(error.starts_with("--listen: `http.listen`: \"8642\" is not an address and port; write "), "{error}");
}

#[test]
fn unknown_names_get_the_nearest() {
    refused("[widnows]\n", &["c.toml:1:2: unknown section `widnows`; did you mean `windows`?"]);
    refused("step = '1h'", &["c.toml:1:1: unknown section `step`; `step` belongs in the section [windows]"]);
    refused("[kafka]\n\n topic = 'a'", &["c.toml:3:2: unknown key `topic` in `kafka`; did you mean `topics`?"]);
    refused(
        "[http]\nkeep = 1",
        &["c.toml:2:1: unknown key `keep` in `http`; `keep` belongs in the section [snapshot]"],
    );
    refused(
        "[kafka]\nexactly_once = 'x'",
        &[
            "c.toml:2:1: unknown key `exactly_once` in `kafka`; the keys of `kafka` are `brokers`, `topics`, `group_id`, `framing`, `on_rejected`, `dead_letter_topic`, `prefetch_bytes`, `stall_timeout`, `workers`, `librdkafka`",
        ],
    );
    refused(
        "[[dimensions]]\nname = 'plan'\natribute = 'x'",
        &["c.toml:3:1: unknown key `atribute` in `dimensions`; did you mean `attribute`?"],
    );
    refused(
        "[[dimensions]]\nname = 'plan'\n[[groupings]]\nby = ['plna', 'signup_mnth', 'zzz']",
        &[
            "c.toml:4:7: no dimension is called \"plna\"; did you mean \"plan\"?",
            "c.toml:4:15: no dimension is called \"signup_mnth\"; did you mean \"signup_month\"?",
            "c.toml:4:30: no dimension is called \"zzz\"; declare it: [[dimensions]] name = \"zzz\"",
        ],
    );
    refused(
        "[time]\nzone = 'europe/berln'\nclock = 'wal'",
        &[
            "c.toml:2:8: `time.zone`: there is no time zone \"europe/berln\"; did you mean \"Europe/Berlin\"?",
            "c.toml:3:9: `time.clock` is \"wal\"; did you mean \"wall\"?",
        ],
    );
}

#[test]
fn windows_are_checked() {
    refused("[windows]\nstep = '59s'", &["c.toml:2:8: `windows.step` is 59s; write 1m or more"]);
    refused(
        "[windows]\nlengths = ['7d', '30m', '1w', '1month', 5]",
        &[
            "c.toml:2:31: `windows.lengths`: \"1month\": months and years differ in length; write days, such as \"30d\", \"91d\" or \"365d\"",
            "c.toml:2:41: `windows.lengths` is a number; write a number and a unit (ms, s, m, h, d, w), such as \"90s\", \"1h30m\" or \"30d\"",
        ],
    );
    refused(
        "[windows]\nlengths = ['7d', '30m', '1w']",
        &[
            "c.toml:2:18: the window 30m is shorter than the step; make it longer, or windows.step shorter",
            "c.toml:2:25: the windows 7d and 1w are of the same length; remove one",
        ],
    );
    refused(
        "[windows]\nlengths = []",
        &["c.toml:2:11: `windows.lengths` is empty; name at least one window, such as \"30d\""],
    );
    refused(
        "[windows]\nmax_cohorts = 0",
        &["c.toml:2:15: `windows.max_cohorts` is 0; write a whole number of at least 1"],
    );
    refused(
        "[windows]\nmax_cohorts = 1.5",
        &["c.toml:2:15: `windows.max_cohorts` is 1.5; write a whole number of at least 1"],
    );
}

#[test]
fn dimensions_are_checked() {
    for (name, why) in [
        ("9lives", "cannot be the name of a label"),
        ("plan-code", "cannot be the name of a label"),
        ("__name", "Prometheus's own"),
        ("window", "is reserved"),
        ("instance", "is reserved"),
        ("pod", "is reserved"),
        ("everyone", "is reserved"),
        ("signup_week", "is built in"),
    ] {
        let error = of(&format!("[[dimensions]]\nname = '{name}'")).unwrap_err().to_string();
        assert!(error.starts_with("c.toml:2:8: ") && error.contains(why), "{error}");
    }
    refused("[[dimensions]]\nattribute = 'x'", &["c.toml:1:1: a dimension has no name; add name = \"…\""]);
    refused(
        "[[dimensions]]\nname = 'a'\n[[dimensions]]\nname = 'a'",
        &["c.toml:4:8: two dimensions are called \"a\"; rename or remove one"],
    );
    refused(
        "[dimensions]\nname = 'a'",
        &["c.toml:1:2: `dimensions` is a table, and must be a list of tables; write [[dimensions]], with two brackets"],
    );
    let many: String = (0..=128).map(|n| format!("[[dimensions]]\nname = 'd{n}'\n")).collect();
    refused(&many, &["c.toml:257:1: there are more than 128 dimensions; remove those that no grouping uses"]);
    refused("[[windows]]\n", &["c.toml:1:3: `windows` is a list, and must be a table; write [windows]"]);
}

#[test]
fn groupings_are_checked() {
    refused("[[groupings]]\n", &["c.toml:1:1: a grouping has no dimensions; add by = [\"…\"]"]);
    refused(
        "[[groupings]]\nby = ['signup_day', 'signup_day']",
        &["c.toml:2:21: the dimension \"signup_day\" is in the grouping twice; remove one"],
    );
    refused(
        "[[groupings]]\nby = ['signup_day', 'signup_year']\n[[groupings]]\nby = ['signup_year', 'signup_day']",
        &[
            "c.toml:3:1: another grouping has the same dimensions; remove one: their order makes no difference to the numbers",
        ],
    );
}

#[test]
fn kafka_is_checked() {
    for (line, why) in [
        ("brokers = []", "`kafka.brokers` is empty"),
        ("brokers = ['a:9092,b:9092']", "is not one broker; write a list"),
        ("brokers = ['a:port']", "has no valid port"),
        ("topics = ['^events.*']", "patterns are not supported"),
        ("topics = ['a', 'a']", "the topic \"a\" is listed twice"),
        ("topics = [1]", "`kafka.topics` is a number; write a string"),
        ("group_id = ''", "`kafka.group_id` is empty"),
        ("framing = 'avro'", "`kafka.framing` is \"avro\"; write \"detect\" or \"bare\" or \"confluent\""),
        ("on_rejected = 'dead_leter'", "did you mean \"dead_letter\"?"),
        ("on_rejected = 'dead_letter'", "there is no topic for dead letters; name it: dead_letter_topic = "),
        ("dead_letter_topic = 'a'\ntopics = ['b', 'a']", "\"a\" is one of kafka.topics; name another topic"),
        ("dead_letter_topic = 'a b'", "is not the name of a topic"),
        ("librdkafka = 1", "`kafka.librdkafka` is a number, and must be a table"),
        ("librdkafka = { 'enable.auto.commit' = true }", "not for you to set; an offset is committed only once"),
        ("librdkafka.bootstrap.servers = 'a'", "not for you to set; set kafka.brokers instead"),
        ("librdkafka.sasl.mechanims = 'PLAIN'", "no property `sasl.mechanims`; did you mean `sasl.mechanism`?"),
        ("librdkafka.session.timeout.ms = 'soon'", "`session.timeout.ms`: "),
        ("librdkafka.client.id = ['a']", "`client.id` is a list"),
        ("librdkafka.partition.assignment.strategy = 'range'", "only cooperative-sticky lets the partitions that stay"),
        (
            "librdkafka = { 'group.protocol' = 'consumer', 'session.timeout.ms' = 9000 }",
            "`session.timeout.ms` is not for you to set with group.protocol = \"consumer\"; the brokers decide it",
        ),
        ("prefetch_bytes = 1000", "`kafka.prefetch_bytes`"),
        ("stall_timeout = '1s'", "`kafka.stall_timeout`"),
        ("workers = 0", "`kafka.workers`"),
        ("librdkafka.sasl.password = { file = '/nowhere/at/all' }", "cannot read /nowhere/at/all: "),
    ] {
        let error = of(&format!("[kafka]\n{line}")).unwrap_err().to_string();
        assert!(error.starts_with("c.toml:2:") && error.contains(why), "{line}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert!(of("[kafka]\nbrokers = ['[::1]:9092', 'SASL_SSL://a:9093', 'b', '[::1]']").is_ok());
    assert!(Settings::default().check_topics().unwrap_err().to_string().contains("--topic"));
    assert!(of("[kafka]\ntopics = ['a']").unwrap().check_topics().is_ok());
}

#[test]
fn a_store_is_a_directory_or_a_bucket() {
    let store = |url: &str| of(&format!("[snapshot]\nstore = '{url}'")).unwrap().snapshot.store;
    assert_eq!(store("file://localhost/a%20b"), StoreUrl::Directory("/a b".into()));
    for url in [
        "s3://bucket/prefix",
        "s3a://bucket/",
        "gs://bucket/a/b",
        "az://container/a",
        "abfss://container@account.dfs.core.windows.net/a",
        "https://account.blob.core.windows.net/container/a",
        "https://bucket.s3.eu-central-1.amazonaws.com/a",
    ] {
        assert_eq!(store(url), StoreUrl::Objects(url.parse().unwrap()));
    }
}

#[test]
fn a_named_dead_letter_topic_is_used_unless_told_otherwise() {
    let on_rejected = |lines: &str| of(&format!("[kafka]\n{lines}")).unwrap().kafka.on_rejected;
    let dead_letter = OnRejected::DeadLetter { topic: "a".to_owned() };
    assert_eq!(on_rejected("dead_letter_topic = 'a'"), dead_letter);
    assert_eq!(on_rejected("dead_letter_topic = 'a'\non_rejected = 'dead_letter'"), dead_letter);
    assert_eq!(on_rejected("dead_letter_topic = 'a'\non_rejected = 'skip'"), OnRejected::Skip);
    assert_eq!(on_rejected("on_rejected = 'fail'"), OnRejected::Fail);
}

#[test]
fn the_rest_is_checked() {
    for (text, why) in [
        ("[lifecycle]\ninactivity_timeout = '0s'", "`lifecycle.inactivity_timeout` is 0s; write 1ms or more"),
        ("[lifecycle]\ngrace_period = 0", "`lifecycle.grace_period` is a number; write a number and a unit"),
        ("[time]\ncomplete_since = 2026-01-01", "is not a time with an offset from UTC"),
        ("[time]\ncomplete_since = true", "`time.complete_since` is a boolean"),
        (
            "[snapshot]\nstore = '/var/lib'",
            "\"/var/lib\" is not a URL; write a URL such as \"file:///var/lib/churnwatch\"",
        ),
        (
            "[snapshot]\nstore = 'ftp://host/a'",
            "\"ftp://host/a\" is no store that churnwatch knows; write a URL such as",
        ),
        ("[snapshot]\nstore = 'https://example.com/a'", "is no store that churnwatch knows"),
        ("[snapshot]\nstore = 's3:///prefix'", "names no bucket; write a URL such as"),
        ("[snapshot]\nstore = 's3://key:secret@bucket'", "credentials and options do not belong in the URL; take away"),
        (
            "[snapshot]\nstore = 's3://bucket/a?region=eu'",
            "credentials and options do not belong in the URL; take away",
        ),
        ("[snapshot]\nstore = 'file://var/lib'", "does not name an absolute path"),
        ("[snapshot]\nstore = 'file:///a%2'", "has a stray %"),
        ("[snapshot]\ninterval = '10ms'", "`snapshot.interval` is 10ms; write 1s or more"),
        ("[snapshot]\nkeep = -1", "`snapshot.keep` is -1; write a whole number of at least 1"),
        ("[http]\nlisten = 'localhost'", "\"localhost\" is not an address and port"),
        ("[http]\npublish_interval = '0s'", "`http.publish_interval` is 0s; write 100ms or more"),
        ("[http]\nlisten = ", "not TOML: "),
    ] {
        let error = of(text).unwrap_err().to_string();
        assert!(error.starts_with("c.toml:2:") && error.contains(why), "{text}: {error}");
    }
}

#[test]
fn all_problems_are_named_in_the_order_of_the_file() {
    let error = of("[http]\nlisten = 'x'\n[kafka]\nbrokers = []\nfoo = 1\n[bar]\n[windows]\nstep = '1s'").unwrap_err();
    let places: Vec<_> = error.to_string().lines().map(|l| l.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places, ["c.toml:2:10", "c.toml:4:11", "c.toml:5:1", "c.toml:6:2", "c.toml:8:8"]);
}

#[test]
fn a_report_shows_the_line() {
    let report = of("[kafka]\ntopic = 'events'\n").unwrap_err().report(false);
    for part in ["unknown key `topic` in `kafka`", "c.toml:2:1", "topic = 'events'", "did you mean `topics`?"] {
        assert!(report.contains(part), "{part} in {report}");
    }
}

#[test]
fn secrets_come_from_files_and_are_shown_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "hunter2\n").unwrap();
    let text = "[kafka.librdkafka]\nsasl.password = { file = 'secret' }\n'ssl.key.password' = 'hunter3'\n";
    let s = parse("c.toml", text, directory.path(), NOTHING, &[]).unwrap();
    let values: Vec<_> = s.kafka.librdkafka.iter().map(|p| p.value.as_str()).collect();
    assert_eq!(values, ["hunter2", "hunter3"]);
    let printed = format!("{s:?}");
    assert!(!printed.contains("hunter") && printed.contains("sasl.password=<redacted>"), "{printed}");
    for broken in [
        "sasl.password = 'hunter2' x\n",
        "sasl.password = ['hunter2']\n",
        "sasl.passwor = 'hunter2'\nx.password = 'hunter2'\n",
        "sasl.passwor: hunter2==\n",
        "x = 1\nhunter2\n[windows]\n",
    ] {
        let error = of(&format!("[kafka.librdkafka]\n{broken}")).unwrap_err();
        let shown = format!("{error} {error:?} {} ", error.report(false));
        assert!(!shown.contains("hunter2") && shown.contains("c.toml:"), "{shown}");
    }
}

#[test]
fn an_unreadable_file_is_named() {
    let error = load(Some(Path::new("/nowhere.toml")), NOTHING, &[]).unwrap_err();
    assert!(error.to_string().starts_with("cannot read the configuration /nowhere.toml: "), "{error}");
}

#[test]
fn the_reference_configuration_states_the_defaults() {
    let reference = of(&reference_toml()).unwrap();
    assert_eq!(format!("{reference:?}"), format!("{:?}", Settings::default()));
}

#[test]
fn the_examples_of_the_reference_are_valid() {
    // With every commented-out line of code put in: the prose is what starts with "# " and is not one.
    let is_code = |line: &&str| {
        line.starts_with("# [")
            || line
                .split_once(" = ")
                .is_some_and(|(k, _)| k.trim_start_matches("# ").chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let text: Vec<_> = reference_toml()
        .lines()
        .map(|l| if is_code(&l) { l.trim_start_matches("# ").to_owned() } else { l.to_owned() })
        .collect();
    let text = text.join("\n").replace("{ file = \"/run/secrets/kafka\" }", "\"x\"");
    let s = of(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!((s.dimensions.len(), s.groupings.len(), s.kafka.librdkafka.len()), (1, 2, 2));
    assert!(s.lifecycle.inactivity_timeout.is_some() && s.time.complete_since.is_some());
}
