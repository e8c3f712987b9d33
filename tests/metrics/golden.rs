//! The whole page of a small log, as it is served.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use churnwatch::gauges::{cohort_page, history_start};
use churnwatch::http::Server;
use churnwatch::input::EventReader;
use churnwatch::own_metrics::{OwnMetrics, PartitionState, ProcessState, Tracked};
use churnwatch::publish::{Page, Publication, Published};
use churnwatch::readings::Readings;
use churnwatch::shard::{Counts, HashKey, Shard};
use churnwatch::time::Instant;

use super::page::definitions;
use super::promtool::check_metrics;
use crate::support::golden::assert_golden;

const LOG: &str = "tests/golden/page.jsonl";
const PAGE: &str = "tests/golden/page.prom";

/// The log in two partitions, as of the first of March 2026.
fn shards(log: PathBuf) -> [Shard; 2] {
    let definitions = Arc::new(definitions());
    let mut shards = [0, 1].map(|i| Shard::new(definitions.clone(), HashKey([i; 16])));
    let mut reader = EventReader::new(vec![log], None).unwrap();
    while let Some(item) = reader.next_item().unwrap() {
        let record = item.content.unwrap_or_else(|reason| panic!("{}: {reason}", item.position));
        let partition = record.message.customer_id.bytes().next().unwrap_or(0) % 2;
        shards[usize::from(partition)].consume_message(record.message, None);
    }
    shards
}

#[test]
fn the_page_of_a_small_log_is_as_it_was() {
    let as_of = Instant::parse_rfc3339("2026-03-01T00:00:00Z").unwrap();
    let definitions = definitions();
    let own = OwnMetrics::new();
    let mut readings = Readings::default();
    let mut state = ProcessState { kafka_up: true, ..Default::default() };
    let mut tracked = Tracked::default();
    let shards = shards(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(LOG));
    for (mut shard, partition) in shards.into_iter().zip(0..) {
        shard.advance(as_of);
        let of_shard = shard.readings();
        tracked.cohorts += of_shard.cohorts() as u64;
        readings.add(of_shard);
        own.count_records(&Counts::default(), shard.counts());
        tracked.customers += shard.tracked_customers() as u64;
        let topic = "customer-events".to_owned();
        let (lag, lag_time) = (Some(0), Some(Duration::ZERO));
        state.partitions.push(PartitionState { topic, partition, lag, lag_time, ..Default::default() });
    }
    state.history_start = history_start(&definitions, &readings);
    state.tracked = Some(tracked);
    state.topics.insert("customer-events".to_owned(), 2);

    let published = Arc::new(Published::new(Duration::from_secs(60)));
    let text = cohort_page(&definitions, &readings, as_of);
    published.swap(Page::published(Publication { as_of, readings }, text, state));
    let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), published, own).unwrap();
    let url = format!("http://{}/metrics", server.address());
    let page = ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
    server.stop();

    check_metrics(&page);
    // Counted by hand: of ada, ben, cy, dee, ivy and jo, ben and cy left; eli and kim are new, fay came back.
    for line in [
        r#"customers{cohort_by="everyone"} 7"#,
        r#"window_start_customers{cohort_by="everyone",window="30d"} 6"#,
        r#"lost_customers{cohort_by="everyone",window="30d"} 2"#,
        r#"new_customers{cohort_by="everyone",window="30d"} 2"#,
        r#"returned_customers{cohort_by="everyone",window="30d"} 1"#,
        r#"bounced_customers{cohort_by="everyone",window="30d"} 1"#,
        r#"passing_customers{cohort_by="everyone",window="30d"} 1"#,
        r#"moved_out_customers{cohort_by="plan",plan="basic",window="30d"} 1"#,
        r#"window_start_recurring_revenue{cohort_by="everyone",window="30d",currency="EUR"} 55"#,
        r#"expansion_recurring_revenue{cohort_by="everyone",window="30d",currency="EUR"} 5.5"#,
        r#"recurring_revenue{cohort_by="everyone",currency="JPY"} 1200"#,
    ] {
        assert!(page.contains(&format!("\nchurnwatch_{line}\n")), "no {line}");
    }
    assert_golden(PAGE, &settled(&page));
}

/// The page without what is the process's and the version's own.
fn settled(page: &str) -> String {
    let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
    let settle = |line: &str| match line.split_once(' ') {
        Some((name, _)) if name.starts_with("process_") => format!("{name} 0\n"),
        _ => format!("{}\n", line.replace(&version, "\"0.0.0\"")),
    };
    page.lines().map(settle).collect()
}
