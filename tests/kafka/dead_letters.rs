//! Records that break the contract: skipped, failed at, or kept in a topic of their own; and framed ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use churnwatch::event::Rejection;
use churnwatch::proto::LifecycleEvent;
use churnwatch::run::{Instance, Options};
use churnwatch::settings::{OnRejected, Property};
use churnwatch::snapshot;
use prost::Message as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::types::RDKafkaRespErr;

use super::fixture::{Fixture, PARTITIONS, Running, TOPIC, events, poll, replayed};
use super::record::{self, Record};

const LETTERS: &str = "rejects";
const LETTER_PARTITIONS: i32 = 2;
const TOTAL: &str = "churnwatch_dead_letters_total";
const WAITING: &str = "churnwatch_dead_letters_waiting";

/// A broker with the topic of events, and settings that keep dead letters; their topic is not there yet.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new("");
    fixture.settings.kafka.on_rejected = OnRejected::DeadLetter { topic: LETTERS.to_owned() };
    // So that a topic that comes late is soon found.
    let (name, value) = ("topic.metadata.refresh.interval.ms".to_owned(), "200".to_owned());
    fixture.settings.kafka.librdkafka.push(Property { name, value, secret: false });
    fixture
}

fn create_letters(fixture: &Fixture) {
    fixture.broker.create_topic(LETTERS, LETTER_PARTITIONS).unwrap();
}

fn letters(fixture: &Fixture) -> Vec<Record> {
    record::read(&fixture.settings.kafka, LETTERS, LETTER_PARTITIONS)
}

/// Where the letters come from.
fn origins(fixture: &Fixture) -> Vec<(i32, i64)> {
    letters(fixture).iter().map(Record::origin).collect()
}

fn record(partition: i32, key: &str, value: &[u8]) -> Record {
    let (key, value) = (Some(key.into()), Some(value.to_vec()));
    Record { partition, key, value, time_ms: 1_790_000_000_000, headers: Vec::new() }
}

/// An event that names no customer.
fn nobodys(event: &LifecycleEvent) -> Vec<u8> {
    LifecycleEvent { customer_id: String::new(), ..event.clone() }.encode_to_vec()
}

/// The events, each in the partition of its customer, with `broken` in between: the nth behind the nth event.
fn log(events: &[LifecycleEvent], broken: &BTreeMap<usize, Vec<u8>>) -> Vec<Record> {
    let mut log = Vec::new();
    for (number, event) in events.iter().enumerate() {
        let customer = &event.customer_id;
        let partition = i32::from(customer.bytes().fold(0_u8, u8::wrapping_add)) % PARTITIONS;
        log.push(record(partition, customer, &event.encode_to_vec()));
        log.extend(broken.get(&number).map(|value| record(partition, customer, value)));
    }
    log
}

/// Where the broken records of a log stand.
fn positions(log: &[Record], broken: &BTreeMap<usize, Vec<u8>>) -> BTreeSet<(i32, i64)> {
    let mut next = BTreeMap::new();
    let mut found = BTreeSet::new();
    for record in log {
        let offset = next.entry(record.partition).or_insert(0_i64);
        if broken.values().any(|value| record.value.as_ref() == Some(value)) {
            found.insert((record.partition, *offset));
        }
        *offset += 1;
    }
    found
}

/// How far the durable snapshots reach, over all partitions.
fn snapshotted(fixture: &Fixture) -> i64 {
    let partition = |partition| {
        let folder = fixture.directory.path().join(format!("snapshots/{TOPIC}-{partition}"));
        let files = fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|e| fs::File::open(e.path()).ok());
        files.filter_map(|mut file| Some(snapshot::read_header(&mut file).ok()?.next_offset)).max().unwrap_or(0)
    };
    (0..PARTITIONS).map(partition).sum()
}

