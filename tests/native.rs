//! Messages and queues of the C library: whole, in order, for as long as they are held; and under memcheck.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use churnwatch::embedded::Broker;
use churnwatch::native::{BATCH, PartitionQueue};
use rdkafka::consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::tool;

const PATIENCE: Duration = Duration::from_secs(60);
type Queue = PartitionQueue<DefaultConsumerContext>;

/// A broker whose only partition has the records, and a client of it.
fn topic<'a>(records: impl Iterator<Item = BaseRecord<'a, str, str>>) -> (Broker, ClientConfig) {
    let broker = Broker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap_servers().unwrap()).set("group.id", "g");
    let producer: ThreadedProducer<_> = config.create().unwrap();
    for record in records {
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    (broker, config)
}

/// A consumer, its queue of the partition from there on, and what is heard whenever that is not empty any more.
fn queue(config: &ClientConfig, from: Offset) -> (Arc<BaseConsumer<DefaultConsumerContext>>, Queue, Receiver<()>) {
    let consumer: Arc<BaseConsumer<DefaultConsumerContext>> = Arc::new(config.create().unwrap());
    let (sender, wakes) = channel();
    let queue = PartitionQueue::split(&consumer, "t", 0, Box::new(move || sender.send(()).unwrap())).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", 0, from).unwrap();
    consumer.assign(&list).unwrap();
    (consumer, queue, wakes)
}

fn take(queue: &mut Queue, wakes: &Receiver<()>) {
    while queue.take().is_empty() {
        wakes.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn messages_come_in_order_and_whole_and_a_client_closes_although_some_were_not_looked_at() {
    let count = 3 * BATCH as i64 + 7;
    let texts: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    let (_broker, config) = topic((0..count).zip(&texts).map(|(number, text)| {
        // The keys: none, empty, some; the values: none for every fifth.
        let record = BaseRecord::<str, str>::to("t").partition(0).timestamp(1_000 + number);
        let record = if number % 3 > 0 { record.key(if number % 3 > 1 { text } else { "" }) } else { record };
        if number % 5 > 0 { record.payload(text.as_str()) } else { record }
    }));
    let (consumer, mut queue, wakes) = queue(&config, Offset::Beginning);
    let mut next = 0;
    while next < count {
        take(&mut queue, &wakes);
        assert!(queue.taken().len() <= BATCH);
        for message in queue.taken() {
            let text = next.to_string();
            assert!(!message.is_error() && message.error().is_none());
            assert_eq!(message.offset(), next);
            let key = [None, Some(""), Some(text.as_str())][(next % 3) as usize];
            assert_eq!(message.key(), key.map(str::as_bytes));
            assert_eq!(message.payload(), (next % 5 > 0).then_some(text.as_bytes()));
            assert_eq!(message.time_ms(), Some(1_000 + next));
            assert!(message.headers().is_none());
            message.each_header(|name, _| panic!("{name:?}"));
            next += 1;
        }
    }
    assert!(!queue.taken().is_empty());
    // Would wait for ever for a queue or a message.
    drop((queue, consumer));
    // Ends where nothing can call it any more.
    assert!(wakes.iter().count() <= count as usize);
}

#[test]
fn headers_are_there_as_they_were_written_and_their_copy_outlives_the_message() {
    let headers = || {
        let headers = OwnedHeaders::new().insert(Header { key: "first", value: Some("one") });
        headers.insert(Header { key: "none", value: None::<&str> }).insert(Header { key: "first", value: Some("") })
    };
    let record = BaseRecord::<str, str>::to("t").partition(0).payload("p").headers(headers());
    let (_broker, config) = topic([record].into_iter());
    let (_consumer, mut queue, wakes) = queue(&config, Offset::Beginning);
    take(&mut queue, &wakes);
    let [message] = queue.taken() else { panic!("one record is one message") };
    let mut seen = Vec::new();
    message.each_header(|name, length| seen.push((name.to_str().unwrap().to_owned(), length)));
    assert_eq!(seen, [("first".to_owned(), 3), ("none".to_owned(), 0), ("first".to_owned(), 0)]);
    let copy = message.headers().unwrap();
    drop(queue);
    let copied: Vec<_> = copy.iter().map(|header| (header.key, header.value)).collect();
    assert_eq!(copied, [("first", Some(&b"one"[..])), ("none", None), ("first", Some(b""))]);
}

#[test]
fn what_was_taken_stays_whole_after_its_partition_is_let_go_and_the_queue_goes_to_another_thread() {
    let count = 2 * BATCH as i64;
    let texts: Vec<String> = (0..count).map(|number| format!("{number:0100}")).collect();
    let (_broker, config) =
        topic(texts.iter().map(|text| BaseRecord::<str, str>::to("t").partition(0).payload(text.as_str())));
    let (consumer, mut queue, wakes) = queue(&config, Offset::Beginning);
    take(&mut queue, &wakes);
    consumer.unassign().unwrap();
    let both = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            let queue = queue;
            both.wait();
            for message in queue.taken() {
                assert_eq!(message.payload(), Some(texts[message.offset() as usize].as_bytes()));
            }
        });
        both.wait();
        drop(consumer);
    });
}

#[test]
fn an_error_stands_between_the_records_and_says_what_it_is() {
    let (_broker, mut config) = topic([BaseRecord::<str, str>::to("t").partition(0).payload("p")].into_iter());
    config.set("auto.offset.reset", "error");
    let (_consumer, mut queue, wakes) = queue(&config, Offset::Offset(7));
    take(&mut queue, &wakes);
    let [message] = queue.taken() else { panic!("one error is one message") };
    assert!(message.is_error());
    let (code, said) = message.error().unwrap();
    assert_eq!(code, RDKafkaErrorCode::AutoOffsetReset);
    assert!(said.contains("offset"), "{said}");
    assert!(message.headers().is_none());
}

/// The tests above once more under memcheck, which sees each access to memory that was given back, was never written or is
/// not ours, and what nobody gives back.
#[test]
fn under_memcheck_no_memory_is_used_wrongly_and_none_is_lost() {
    let Some(mut valgrind) = tool::command("valgrind", "valgrind libc6-dbg", "the check of memory that C gives out")
    else {
        return;
    };
    let output = valgrind
        .args([
            "--quiet",
            "--error-exitcode=9",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
            "--show-leak-kinds=definite",
        ])
        .arg(concat!("--suppressions=", env!("CARGO_MANIFEST_DIR"), "/tests/native.supp"))
        .arg(std::env::current_exe().unwrap())
        .args(["native::", "--skip", "memcheck", "--test-threads", "1"])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("test result: ok. 4 passed"), "{said}");
}
