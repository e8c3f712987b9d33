//! From event to gauge, with events produced at a fixed rate whatever happens.
//!
//! Some of them are probes: starts on a plan of their partition's own, so that the nth is counted once that plan's gauge
//! says n. Measured is the time from the instant at which it was to be sent to the page that counts it. One interval of it
//! is the publication's rhythm, whatever the load; the rest is beyond it. A publication is due at multiples of the interval:
//! from then to its page is measured, too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Sizes;
use crate::figures::Figures;
use crate::page;
use crate::pairs::configuration;
use crate::process::{Run, scrape};
use crate::stream::Stream;
use crate::topic::{LAST, Topic, Writer};

const INTERVAL_MS: f64 = 1_000.0;
/// The producer's steps; each has one probe.
const STEP_MS: f64 = 5.0;
/// How often a page that is due is looked for.
const LOOK: Duration = Duration::from_millis(2);
/// The same where it is so long that to look is a load of its own.
const LOOK_AT_LONG: Duration = Duration::from_millis(20);

/// Where a load is under way.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    Snapshots,
    Scrapes,
}

/// A load's probes: when each was to be sent, by partition, and how many are on the page.
struct Probes {
    sent: Vec<Vec<f64>>,
    seen: Vec<usize>,
    /// Those of the loads before, which stay on the page.
    before: Vec<u64>,
}

/// What became of them, in milliseconds.
#[derive(Default)]
struct Latencies {
    probes: Vec<f64>,
    /// From when a publication was due to its page.
    publications: Vec<f64>,
}

pub fn measure(topic: &Topic, sizes: &Sizes, figures: &mut Figures) {
    topic.start_all(sizes.customers);
    let directory = tempfile::tempdir().expect("a directory");
    let start = |beside: Beside| {
        let more = "[time]\nclock = \"wall\"\n[http]\nlisten = \"127.0.0.1:0\"\npublish_interval = \"1s\"\n";
        let groupings = match beside {
            Beside::Scrapes => "[[groupings]]\nby = [\"segment\"]\n",
            Beside::Nothing | Beside::Snapshots => "",
        };
        let snapshots = if beside == Beside::Snapshots { "1s" } else { "1h" };
        let config = configuration(topic, directory.path(), "latency", snapshots, &format!("{more}{groupings}"));
        let run = Run::start(&config);
        run.until(Duration::from_millis(50), |text| {
            (page::on_plan(text, LAST) == topic.partitions as u64).then_some(())
        });
        run
    };

    let run = start(Beside::Nothing);
    let sustained = sustained(topic, &run, sizes);
    figures.push("sustained rate, with the producer beside it", sustained, "events/s");
    for percent in [20, 50, 80] {
        let rate = sustained * f64::from(percent) / 100.0;
        load(topic, &run, sizes, rate, Beside::Nothing, &format!("{percent} % load"), figures);
    }
    run.terminate();
    let run = start(Beside::Snapshots);
    load(topic, &run, sizes, sustained / 2.0, Beside::Snapshots, "50 % load, snapshots every second", figures);
    run.terminate();
    let run = start(Beside::Scrapes);
    let series = page::series(&run.page());
    figures.push("series scraped every second", series as f64, "series");
    load(topic, &run, sizes, sustained / 2.0, Beside::Scrapes, "50 % load, scraped every second", figures);
    run.terminate();
}

/// How fast producer, broker and `run` together are on this machine: as much as the producer can, until it is all read.
fn sustained(topic: &Topic, run: &Run, sizes: &Sizes) -> f64 {
    let mut stream = Stream::new(3, sizes.customers);
    let mut writer = Writer::with(topic, "5");
    let before = page::records(&run.page());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(sizes.seconds / 2) {
        for _ in 0..1_000 {
            let at_ms = now_ms() as i64;
            let (customer, event) = stream.next(at_ms);
            writer.send(topic.partition(customer), &event, at_ms);
        }
    }
    println!("records of {:.0} bytes, key and value", writer.bytes_a_record());
    writer.finish();
    let records = writer.records();
    run.until(Duration::from_millis(10), |text| (page::records(text) >= before + records).then_some(()));
    records as f64 / begun.elapsed().as_secs_f64()
}