#[test]
fn a_dead_letter_is_the_record_byte_by_byte_and_says_where_it_comes_from() {
    let fixture = fixture();
    create_letters(&fixture);
    let header = |name: &[u8], value: Option<&[u8]>| (name.to_vec(), value.map(<[u8]>::to_vec));
    let headers = vec![
        header(b"trace", Some(b"\x00\xff")),
        header(b"trace", Some(b"")),
        header(b"null", None),
        header(b"\xff\xfe no UTF-8", Some(b"x")),
        header(b"__connect.errors.offset", Some(b"from an earlier rejection")),
    ];
    let event = &events(50, 1)[0];
    let in_future = LifecycleEvent { event_time: Some((1_790_003_600, 1_000_000).into_timestamp()), ..event.clone() };
    let broken = [
        (Rejection::Undecodable, Record { headers, ..record(0, "key", b"\xff") }),
        (Rejection::Undecodable, Record { key: None, ..record(1, "", b"\x00\x01") }),
        (Rejection::MissingCustomerId, Record { time_ms: 1, ..record(1, "", &nobodys(event)) }),
        (Rejection::EventTimeInFuture, record(1, "key", &in_future.encode_to_vec())),
    ];
    let log: Vec<Record> = broken.iter().map(|(_, record)| record.clone()).collect();
    record::write(&fixture.settings.kafka, TOPIC, &log);

    let running = fixture.start();
    assert!(poll(|| running.metric(TOTAL) == Some(4.0)));
    assert_eq!(running.metric(WAITING), Some(0.0));
    assert_eq!(running.metric("churnwatch_events_rejected_total{reason=\"undecodable\"}"), Some(2.0));
    running.stop();
    assert_eq!(snapshotted(&fixture), 4);

    let mut letters = letters(&fixture);
    for ((why, original), offset) in broken.into_iter().zip([0, 0, 1, 2]) {
        let found = letters.iter().position(|l| l.origin() == (original.partition, offset)).unwrap();
        let letter = letters.remove(found);
        let ours = [
            ("topic", TOPIC.to_owned()),
            ("partition", original.partition.to_string()),
            ("offset", offset.to_string()),
            ("class.name", why.name().to_owned()),
            ("exception.message", why.to_string()),
        ];
        let ours =
            ours.map(|(name, value)| header(format!("__connect.errors.{name}").as_bytes(), Some(value.as_bytes())));
        let headers = [original.headers, ours.into()].concat();
        assert_eq!(letter, Record { partition: letter.partition, headers, ..original });
    }
    assert_eq!(letters, []);
}

trait IntoTimestamp {
    fn into_timestamp(self) -> pbjson_types::Timestamp;
}

impl IntoTimestamp for (i64, i32) {
    fn into_timestamp(self) -> pbjson_types::Timestamp {
        pbjson_types::Timestamp { seconds: self.0, nanos: self.1 }
    }
}

#[test]
fn skipped_records_count_and_change_nothing() {
    let fixture = Fixture::new("");
    let all = events(51, 500);
    let broken = BTreeMap::from([(10, b"\xff".to_vec()), (200, nobodys(&all[0])), (499, b"\xff".to_vec())]);
    record::write(&fixture.settings.kafka, TOPIC, &log(&all, &broken));
    let running = fixture.start();
    running.await_page(&replayed(&fixture.settings.definitions(), &all));
    assert!(poll(|| running.metric("churnwatch_events_rejected_total{reason=\"undecodable\"}") == Some(2.0)));
    assert_eq!(running.metric("churnwatch_events_rejected_total{reason=\"missing_customer_id\"}"), Some(1.0));
    assert_eq!((running.metric(TOTAL), running.metric(WAITING)), (Some(0.0), Some(0.0)));
    assert_eq!(running.stop().records, 503);
    assert_eq!(snapshotted(&fixture), 503);
}

