//! Through a broker: what `run` costs beside a bare consumer of the same topic, and how long an event takes to its gauge.
//!
//! On Apache Kafka and on the embedded broker; from /proc, so on Linux. Environment, with the defaults:
//! `KAFKA_EVENTS` 24000000 in the topic; `KAFKA_EMBEDDED_EVENTS` 2000000, all that the embedded broker keeps; `KAFKA_CUSTOMERS`
//! 1000000; `KAFKA_PAIRS` 5; `KAFKA_SECONDS` 20 of each load; `KAFKA_PARTS` `pairs,behind,latency`, of which `behind` has
//! `KAFKA_BEHIND_EVENTS` 12000000, all in one of the partitions.

#![expect(clippy::print_stdout, reason = "the table is what a bench is for")]

mod bare;
mod latency;
mod page;
mod pairs;
mod process;
mod stream;
mod topic;

#[allow(dead_code, reason = "no bench needs all of it")]
#[path = "../support/figures.rs"]
mod figures;
#[allow(
    dead_code,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the tests' own, of which the brokers are wanted"
)]
#[path = "../../tests/support/mod.rs"]
mod support;

use churnwatch::embedded::Broker;
use figures::Figures;
use support::apache_kafka;
use topic::Topic;
// The binary's allocator, which takes the place of C's: the clients compared have the same.
use mimalloc as _;

const PARTITIONS: i32 = 4;
/// The client's default. Who only counts waits for fetches, and reads faster with larger ones than `run` has; but not a
/// partition that is behind, whose queue one of them fills.
const BARE_FETCH_BYTES: Option<u32> = Some(1 << 20);
/// The embedded broker keeps 5 MiB of each.
const EMBEDDED_PARTITIONS: i32 = 32;

/// How much of everything.
struct Sizes {
    events: u64,
    embedded_events: u64,
    behind_events: u64,
    customers: u64,
    pairs: usize,
    seconds: u64,
}

fn main() {
    if let Some(of) = bare::asked_for() {
        return bare::consume(&of);
    }
    let sizes = Sizes {
        events: setting("KAFKA_EVENTS", 24_000_000),
        embedded_events: setting("KAFKA_EMBEDDED_EVENTS", 2_000_000),
        behind_events: setting("KAFKA_BEHIND_EVENTS", 12_000_000),
        customers: setting("KAFKA_CUSTOMERS", 1_000_000),
        pairs: setting("KAFKA_PAIRS", 5) as usize,
        seconds: setting("KAFKA_SECONDS", 20),
    };
    let parts = std::env::var("KAFKA_PARTS").unwrap_or_else(|_| "pairs,behind,latency".to_owned());
    let mut figures = Figures::new("kafka");
    let apache = apache_kafka::shared("kafka");
    // A given cluster may hold the topics of earlier runs.
    let name = |part: &str| format!("bench-{part}-{}", churnwatch::run::wall_clock().as_millis());
    if parts.contains("pairs") {
        if let Some(servers) = apache {
            let topic = Topic::new(servers, &name("pairs"), PARTITIONS);
            apache_kafka::create_topic(&topic.servers, &topic.name, topic.partitions);
            let records = topic.fill(sizes.events, sizes.customers, |customer| topic.partition(customer));
            pairs::compare(&topic, records, &sizes, BARE_FETCH_BYTES, "", &mut figures);
        }
        let embedded = Broker::start().expect("the embedded broker starts");
        let servers = embedded.bootstrap_servers().expect("it listens");
        let topic = Topic::new(&servers, &name("pairs"), EMBEDDED_PARTITIONS);
        embedded.create_topic(&topic.name, topic.partitions).expect("it is new");
        let records = topic.fill(sizes.embedded_events, sizes.customers, |customer| topic.partition(customer));
        pairs::compare(&topic, records, &sizes, BARE_FETCH_BYTES, ", embedded broker", &mut figures);
    }
    // As after a restart: what one partition lacks is fetched beside others that are read to their end.
    if parts.contains("behind")
        && let Some(servers) = apache
    {
        let topic = Topic::new(servers, &name("behind"), PARTITIONS);
        apache_kafka::create_topic(&topic.servers, &topic.name, topic.partitions);
        let records = topic.fill(sizes.behind_events, sizes.customers, |_| 0);
        pairs::compare(&topic, records, &sizes, None, ", one partition behind", &mut figures);
    }
    if parts.contains("latency")
        && let Some(servers) = apache
    {
        let topic = Topic::new(servers, &name("latency"), PARTITIONS);
        apache_kafka::create_topic(&topic.servers, &topic.name, topic.partitions);
        latency::measure(&topic, &sizes, &mut figures);
    }
    figures.finish();
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}