fn load(topic: &Topic, run: &Run, sizes: &Sizes, rate: f64, beside: Beside, name: &str, figures: &mut Figures) {
    let over = AtomicBool::new(false);
    let partitions = topic.partitions as usize;
    let text = run.page();
    let before = (0..partitions).map(|partition| page::on_plan(&text, &plan(partition))).collect();
    let mut probes = Probes { sent: vec![Vec::new(); partitions], seen: vec![0; partitions], before };
    // The sender's clock begins at a multiple of its step, and every probe's instant is known beforehand.
    let begin_ms = (now_ms() / STEP_MS).ceil() * STEP_MS;
    let steps = (sizes.seconds as f64 * 1000.0 / STEP_MS) as usize;
    for step in 0..steps {
        probes.sent[step % partitions].push(begin_ms + step as f64 * STEP_MS);
    }
    let (latencies, sent_rate) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(topic, sizes, rate, begin_ms, steps));
        if beside == Beside::Scrapes {
            scope.spawn(|| {
                let agent = ureq::Agent::new_with_defaults();
                while !over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    scrape(&agent, run.url());
                    std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
                }
            });
        }
        let latencies = probes.await_all(run, if beside == Beside::Scrapes { LOOK_AT_LONG } else { LOOK });
        over.store(true, Ordering::Relaxed);
        (latencies, sending.join().expect("the producer sends"))
    });
    figures.push_against(format!("load, {name}"), sent_rate, "events/s", ("intended", rate));
    let Latencies { mut probes, mut publications } = latencies;
    for (label, part) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let total_ms = quantile(&mut probes, part);
        figures.push(format!("event to gauge, {name}, {label}"), total_ms, "ms");
        figures.push(
            format!("event to gauge beyond the interval, {name}, {label}"),
            (total_ms - INTERVAL_MS).max(0.0),
            "ms",
        );
    }
    for (label, part) in [("p50", 0.5), ("longest", 1.0)] {
        figures.push(format!("publication, due to served, {name}, {label}"), quantile(&mut publications, part), "ms");
    }
}

fn quantile(samples: &mut [f64], part: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[((samples.len() as f64 * part).ceil() as usize).clamp(1, samples.len()) - 1]
}

/// Sends at a fixed rate from `begin_ms` on. Returns the rate that it came to.
fn send(topic: &Topic, sizes: &Sizes, rate: f64, begin_ms: f64, steps: usize) -> f64 {
    let mut stream = Stream::new(begin_ms as u64, sizes.customers);
    let mut writer = Writer::with(topic, "5");
    let partitions = topic.partitions as usize;
    for step in 0..steps {
        let at_ms = begin_ms + step as f64 * STEP_MS;
        let wait_ms = at_ms - now_ms();
        if wait_ms > 0.0 {
            std::thread::sleep(Duration::from_secs_f64(wait_ms / 1000.0));
        }
        let partition = step % partitions;
        let probe = stream.started(format!("probe-{at_ms}"), &plan(partition), at_ms as i64);
        writer.send(partition as i32, &probe, at_ms as i64);
        let due = (rate * (step + 1) as f64 * STEP_MS / 1000.0) as u64;
        while writer.records() < due {
            let (customer, event) = stream.next(at_ms as i64);
            writer.send(topic.partition(customer), &event, at_ms as i64);
        }
    }
    let rate = writer.records() as f64 / ((now_ms() - begin_ms) / 1000.0);
    writer.finish();
    rate
}

impl Probes {
    /// Looks at the page whenever one is due, until all probes are on it.
    fn await_all(&mut self, run: &Run, look: Duration) -> Latencies {
        let mut latencies = Latencies::default();
        let mut due_ms = next_multiple(now_ms());
        let give_up_ms = self.sent.iter().flatten().copied().fold(0.0, f64::max) + 120_000.0;
        while self.seen.iter().zip(&self.sent).any(|(&seen, sent)| seen < sent.len()) {
            let wait_ms = due_ms - now_ms();
            if wait_ms > 0.0 {
                std::thread::sleep(Duration::from_secs_f64(wait_ms / 1000.0));
            }
            let page = run.page();
            let seen_ms = now_ms();
            assert!(
                seen_ms < give_up_ms,
                "{:?} probes of {:?}",
                self.seen,
                self.sent.iter().map(Vec::len).collect::<Vec<_>>()
            );
            if self.note(&page, seen_ms, &mut latencies) {
                latencies.publications.push(seen_ms - due_ms);
                due_ms = next_multiple(seen_ms);
            } else {
                std::thread::sleep(look);
            }
        }
        latencies
    }

    /// Whether the page counts probes that none did before.
    fn note(&mut self, page: &str, seen_ms: f64, latencies: &mut Latencies) -> bool {
        let mut news = false;
        for (partition, sent) in self.sent.iter().enumerate() {
            let count = page::on_plan(page, &plan(partition)).saturating_sub(self.before[partition]) as usize;
            let count = count.min(sent.len());
            for &sent_ms in &sent[self.seen[partition].min(count)..count] {
                latencies.probes.push(seen_ms - sent_ms);
                news = true;
            }
            self.seen[partition] = self.seen[partition].max(count);
        }
        news
    }
}

fn plan(partition: usize) -> String {
    format!("probe-{partition}")
}

/// The first publication at or after the instant.
fn next_multiple(at_ms: f64) -> f64 {
    (at_ms / INTERVAL_MS).ceil() * INTERVAL_MS
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs_f64() * 1000.0
}