#[test]
fn failing_stops_at_the_record_and_at_the_same_one_again() {
    let mut fixture = Fixture::new("");
    fixture.settings.kafka.on_rejected = OnRejected::Fail;
    let all = events(52, 600);
    let broken = BTreeMap::from([(300, nobodys(&all[0]))]);
    let log = log(&all, &broken);
    let (partition, offset) = *positions(&log, &broken).first().unwrap();
    record::write(&fixture.settings.kafka, TOPIC, &log);
    for _ in 0..2 {
        let error = Instance::start(Options::new(&fixture.settings)).unwrap().join().unwrap_err().to_string();
        let place = format!("{TOPIC}[{partition}]@{offset} is rejected: customer_id is empty");
        for part in [place.as_str(), "kafka.on_rejected = \"skip\"", "kafka.dead_letter_topic"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(fixture.committed()[partition as usize] <= offset);
    }
    fixture.settings.kafka.on_rejected = OnRejected::Skip;
    let running = fixture.start();
    running.await_page(&replayed(&fixture.settings.definitions(), &all));
    running.stop();
}

#[test]
fn a_missing_dead_letter_topic_holds_snapshots_back_and_no_gauge() {
    let fixture = fixture();
    let all = events(53, 1_000);
    let broken: BTreeMap<usize, Vec<u8>> = (0..40).map(|i| (i * 25, nobodys(&all[i]))).collect();
    let log = log(&all, &broken);
    record::write(&fixture.settings.kafka, TOPIC, &log);
    let first: Vec<i64> = (0..PARTITIONS)
        .map(|p| positions(&log, &broken).iter().find(|(partition, _)| *partition == p).unwrap().1)
        .collect();
    let covers_none = |fixture: &Fixture| {
        snapshotted(fixture) <= first.iter().sum() && fixture.committed().iter().zip(&first).all(|(c, f)| c <= f)
    };

    let running = fixture.start();
    running.await_page(&replayed(&fixture.settings.definitions(), &all));
    assert!(poll(|| running.metric(WAITING) == Some(40.0)));
    // Several intervals of snapshots later.
    let since = churnwatch::run::wall_clock();
    assert!(poll(|| churnwatch::run::wall_clock().since(since).as_millis() > 3_000));
    assert!(covers_none(&fixture), "{:?}", fixture.committed());
    assert_eq!(running.metric(TOTAL), Some(0.0));
    // Nor when it ends meanwhile.
    running.stop();
    assert!(covers_none(&fixture), "{:?}", fixture.committed());

    let running = fixture.start();
    assert!(poll(|| running.metric(WAITING) == Some(40.0)));
    create_letters(&fixture);
    assert!(poll(|| running.metric(TOTAL) == Some(40.0)), "{:?}", running.metric(TOTAL));
    assert!(poll(|| fixture.committed().iter().sum::<i64>() == 1_040), "{:?}", fixture.committed());
    assert_eq!(running.metric(WAITING), Some(0.0));
    running.stop();
    assert_eq!(origins(&fixture).into_iter().collect::<BTreeSet<_>>(), positions(&log, &broken));
}

#[test]
fn refused_letters_are_written_again_until_they_are_acknowledged() {
    use RDKafkaRespErr::*;
    let fixture = fixture();
    create_letters(&fixture);
    let all = events(54, 300);
    let broken: BTreeMap<usize, Vec<u8>> = (0..30).map(|i| (i * 10, nobodys(&all[i]))).collect();
    let log = log(&all, &broken);
    record::write(&fixture.settings.kafka, TOPIC, &log);
    fixture
        .broker
        .refuse_writes(&[
            RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RD_KAFKA_RESP_ERR_INVALID_RECORD,
        ])
        .unwrap();
    let running = fixture.start();
    assert!(poll(|| running.metric(TOTAL) == Some(30.0) && running.metric(WAITING) == Some(0.0)));
    running.await_page(&replayed(&fixture.settings.definitions(), &all));
    running.stop();
    assert_eq!(snapshotted(&fixture), 330);
    assert_eq!(origins(&fixture).into_iter().collect::<BTreeSet<_>>(), positions(&log, &broken));
}

#[test]
fn too_many_letters_stop_their_partition_and_no_other() {
    let fixture = fixture();
    let all = events(55, 400);
    let good = log(&all, &BTreeMap::new());
    let in_first = good.iter().filter(|record| record.partition == 0).count() as u64;
    // Ahead of everything else in the first partition.
    let broken: Vec<Record> = (0..1_500).map(|_| record(0, "key", b"\xff")).collect();
    record::write(&fixture.settings.kafka, TOPIC, &[broken, good].concat());
    let running = fixture.start();
    assert!(poll(|| running.instance.records() == 1_000 + 400 - in_first), "{}", running.instance.records());
    assert!(poll(|| running.metric(WAITING) == Some(1_000.0)));
    assert!(poll(|| fixture.committed()[1..].iter().sum::<i64>() == (400 - in_first) as i64), "the others are saved");
    assert_eq!(running.instance.records(), 1_400 - in_first);
    create_letters(&fixture);
    running.await_page(&replayed(&fixture.settings.definitions(), &all));
    assert!(poll(|| running.metric(TOTAL) == Some(1_500.0)));
    assert_eq!(running.stop().records, 1_900);
    let origins: BTreeSet<(i32, i64)> = origins(&fixture).into_iter().collect();
    assert_eq!(origins, (0..1_500).map(|offset| (0, offset)).collect());
}

#[test]
fn crashes_lose_no_letter() {
    let seed: u64 = match std::env::var("CHURNWATCH_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => churnwatch::run::wall_clock().as_millis() as u64,
    };
    println!("CHURNWATCH_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut fixture = fixture();
    create_letters(&fixture);
    fixture.settings.snapshot.interval = std::time::Duration::from_millis(20);
    let all = events(seed, 4_000);
    let broken: BTreeMap<usize, Vec<u8>> =
        (0..4_000).filter(|_| random.random_ratio(1, 10)).map(|i| (i, nobodys(&all[i]))).collect();
    let log = log(&all, &broken);
    let expected = positions(&log, &broken);

    let mut rejected = 0;
    for part in log.chunks(log.len() / 8 + 1) {
        // Half of the crashes come in the midst of letters that are refused, half in the midst of what is written.
        let refused = random.random_bool(0.5);
        let (ahead, meanwhile) = part.split_at(if refused { part.len() } else { part.len() / 2 });
        record::write(&fixture.settings.kafka, TOPIC, ahead);
        if refused {
            fixture.broker.refuse_writes(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 3]).unwrap();
        }
        let running = fixture.start();
        assert!(poll(|| running.instance.records() > 0));
        record::write(&fixture.settings.kafka, TOPIC, meanwhile);
        std::thread::park_timeout(std::time::Duration::from_millis(random.random_range(0..300)));
        running.instance.abort();
        fixture.broker.refuse_writes(&[]).unwrap();
        rejected += running.instance.join().unwrap().counts.rejected.iter().sum::<u64>();
        // What is saved was in the topic by then.
        let covered: BTreeSet<(i32, i64)> = covered(&fixture, &expected);
        let there: BTreeSet<(i32, i64)> = origins(&fixture).into_iter().collect();
        assert!(covered.is_subset(&there), "lost: {:?}", covered.difference(&there));
    }
    assert!(rejected > 0, "no crash came in the midst of anything");
    let running = fixture.start();
    running.await_page(&replayed(&fixture.settings.definitions(), &all));
    running.stop();
    assert_eq!(origins(&fixture).into_iter().collect::<BTreeSet<_>>(), expected);
}

/// The positions that durable snapshots cover.
fn covered(fixture: &Fixture, positions: &BTreeSet<(i32, i64)>) -> BTreeSet<(i32, i64)> {
    let committed = fixture.committed();
    positions.iter().filter(|(partition, offset)| *offset < committed[*partition as usize]).copied().collect()
}

#[test]
fn framed_and_bare_records_in_one_topic_are_the_same_events() {
    let all = events(56, 1_000);
    let mut framed = log(&all, &BTreeMap::new());
    for (number, record) in framed.iter_mut().enumerate() {
        let prefix: &[u8] = match number % 5 {
            0 => b"\x00\x00\x00\x00\x2a\x00",
            1 => b"\x00\x00\x00\x00\x2a\x02\x00",
            2 => b"\x00\xff\xff\xff\xff\x01\x00",
            3 => {
                record.headers = vec![(b"\xff".to_vec(), None), (b"__value_schema_id".to_vec(), Some(vec![1; 17]))];
                b""
            }
            _ => b"",
        };
        record.value = Some([prefix, record.value.as_deref().unwrap_or_default()].concat());
    }
    for (framing, bare, prefixed) in [("detect", 0, 0), ("confluent", 200, 0), ("bare", 0, 600)] {
        let mut fixture = Fixture::new("");
        fixture.settings.kafka.framing = match framing {
            "detect" => churnwatch::framing::Framing::Detect,
            "confluent" => churnwatch::framing::Framing::Confluent,
            _ => churnwatch::framing::Framing::Bare,
        };
        record::write(&fixture.settings.kafka, TOPIC, &framed);
        let running: Running = fixture.start();
        let accepted: Vec<LifecycleEvent> = all
            .iter()
            .enumerate()
            .filter(|(number, _)| if number % 5 == 4 { bare == 0 } else { number % 5 == 3 || prefixed == 0 })
            .map(|(_, event)| event.clone())
            .collect();
        running.await_page(&replayed(&fixture.settings.definitions(), &accepted));
        let rejected = f64::from(bare + prefixed);
        let undecodable = "churnwatch_events_rejected_total{reason=\"undecodable\"}";
        assert!(poll(|| running.metric(undecodable) == Some(rejected)), "{framing}: {:?}", running.metric(undecodable));
        running.stop();
    }
}
